"""Large report tables in parts, so that the memory of the simulator does not grow with the length of a report.

A part is the table of a narrow university: the whole one with a slice of the rows that the report lists. The parts of a
table, one after the other, are the table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.course_index import of_courses
from canvas_sync_dagster.simulator.university.state import University

PART_ROWS = 200_000
"""Rows of a part at most; about so many, if they follow from courses. An enrollments report takes about 700 bytes of memory per row while it is made: 140 MB."""
SLICED = {
    "users": "logins",
    "enrollments": "enrollments",
    "proserv_scores_csv": "enrollments",
    "proserv_assignment_export_csv": "assignments",
}
"""Table of a report → table of the university whose rows it lists in their order."""
BY_COURSE = {"proserv_student_submissions_csv"}
"""Tables whose rows follow from a course, in the order of courses."""


def parts_of(
    name: str,
    table: Callable[[University, ReportQuery], pl.DataFrame],
    u: University,
    q: ReportQuery,
) -> Iterator[pl.DataFrame]:
    """Yield a table of a report in parts, at least one of them.

    Args:
        name: Of the table; of the report, if it has a single table.
        table: Makes the table.
        u: What it reports on.
        q: The parameters that decide its rows.
    """
    for narrow in _narrowed(name, u):
        yield table(narrow, q)


def _narrowed(name: str, u: University) -> Iterator[University]:
    if name in BY_COURSE:
        per_course = u.size.assignments_per_course * max(1, u.enrollments.height // max(1, u.courses.height))
        step = max(1, PART_ROWS // max(1, per_course))
        ids = u.courses.get_column("id").sort()
        for start in range(0, max(1, len(ids)), step):
            yield of_courses(u, ids[start : start + step])
    elif name in SLICED:
        rows: pl.DataFrame = getattr(u, SLICED[name])
        for start in range(0, max(1, rows.height), PART_ROWS):
            narrow = copy.copy(u)
            setattr(narrow, SLICED[name], rows.slice(start, PART_ROWS))
            yield narrow
    else:
        yield u
