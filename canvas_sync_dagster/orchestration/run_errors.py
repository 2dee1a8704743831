"""Makes an exception again of the error of a failed run, which Dagster stores as text for other processes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.errors import RunFailedError

if TYPE_CHECKING:
    import dagster as dg
    from dagster import SerializableErrorInfo

WRAPPERS = {"DagsterExecutionStepExecutionError", "Failure"}
"""Classes with which Dagster and our ops wrap the error of a step."""


def raised(failures: Sequence[dg.DagsterEvent], otherwise: str) -> RunFailedError:
    """Return the error of the first failed step.

    The exception is a `RunFailedError`, and an instance of the class that was raised, where that is loaded here: ours,
    Python's, and the user's.

    Args:
        failures: Events of failed steps, the first one first.
        otherwise: Message if there are none, for example because the process of the run is gone.
    """
    for event in failures:
        error = event.step_failure_data.error
        if error is not None:
            return _exception(str(event.step_key), _innermost(error))
    return RunFailedError(otherwise)


def _innermost(error: SerializableErrorInfo) -> SerializableErrorInfo:
    while error.cls_name in WRAPPERS and error.cause is not None:
        error = error.cause
    return error


def _exception(step: str, error: SerializableErrorInfo) -> RunFailedError:
    name, text = _split(error.message.strip(), error.cls_name or "")
    found = _class(name)
    kind: Any = RunFailedError if found is None else type(found.__name__, (RunFailedError, found), {})
    made: RunFailedError = kind.__new__(kind)
    # Not by the constructor of the class, whose arguments are not known.
    RunFailedError.__init__(made, text, step=step, class_name=name, stack="".join(error.stack))
    return made


def _split(message: str, class_name: str) -> tuple[str, str]:
    """Split `module.Class: text`, as Python prints it, into class and text.

    >>> _split("own.TooLate: it is late", "TooLate"), _split("KeyError: 'x'", "KeyError")
    (('own.TooLate', 'it is late'), ('KeyError', "'x'"))
    """
    match = re.fullmatch(r"([\w.<>]+)(?:: (.*))?", message, re.DOTALL)
    if match is None or match[1].rpartition(".")[2] != class_name:
        return class_name, message
    return match[1], match[2] or ""


def _class(name: str) -> type[Exception] | None:
    module, _, short = name.rpartition(".")
    found = getattr(sys.modules.get(module or "builtins"), short, None)
    if not isinstance(found, type) or not issubclass(found, Exception) or issubclass(RunFailedError, found):
        return None
    return found
