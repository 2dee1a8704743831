"""`canvas-sync demo`: sync a simulated Canvas into an embedded PostgreSQL, and print what landed."""

from __future__ import annotations

import sys
import time

import click
from rich import box
from rich.table import Table

from canvas_sync_dagster.commands.demo_location import Line, prepared_demo
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.settings import Settings


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
def demo(size: str, ui: bool, port: int) -> None:
    """Sync a simulated Canvas into an embedded PostgreSQL, through Dagster."""
    screen = console()
    start = time.perf_counter()
    home = Settings.from_environment().home
    with prepared_demo(home, size) as ready:
        screen.print(f"PostgreSQL runs in {home / 'postgres'}, a simulated Canvas at {ready.canvas.base_url}.")
        lines: list[Line] = []
        with screen.status("syncing …") as status:

            def show(line: Line) -> None:
                lines.append(line)
                status.update(f"syncing … {line.model} {line.term}")

            ready.sync(show)
        screen.print(_landed(lines))
        ends = ", ".join(f"{count} {state}" for state, count in ready.live_events().items())
        screen.print(f"Live events, signed, over HTTP, through the inbox: {ends or 'none'}.")
        wrote = any(line.counts["inserted"] + line.counts["updated"] for line in lines)
        screen.print(
            f"{'Done' if wrote else 'Nothing had changed, and nothing was written'}; {time.perf_counter() - start:.1f} s in all."
        )
        if ui:
            screen.print(f"The Dagster UI comes up at http://127.0.0.1:{port}; Ctrl-C ends it.")
            sys.exit(ready.serve_ui(port))
    screen.print("Next: `canvas-sync demo` again shows what a second sync writes; `--ui` shows it in Dagster.")


def _landed(lines: list[Line]) -> Table:
    table = Table(title="What landed", title_justify="left", box=box.SIMPLE_HEAD)
    names = ("rows_in_report", "inserted", "updated", "unchanged", "superseded", "rejected", "duplicates")
    table.add_column("model", no_wrap=True)
    table.add_column("term", no_wrap=True)
    for name in ("rows in report", *names[1:], "seconds"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.model, line.term, *(f"{line.counts[name]:,}" for name in names), f"{line.seconds:.2f}")
    return table
