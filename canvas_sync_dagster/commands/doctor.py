"""`canvas-sync doctor`: print what the checks found, and what to do; see `canvas_sync_dagster.commands.checks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import RenderableType

from canvas_sync_dagster.commands.checks import findings, instance_findings
from canvas_sync_dagster.commands.checks.finding import Finding, Level, failed
from canvas_sync_dagster.commands.known_demo import located_or_demo
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.commands.output import console, json_option, show, width_of_output, write_json
from canvas_sync_dagster.commands.rendering import counted, paragraph
from canvas_sync_dagster.printable import ended

STYLES = {Level.FAIL: "red", Level.NOTE: "yellow", Level.OK: ""}
"""Style of each level, in the order in which findings are shown."""
INSTANCE = "Dagster"


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks found about one subject.

    Attributes:
        subject: Slug of a tenant, or `INSTANCE` for the Dagster instance.
        findings: Results of its checks.
    """

    subject: str
    findings: Sequence[Finding]

    def of(self, level: Level) -> list[Finding]:
        """Return the findings of a level."""
        return [finding for finding in self.findings if finding.level is level]


@click.command()
@click.option("--tenant", help="Only this tenant; all by default.")
@click.option("--verbose", is_flag=True, help="Also show details, such as the mapping of each observed header.")
@click.option("--quiet", is_flag=True, help="Leave out what works.")
@json_option
@located_or_demo(with_canvas=True)
def doctor(location: Location, tenant: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Check dagster.yaml, settings, token, reports, clock, database and live-event keys.

    \b
    Examples:
      canvas-sync doctor
      canvas-sync doctor --tenant school --json

    The verdict comes first. Each line is `FAIL`, `note` (works, but you should know) or `ok`. Exit code 0 if nothing failed, 2
    if only settings are wrong, otherwise 1.
    """
    screen = console(stderr=True)
    examined: list[Examination] = []
    with screen.status("checking …") as status:
        for subject, found in _subjects(location, tenant):
            status.update(f"checking {subject} …")
            examined.append(Examination(subject, list(found)))
    if as_json:
        write_json(_document(examined))
    else:
        show(doctor_lines(examined, width_of_output(), verbose=verbose, quiet=quiet))
    raise click.exceptions.Exit(exit_code([finding for each in examined for finding in each.findings]))


def exit_code(found: Sequence[Finding]) -> int:
    """Return 0 if nothing failed, 2 if all failures are wrong settings, otherwise 1."""
    failures = [finding for finding in found if finding.level is Level.FAIL]
    if not failures:
        return 0
    return 2 if all(finding.misconfigured for finding in failures) else 1


def _subjects(location: Location, tenant: str | None) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield INSTANCE, instance_findings()
    for broken in () if tenant else location.settings.broken:
        yield broken.slug, iter([failed(broken.error)])
    for each in location.tenants(tenant):
        yield each.slug, findings(location, each)


def doctor_lines(
    examined: Sequence[Examination], width: int | None, *, verbose: bool = False, quiet: bool = False
) -> list[RenderableType]:
    """Return what the checks found: verdict, then for each subject failures, notes, and what works.

    Args:
        examined: The findings of each subject.
        width: Columns of the terminal, or None: then each finding is one line.
        verbose: Whether the details of findings are shown.
        quiet: Whether the findings of what works are left out.
    """
    failures, notes, fine = (sum(len(each.of(level)) for each in examined) for level in STYLES)
    bad = [each.subject for each in examined if each.of(Level.FAIL)]
    verdict = f"{counted(failures, 'failure')} in {', '.join(bad)}" if bad else "all checks passed"
    others = f"{counted(notes, 'note')}, {fine:,} ok"
    style = "red" if bad else "yellow" if notes else "green"
    shown: list[RenderableType] = [paragraph(f"doctor: {verdict}; {others}", width, style=f"bold {style}")]
    levels = [level for level in STYLES if not (quiet and level is Level.OK)]
    for each in examined:
        found = [finding for level in levels for finding in each.of(level)]
        if found or not quiet:
            shown += ["", paragraph(each.subject, width, style="bold")]
        for finding in found:
            shown += _lines(finding, width)
            if verbose and finding.details:
                shown.append(paragraph(finding.details, width, mark=" " * 8))
    return shown


def _lines(finding: Finding, width: int | None) -> Iterator[RenderableType]:
    style, mark = STYLES[finding.level], f"  {finding.level.value:<4}  "
    if width is None:
        yield paragraph(str(finding), width, mark=mark, style=style)
        return
    yield paragraph(ended(finding.message), width, mark=mark, style=style)
    if finding.remedy:
        yield paragraph(finding.remedy, width, mark=" " * len(mark))


def _document(examined: Sequence[Examination]) -> list[dict[str, Any]]:
    return [
        {
            "subject": each.subject,
            "findings": [
                {
                    "level": finding.level.value.lower(),
                    "message": finding.message,
                    "remedy": finding.remedy,
                    "details": finding.details,
                    "misconfigured": finding.misconfigured,
                }
                for finding in each.findings
            ],
        }
        for each in examined
    ]
