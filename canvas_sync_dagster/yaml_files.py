"""Read YAML files of the user. No error quotes a file: it may contain a token or a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from canvas_sync_dagster.errors import SettingError

NO_VALUE = "a value is not of the type that YAML takes it for, or that its tag names"
CUT = "found undefined tag handle"
"""A problem of the parser that quotes the file; its others quote at most one character."""


def read_yaml(file: Path, *, setting: str, allowed: str) -> Any:
    """Return the content of a YAML file; an empty mapping if the file is empty.

    Args:
        file: The file, in UTF-8.
        setting: Its name in messages.
        allowed: What it may contain, for messages.

    Raises:
        SettingError: The file cannot be read, or is not YAML: with line and column, and without anything of its content.
    """
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        return yaml.safe_load(text) or {}
    except Exception as error:
        # Any: a value with a wrong tag raises KeyError, AttributeError or ValueError in the YAML library.
        problem = problem_in_yaml(error, text)
    # Not within `except`: the library's error quotes the file, and must not be shown as the context of this one.
    raise SettingError(setting, f"cannot be read: {problem}", allowed=allowed)


def problem_in_yaml(error: Exception, text: str = "") -> str:
    """Return what is wrong with a YAML file, as `line 3, column 5: problem`, without anything of its content.

    Args:
        error: Of the YAML library, or of reading the file.
        text: The content, in which the place of a forbidden character is looked up.
    """
    match error:
        case ReaderError():
            line = text.count("\n", 0, error.position) + 1
            column = error.position - text.rfind("\n", 0, error.position)
            return f"line {line}, column {column}: the character #x{error.character:04x} is not allowed"
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            problem = str(error.problem or error.context)
            if isinstance(error, ComposerError | ConstructorError) or problem.startswith(CUT):
                problem = problem.partition("'")[0].partition(":")[0].strip()
            return f"{place}{problem}"
        case UnicodeDecodeError():
            return f"byte {error.start + 1} is not UTF-8"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return NO_VALUE
