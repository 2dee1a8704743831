"""Options of one run, which replace settings of the tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from canvas_sync_dagster.canvas.lifecycle import Limits
from canvas_sync_dagster.sync.policy import Mode, SyncPolicy
from canvas_sync_dagster.tenants import TenantSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of one run; None keeps the setting of the tenant.

    Attributes:
        mode: Full, incremental, or as the settings decide.
        updated_after: True, False or a moment, as in the settings.
        report_timeout: Maximum duration of a report, over all tries.
        report_compilation_timeout: Maximum duration of its compilation by Canvas.
        report_max_tries: How often it is started at most.
        legacy_support: Models whose rows go to the user's functions; None is all that have one.
        accept_shrinkage: Whether a scope may shrink suddenly, because a person has checked the report.
        params: Model → parameters of its report, which replace those of the settings by name.
        reload: Whether rows are compared by value although their digests are equal; the caller sets the mode to full.
        genre: The genre whose settings apply; the tenant's usual one if None.
        batch_id: The batch that the run belongs to; the run itself if it belongs to none.
        started_at: When that batch started, or this run if it belongs to no batch. On our own clock, never on Canvas's:
            full syncs are counted from it.
        run_id: The run, for the journal.
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

    def over(self, tenant: TenantSettings) -> SyncPolicy:
        """Return how a run syncs: the settings of the tenant in this genre, replaced by these options.

        Args:
            tenant: Settings of the tenant.
        """
        settings = tenant.of_genre(self.genre or tenant.batch_genre)
        if self.updated_after is not None:
            # A date that a run gives must leave only a `full_sync_every` that the settings name, as one of theirs does.
            settings = settings.model_copy(update={"updated_after": self.updated_after})
        models = settings.params.keys() | self.params.keys()
        return SyncPolicy(
            limits=self._limits(settings),
            timezone=settings.time_zone,
            mode=self.mode,
            updated_after=settings.updated_after,
            full_sync_every=settings.full_sync_policy,
            provisioning_report=settings.provisioning_report,
            reports_ahead=settings.reports_ahead,
            split_reports=settings.split_reports,
            named_models=settings.models,
            params={name: {**settings.params.get(name, {}), **self.params.get(name, {})} for name in models},
            legacy_support=self.legacy_support,
            accept_shrinkage=self.accept_shrinkage,
            reload=self.reload,
            batch_id=self.batch_id,
            started_at=self.started_at,
            run_id=self.run_id,
        )

    def _limits(self, settings: TenantSettings) -> Limits:
        total = _given(self.report_timeout, settings.report_timeout)
        return Limits(
            total=total,
            compilation=_given(self.report_compilation_timeout, settings.report_compilation_timeout),
            queue=total,
            tries=_given(self.report_max_tries, settings.report_max_tries),
            poll=timedelta(seconds=settings.poll_seconds),
        )


def _given(option: T | None, setting: T) -> T:
    return setting if option is None else option


def parse_legacy_support(value: str) -> frozenset[str] | None:
    """Parse `all`, `none` or a comma list of models, or the gem's `true` and `false`; return None for all."""
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if names in ({"all"}, {"true"}):
        return None
    return frozenset() if names in ({"none"}, {"false"}) else names
