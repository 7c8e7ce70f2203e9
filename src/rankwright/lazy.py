"""Packages whose public names load on first use, so that importing a package loads nothing heavy.

A package's ``__init__.py`` says where its names are and ends with
``__getattr__, __dir__ = lazy_names(__name__, ..., __all__)``: the two functions that Python calls
for names that a module does not hold (PEP 562).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str], shown: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package calls ``__getattr__`` and ``__dir__``.

    Nothing is kept in the package: a name is looked up in its module each time.

    Args:
        package: The package's full name.
        homes: Name -> the module below the package that defines it, such as ``"card.data"``.
        shown: What ``dir`` of the package lists.
    """
    listed = sorted(shown)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load, lambda: list(listed)
