"""The walks of docs/understand/architecture.md, compared with what the code does."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "understand" / "architecture.md"
MOST = 10
"""Maximum number of stations; a person cannot remember more."""


def stations(heading: str) -> list[str]:
    """Return the functions of the walk under a heading of the page, in order."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), flags=re.M | re.S)
    found = re.findall(r"^\| (\d+) \| `([\w.]+)` \|", section, flags=re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    assert 5 < len(found) <= MOST
    return [name for _, name in found]


def code_of(name: str) -> CodeType:
    """Return the code of a function, given as `package.module.function` or `package.module.Class.method`."""
    parts = name.split(".")
    depth = next(number for number, part in enumerate(parts) if part[0].isupper() or number == len(parts) - 1)
    function: Any = reduce(getattr, parts[depth:], import_module("canvas_sync_dagster." + ".".join(parts[:depth])))
    code = getattr(unwrap(function), "__code__", None)
    assert isinstance(code, CodeType), name
    return code


@contextmanager
def recorded(names: Sequence[str], event: str) -> Iterator[list[str]]:
    """Record in which order functions are first called, or first return (a generator: first yields), in all threads."""
    codes = {code_of(name): name for name in names}
    seen: list[str] = []

    def profile(frame: FrameType, happened: str, _: object) -> None:
        if happened == event and (name := codes.get(frame.f_code)) and name not in seen:
            seen.append(name)

    _profile(profile)
    try:
        yield seen
    finally:
        _profile(None)


def _profile(function: Callable[[FrameType, str, object], None] | None) -> None:
    threading.setprofile(function)  # type: ignore[arg-type]
    sys.setprofile(function)
