"""Messages and stack traces of exceptions without the rows that they were raised for.

PostgreSQL, Polars, pydantic and Python's own `int()` quote the value that they could not take, and that value may be a
student's. Everything that prints or stores an exception goes through this module.

What remains: the messages of this package, which hold no row content; PostgreSQL's primary message where it quotes no
values, with schema, table, column, constraint and the line of a COPY; and what a user's own function raises, which is
the user's to word.
"""

from __future__ import annotations

import dis
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.printable import printable

WITHHELD = "its message is withheld, because it may quote a row"
HARMLESS = (OSError, ImportError, TypeError, AttributeError, NameError, IndexError, RecursionError, NotImplementedError)
"""Python's own errors that speak of files, names and types, and not of values."""
HARMLESS_LIBRARIES = {"dagster", "dagster_shared", "httpx", "httpcore", "click", "jwt", "yaml"}
"""Libraries whose errors speak of addresses, settings and keys; no row passes through them."""
QUOTING_LIBRARIES = {
    "alembic",
    "numpy",
    "orjson",
    "polars",
    "psycopg",
    "psycopg_binary",
    "pyarrow",
    "pydantic",
    "pydantic_core",
    "sqlalchemy",
}
"""Libraries whose errors quote the values that they were given."""
OURS = __name__.partition(".")[0]
QUOTES_NO_VALUE = frozenset(
    "08 0A 21 23 25 26 28 2B 2D 34 3B 3D 3F 40 42 44 53 54 55 57 58 F0 XX".split()  # noqa: SIM905 (SQL's own notation)
)
"""Classes of SQLSTATE whose primary message names objects only. Not 22 (data), 38, 39 and P0 (a function's own text)."""
QUOTES_ALL_THE_SAME = frozenset({"42601"})
"""States of these classes whose message quotes: a syntax error repeats the literal that it stands at."""
COPY_LINE = re.compile(r"COPY [^,\n]{1,200}, [^\d\n:\"]{1,20}(\d{1,18})")
"""In PostgreSQL's CONTEXT, in any language: `COPY users, line 26730, column email: "…"`."""
RAISE = dis.opmap["RAISE_VARARGS"]
LONGEST_TRACE = 50_000
"""Characters of a stack trace."""


def message(error: BaseException) -> str:
    """Return what an exception says, without values of rows; whoever raised it decides how much of it that is."""
    if isinstance(error, CanvasSyncError):
        return str(error)
    if _library(error) in {"psycopg", "psycopg_binary"}:
        return _of_postgres(error)
    harmless = isinstance(error, HARMLESS) or _library(error) in HARMLESS_LIBRARIES or _names_a_constant(error)
    if harmless or _is_users_own(error):
        return printable(str(error))
    return WITHHELD


def summary(error: BaseException) -> str:
    """Return the class of an exception and what it says, as the last line of a stack trace."""
    return f"{type(error).__name__}: {message(error)}"


def trace(error: BaseException) -> str:
    """Return the stack trace of an exception and of those that led to it; the source is shown, values are not."""
    parts = []
    for each, joined in _chain(error):
        frames = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"{joined}Traceback (most recent call last):\n{frames}{summary(each)}\n")
    return printable("".join(reversed(parts))[-LONGEST_TRACE:], LONGEST_TRACE)


def redact(error: BaseException) -> bool:
    """Take row content out of an exception and of those that led to it, for whoever prints them next.

    Returns:
        Whether each of them says no more than `message` now. Some exceptions keep their text where it cannot be changed.
    """
    clean = True
    for each, _ in _chain(error):
        said = message(each)
        if str(each) == said or isinstance(each, (CanvasSyncError, *HARMLESS)):
            continue
        each.args = (said,)
        clean = clean and said in str(each)
    return clean


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield an exception and those that led to it, the last one first, each with what joins it to its predecessor."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        before = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        yield current, "\nThe above led to:\n\n" if before else ""
        current = before


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _is_users_own(error: BaseException) -> bool:
    """Return whether a `raise` outside this package and the libraries below it raised an exception.

    What a built-in function raised there, as `int(row["id"])` does, quotes a value that the user did not choose to show.
    """
    if _library(error) in QUOTING_LIBRARIES:
        return False
    last = _raised_at(error)
    if last is None:
        return False
    module = str(last.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    if module in {OURS, *QUOTING_LIBRARIES} or (module != "__main__" and module in sys.stdlib_module_names):
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == RAISE


def _names_a_constant(error: BaseException) -> bool:
    """Return whether a KeyError repeats a name that the code spells, as `row["emial"]` does, or a Canvas id."""
    last = _raised_at(error)
    if type(error) is not KeyError or not error.args or last is None:
        return False
    return isinstance(error.args[0], int) or error.args[0] in last.tb_frame.f_code.co_consts


def _raised_at(error: BaseException) -> TracebackType | None:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last


def _of_postgres(error: BaseException) -> str:
    """Return PostgreSQL's primary message where it quotes no values, else the name of its condition, and where it arose."""
    diagnosis = getattr(error, "diag", None)
    state = str(getattr(error, "sqlstate", None) or "")
    if not state:
        # Of the client: of these, only DataError (a date that Python cannot hold, say) quotes a value.
        return printable(str(error)) if type(error).__name__ != "DataError" else WITHHELD
    primary = str(getattr(diagnosis, "message_primary", None) or "")
    from_function = getattr(diagnosis, "source_function", None) == "exec_stmt_raise"
    quotes = state[:2] not in QUOTES_NO_VALUE or state in QUOTES_ALL_THE_SAME or from_function
    said = f"{_condition(error)} (SQLSTATE {state})" if quotes or not primary else primary
    return printable(f"{said}{_place(diagnosis)}")


def _condition(error: BaseException) -> str:
    """Spell a class as words: `InvalidTextRepresentation` is `invalid text representation`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _place(diagnosis: object) -> str:
    names = {
        "table": ".".join(filter(None, (getattr(diagnosis, f"{name}_name", None) for name in ("schema", "table")))),
        "column": getattr(diagnosis, "column_name", None),
        "constraint": getattr(diagnosis, "constraint_name", None),
    }
    if line := COPY_LINE.match(getattr(diagnosis, "context", None) or ""):
        names["line"] = line[1]
    told = ", ".join(f"{name} {value}" for name, value in names.items() if value)
    return f" [{told}]" if told else ""
