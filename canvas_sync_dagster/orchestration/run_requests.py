"""Launches the runs of a batch by requests, which a sensor returns to Dagster's daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration.driver import Launch


@dataclass(slots=True)
class RunRequests:
    """Collects run requests.

    Attributes:
        term_assets: What a term run materializes; None for everything in its job.
        root_assets: What a root run materializes; it is launched for new terms only.
        options: Run config of the resource `sync_options` for the term runs; None for its defaults.
        requests: The requests until now.
    """

    term_assets: Sequence[dg.AssetKey] | None = None
    root_assets: Sequence[dg.AssetKey] | None = None
    options: Mapping[str, Any] | None = None
    requests: list[dg.RunRequest] = field(default_factory=list)

    @property
    def unmet(self) -> Sequence[str]:
        """Nothing: a request names no models, so none can be missing."""
        return ()

    def launch(self, run: Launch) -> None:
        """Add a request for a run."""
        is_term = run.part == "term"
        config = {"resources": {"sync_options": {"config": dict(self.options)}}} if self.options and is_term else {}
        self.requests.append(
            dg.RunRequest(
                run_key=run.key,
                partition_key=run.term,
                tags=dict(run.tags),
                run_config=config,
                asset_selection={"term": self.term_assets, "root": self.root_assets}.get(run.part),
                job_name=run.job,
            )
        )

    def terms_known(self, terms: Sequence[str]) -> None:
        """Do nothing: a scheduled sync ignores names of terms that do not exist."""
