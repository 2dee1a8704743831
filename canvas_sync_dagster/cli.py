"""`canvas-sync`: the commands that people type. Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError

RECEIVER_DRAINS = "CANVAS_SYNC_RECEIVER_DRAINS"
SIZES = click.Choice(["small", "medium", "large"])


class _Group(click.Group):
    """A group whose commands end our errors as one line and the right exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CanvasSyncError as error:
            Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {error}", style="red", markup=False)
            context.exit(2 if isinstance(error, MisconfiguredError) else 1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="canvas-sync-dagster")
def main() -> None:
    """Keep a copy of a Canvas LMS in Postgres true."""


@main.command()
@click.option("--size", type=SIZES, default="small", show_default=True, help="How large the simulated university is.")
@click.option("--ui", is_flag=True, help="Then serve the Dagster UI on the same data.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
def demo(size: str, ui: bool, port: int) -> None:
    """Sync a simulated Canvas into an embedded PostgreSQL, through Dagster."""
    # Dagster takes over a second to import, and no other command needs it.
    from canvas_sync_dagster.demo import demo as prepared  # noqa: PLC0415
    from canvas_sync_dagster.settings import Settings  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:
        console.width = 120  # Of a pipe or a file nothing is known; names should not be cut there.
    start = time.perf_counter()
    home = Settings.from_environment().home
    with prepared(home, size) as ready:
        console.print(
            f"PostgreSQL runs in {home / 'postgres'}, a simulated Canvas at {ready.canvas.base_url}.", highlight=False
        )
        lines = []
        with console.status("syncing …") as status:
            for line in ready.sync():
                lines.append(line)
                status.update(f"syncing … {line.model} {line.term}")
        console.print(_landed(lines))
        wrote = any(line.counts["inserted"] + line.counts["updated"] for line in lines)
        console.print(
            f"{'Done' if wrote else 'Nothing had changed, and nothing was written'}; {time.perf_counter() - start:.1f} s in all."
        )
        if ui:
            console.print(f"The Dagster UI comes up at http://127.0.0.1:{port}; Ctrl-C ends it.", highlight=False)
            sys.exit(ready.serve_ui(port))
    console.print(
        "Next: `canvas-sync demo` again shows what a second sync writes; `--ui` shows it in Dagster.", highlight=False
    )


def _landed(lines: list[Any]) -> Table:
    table = Table(title="What landed", title_justify="left", box=box.SIMPLE_HEAD)
    names = ("rows_in_report", "inserted", "updated", "unchanged", "rejected", "duplicates")
    table.add_column("model", no_wrap=True)
    table.add_column("term", no_wrap=True)
    for name in ("rows in report", *names[1:], "seconds"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.model, line.term, *(f"{line.counts[name]:,}" for name in names), f"{line.seconds:.2f}")
    return table


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 and name what is missing, if something is.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--tenant", help="Only this tenant; all if not given.")
def migrate(check: bool, as_sql: bool, tenant: str | None) -> None:
    """Create and additively upgrade the tables."""
    from canvas_sync_dagster.catalogue import BUILT_IN  # noqa: PLC0415
    from canvas_sync_dagster.settings import Settings  # noqa: PLC0415
    from canvas_sync_dagster.sync.session import database_url  # noqa: PLC0415
    from canvas_sync_dagster.warehouse import migrate as migrations  # noqa: PLC0415

    settings = Settings.from_environment()
    wanted = [settings.tenant(tenant)] if tenant else list(settings.tenants)
    lacking = False
    for each in wanted:
        url, schema = database_url(settings, each), each.schema_in_database
        make = migrations.plan if check or as_sql else migrations.migrate
        migration = make(url, schema, BUILT_IN)
        lacking |= bool(migration.changes)
        if as_sql:
            click.echo(migration.sql(), nl=False)
            continue
        for change in migration.changes:
            click.echo(f"{schema}: {'missing: ' if check else ''}{change}")
        if not migration.changes:
            click.echo(f"{schema}: nothing is missing")
    if check and lacking:
        sys.exit(1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, help="Port to listen on.")
@click.option("--size", type=SIZES, default="small", show_default=True, help="How large the university is.")
@click.option("--seed", default=1, show_default=True, help="Which university it is.")
@click.option("--hostile", is_flag=True, help="Let go wrong what goes wrong with a real Canvas.")
@click.option("--compile-seconds", default=2.0, show_default=True, help="How long a report takes.")
def simulate(host: str, port: int, size: str, seed: int, hostile: bool, compile_seconds: float) -> None:
    """Serve a simulated Canvas to develop against."""
    from canvas_sync_dagster.simulator import SimulatedCanvas  # noqa: PLC0415

    canvas = SimulatedCanvas(size, seed=seed, hostile=hostile, compile_seconds=compile_seconds)
    try:
        with canvas.serve(host, port):
            click.echo(
                f"export CANVAS_SYNC_BASE_URL={canvas.base_url} CANVAS_SYNC_TOKEN={canvas.token} CANVAS_SYNC_POLL_SECONDS=1"
            )
            click.echo("A simulated Canvas serves there; Ctrl-C ends it.", err=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from None


@main.command("live-events")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, help="Processes.")
@click.option("--drain", is_flag=True, help="Also apply events, at once; the sensor stays the safety net.")
def live_events(host: str, port: int, workers: int, drain: bool) -> None:
    """Receive live events."""
    import uvicorn  # noqa: PLC0415

    if drain:
        os.environ[RECEIVER_DRAINS] = "1"
    if workers == 1:
        from canvas_sync_dagster.live_events.main import application  # noqa: PLC0415

        uvicorn.run(
            application(), host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=14
        )
    else:
        uvicorn.run(
            "canvas_sync_dagster.live_events.main:application",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=14,
        )


if __name__ == "__main__":
    main()
