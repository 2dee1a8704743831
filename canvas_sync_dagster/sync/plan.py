"""What is asked of Canvas: which report feeds which models, and with which parameters.

Pure: the catalogue, the settings and the list of reports that Canvas has go in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from canvas_sync_dagster.catalogue import Model, ProvisioningFeed, ReportFeed, RestFeed
from canvas_sync_dagster.errors import CanvasNotFoundError

PROPRIETARY = "proservices_provisioning_csv"
STOCK = "provisioning_csv"


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """The models that one Canvas report feeds: one op, one download, one transaction.

    Attributes:
        name: Name of the op, without the tenant (`provisioning_term`, `assignments`).
        models: In the order of the catalogue, parents first.
        term_scoped: Whether the report is asked term by term.
        report: Canvas's name of it; None for the provisioning report, of which there are two kinds.
    """

    name: str
    models: tuple[Model, ...]
    term_scoped: bool
    report: str | None = None


def report_groups(models: Iterable[Model]) -> tuple[ReportGroup, ...]:
    """Sorts the report-fed models into the reports that feed them."""
    chosen = tuple(models)
    provisioning = [model for model in chosen if isinstance(model.feed, ProvisioningFeed)]
    groups = [
        ReportGroup("provisioning", tuple(m for m in provisioning if not m.term_scoped), term_scoped=False),
        ReportGroup("provisioning_term", tuple(m for m in provisioning if m.term_scoped), term_scoped=True),
        *(
            ReportGroup(model.name, (model,), model.term_scoped, model.feed.report)
            for model in chosen
            if isinstance(model.feed, ReportFeed)
        ),
    ]
    return tuple(group for group in groups if group.models)


def rest_models(models: Iterable[Model]) -> tuple[Model, ...]:
    """Picks the models that a walk over REST feeds."""
    return tuple(model for model in models if isinstance(model.feed, RestFeed))


@dataclass(frozen=True, slots=True)
class Request:
    """A report to ask for.

    Attributes:
        report: Canvas's name of it.
        models: What it will feed.
        skipped: Model → why this Canvas cannot feed it.
        takes_updated_after: Whether it can be limited to what changed.
    """

    report: str
    models: tuple[Model, ...]
    skipped: Mapping[str, str]
    takes_updated_after: bool

    def tables(self) -> tuple[str, ...]:
        """Names the tables that the file will hold; empty for a report that is one table by nature."""
        feeds = [model.feed for model in self.models if isinstance(model.feed, ProvisioningFeed)]
        return tuple(name for feed in feeds for name in (feed.table, *(extra.table for extra in feed.enrichments)))

    def parameters(self, scope: str, updated_after: datetime | None) -> dict[str, str]:
        """Spells the parameters as Canvas wants them.

        Args:
            scope: Canvas term id, or empty for a report without a term.
            updated_after: Since when, for an incremental report.
        """
        parameters: dict[str, str] = {}
        for model in self.models:
            if isinstance(model.feed, ReportFeed):
                parameters |= model.feed.parameters
        parameters |= dict.fromkeys(self.tables(), "true")
        parameters["include_deleted"] = "true"
        if scope:
            parameters["enrollment_term_id"] = scope
        if updated_after is not None:
            parameters["updated_after"] = updated_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return parameters


def plan_request(
    group: ReportGroup, selected: Collection[str], available: Collection[str], provisioning_report: str
) -> Request:
    """Chooses the report for a group and what of the selection it can feed.

    Args:
        group: Models that one report feeds.
        selected: Names of the models that are wanted now.
        available: Names of the reports that this Canvas has.
        provisioning_report: The setting: one of the two kinds, or `auto`.
    """
    report = group.report or _provisioning_report(provisioning_report, available)
    wanted = tuple(model for model in group.models if model.name in selected)
    skipped = {model.name: why for model in wanted if (why := _why_not(model, report, available))}
    feeds = [model.feed for model in wanted]
    return Request(
        report,
        tuple(model for model in wanted if model.name not in skipped),
        skipped,
        takes_updated_after=report == PROPRIETARY
        or any(isinstance(feed, ReportFeed) and feed.takes_updated_after for feed in feeds),
    )


def _provisioning_report(setting: str, available: Collection[str]) -> str:
    if setting != "auto":
        return setting
    return PROPRIETARY if PROPRIETARY in available else STOCK


def _why_not(model: Model, report: str, available: Collection[str]) -> str | None:
    if report not in available:
        return f"this Canvas has no report {report}, or the token may not run it"
    if not carries(report, model):
        return f"the stock {STOCK} has no table of {model.name}"
    return None


def carries(report: str, model: Model) -> bool:
    """Says whether a report has the table of a model that it could feed; the stock provisioning report lacks some."""
    return report != STOCK or not isinstance(model.feed, ProvisioningFeed) or model.feed.stock


def refuse_skipped(request: Request, named: Collection[str], *, tenant: str) -> None:
    """Refuses a plan that leaves out a model which the settings name.

    Raises:
        CanvasNotFoundError: A model that is named cannot be fed.
    """
    lost = {name: why for name, why in request.skipped.items() if name in named}
    if lost:
        reasons = "; ".join(f"{name}: {why}" for name, why in lost.items())
        raise CanvasNotFoundError(
            f"tenant {tenant}: {reasons}. Take {', '.join(lost)} out of CANVAS_SYNC_MODELS, or have Canvas offer the "
            "report (Admin → Settings → Reports shows what it has)."
        )
