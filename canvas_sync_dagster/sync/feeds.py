"""Which feed fills a table: the report that the model prefers, or the walk over REST in its place. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.parameters import NONE, Parameters, merged
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.report_request import ReportGroup, provisioning_report_of, why_not

FeedName = Literal["report", "rest"]


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """The feed of a model, and why.

    Attributes:
        feed: `report` or `rest`.
        reason: One clause for people.
        is_set: Whether the setting `feeds` names it.
    """

    feed: FeedName
    reason: str
    is_set: bool = False


@dataclass(frozen=True, slots=True)
class FeedChooser:
    """Chooses feeds by what this Canvas offers and what is set.

    Attributes:
        available: Names of the reports that this Canvas offers.
        provisioning_report: The setting: Canvas's name of the report, or `auto`.
        settings: Model → feed that the setting `feeds` names.
        params: Model → parameters of its report, of the settings and the run.
        with_functions: Models whose report rows go to the user's functions in place of the table.
    """

    available: Collection[str]
    provisioning_report: str
    settings: Mapping[str, FeedName]
    params: Mapping[str, Parameters]
    with_functions: Collection[str] = ()

    def of_group(self, group: ReportGroup, names: Collection[str]) -> dict[str, FeedChoice]:
        """Return the feed of each of these models of a report.

        Raises:
            SettingError: `feeds` requests the walk for a model that only its report can feed.
        """
        return {model.name: self.of_model(group, model) for model in group.models if model.name in names}

    def of_model(self, group: ReportGroup, model: Model) -> FeedChoice:
        """Return the feed of one model of a report."""
        report = group.report or provisioning_report_of(self.provisioning_report, self.available)
        wanted, needed = self.settings.get(model.name), self._needs_report(model)
        if wanted == "rest":
            if needed:
                raise SettingError("feeds", f"{model.name}: {needed}", allowed="report", value="rest")
            return FeedChoice("rest", "the setting feeds requests it", is_set=True)
        lacking = why_not(model, report, self.available)
        if wanted == "report":
            return FeedChoice("report", "the setting feeds requests it", is_set=True)
        if lacking is None:
            return FeedChoice("report", f"this Canvas offers {report}")
        if model.rest is None or needed:
            return FeedChoice("report", f"{lacking}; {needed}" if needed and model.rest else lacking)
        return FeedChoice("rest", lacking)

    def _needs_report(self, model: Model) -> str | None:
        """Return why only the report can feed a model; None if the walk over REST can."""
        if model.functions or model.name in self.with_functions:
            return "its rows go through functions of yours, which a walk over REST does not call"
        if merged(model.parameters, self.params.get(model.name, NONE)):
            return "its report has parameters, which a walk over REST cannot have"
        return None


def over_rest(choices: Mapping[str, FeedChoice]) -> list[str]:
    """Return the names of the models that are read over REST."""
    return [name for name, choice in choices.items() if choice.feed == "rest"]
