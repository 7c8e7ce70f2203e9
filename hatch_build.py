"""Compiles src/rankwright/engine/native while the wheel is built, where that is possible.

Without a compiler, or elsewhere than on x86 and Linux, the wheel is pure Python and works as well,
more slowly. In a checkout, install it again (``pip install -e .``) after a change of the C++ code.
``RANKWRIGHT_COMPILE=1`` makes a failure an error, ``RANKWRIGHT_COMPILE=0`` leaves the
library out; ``CXX`` names the compiler.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/rankwright/engine/native")
# Exactly these instructions, not those of the machine that builds: the library is only loaded where
# the processor has them. No run-time library of C++: any Linux with the same C library will do.
FLAGS = (
    "-std=c++17 -O3 -mavx2 -mfma -fPIC -shared -pthread -fno-exceptions -fno-rtti "
    "-fvisibility=hidden -Wall -Wextra"
).split()


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """The hook; see the module."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and marks the wheel as one for this platform."""
        wish = os.environ.get("RANKWRIGHT_COMPILE", "")
        if wish == "0":
            return
        reason = compile_kernels(Path(self.root) / FOLDER)
        if reason is None:
            build_data["artifacts"].append(f"{FOLDER}/kernels.so")
            build_data["pure_python"] = False
            # Loaded with ctypes, it fits every Python.
            build_data["tag"] = "py3-none-linux_x86_64"
        elif wish == "1":
            raise SystemExit(f"The library of kernels was not compiled: {reason}")
        else:
            self.app.display_warning(
                f"The library of kernels was not compiled: {reason}. Rankwright works without it; "
                "on processors without AVX-512 it is then slower."
            )


def compile_kernels(folder: Path) -> str | None:
    """Makes ``kernels.so`` in the folder; the reason why not, or None."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"there are only kernels for x86-64 under Linux, not for {platform.platform()}"
    named = os.environ.get("CXX")
    found = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    compiler = shlex.split(named) if named else [found] if found else None
    if compiler is None:
        return "there is no C++ compiler (c++, g++ or clang++, or the one that CXX names)"
    target = folder / "kernels.so"
    made = folder / f".kernels.{os.getpid()}.so"
    try:
        done = subprocess.run(
            [*compiler, *FLAGS, "-o", str(made), *map(str, sorted(folder.glob("*.cpp")))],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"{' '.join(compiler)} says: {done.stderr.strip()[-2000:]}"
        # A process that has the former library loaded keeps it.
        made.replace(target)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        made.unlink(missing_ok=True)
    return None
