"""Enrollments reports as Canvas's stock report writes them: of any size, and the same with some of them changed or new."""

from __future__ import annotations

from pathlib import Path

import polars as pl

ROLES = [("student", 3, "StudentEnrollment")] * 18 + [
    ("teacher", 4, "TeacherEnrollment"),
    ("ta", 5, "TaEnrollment"),
    ("observer", 7, "ObserverEnrollment"),
]
STATES = ["active"] * 8 + ["invited", "concluded", "inactive", "deleted"]
CHUNK = 1_000_000


def write_report(path: Path, rows: int, *, changed: float = 0, new: float = 0) -> None:
    """Writes a report.

    Args:
        path: Where to.
        rows: How many.
        changed: Percent of them that differ from the report without changes.
        new: Percent more.
    """
    total = rows + int(rows * new / 100)
    with path.open("wb") as file:
        for start in range(0, total, CHUNK):
            frame = _frame(start, min(total, start + CHUNK), changed)
            frame.write_csv(file, include_header=start == 0)


def _frame(start: int, end: int, changed: float) -> pl.DataFrame:
    def chance(salt: int, below: int) -> pl.Expr:
        return pl.col("i").hash(salt) % below

    course, user = chance(1, 9000) + 1, chance(2, 70_000) + 1
    roles = [pl.lit(pl.Series([role[part] for role in ROLES])).gather(chance(3, len(ROLES))) for part in range(3)]
    status = pl.lit(pl.Series(STATES)).gather(chance(4, len(STATES)))
    other = pl.when(status == "concluded").then(pl.lit("active")).otherwise(pl.lit("concluded"))
    by_sis, empty = chance(5, 5) != 0, pl.lit(None, pl.String)
    return pl.DataFrame({"i": pl.int_range(start, end, eager=True)}).select(
        canvas_course_id=course,
        course_id=pl.when(by_sis).then(pl.format("CRS-{}", course)),
        canvas_user_id=user,
        user_id=pl.when(by_sis).then(pl.format("S{}", user)),
        role=roles[0],
        role_id=roles[1],
        canvas_section_id=course * 2 + pl.col("i") % 2,
        section_id=pl.when(by_sis).then(pl.format("SEC-{}-{}", course, pl.col("i") % 2)),
        status=pl.when(chance(6, 10_000) < changed * 100).then(other).otherwise(status),
        canvas_associated_user_id=empty,
        associated_user_id=empty,
        created_by_sis=by_sis,
        base_role_type=roles[2],
        limit_section_privileges=pl.lit(False),
        canvas_enrollment_id=pl.col("i") + 5_000_000,
    )
