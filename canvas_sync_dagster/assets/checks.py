"""Asset checks: what a load found out about the report and the table, and which terms are stale."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.orchestration.identifiers import SKIPPED
from canvas_sync_dagster.printable import duration, quotable
from canvas_sync_dagster.sync.findings import MEANINGS, Finding, finding_names, findings_of, with_other_terms
from canvas_sync_dagster.sync.staleness import Staleness, TenantStaleness, staleness_of

if TYPE_CHECKING:
    from datetime import datetime

    from canvas_sync_dagster.sync.covered_terms import CoveredTerms
    from canvas_sync_dagster.sync.outcome import ModelOutcome

Held = Mapping[tuple[str, str], str]
"""Model and scope → why the volume gate holds them, since their latest complete report."""
LOAD = "load"
STALENESS = "staleness"
DESCRIPTIONS = {
    LOAD: "What the last load found: drift of the header, a drop in volume, rejects, duplicate keys, suspects, orphans.",
    STALENESS: "Every term in scope, or the account, was synced within CANVAS_SYNC_STALE_AFTER.",
}
SHOWN_SCOPES = 50
"""Maximum number of terms in the evidence of a staleness check; the stale ones come first."""


def check_specs(key: dg.AssetKey, model: Model, blocking: Collection[str] = ()) -> list[dg.AssetCheckSpec]:
    """Return the checks of one model.

    Args:
        key: Key of its asset.
        model: The model.
        blocking: Findings that become separate checks, after which nothing downstream runs.
    """
    return [
        *(dg.AssetCheckSpec(name, asset=key, description=text) for name, text in DESCRIPTIONS.items()),
        *(
            dg.AssetCheckSpec(
                name, asset=key, description=f"{MEANINGS[name]} If not, nothing downstream runs.", blocking=True
            )
            for name in finding_names(model)
            if name in blocking
        ),
    ]


def check_results(
    key: dg.AssetKey, each: ModelOutcome, scope: str, held: Held, wanted: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the selected checks that a load decides: `load`, and the blocking ones.

    Args:
        key: Key of the asset that was loaded.
        each: What the load did.
        scope: Canvas term id, or empty.
        held: Model and scope → why the volume gate holds them.
        wanted: The selected checks.
    """
    findings = findings_of(each, held.get((each.model.name, scope), ""))
    if dg.AssetCheckKey(key, LOAD) in wanted:
        others = [term for model, term in held if model == each.model.name and term != scope]
        yield _load_result(key, with_other_terms(findings, others), scope)
    for finding in findings:
        if dg.AssetCheckKey(key, finding.name) in wanted:
            yield _blocking_result(key, finding)


def skipped_observation(key: dg.AssetKey, partition: str | None, why: str) -> dg.AssetObservation:
    """Return the event that shows in the UI, and to `canvas-sync sync`, that this Canvas cannot feed a model."""
    return dg.AssetObservation(key, description=f"skipped: {why}", partition=partition, metadata={SKIPPED: why})


def skipped_checks(key: dg.AssetKey, why: str, wanted: Iterable[dg.AssetCheckKey]) -> Iterator[dg.AssetCheckResult]:
    """Return a result for each check of a model that is skipped: Dagster logs a warning for a check without one."""
    for check in wanted:
        if check.asset_key == key:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=check.name,
                passed=True,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"not evaluated: the model is skipped: {why}",
            )


def staleness_results(
    covered: CoveredTerms, keys: Mapping[str, dg.AssetKey], wanted: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the selected `staleness` checks after a load: over all terms in scope, not only the loaded one.

    Args:
        covered: The terms of the tenant.
        keys: Model that was loaded → key of its asset.
        wanted: The selected checks.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    asked = {name: key for name, key in keys.items() if dg.AssetCheckKey(key, STALENESS) in wanted}
    if not asked:
        return
    found = staleness_of(covered)
    for each in found.models:
        if each.model in asked:
            yield dg.AssetCheckResult(asset_key=asked[each.model], **_staleness(found, each))


def staleness_evaluations(
    found: TenantStaleness, key_of: Callable[[str], dg.AssetKey]
) -> list[dg.AssetCheckEvaluation]:
    """Return the evaluations of a tenant's `staleness` checks outside of any load.

    Args:
        found: The tenant's models, as `staleness_of` returns them.
        key_of: Returns the asset key of a model.
    """
    return [dg.AssetCheckEvaluation(asset_key=key_of(each.model), **_staleness(found, each)) for each in found.models]


def _load_result(key: dg.AssetKey, findings: Sequence[Finding], scope: str) -> dg.AssetCheckResult:
    failed = [finding.name for finding in findings if not finding.passed]
    where = f"The last load of term {scope}" if scope else "The last load"
    told = f"needs attention: {', '.join(failed)}." if failed else f"is in order ({len(findings)} findings)."
    rows = [
        (finding.name, "yes" if finding.passed else "**no**", finding.figure, finding.remedy) for finding in findings
    ]
    values = {name: value for finding in findings for name, value in finding.values.items()}
    table = markdown_table(("finding", "passed", "figure", "what to do"), rows)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=LOAD,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{where} {told}",
        metadata={"findings": dg.MetadataValue.md(table), **({"term": scope} if scope else {}), **values},
    )


def _blocking_result(key: dg.AssetKey, finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=finding.name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{finding.figure}. {finding.remedy}".rstrip(),
        metadata=dict(finding.values),
    )


def _staleness(found: TenantStaleness, each: Staleness) -> dict[str, Any]:
    """Return what a result and an evaluation of a `staleness` check have in common."""
    limit = duration(found.limit)
    names = [_scope_name(scope, found.names) for scope in each.stale]
    if each.stale:
        text = f"{len(each.stale)} of {len(each.synced)} stale, not synced within {limit}: {quotable(', '.join(names))}"
    elif not each.synced:
        text = "No term is in scope"
    else:
        text = f"All {len(each.synced)} synced within {limit}"
    metadata: dict[str, Any] = {
        "scopes": dg.MetadataValue.md(_scope_table(found, each)),
        "stale": len(each.stale),
        "in_scope": len(each.synced),
        "stale_after": limit,
    }
    if each.oldest is not None:
        metadata["oldest"] = dg.MetadataValue.timestamp(each.oldest)
    return {
        "check_name": STALENESS,
        "passed": not each.stale,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"{text}.",
        "metadata": metadata,
    }


def _scope_table(found: TenantStaleness, each: Staleness) -> str:
    order = [*each.stale, *(scope for scope in each.synced if scope not in each.stale)]
    rows = []
    for scope in order[:SHOWN_SCOPES]:
        at = each.synced[scope]
        stale = "" if scope not in each.stale else "always" if at is None else _moment(at + found.limit)
        rows.append((_scope_name(scope, found.names), "never" if at is None else _moment(at), stale))
    table = markdown_table(("scope", "last sync", "stale since"), rows)
    return table if len(order) <= SHOWN_SCOPES else f"{table}\n\nand {len(order) - SHOWN_SCOPES} more"


def _scope_name(scope: str, names: Mapping[str, str]) -> str:
    if not scope:
        return "the account"
    name = names.get(scope)
    return f"{scope} ({quotable(name)})" if name else scope


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells may be text of Canvas."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
