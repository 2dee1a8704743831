"""Return messages and stack traces of exceptions without row content.

PostgreSQL, Polars, pydantic and Python's `int()` quote the value that they rejected, which may be personal data. Every
exception that is printed or stored passes through this module.

It keeps the messages of this package, which contain no row content; PostgreSQL's primary message if it quotes no value,
with schema, table, column, constraint and the line of a COPY; and messages that a user's own function raises.
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
"""Python's errors whose messages contain files, names and types, but no values."""
HARMLESS_LIBRARIES = {"dagster", "dagster_shared", "httpx", "httpcore", "click", "jwt", "yaml"}
"""Libraries whose errors contain URLs, settings and keys; they process no rows."""
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
"""Libraries whose errors quote their input."""
OURS = __name__.partition(".")[0]
QUOTES_NO_VALUE = frozenset(
    "08 0A 21 23 25 26 28 2B 2D 34 3B 3D 3F 40 42 44 53 54 55 57 58 F0 XX".split()  # noqa: SIM905 (SQL's notation)
)
"""Classes of SQLSTATE whose primary message names only objects. Not 22 (data), nor 38, 39 and P0 (text of functions)."""
QUOTES_ALL_THE_SAME = frozenset({"42601"})
"""States of these classes whose message quotes a value: a syntax error repeats the literal at its position."""
COPY_LINE = re.compile(r"COPY [^,\n]{1,200}, [^\d\n:\"]{1,20}(\d{1,18})")
"""In PostgreSQL's CONTEXT, in any language: `COPY users, line 26730, column email: "…"`."""
RAISE = dis.opmap["RAISE_VARARGS"]
LONGEST_TRACE = 50_000
"""Maximum characters of a stack trace."""


def message(error: BaseException) -> str:
    """Return the message of an exception without row content; the source of the exception decides how much remains."""
    if isinstance(error, CanvasSyncError):
        return str(error)
    if _library(error) in {"psycopg", "psycopg_binary"}:
        return _of_postgres(error)
    harmless = isinstance(error, HARMLESS) or _library(error) in HARMLESS_LIBRARIES or _names_a_constant(error)
    if harmless or _is_users_own(error):
        return printable(str(error))
    return WITHHELD


def summary(error: BaseException) -> str:
    """Return class and message of an exception, like the last line of a stack trace."""
    return f"{type(error).__name__}: {message(error)}"


def trace(error: BaseException) -> str:
    """Return the stack trace of an exception and its causes, with source lines and without values."""
    parts = []
    for each, joined in _chain(error):
        frames = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"{joined}Traceback (most recent call last):\n{frames}{summary(each)}\n")
    return printable("".join(reversed(parts))[-LONGEST_TRACE:], LONGEST_TRACE)


def redact(error: BaseException) -> bool:
    """Remove row content from an exception and its causes, before other code prints them.

    Returns:
        Whether each of them now contains only `message`. The text of some exceptions cannot be changed.
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
    """Yield an exception and its causes, the last one first, each with the text that precedes it in a stack trace."""
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
    """Return whether a `raise` statement in user code raised an exception.

    An exception of a built-in function there, such as `int(row["id"])`, quotes a value without the user's intention.
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
    """Return whether a KeyError quotes a constant in the code, as in `row["emial"]`, or a Canvas id."""
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
    """Return PostgreSQL's primary message, or its condition if the message quotes values, and the object concerned."""
    diagnosis = getattr(error, "diag", None)
    state = str(getattr(error, "sqlstate", None) or "")
    if not state:
        # An error of the client: only DataError (such as a date that Python cannot represent) quotes a value.
        return printable(str(error)) if type(error).__name__ != "DataError" else WITHHELD
    primary = str(getattr(diagnosis, "message_primary", None) or "")
    from_function = getattr(diagnosis, "source_function", None) == "exec_stmt_raise"
    quotes = state[:2] not in QUOTES_NO_VALUE or state in QUOTES_ALL_THE_SAME or from_function
    said = f"{_condition(error)} (SQLSTATE {state})" if quotes or not primary else primary
    return printable(f"{said}{_place(diagnosis)}")


def _condition(error: BaseException) -> str:
    """Return a class name as words: `InvalidTextRepresentation` becomes `invalid text representation`."""
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
