"""What a sync under way tells: bars for people at a terminal, lines for logs, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from canvas_sync_dagster.commands.output import console, say, write
from canvas_sync_dagster.printable import quotable

TOLD = (
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


class Teller(Protocol):
    """Takes what happens, as it happens."""

    def expect(self, tables: int) -> None:
        """Takes how many more tables will be loaded."""

    def begin(self, title: str, number: int) -> None: ...
    def said(self, line: str) -> None:
        """Takes a line of the run: what Canvas is at, with its percentage."""

    def landed(self, model: str, term: str | None, told: Mapping[str, Any]) -> None: ...
    def skipped(self, reasons: Mapping[str, str]) -> None:
        """Take model → why it is skipped, once per sync."""

    def failed(self, title: str, models: Sequence[str], message: str) -> None: ...


@contextmanager
def teller(log_format: str) -> Iterator[Teller]:
    """Chooses how progress is told."""
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
    with Progress(*columns, console=screen) as bars:
        yield _Bars(bars)


class _Lines:
    """Progress for logs: one line each."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def expect(self, tables: int) -> None:
        self._say("expect", models=tables)

    def begin(self, title: str, number: int) -> None:
        self._say("begin", title=title, models=number)

    def said(self, line: str) -> None:
        self._say("progress", message=line)

    def landed(self, model: str, term: str | None, told: Mapping[str, Any]) -> None:
        self._say("landed", model=model, term=term or "", **{name: told[name] for name in TOLD if name in told})

    def skipped(self, reasons: Mapping[str, str]) -> None:
        self._say("skipped", models=dict(reasons) if self._as_json else _listed(reasons))

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self._say("failed", title=title, models=list(models) if self._as_json else ",".join(models), message=message)

    def _say(self, event: str, **told: object) -> None:
        if self._as_json:
            write(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **told}, default=str) + "\n")
        else:
            say(f"{event} " + " ".join(f"{name}={value}" for name, value in told.items()))


class _Bars:
    """Progress for people: one bar for the whole sync, with what Canvas is at; a line for each table that landed."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("beginning", total=None, rows=0, doing="")
        self._rows = self._expected = 0

    def expect(self, tables: int) -> None:
        self._expected += tables
        self._bars.update(self._task, total=self._expected)

    def begin(self, title: str, number: int) -> None:
        self._bars.update(self._task, description=quotable(title), doing="")

    def said(self, line: str) -> None:
        self._bars.update(self._task, doing=quotable(line))

    def landed(self, model: str, term: str | None, told: Mapping[str, Any]) -> None:
        self._rows += told.get("rows_in_report", 0)
        self._bars.update(self._task, advance=1, rows=self._rows)
        changed = told.get("inserted", 0) + told.get("updated", 0)
        of = f" of term {term}" if term else ""
        older = f", {told['superseded']:,} superseded by newer content" if told.get("superseded") else ""
        why = f"{told['mode']}: {told['mode_reason']}" if "mode" in told else ""
        self._bars.console.print(
            f"  {model}{of}: {told.get('rows_in_report', 0):,} rows, {changed:,} changed{older} ({why})"
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
