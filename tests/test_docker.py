"""The container image and its service, checked without Docker: what goes in, and how it is run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from rankwright.cli.main import app
from rankwright.serving import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("onnxruntime", "openvino")
LEFT_OUT = {"ir-measures", "pytrec-eval-terrier", "scipy"}
"""Dependencies that only judge rankings, which a server does not."""


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, with lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by the stage's name; what stands before the first stage is ''."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for instruction, rest in instructions((ROOT / "Dockerfile").read_text("utf-8")):
        if instruction == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            found[name] = []
        found[name].append((instruction, rest))
    return found


def values(stage: str, instruction: str) -> list[str]:
    return [rest for name, rest in stages()[stage] if name == instruction]


def service() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert list(compose["services"]) == ["reranker"]
    found: dict[str, Any] = compose["services"]["reranker"]
    return found


def pins(engine: str) -> dict[str, str]:
    """Versions in the list of an engine and in the one that it includes."""
    found: dict[str, str] = {}
    todo = [f"requirements-{engine}.txt"]
    while todo:
        for line in (ROOT / "deploy" / todo.pop()).read_text("utf-8").splitlines():
            if line.startswith("-r "):
                todo.append(line.removeprefix("-r "))
            elif line and not line.startswith("#"):
                name, _, number = line.partition("==")
                assert re.fullmatch(r"[\w.]+", number), line
                assert canonicalize_name(name) not in found, f"{name} is listed twice"
                found[canonicalize_name(name)] = number
    return found


def requirements(name: str, extra: str = "") -> list[Requirement]:
    """What an installed package asks for here, alone or also with an extra."""
    lines = [Requirement(line) for line in distribution(name).requires or []]
    return [r for r in lines if r.marker is None or r.marker.evaluate({"extra": extra})]


def needed(requirement: str) -> dict[str, list[Requirement]]:
    """What a requirement installs, itself included, by name, as the installed packages tell."""
    found: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(requirement)]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        found.setdefault(name, []).append(wanted)
        for extra in ("", *sorted(wanted.extras)):
            if name in LEFT_OUT or (name, extra) in seen:
                continue
            seen.add((name, extra))
            todo += requirements(name, extra)
    return found


# --- what goes in -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_runtime_needs_neither_torch_nor_transformers(engine: str) -> None:
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    found = {**needed("rankwright[serve]"), **needed(engine)}
    assert {"numpy", "tokenizers", "fastapi", engine} <= set(found)
    assert not {"torch", "transformers"} & (set(found) | set(pins(engine)))
    assert "torch" in needed("rankwright[train]")  # the walk would have seen it


@pytest.mark.parametrize("engine", ENGINES)
def test_the_list_is_complete(engine: str) -> None:
    """Each dependency of a listed package is listed, as far as the same version is installed."""
    listed = pins(engine)
    own = {canonicalize_name(needs.name) for needs in requirements("rankwright", "serve")}
    assert {"fastapi", "numpy"} <= own
    missing = own - LEFT_OUT - set(listed)
    for name, number in listed.items():
        try:
            same = version(name) == number
        except PackageNotFoundError:
            continue
        if same:
            names = {canonicalize_name(needs.name) for needs in requirements(name)}
            missing |= names - set(listed)
    assert not missing
    assert engine in listed
    assert not set(listed) & LEFT_OUT


def test_listed_versions_are_those_that_the_package_allows() -> None:
    lines = [Requirement(line) for line in distribution("rankwright").requires or []]
    checked = set()
    for engine in ENGINES:
        listed = pins(engine)
        for line in lines:
            name = canonicalize_name(line.name)
            if name in listed:
                assert line.specifier.contains(listed[name]), f"{line} excludes {listed[name]}"
                checked.add(name)
    # the engines' lower bounds stand in the extras onnx and openvino
    assert {"onnxruntime", "openvino", "fastapi", "numpy", "uvicorn"} <= checked


def test_the_dockerfile_installs_these_lists() -> None:
    packages = stages()["packages"]
    assert ("ARG", "ENGINE=onnxruntime") in packages
    text = " ".join(values("packages", "RUN"))
    assert '-r "/requirements/requirements-${ENGINE}.txt"' in text
    assert text.count("--no-deps") == 2
    for engine in ENGINES:
        assert (ROOT / "deploy" / f"requirements-{engine}.txt").is_file()


def test_the_server_starts_without_what_is_left_out() -> None:
    code = """
import sys
for name in ("torch", "transformers", "scipy", "ir_measures", "pytrec_eval"):
    sys.modules[name] = None
import rankwright.serving.run
from rankwright.cli.main import app
from rankwright.serving import ServerSettings
for command in ("serve", "verify", "bench"):
    app([command, "--help"], standalone_mode=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_only_what_the_image_is_made_of_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    sources = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src"}
    assert allowed == sources | {"deploy/*.txt", "models"}
    for stage in stages():
        for copied in values(stage, "COPY"):
            if copied.startswith(("--from=", "${MODEL}")):
                continue
            for source in copied.split()[:-1]:
                assert source in allowed
                assert list(ROOT.glob(source)), source


def test_the_base_is_pinned() -> None:
    (base,) = values("", "ARG")
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.12\.\d+-slim-[a-z]+", base)
    froms = [values(stage, "FROM")[0] for stage in stages() if stage]
    assert {line.split()[0] for line in froms} == {"${BASE}", "server"}


# --- how it is run ----------------------------------------------------------------------------


def test_the_server_is_not_root() -> None:
    (user,) = values("server", "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert service()["user"] == user
    order = [name for name, _ in stages()["server"]]
    assert order.index("COPY") < order.index("USER") < order.index("CMD")
    assert stages()["last"] == [("FROM", "server")]


def test_no_secret_is_in_a_layer() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert not re.search(r"(?i)(key|token|password|secret)\w*\s*=", text)


def command_lines() -> dict[str, list[str]]:
    entry, command = (yaml.safe_load(values("server", name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["rankwright"]
    assert values("server", "STOPSIGNAL") == ["SIGTERM"]
    return {"Dockerfile": command, "compose.yaml": service()["command"]}


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml"])
def test_the_command_line_is_understood(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("rankwright.serving.run.run", lambda *given: told.extend(given))
    words = command_lines()[file]
    keys = tmp_path / "keys.txt"
    keys.write_text("a key of tests\n\nand another\n", "utf-8")
    words = [str(keys) if word == "/run/secrets/api_keys" else word for word in words]
    app(words, prog_name="rankwright", standalone_mode=False)
    options, settings = told
    assert options.model.model == "/model"
    assert options.host == "0.0.0.0"  # of the container
    assert f"{options.port}" in values("server", "EXPOSE")
    expected = ("a key of tests", "and another") if file == "compose.yaml" else ()
    assert settings.api_keys == expected


def test_both_health_checks_ask_the_server() -> None:
    (line,) = values("server", "HEALTHCHECK")
    options, _, command = line.partition(" CMD ")
    check = service()["healthcheck"]
    assert ["CMD", *yaml.safe_load(command)] == check["test"]
    for name, value in (word.removeprefix("--").split("=") for word in options.split()):
        assert str(check[name.replace("-", "_")]) == value


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_tells(status: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Connection:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            assert (host, port) == ("127.0.0.1", 8080)
            assert timeout < int(service()["healthcheck"]["timeout"].removesuffix("s"))
            self.status = status

        def request(self, method: str, path: str) -> None:
            asked.append(f"{method} {path}")

        def getresponse(self) -> Connection:
            return self

    monkeypatch.setattr("http.client.HTTPConnection", Connection)
    program, flag, source = service()["healthcheck"]["test"][1:]
    assert (program, flag) == ("python", "-c")
    with pytest.raises(SystemExit) as ended:
        exec(source, {})
    assert int(ended.value.code or 0) == code
    assert asked == ["GET /health"]


def test_the_service_is_confined() -> None:
    found = service()
    assert found["ports"] == ["127.0.0.1:8080:8080"]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "cap_add" not in found
    assert "privileged" not in found
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["init"] is True
    (tmp,) = found["tmpfs"]
    path, _, flags = tmp.partition(":")
    assert path == "/tmp"
    assert {"noexec", "nosuid", "nodev", "size=64m"} <= set(flags.split(","))
    (model,) = found["volumes"]
    assert (model["target"], model["read_only"]) == ("/model", True)
    assert model["bind"] == {"create_host_path": False}
    limits = found["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert limits["pids"] > 0
    grace = int(found["stop_grace_period"].removesuffix("s"))
    assert grace > ServerSettings().drain_seconds
    targets = [rest.partition(" AS ")[2] for stage in stages() for rest in values(stage, "FROM")]
    assert found["build"]["target"] in targets
    assert found["build"]["args"]["ENGINE"] in ENGINES


def test_keys_come_from_a_secret() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    (name,) = service()["secrets"]
    assert name in compose["secrets"]
    words = service()["command"]
    assert words[words.index("--api-keys") + 1] == f"/run/secrets/{name}"
    assert "environment" not in service()


def test_a_secret_without_keys_does_not_open_the_server(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", "utf-8")
    for name, message in (("empty.txt", "holds no key"), (".", "cannot be read")):
        result = CliRunner().invoke(app, ["serve", "/model", "--api-keys", str(tmp_path / name)])
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())


# --- the package ------------------------------------------------------------------------------


def test_the_wheel_holds_more_than_modules(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    from hatchling.builders.wheel import WheelBuilder

    (made,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
        (meta,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "rankwright = rankwright.cli.main:main" in wheel.read(meta).decode()
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "rankwright").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"rankwright/py.typed", "rankwright/serving/playground.html"} <= expected
    inside = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert inside == expected
