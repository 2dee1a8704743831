"""The walk of docs/architecture.md is the way that a cell takes: each station exists, and they follow in this order."""

from __future__ import annotations

import io
import re
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from canvas_sync_dagster.catalogue.built_in import courses
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv

PAGE = Path(__file__).parent.parent.parent / "docs" / "architecture.md"
MOST = 10
"""Stations; more are no walk that a person keeps in mind."""
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def stations() -> list[str]:
    found = re.findall(r"^\| (\d+) \| `([\w.]+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [name for _, name in found]


def code_of(name: str) -> CodeType:
    wing, module, *path = name.split(".")
    function: Any = reduce(getattr, path, import_module(f"canvas_sync_dagster.warehouse.{wing}.{module}"))
    code = getattr(function, "__func__", function).__code__
    assert isinstance(code, CodeType)
    return code


def test_the_walk_of_a_cell_is_the_way_that_a_load_takes(migrated_url: str) -> None:
    names = stations()
    assert 5 < len(names) <= MOST
    codes = {code_of(name): name for name in names}
    handed_over: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        # A generator hands over when it yields, which is reported as a return.
        if event == "return" and (name := codes.get(frame.f_code)) and name not in handed_over:
            handed_over.append(name)

    content = b"canvas_course_id,long_name\n1,one\n2,two\n"
    with connect(migrated_url) as connection:
        for day, text in enumerate((content, content.replace(b"two", b"other"))):
            source = Source("", T0 + timedelta(days=day), "provisioning_csv", 1)
            handed_over.clear()
            threading.setprofile(profile)
            sys.setprofile(profile)
            try:
                counts = load_csv(connection, "canvas", courses, lambda text=text: io.BytesIO(text), source)  # type: ignore[misc]
            finally:
                sys.setprofile(None)
                threading.setprofile(None)  # type: ignore[arg-type]
    assert (counts.updated, counts.unchanged) == (1, 1)
    assert handed_over == names
