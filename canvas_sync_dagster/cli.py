"""`canvas-sync`: the commands that people type. Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import click
import yaml
from rich import box
from rich.table import Table

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console, say, write
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError
from canvas_sync_dagster.redaction import trace
from canvas_sync_dagster.tenants import TenantSettings

SIZES = click.Choice(["small", "medium", "large"])


class _Group(click.Group):
    """A group whose commands end our errors as one line and the right exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CanvasSyncError as error:
            console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red")
            context.exit(2 if isinstance(error, MisconfiguredError) else 1)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Python's own stack trace would quote rows.
            say(trace(error), err=True)
            context.exit(1)


class _Lazy(click.Command):
    """A command whose module is imported when it is called, so that `--help` and its siblings stay quick."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary, add_help_option=False, context_settings={"ignore_unknown_options": True})
        self._target = target

    def load(self) -> click.Command:
        """Imports the command itself."""
        module, _, attribute = self._target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return ctx.command.invoke(ctx)


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

    screen = console()
    start = time.perf_counter()
    home = Settings.from_environment().home
    with prepared(home, size) as ready:
        screen.print(f"PostgreSQL runs in {home / 'postgres'}, a simulated Canvas at {ready.canvas.base_url}.")
        lines: list[Any] = []
        with screen.status("syncing …") as status:

            def show(line: Any) -> None:
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


def _landed(lines: list[Any]) -> Table:
    table = Table(title="What landed", title_justify="left", box=box.SIMPLE_HEAD)
    names = ("rows_in_report", "inserted", "updated", "unchanged", "superseded", "rejected", "duplicates")
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
@located
def migrate(location: Location, check: bool, as_sql: bool, tenant: str | None) -> None:
    """Create and additively upgrade the tables."""
    from canvas_sync_dagster.sync.session import database_url  # noqa: PLC0415
    from canvas_sync_dagster.warehouse.schema import migrate as migrations  # noqa: PLC0415

    lacking: list[str] = []
    problems: list[str] = []

    def work(each: TenantSettings) -> None:
        url, schema = database_url(location.settings, each), each.schema_in_database
        make = migrations.plan if check or as_sql else migrations.migrate
        migration = make(url, schema, location.models_of(each))
        lacking.extend(migration.changes)
        problems.extend(f"{schema}: {problem}" for problem in migration.problems)
        if as_sql:
            write(migration.sql())
            return
        for change in migration.changes:
            say(f"{schema}: {'missing: ' if check else ''}{change}")
        if not migration.changes:
            say(f"{schema}: nothing is missing")
        if check and migration.last:
            say(f"{schema}: {migration.last}", err=True)
        for limit, remedy in migration.notes:
            say(f"{schema}: note: {limit}. {remedy}.", err=True)

    location.each(tenant, work)
    for problem in problems:
        say(f"error: {problem}", err=True)
    if problems or (check and lacking):
        sys.exit(1)


@main.command("dbt-sources")
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def dbt_sources(location: Location, tenant: str | None) -> None:
    """Print a sources.yml for dbt."""
    from canvas_sync_dagster.catalogue.dictionary import dbt_source  # noqa: PLC0415

    found: list[Any] = []

    def work(each: TenantSettings) -> None:
        found.append(dbt_source(each.slug, each.schema_in_database, location.models_of(each)))

    location.each(tenant, work)
    write(yaml.safe_dump({"version": 2, "sources": found}, sort_keys=False, allow_unicode=True))


main.add_command(
    _Lazy("simulate", "canvas_sync_dagster.commands.simulate:simulate", "Serve a simulated Canvas to develop against.")
)
main.add_command(_Lazy("live-events", "canvas_sync_dagster.commands.receive:live_events", "Receive live events."))
main.add_command(
    _Lazy(
        "status",
        "canvas_sync_dagster.commands.status:status",
        "Show rows, freshness, suspects, rejects and waiting events.",
    )
)
main.add_command(
    _Lazy(
        "doctor",
        "canvas_sync_dagster.commands.doctor:doctor",
        "Check settings, token, reports, clock, database and live-event keys.",
    )
)
main.add_command(_Lazy("sync", "canvas_sync_dagster.commands.sync:sync", "Sync now, on the Dagster instance."))
main.add_command(
    _Lazy(
        "reconcile",
        "canvas_sync_dagster.commands.repair:reconcile",
        "Ask Canvas about rows that its reports no longer list.",
    )
)
main.add_command(
    _Lazy(
        "replay",
        "canvas_sync_dagster.commands.repair:replay",
        "Apply rejected rows or dead live events again, after a fix.",
    )
)
main.add_command(
    _Lazy(
        "erase", "canvas_sync_dagster.commands.repair:erase", "Remove one person from all tables and logs of the sync."
    )
)
main.add_command(_Lazy("init", "canvas_sync_dagster.commands.init:init", "Write a code location of your own."))


if __name__ == "__main__":
    main()
