"""Progress of a sync: bars at a terminal, lines in a log, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from canvas_sync_dagster.commands.output import console, say, write
from canvas_sync_dagster.orchestration.run_listener import Progress
from canvas_sync_dagster.printable import quotable

SHOWN = (
    "rows_in_report",
    "inserted",
    "updated",
    "unchanged",
    "superseded",
    "rejected",
    "mode",
    "mode_reason",
    "seconds",
)
"""Metadata of a table that a line of the log shows."""


@contextmanager
def shown_progress(log_format: str) -> Iterator[Progress]:
    """Open the display of a sync's progress.

    Args:
        log_format: `json` for one JSON object per line; `text` for bars at a terminal and lines elsewhere.
    """
    screen = console(stderr=True)
    if log_format == "json" or not screen.is_terminal:
        yield _Lines(as_json=log_format == "json")
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[doing]}", markup=False),
    )
    with Bars(*columns, console=screen) as bars:
        yield _Bars(bars)


class _Lines:
    """Progress in a log: one line per event."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def expect(self, tables: int) -> None:
        self._print("expect", models=tables)

    def begin(self, title: str, number: int) -> None:
        self._print("begin", title=title, models=number)

    def log(self, line: str) -> None:
        self._print("progress", message=line)

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        self._print(
            "landed", model=model, term=term or "", **{name: metadata[name] for name in SHOWN if name in metadata}
        )

    def skipped(self, reasons: Mapping[str, str]) -> None:
        self._print("skipped", models=dict(reasons) if self._as_json else _listed(reasons))

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self._print("failed", title=title, models=list(models) if self._as_json else ",".join(models), message=message)

    def _print(self, event: str, **values: object) -> None:
        if self._as_json:
            write(
                json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}, default=str) + "\n"
            )
        else:
            say(f"{event} " + " ".join(f"{name}={value}" for name, value in values.items()))


class _Bars:
    """Progress at a terminal: one bar for the sync, with what Canvas is doing, and a line for each table that was loaded."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("beginning", total=None, rows=0, doing="")
        self._rows = self._expected = 0

    def expect(self, tables: int) -> None:
        self._expected += tables
        self._bars.update(self._task, total=self._expected)

    def begin(self, title: str, number: int) -> None:
        self._bars.update(self._task, description=quotable(title), doing="")

    def log(self, line: str) -> None:
        self._bars.update(self._task, doing=quotable(line))

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        self._rows += metadata.get("rows_in_report", 0)
        self._bars.update(self._task, advance=1, rows=self._rows)
        changed = metadata.get("inserted", 0) + metadata.get("updated", 0)
        of = f" of term {term}" if term else ""
        older = f", {metadata['superseded']:,} superseded by newer content" if metadata.get("superseded") else ""
        why = f"{metadata['mode']}: {metadata['mode_reason']}" if "mode" in metadata else ""
        self._bars.console.print(
            f"  {model}{of}: {metadata.get('rows_in_report', 0):,} rows, {changed:,} changed{older} ({why})"
        )

    def skipped(self, reasons: Mapping[str, str]) -> None:
        self._expected -= len(reasons)
        self._bars.update(self._task, total=self._expected)
        self._bars.console.print(f"  skipped: {_listed(reasons)}")

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self._bars.console.print(f"  {title}: {', '.join(models)}: {message}", style="red")


def _listed(reasons: Mapping[str, str]) -> str:
    """Return each reason once, after the models that it applies to."""
    models: dict[str, list[str]] = {}
    for model, why in reasons.items():
        models.setdefault(why, []).append(model)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in models.items())
