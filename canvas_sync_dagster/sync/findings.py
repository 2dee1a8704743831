"""Findings of a load about the report and the table: pure, from the outcome of the load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.printable import quotable
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.tenants import FINDINGS

REPEATING = frozenset({"users", "user_observers"})
"""Models whose keys repeat in Canvas's reports by design: once per login, and once per pair of logins."""
MEANINGS = {
    "header_contract": "The report's header has exactly the columns that the model declares, each once.",
    "volume": "No sudden drop: a complete source lists nearly all rows of the table.",
    "rejects": "Every row of the source could be loaded.",
    "duplicate_keys": "No key occurs twice. (Users occur once per login, observers once per pair of logins.)",
    "suspects": "No row is a suspect: missing from a complete source, and not yet verified with Canvas.",
    "orphans": "The parent of every row exists.",
}
"""Finding → what it means if it passed."""
REMEDIES = {
    "header_contract": "Compare the header with the mapping; map new names with link_column. Columns that are missing stay as they are.",
    "volume": "Look at the report in Canvas. If it is right, sync once with accept_shrinkage: true.",
    "rejects": "Read the reasons in canvas_sync_rejected_rows, correct the mapping or the column, then run canvas-sync replay rejects.",
    "duplicate_keys": "Nothing, if the report repeats rows. Otherwise the key is not unique: check the mapping's key.",
    "suspects": "Run canvas-sync reconcile, or wait for the nightly job of the same name.",
    "orphans": "Sync the parent tables. If it persists, Canvas omits the parents from its reports.",
}
"""Finding → what a person can do if it did not pass."""
LONGEST_HEADER = 1_000
"""Maximum characters of the header in the evidence."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a load.

    Attributes:
        name: One of `tenants.FINDINGS`.
        passed: Whether everything is as it should be.
        figure: What was counted or compared, for people.
        values: The same as plain values.
    """

    name: str
    passed: bool
    figure: str
    values: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        """What a person can do; empty if the finding passed."""
        return "" if self.passed else REMEDIES[self.name]


def finding_names(model: Model) -> tuple[str, ...]:
    """Return the names of the findings that a load of a model has; a list over REST has no header."""
    return tuple(name for name in FINDINGS if name != "header_contract" or not isinstance(model.feed, RestFeed))


def findings_of(outcome: ModelOutcome, held: str = "") -> tuple[Finding, ...]:
    """Return the findings of one load, in the order of `tenants.FINDINGS`.

    Args:
        outcome: What the load did.
        held: Why the volume gate holds the scope since its latest complete report, which an incremental load does not
            change; empty if it does not.
    """
    found = tuple(_FOUND[name](outcome) for name in finding_names(outcome.model))
    return tuple(_held(each, held) if each.name == "volume" and held else each for each in found)


def with_other_terms(findings: Sequence[Finding], terms: Sequence[str]) -> tuple[Finding, ...]:
    """Return the findings of a load, with the other terms that the volume gate holds."""
    return tuple(
        replace(each, passed=False, figure=f"{each.figure}; held: {', '.join(terms)}")
        if each.name == "volume" and terms
        else each
        for each in findings
    )


def _held(finding: Finding, why: str) -> Finding:
    if not finding.passed:
        return finding
    figure = f"{finding.figure}; held since the latest full sync"
    return replace(finding, passed=False, figure=figure, values={**finding.values, "held": why})


def _header(outcome: ModelOutcome) -> Finding:
    if outcome.header is None:
        return Finding(
            "header_contract", passed=True, figure="not compared: the rows were read over REST, or went to a function"
        )
    header = outcome.header
    drift = {"missing": header.missing, "unknown": header.unknown, "duplicated": header.duplicated}
    listed = {name: quotable(", ".join(columns), LONGEST_HEADER) for name, columns in drift.items() if columns}
    figure = "; ".join(f"{name}: {columns}" for name, columns in listed.items())
    values = {f"header_{name}": columns for name, columns in listed.items()}
    return Finding(
        "header_contract",
        passed=not listed,
        figure=figure or f"{len(header.header)} columns",
        values={**values, "header": quotable(", ".join(header.header), LONGEST_HEADER)},
    )


def _volume(outcome: ModelOutcome) -> Finding:
    absence = outcome.absence
    values: dict[str, int | str] = {"expected": absence.expected, "missing": absence.missing}
    if absence.held:
        values["held"] = absence.held
    figure = f"{absence.missing:,} of {absence.expected:,} rows missing" if absence.expected else "nothing to compare"
    return Finding("volume", passed=not absence.held, figure=figure, values=values)


def _rejects(outcome: ModelOutcome) -> Finding:
    rejected = outcome.counts.rejected
    figure = f"{rejected:,} of {outcome.counts.rows_in_report:,} rows"
    return Finding("rejects", passed=not rejected, figure=figure, values={"rejected": rejected})


def _duplicates(outcome: ModelOutcome) -> Finding:
    duplicates = outcome.counts.duplicates
    passed = not duplicates or outcome.model.name in REPEATING
    return Finding("duplicate_keys", passed, f"{duplicates:,} rows", {"duplicates": duplicates})


def _suspects(outcome: ModelOutcome) -> Finding:
    suspects = outcome.suspects
    figure = f"{suspects:,} of {outcome.table_rows:,} rows of the table"
    return Finding("suspects", passed=not suspects, figure=figure, values={"suspects": suspects})


def _orphans(outcome: ModelOutcome) -> Finding:
    without = {parent: rows for parent, rows in outcome.orphans.items() if rows}
    total = sum(without.values())
    figure = ", ".join(f"{rows:,} without {parent}" for parent, rows in without.items()) or "0 rows"
    by_parent = {f"orphans_{parent}": rows for parent, rows in without.items()}
    return Finding("orphans", passed=not total, figure=figure, values={"orphans": total, **by_parent})


_FOUND: Mapping[str, Callable[[ModelOutcome], Finding]] = {
    "header_contract": _header,
    "volume": _volume,
    "rejects": _rejects,
    "duplicate_keys": _duplicates,
    "suspects": _suspects,
    "orphans": _orphans,
}
