"""Check, when a user's function is registered, that it accepts the arguments with which it will be called."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path

from canvas_sync_dagster.errors import SettingError

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_arguments(
    function: object, where: str, *positional: str, optional: int = 0, keywords: Collection[str] = ()
) -> None:
    """Check that a function can be called.

    Args:
        function: The user's function.
        where: Where it is registered, for messages, such as `on_failure`.
        positional: Names of the positional arguments with which it is called.
        optional: How many of the last positional arguments are passed only to a function that accepts them.
        keywords: Keyword arguments that are passed to a function that accepts them.

    Raises:
        SettingError: It is no function, it is async, or it accepts other arguments.
    """
    allowed = f"a function of ({_described(positional, optional, keywords)})"
    if not callable(function):
        raise SettingError(where, "expected a function", allowed=allowed, value=function)
    if inspect.iscoroutinefunction(function):
        raise SettingError(where, f"{name_of(function)} is async, and would not be awaited", allowed=allowed)
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions written in C have no signature.
        return
    passed = dict.fromkeys(name for name in keywords if accepts_keyword(function, name))
    fewest = len(positional) - optional
    if not any(_binds(signature, number, passed) for number in range(fewest, len(positional) + 1)):
        raise SettingError(where, f"{name_of(function)} has the parameters {signature}", allowed=allowed)


def accepts_keyword(function: object, name: str) -> bool:
    """Return whether a function accepts a keyword argument.

    >>> accepts_keyword(lambda batch, *, session: None, "session"), accepts_keyword(len, "session")
    (True, False)
    """
    parameters = _parameters(function)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY


def required_arguments(function: object) -> int:
    """Return how many positional arguments a function requires; 0 for one without a known signature.

    >>> required_arguments(lambda body, row, place=1: None)
    2
    """
    parameters = _parameters(function).values()
    return sum(each.kind in POSITIONAL and each.default is inspect.Parameter.empty for each in parameters)


def accepts_arguments(function: object, number: int) -> bool:
    """Return whether a function accepts so many positional arguments; one without a known signature accepts one.

    >>> accepts_arguments(lambda value, record: value, 2), accepts_arguments(str.upper, 2), accepts_arguments(int, 2)
    (True, False, False)
    """
    try:
        return _binds(inspect.signature(function), number, {})  # type: ignore[arg-type]
    except ValueError:
        # Some functions written in C have no signature.
        return number == 1


def name_of(function: object) -> str:
    """Return the name of a function for messages, without the function that contains it."""
    return str(getattr(function, "__qualname__", type(function).__name__)).rpartition(".<locals>.")[2]


def _parameters(function: object) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)  # type: ignore[arg-type]
    except ValueError:
        # Some functions written in C have no signature.
        return {}


def _binds(signature: inspect.Signature, number: int, keywords: dict[str, None]) -> bool:
    try:
        signature.bind(*[None] * number, **keywords)
    except TypeError:
        return False
    return True


def _described(positional: Collection[str], optional: int, keywords: Collection[str]) -> str:
    """Spell a parameter list, with what a function may leave out in brackets.

    >>> _described(["body", "row"], 1, []), _described(["batch"], 0, ["tenant", "session"])
    ('body[, row]', 'batch, *[, tenant][, session]')
    """
    names, fewest = list(positional), len(positional) - optional
    left_out = "".join(f"[, {name}]" for name in names[fewest:])
    by_keyword = f", *{''.join(f'[, {name}]' for name in keywords)}" if keywords else ""
    return f"{', '.join(names[:fewest])}{left_out}{by_keyword}"


def raised_at(error: BaseException) -> str:
    """Return the line of the user's function that an `except` block called, as ` (definitions.py:12)`; empty if unknown."""
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    file = Path(trace.tb_frame.f_code.co_filename) if trace else None
    # An error of this package's own code, such as a result that cannot be converted, has no line of the user.
    if trace is None or file is None or file.is_relative_to(Path(__file__).parent):
        return ""
    return f" ({file.name}:{trace.tb_lineno})"
