"""Asset checks: findings of a load about the report and the table, for the UI."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.orchestration.identifiers import SKIPPED

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.outcome import ModelOutcome
    from canvas_sync_dagster.sync.staleness import Staleness

DESCRIPTIONS = {
    "header_contract": "The report's header has exactly the columns that the model declares, each once.",
    "volume": "No sudden drop: a complete source lists nearly all rows of the table.",
    "rejects": "Every row of the source could be loaded.",
    "duplicate_keys": "No key occurs twice. (Users occur once per login, observers once per pair of logins.)",
    "suspects": "No row is a suspect: missing from a complete source, and not yet verified with Canvas.",
    "orphans": "The parent of every row exists.",
    "staleness": "Every term in scope, or the account, was synced within CANVAS_SYNC_STALE_AFTER.",
}
REPEATING = {"users", "user_observers"}
"""Models whose keys repeat in Canvas's reports by design."""


def check_specs(keys: AssetKeys, model: Model) -> list[dg.AssetCheckSpec]:
    """Return the checks of one model. None of them blocks, because invalid data are not published in the first place."""
    names = [name for name in DESCRIPTIONS if name != "header_contract" or not isinstance(model.feed, RestFeed)]
    return [dg.AssetCheckSpec(name, asset=keys.of(model.name), description=DESCRIPTIONS[name]) for name in names]


def check_results(
    keys: AssetKeys, each: ModelOutcome, wanted: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Yield a result for each selected check, from the findings of one load."""
    key, findings = keys.of(each.model.name), _findings(each)
    for check in wanted:
        if check.asset_key == key and check.name not in findings:
            yield _not_evaluated(check, "the load had no header to compare")
    for name, (passed, evidence) in findings.items():
        if dg.AssetCheckKey(key, name) in wanted:
            yield dg.AssetCheckResult(
                asset_key=key, check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=evidence
            )


def skipped_observation(keys: AssetKeys, model: str, partition: str | None, why: str) -> dg.AssetObservation:
    """Return the event that shows in the UI, and to `canvas-sync sync`, that this Canvas cannot feed a model."""
    return dg.AssetObservation(
        keys.of(model), description=f"skipped: {why}", partition=partition, metadata={SKIPPED: why}
    )


def skipped_checks(
    keys: AssetKeys, model: str, why: str, wanted: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Return a result for each check of a model that is skipped: Dagster logs a warning for a check without one."""
    for check in wanted:
        if check.asset_key == keys.of(model):
            yield _not_evaluated(check, f"the model is skipped: {why}")


def _not_evaluated(check: dg.AssetCheckKey, why: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=True,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"not evaluated: {why}",
    )


def staleness_check(keys: AssetKeys, each: Staleness) -> dg.AssetCheckEvaluation:
    """Return the evaluation of the staleness check of a model, outside of any load."""
    evidence: dict[str, Any] = {"behind": ", ".join(scope or "the account" for scope in each.scopes)}
    if each.oldest is not None:
        evidence["oldest"] = dg.MetadataValue.timestamp(each.oldest)
    return dg.AssetCheckEvaluation(
        asset_key=keys.of(each.model),
        check_name="staleness",
        passed=not each.scopes,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=evidence,
    )


def _findings(each: ModelOutcome) -> dict[str, tuple[bool, dict[str, Any]]]:
    counts, absence = each.counts, each.absence
    found: dict[str, tuple[bool, dict[str, Any]]] = {
        "volume": (not absence.held, {"expected": absence.expected, "missing": absence.missing, "held": absence.held}),
        "rejects": (counts.rejected == 0, {"rejected": counts.rejected}),
        "duplicate_keys": (
            counts.duplicates == 0 or each.model.name in REPEATING,
            {"duplicates": counts.duplicates},
        ),
        "suspects": (each.suspects == 0, {"suspects": each.suspects}),
        "orphans": (not any(each.orphans.values()), dict(each.orphans)),
        # The scope was just loaded; the sensor evaluates the other scopes.
        "staleness": (True, {}),
    }
    if each.header is not None:
        header = each.header
        drift = {"missing": header.missing, "unknown": header.unknown, "duplicated": header.duplicated}
        evidence = {name: ", ".join(columns) for name, columns in drift.items() if columns}
        found["header_contract"] = (not evidence, {**evidence, "header": ", ".join(header.header)})
    return found
