from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from rankwright.data import atomic_folder, atomic_write
from rankwright.errors import DataNotFoundError, InputError, SaveError


def fill(place: Path, files: dict[str, str], error: BaseException | None = None) -> None:
    """Writes files into a folder through the tool under test, and fails at the end if asked to."""
    with atomic_folder(place) as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if error is not None:
            raise error


def write(path: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_write(path) as file:
        file.write(text)
        if error is not None:
            raise error


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_writes_text_and_bytes_and_makes_parents(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a" / "b.txt") as file:
        file.write("été\n")
    with atomic_write(tmp_path / "c.bin", "wb") as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "été\n".encode()
    assert (tmp_path / "c.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a", "a/b.txt", "c.bin"]


def test_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("before", [None, "old"])
def test_disk_full_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    path = tmp_path / "x.txt"
    if before is not None:
        path.write_text(before)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(SaveError, match=r"x\.txt was not saved: No space left.*untouched") as caught,
        atomic_write(path) as file,
    ):
        file.write("new")
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ([] if before is None else ["x.txt"])
    if before is not None:
        assert path.read_text() == before


def test_write_error_inside_the_block(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="No space left"):
        write(tmp_path / "x.txt", "half", OSError(errno.ENOSPC, "No space left on device"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), DataNotFoundError("d")])
def test_other_errors_pass_and_leave_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "x.txt"):
        raise error
    assert caught.value is error
    assert names(tmp_path) == []


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "x.txt", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with atomic_write(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "x.txt") as file:
        file.write("new")
    assert (tmp_path / "x.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_files_of_a_folder_follow_the_umask_whoever_wrote_them(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "weights").touch(mode=0o600)
            (folder / "program").touch(mode=0o700)
    finally:
        os.umask(old)
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "model").iterdir()}
    assert modes == {"weights": 0o640, "program": 0o740}


def test_mode_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a'"):
        atomic_write(tmp_path / "x", "a")  # type: ignore[call-overload]


def test_new_folder_appears_at_once(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as place:
        (place / "sub").mkdir()
        (place / "sub" / "a.txt").write_text("a")
        assert not target.exists()
    assert names(tmp_path) == ["deep", "deep/model", "deep/model/sub", "deep/model/sub/a.txt"]


def test_existing_folder_keeps_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "foreign").write_text("f")
    (tmp_path / "m" / "a").write_text("old")
    with atomic_folder(tmp_path / "m") as place:
        (place / "a").write_text("new")
        (place / "s" / "t").mkdir(parents=True)
        (place / "s" / "t" / "b").write_text("b")
        assert (tmp_path / "m" / "a").read_text() == "old"
    assert names(tmp_path) == ["m", "m/a", "m/foreign", "m/s", "m/s/t", "m/s/t/b"]
    assert (tmp_path / "m" / "a").read_text() == "new"
    assert (tmp_path / "m" / "foreign").read_text() == "f"


def test_failed_folder_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_text("old")
    with pytest.raises(SaveError, match="untouched"):
        fill(tmp_path / "m", {"a": "new"}, OSError(errno.ENOSPC, "No space left on device"))
    assert names(tmp_path) == ["m", "m/a"]
    assert (tmp_path / "m" / "a").read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_replacement_that_fails_halfway_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = tmp_path / "m"
    (target / "z").mkdir(parents=True)  # a folder where the block writes a file
    (target / "a").write_text("old")
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SaveError, match="untouched"):
        fill(target, {"a": "new", "b/c": "c", "z": "z"})
    assert names(tmp_path) == ["m", "m/a", "m/z"]
    assert (target / "a").read_text() == "old"


def test_folder_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("file")
    with pytest.raises(SaveError, match="is a file"), atomic_folder(tmp_path / "m"):
        pytest.fail("the block must not run")
    assert (tmp_path / "m").read_text() == "file"
