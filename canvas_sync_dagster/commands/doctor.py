"""`canvas-sync doctor`: print what the checks found, and what to do; see `canvas_sync_dagster.commands.checks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.console import Console

from canvas_sync_dagster.commands.checks import findings, instance_findings
from canvas_sync_dagster.commands.checks.finding import Finding, Level, failed
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console

STYLES = {Level.OK: None, Level.NOTE: "yellow", Level.FAIL: "red"}


@click.command()
@click.option("--tenant", help="Only this tenant; all by default.")
@located
def doctor(location: Location, tenant: str | None) -> None:
    """Check dagster.yaml, settings, token, reports, clock, database and live-event keys.

    Each line is `ok`, `note` (works, but you should know) or `FAIL`. Exit code 0 if nothing failed, 2 if only settings
    are wrong, otherwise 1.
    """
    raise click.exceptions.Exit(exit_code(list(_print_all(console(), location, tenant))))


def exit_code(found: Sequence[Finding]) -> int:
    """Return 0 if nothing failed, 2 if all failures are wrong settings, otherwise 1."""
    failures = [finding for finding in found if finding.level is Level.FAIL]
    if not failures:
        return 0
    return 2 if all(finding.misconfigured for finding in failures) else 1


def _print_all(screen: Console, location: Location, tenant: str | None) -> Iterator[Finding]:
    screen.print("Dagster", style="bold")
    for finding in instance_findings():
        yield _printed(screen, finding)
    for broken in () if tenant else location.settings.broken:
        screen.print(broken.slug, style="bold")
        yield _printed(screen, failed(broken.error))
    for each in location.tenants(tenant):
        screen.print(each.slug, style="bold")
        for finding in findings(location, each):
            yield _printed(screen, finding)


def _printed(screen: Console, finding: Finding) -> Finding:
    level = finding.level
    screen.print(f"  {level.value:<4}  {finding}", style=STYLES[level], soft_wrap=True)
    return finding
