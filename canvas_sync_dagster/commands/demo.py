"""`canvas-sync demo`: sync a simulated Canvas into an embedded PostgreSQL, and print what landed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

import click
from rich.console import RenderableType

from canvas_sync_dagster.commands.demo_location import prepared_demo
from canvas_sync_dagster.commands.known_demo import SLUG
from canvas_sync_dagster.commands.output import say, show, width_of_output
from canvas_sync_dagster.commands.progress import shown_bar
from canvas_sync_dagster.commands.questions import QUESTIONS, ask
from canvas_sync_dagster.commands.rendering import paragraph
from canvas_sync_dagster.commands.sync_report import SyncReport, loads_table, verdict
from canvas_sync_dagster.commands.typed import typed
from canvas_sync_dagster.printable import quotable
from canvas_sync_dagster.settings import Settings

NEXT = (
    ("canvas-sync psql --samples", "shows these queries; without --samples, opens psql"),
    ("canvas-sync status", "shows the tables, and how fresh they are"),
    ("canvas-sync demo", "shows what a second sync writes; --ui shows it in Dagster"),
)
"""What a person may type after the demo, and what it does."""


@click.command()
@click.option(
    "--size",
    type=click.Choice(["small", "medium", "large"]),
    default="small",
    show_default=True,
    help="How large the simulated university is.",
)
@click.option("--ui", is_flag=True, help="Then serve the Dagster UI on the same data.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--by-term", is_flag=True, help="Show a row for each model and term.")
def demo(size: str, ui: bool, port: int, by_term: bool) -> None:
    """Sync a simulated Canvas into an embedded PostgreSQL, through Dagster.

    \b
    Examples:
      canvas-sync demo
      canvas-sync demo --size medium --ui

    It needs neither Canvas nor PostgreSQL, and keeps its data in .canvas_sync of the working directory. Run it again: rows
    are written only for what has changed at the simulated university since.
    """
    start = time.perf_counter()
    home = Settings.from_environment().home
    with prepared_demo(home, size) as ready:
        say(f"PostgreSQL runs in {home / 'postgres'}, a simulated Canvas at {ready.canvas.base_url}.")
        with shown_bar(lines=False) as progress:
            report = ready.sync(progress)
            ends = ready.live_events()
        show(_outcome(report, ends, time.perf_counter() - start, width_of_output(), by_term=by_term))
        if ui:
            say(f"The Dagster UI comes up at http://127.0.0.1:{port}; Ctrl-C ends it.")
            sys.exit(ready.serve_ui(port))
        show(_questions(ready.database_url, width_of_output()))
    show(_next(width_of_output()))


def _outcome(
    report: SyncReport, events: Mapping[str, int], seconds: float, width: int | None, *, by_term: bool
) -> list[RenderableType]:
    """Return what the demo did: verdict, live events, table."""
    wrote = report.total("inserted") + report.total("updated")
    done = "Done" if wrote else "Nothing had changed, and nothing was written"
    ends = ", ".join(f"{count:,} {state}" for state, count in events.items())
    return [
        paragraph(f"{done}; {seconds:.1f} s in all.", width, style="bold green"),
        paragraph(f"{verdict(report)}.", width),
        paragraph(f"Live events, signed, over HTTP, through the inbox: {ends or 'none'}.", width),
        "",
        loads_table(report.loads, width, by_term=by_term),
        "",
    ]


def _questions(url: str, width: int | None) -> Iterator[RenderableType]:
    """Yield the sample questions, with the first row of each answer."""
    yield paragraph("Three questions, answered in SQL:", width, style="bold")
    for question in QUESTIONS:
        first = next(iter(ask(url, SLUG, question.query).rows), ())
        yield paragraph(f"{question.text} {', '.join(map(quotable, first))}", width, mark="  ")
    yield ""


def _next(width: int | None) -> Iterator[RenderableType]:
    yield paragraph("Next:", width, style="bold")
    for command, what in NEXT:
        yield paragraph(typed(command), width, mark="  ")
        yield paragraph(what, width, mark="      ")
