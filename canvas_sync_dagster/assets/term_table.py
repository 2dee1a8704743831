"""The terms by name, for people who choose partitions: a table in the metadata of the terms' materialization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from canvas_sync_dagster.printable import quotable
from canvas_sync_dagster.sync.covered_terms import CoveredTerms, TermPartitions
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.sync.terms import courses_by_term, read_terms

SHOWN = 50
"""Maximum number of terms in the table, about 6 kB of Dagster's storage per sync; those in scope come first."""


def term_table(covered: CoveredTerms, partitions: TermPartitions) -> dg.TableMetadataValue:
    """Return the terms with their partition key, name, dates, whether they are in scope, and their rows.

    Args:
        covered: The terms of the tenant.
        partitions: Which of them are partitions.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    with covered.warehouse("reading terms") as warehouse:
        terms = read_terms(warehouse.table(warehouse.models["terms"]))
        courses = courses_by_term(warehouse)
    return table_of([term for term in terms if not (term.deleted or term.missing)], partitions, courses)


def table_of(terms: Sequence[Term], partitions: TermPartitions, courses: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return the table of terms: those in scope first, then those that are partitions, the newest first.

    Args:
        terms: The terms that Canvas lists.
        partitions: Which of them are partitions.
        courses: Term → its number of courses in the table.
    """
    order = sorted(
        terms, key=lambda term: (term.id in partitions.in_scope, term.id in partitions.keys, int(term.id)), reverse=True
    )
    records = [
        dg.TableRecord(
            {
                "partition": term.id,
                "name": quotable(term.name),
                "start": _day(term.start_at),
                "end": _day(term.end_at),
                "in scope": "yes" if term.id in partitions.in_scope else "no",
                "courses": courses.get(term.id, 0),
            }
        )
        for term in order[:SHOWN]
    ]
    columns = [dg.TableColumn(name) for name in ("partition", "name", "start", "end", "in scope")]
    return dg.MetadataValue.table(records, dg.TableSchema([*columns, dg.TableColumn("courses", "int")]))


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d}"
