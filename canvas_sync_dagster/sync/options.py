"""What one run asks for in place of the tenant's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from canvas_sync_dagster.sync.policy import Mode
from canvas_sync_dagster.tenants import TenantSettings


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Overrides of one run; None leaves the tenant's setting as it is.

    Attributes:
        mode: Full, incremental, or as the policy decides.
        updated_after: True, False or a moment, as the setting.
        report_timeout: How long a report may take in all.
        report_compilation_timeout: How long Canvas may compile it.
        report_max_tries: How often it is started.
        legacy_support: Models whose rows go to the user's functions; None is all that have one.
        accept_shrinkage: Whether a scope may shrink suddenly, for a person has looked at the report.
        params: Model → parameters of its report, which replace those of the settings.
        reload: Whether rows are compared by value even where their digests are equal; the caller sets the mode to full.
        genre: Whose settings the run has; the tenant's own if None.
        batch_id: Which batch the run belongs to.
        started_at: When that batch started, or this run if it belongs to no batch. On our own clock, never on Canvas's:
            full syncs are counted from it.
        run_id: Which run this is, for the journal.
    """

    mode: Mode = "auto"
    updated_after: datetime | bool | None = None
    report_timeout: timedelta | None = None
    report_compilation_timeout: timedelta | None = None
    report_max_tries: int | None = None
    legacy_support: frozenset[str] | None = None
    accept_shrinkage: bool = False
    params: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    reload: bool = False
    genre: str | None = None
    batch_id: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    run_id: str = ""

    def over(self, tenant: TenantSettings) -> TenantSettings:
        """Returns the tenant's settings with these overrides."""
        given: dict[str, Any] = {
            "updated_after": self.updated_after,
            "report_timeout": self.report_timeout,
            "report_compilation_timeout": self.report_compilation_timeout,
            "report_max_tries": self.report_max_tries,
        }
        tenant = tenant.of_genre(self.genre or tenant.batch_genre)
        if self.params:
            both = tenant.params.keys() | self.params.keys()
            given["params"] = {name: {**tenant.params.get(name, {}), **self.params.get(name, {})} for name in both}
        return tenant.model_copy(update={name: value for name, value in given.items() if value is not None})


def parse_legacy_support(value: str) -> frozenset[str] | None:
    """Reads `all`, `none` or a comma list of models, or the gem's `true` and `false`; None is all."""
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if names in ({"all"}, {"true"}):
        return None
    return frozenset() if names in ({"none"}, {"false"}) else names
