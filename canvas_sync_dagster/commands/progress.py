"""Progress of a sync: bars at a terminal; elsewhere a log in logfmt, or in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from canvas_sync_dagster.commands.log_lines import log_line, now
from canvas_sync_dagster.commands.output import LONGEST_DOCUMENT, console, say
from canvas_sync_dagster.commands.rendering import counted, skipped_lines
from canvas_sync_dagster.commands.sync_report import COUNTS, SyncReport, TableLoad
from canvas_sync_dagster.orchestration.run_listener import Progress
from canvas_sync_dagster.printable import printable, quotable

FORMATS = ("text", "logfmt", "json")
"""`text` is bars at a terminal and logfmt elsewhere."""
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
COLUMNS_MISSING = "columns_missing"
"""Metadata of a table that was loaded: columns whose headers the report did not have."""
NOT_FILLED = "the report has no header for {}: not filled. Correct the mapping; `canvas-sync doctor` shows the header"
WIDE = 100
"""Columns of a terminal from which on a bar has room for more than its numbers."""


class Log:
    """A log of syncs: one line per event.

    Args:
        as_json: Whether each line is a JSON object; logfmt otherwise.
        stderr: Whether it is written to standard error, because standard output is for a document.
    """

    def __init__(self, *, as_json: bool, stderr: bool) -> None:
        self._as_json, self._stderr = as_json, stderr

    def write(self, level: str, event: str, tenant: str, **values: object) -> None:
        """Write a line."""
        line = log_line(
            {"at": now(), "level": level, "event": event, "tenant": tenant, **values}, as_json=self._as_json
        )
        say(printable(line, LONGEST_DOCUMENT), err=self._stderr)

    def finished(self, report: SyncReport) -> None:
        """Write the line at the end of a sync: its status and its sums."""
        self.write(
            "error" if report.failed else "info",
            "finished",
            report.tenant,
            status=report.status,
            seconds=round(report.seconds, 1),
            models=len(report.models),
            terms=len(report.terms),
            **{name: report.total(name) for name in COUNTS},
            **{name: value for name, value in (("failed", report.failed), ("blocked", report.blocked)) if value},
        )


def log_of(log_format: str, *, stderr: bool) -> Log | None:
    """Return the log of a format; None if progress is shown by bars.

    Args:
        log_format: One of `FORMATS`.
        stderr: Whether the log is written to standard error.
    """
    screen = console(stderr=True)
    if log_format == "text" and screen.is_terminal and not screen.is_dumb_terminal:
        return None
    return Log(as_json=log_format == "json", stderr=stderr)


@contextmanager
def shown_progress(log: Log | None, tenant: str) -> Iterator[Progress]:
    """Open the display of the progress of a tenant's sync.

    Args:
        log: Where it is logged; None for bars at the terminal.
        tenant: Slug of the tenant.
    """
    if log is not None:
        yield _Lines(log, tenant)
        return
    with shown_bar(lines=True) as bar:
        yield bar


@contextmanager
def shown_bar(*, lines: bool) -> Iterator[Progress]:
    """Open a bar at the terminal; without a terminal nothing is shown.

    Args:
        lines: Whether there is also a line for each table that was loaded.
    """
    screen = console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[tables]}", markup=False),
        TimeElapsedColumn(),
    ]
    if screen.width >= WIDE:
        columns.insert(3, TextColumn("{task.fields[rows]:,} rows"))
    shows = screen.is_terminal and not screen.is_dumb_terminal
    with _BarWithActivity(*columns, console=screen, disable=not shows, transient=not lines) as bars:
        yield _Bars(bars, screen.width, lines=lines)


class _Lines:
    """Progress in a log."""

    def __init__(self, log: Log, tenant: str) -> None:
        self._log, self._tenant = log, tenant

    def expect(self, tables: int) -> None:
        self._info("expect", models=tables)

    def begin(self, title: str, number: int) -> None:
        self._info("begin", title=title, models=number)

    def log(self, line: str) -> None:
        self._info("progress", message=line)

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        shown = {name: metadata[name] for name in SHOWN if name in metadata}
        self._info("landed", model=model, term=term or "", **shown)
        if lacking := metadata.get(COLUMNS_MISSING):
            self._log.write(
                "warning", "header", self._tenant, model=model, term=term or "", message=NOT_FILLED.format(lacking)
            )

    def skipped(self, reasons: Mapping[str, str]) -> None:
        for model, why in reasons.items():
            self._info("skipped", model=model, message=why)

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self._log.write("error", "failed", self._tenant, title=title, models=list(models), message=message)

    def _info(self, event: str, **values: object) -> None:
        self._log.write("info", event, self._tenant, **values)


class _BarWithActivity(Bars):
    """A bar, and below it one line with what is being waited for."""

    activity = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(f"  {self.activity}", style="dim", no_wrap=True, overflow="ellipsis")


class _Bars:
    """Progress at a terminal: one bar for the sync, and perhaps a line for each table that was loaded."""

    def __init__(self, bars: _BarWithActivity, width: int, *, lines: bool) -> None:
        self._bars, self._width, self._lines = bars, width, lines
        self._task = bars.add_task("starting", total=None, rows=0, tables="")
        self._rows = self._expected = self._done = 0

    def expect(self, tables: int) -> None:
        self._expected += tables
        self._update()

    def begin(self, title: str, number: int) -> None:
        self._bars.update(self._task, description=quotable(title))
        self._bars.activity = ""

    def log(self, line: str) -> None:
        self._bars.activity = quotable(line)

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        load = TableLoad.of(model, term, metadata)
        self._rows += load.counts["rows_in_report"]
        self._done += 1
        self._update()
        self._print(load_line(load, self._width))
        if lacking := metadata.get(COLUMNS_MISSING):
            self._print(f"  {model}: {NOT_FILLED.format(lacking)}", style="yellow")

    def skipped(self, reasons: Mapping[str, str]) -> None:
        self._expected -= len(reasons)
        self._update()
        for line in skipped_lines(reasons):
            self._print(f"  skipped: {line}")

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self._print(f"  {title}: {', '.join(models)}: {message}", style="red")

    def _update(self) -> None:
        tables = f"{self._done} of {self._expected} tables"
        self._bars.update(
            self._task, total=self._expected or None, completed=self._done, rows=self._rows, tables=tables
        )

    def _print(self, line: str, style: str = "") -> None:
        if self._lines:
            self._bars.console.print(line, style=style)


def load_line(load: TableLoad, width: int) -> str:
    """Return one line about a table that was loaded.

    Args:
        load: What was loaded.
        width: Columns of the terminal; what has no room is left out.
    """
    changed = load.counts["inserted"] + load.counts["updated"]
    line = (
        f"  {load.model}{f' of term {load.term}' if load.term else ''}: {counted(load.counts['rows_in_report'], 'row')}"
    )
    parts = [f", {changed:,} changed"]
    parts += [f", {load.counts[name]:,} {name}" for name in ("superseded", "rejected") if load.counts[name]]
    parts += [f", {load.mode}"] if load.mode else []
    parts += [f" ({load.mode_reason})"] if load.mode_reason else []
    for part in parts:
        if len(line) + len(part) > width:
            break
        line += part
    return line
