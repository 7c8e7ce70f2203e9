"""Rows of a database query, through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from rankwright.data.files import close_names
from rankwright.data.table import Table
from rankwright.errors import (
    DataNotFoundError,
    EmptyDataError,
    FormatError,
    InputError,
    MissingDependencyError,
)

__all__ = ["sql_table"]


def sql_table(address: str, query: str | None) -> Table:
    """The rows that a query returns, as a table. Nothing is committed.

    Args:
        address: SQLAlchemy URL such as ``sqlite:///shop.db``. Its password never shows in a
            message.
        query: SQL text.

    Raises:
        InputError: No query, a malformed URL, or an unknown kind of database.
        DataNotFoundError: An SQLite file that does not exist.
        EmptyDataError: The query returned no rows.
        FormatError: The database refused the connection or the query.
        MissingDependencyError: SQLAlchemy or the database's driver is not installed.
    """
    if not query or not query.strip():
        raise InputError(
            "A database needs a query that says which rows to read: pass --sql (in Python: "
            "LoadOptions(sql=…)), for example 'SELECT query, document, label FROM clicks'."
        )
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "SQLAlchemy", "sql", "Reading a database"
        ) from error
    shown, engine = _engine(sqlalchemy, address)
    columns, rows = _execute(sqlalchemy, engine, query, shown)
    first = next(rows, None)
    if first is None:
        raise EmptyDataError("the query returned no rows.", path=shown)
    return Table(shown, columns, chain([first], rows))


def _engine(sqlalchemy: Any, address: str) -> tuple[str, Any]:
    try:
        url = sqlalchemy.make_url(address)
        shown = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            _require_database(Path(url.database))
        return shown, sqlalchemy.create_engine(url)
    except sqlalchemy.exc.NoSuchModuleError as error:
        kind = address.partition("://")[0]
        raise InputError(
            f"'{kind}://' is no database that SQLAlchemy knows. Databases look like "
            "sqlite:///file.db or postgresql://user@host/name; download other addresses first."
        ) from error
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        # the address may hold a password, so it is not shown, nor chained
        raise InputError(
            "The database URL is malformed; expected something like sqlite:///file.db or "
            "postgresql://user:password@host/name."
        ) from (None if "@" in address else error)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"This database needs the driver '{error.name}', which is not installed. "
            f"Install it with: pip install {error.name}"
        ) from error


def _require_database(path: Path) -> None:
    # SQLite would make an empty file and then complain about a missing table
    if not path.exists() and not str(path).startswith("file:"):
        raise DataNotFoundError(f"The database {path} does not exist.{close_names(path)}")


def _execute(
    sqlalchemy: Any, engine: Any, query: str, shown: str
) -> tuple[tuple[str, ...], Iterator[tuple[int, dict[str, Any]]]]:
    try:
        with engine.connect() as connection:
            # as the driver gets it: SQLAlchemy's own text() would take ":name" for a parameter
            result = connection.exec_driver_sql(query)
            if not result.returns_rows:
                raise InputError("The SQL text returns no rows; it must be a SELECT.")
            columns = tuple(str(name) for name in result.keys())  # noqa: SIM118 (not a dict)
            rows = [dict(zip(columns, row, strict=True)) for row in result]
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _failure(shown, error) from error
    finally:
        engine.dispose()
    return columns, iter(enumerate(rows, start=1))


def _failure(shown: str, error: Any) -> FormatError:
    cause = getattr(error, "orig", None) or error
    return FormatError(
        f"the database refused: {str(cause).splitlines()[0]}. Check the address and the SQL text.",
        path=shown,
    )
