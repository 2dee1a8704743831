"""One result of a check of `canvas-sync doctor`, and what checks are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ParamSpec

from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError
from canvas_sync_dagster.printable import ended
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenants import TenantSettings


class Level(Enum):
    """How serious a finding is. The value is what people read."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        level: `ok`: works as intended. `note`: works, but a person should know. `FAIL`: does not work.
        message: What was found, and where.
        remedy: What to do, in the imperative; empty only for `ok`.
        details: Long text, such as the mapping of a header, which only `--verbose` and `--json` show.
        misconfigured: True if a setting is wrong, which decides between the exit codes 2 and 1.
    """

    level: Level
    message: str
    remedy: str = ""
    misconfigured: bool = False
    details: str = ""

    def __str__(self) -> str:
        return f"{ended(self.message)} {self.remedy}" if self.remedy else self.message


def ok(message: str, *, details: str = "") -> Finding:
    """Return a finding that needs no action."""
    return Finding(Level.OK, message, details=details)


def note(message: str, remedy: str, *, details: str = "") -> Finding:
    """Return a finding that a person should know; the exit code stays 0."""
    return Finding(Level.NOTE, message, remedy, details=details)


def fail(message: str, remedy: str) -> Finding:
    """Return a finding that makes `doctor` exit with 1."""
    return Finding(Level.FAIL, message, remedy)


def failed(error: CanvasSyncError) -> Finding:
    """Return an exception as a failure; its message already includes the remedy."""
    return Finding(Level.FAIL, str(error), misconfigured=isinstance(error, MisconfiguredError))


@dataclass(frozen=True, slots=True)
class Checked:
    """Subject of a check.

    Attributes:
        location: The code location, with settings, models and extensions.
        tenant: The tenant.
    """

    location: Location
    tenant: TenantSettings

    @property
    def url(self) -> str:
        """URL of the tenant's database, with its password."""
        return database_url(self.location.settings, self.tenant)

    @property
    def schema(self) -> str:
        """The tenant's schema."""
        return self.tenant.schema_in_database


P = ParamSpec("P")


def run_checks(
    checks: Iterable[Callable[P, Iterable[Finding]]], *args: P.args, **kwargs: P.kwargs
) -> Iterator[Finding]:
    """Run checks one after another; a `CanvasSyncError` ends its check as a failure, and the next check runs.

    Args:
        checks: Generators of findings.
        args: Arguments of each check.
        kwargs: Keyword arguments of each check.

    Yields:
        Findings in the order of the checks.
    """
    for check in checks:
        try:
            yield from check(*args, **kwargs)
        except CanvasSyncError as error:
            yield failed(error)
