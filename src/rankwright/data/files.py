"""Lines of text files, plain or gzipped, with errors that name the line."""

from __future__ import annotations

import difflib
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from rankwright.data.atomic import atomic_write
from rankwright.errors import DataNotFoundError, FormatError

__all__ = ["close_names", "excerpt", "read_lines", "require_file", "similar_names", "write_lines"]

UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def require_file(path: Path, what: str = "file") -> Path:
    """Returns ``path`` if it exists.

    Raises:
        DataNotFoundError: It does not; names in the same folder that look alike are suggested.
    """
    if path.exists():
        return path
    raise DataNotFoundError(f"The {what} {path} does not exist.{close_names(path)}")


def similar_names(path: Path) -> list[Path]:
    """What stands beside ``path`` under a name that looks like it."""
    if not path.parent.is_dir():
        return []
    names = sorted(entry.name for entry in path.parent.iterdir())
    return [path.parent / name for name in difflib.get_close_matches(path.name, names, n=3)]


def close_names(path: Path) -> str:
    """A sentence with the names beside ``path`` that look like it, or what the folder holds."""
    folder = path.parent
    if not folder.is_dir():
        return f" Neither does the folder {folder}."
    close = similar_names(path)
    if close:
        return f" Did you mean {' or '.join(map(str, close))}?"
    names = sorted(entry.name for entry in folder.iterdir())
    held = ", ".join(names[:10]) or "nothing"
    return f" The folder {folder} holds: {held}{', …' if len(names) > 10 else ''}."


def excerpt(text: object, length: int = 60) -> str:
    """The beginning of a value, quoted, for a message."""
    shown = text if isinstance(text, str) else repr(text)
    return repr(shown if len(shown) <= length else shown[:length] + "…")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers, from 1, without line ends.

    A byte order mark and Windows line ends are tolerated; a name that ends in ``.gz`` is
    decompressed. Only ``\\n`` ends a line, since JSON may carry the other Unicode line ends.

    Raises:
        DataNotFoundError: No such file.
        FormatError: Bytes that are not UTF-8, or a damaged or truncated gzip file.
    """
    require_file(path)
    for number, raw in enumerate(_raw_lines(path), start=1):
        line = raw
        if number == 1:
            if raw.startswith(UTF16_BOMS):
                raise FormatError(
                    "the file is UTF-16; UTF-8 is expected. Convert it with: "
                    f"iconv -f UTF-16 -t UTF-8 {path.name}",
                    path=path,
                    line=1,
                )
            line = raw.removeprefix(UTF8_BOM)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            readable = line[: error.start].decode("utf-8")[-30:]
            raise FormatError(
                f"byte 0x{line[error.start]:02x} after {readable!r} is not UTF-8. Convert the "
                f"file, for example with: iconv -f LATIN1 -t UTF-8 {path.name}",
                path=path,
                line=number,
            ) from error
        yield number, text.removesuffix("\n").removesuffix("\r")


def _raw_lines(path: Path) -> Iterator[bytes]:
    if path.suffix != ".gz":
        with open(path, "rb") as file:
            yield from file
        return
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(
            f"the gzip file is truncated or damaged ({error}). Copy or download it again; "
            "'gzip -t' tells whether it is whole.",
            path=path,
        ) from error


def write_lines(lines: Iterable[str], path: str | Path) -> None:
    """Writes lines atomically, gzipped if the name ends in ``.gz``.

    Raises:
        SaveError: The file could not be written; what was there is untouched.
    """
    path = Path(path)
    if path.suffix != ".gz":
        with atomic_write(path, "w") as text:
            text.writelines(f"{line}\n" for line in lines)
        return
    # no name and no time inside, so that the same lines give the same bytes
    with (
        atomic_write(path, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.writelines(f"{line}\n".encode() for line in lines)
