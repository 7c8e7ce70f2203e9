"""How many cores there are for this process, as control groups tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rankwright.engine import cpu


def groups(folder: Path, membership: str, files: dict[str, str]) -> float | None:
    """The quota told by a made-up /proc/self/cgroup and /sys/fs/cgroup."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", "ascii")
    told = folder / "membership"
    told.write_text(membership, "utf-8")
    return cpu._quota(told, folder / "cgroup")


V1 = "4:memory:/a\n1:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {}, None),
        # the group above is the tighter one
        ("0::/pod/one\n", {"pod/cpu.max": "200000 100000", "pod/one/cpu.max": "400000 100000"}, 2),
        # a container that sees the host's name of its group, and its own files at the root
        ("0::/docker/abc\n", {"cpu.max": "50000 100000"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (
            V1,
            {
                "cpu/docker/abc/cpu.cfs_quota_us": "100000",
                "cpu/docker/abc/cpu.cfs_period_us": "50000",
            },
            2,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_quotas_are_read(
    membership: str, files: dict[str, str], expected: float | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, membership, files) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu._quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.5, 1), (1.5, 2), (2.0, 2), (64.0, 4)])
def test_the_tighter_of_affinity_and_quota_counts(
    quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_quota", lambda *_: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert cpu.available_cores() == cores
