"""Make the tables of a new university from its size and its seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from canvas_sync_dagster.simulator.university.edge_cases import add_edge_cases
from canvas_sync_dagster.simulator.university.sizes import EPOCH, SIZES, Size
from canvas_sync_dagster.simulator.university.state import Chance, University, chance_of

FIRST = ["Ana", "Björn", "Chloë", "Dmitri", "Eun-ji", "Fatima", "Gaël", "Hiroshi", "Ines", "João", "Kwame", "Łucja"]

LAST = ["Pérez", "O'Neill", "Nguyễn", "Smith", "van der Berg", "Øster", "Müller", "Sato", "García Márquez", "Zhāng"]

SUBJECTS = [
    "Algebra",
    "Logic, Sets and Proofs",
    'The "New" Criticism',
    "Química",
    "Drawing\nand Seeing",
    "History of Rome",
]


def found_university(size: str | Size = "small", *, seed: int = 1) -> University:
    """Return a new university; two of the same size and seed are equal, and change in the same way.

    Args:
        size: `small`, `medium` or `large`.
        seed: Decides all that is random.

    Raises:
        KeyError: There is no such size.
    """
    of_size, chance = SIZES[size] if isinstance(size, str) else size, chance_of(seed)
    users, logins = _people(of_size, chance)
    courses = _courses(of_size, chance)
    university = University(
        size=of_size,
        seed=seed,
        accounts=_accounts(),
        terms=_terms(),
        users=users,
        logins=logins,
        courses=courses,
        sections=_sections(courses),
        enrollments=_enrollments(of_size, chance),
        assignments=_assignments(of_size, courses),
    )
    add_edge_cases(university, complete=size == "small")
    return university


def _accounts() -> pl.DataFrame:
    rows = [
        (1, None, None, "University of Simulation", "active"),
        (2, "arts", 1, "Faculty of Arts", "active"),
        (3, "sci", 1, "Faculty of Science & “Engineering”", "active"),
        (4, "phil", 2, "Philosophy, Logic", "active"),
        (5, None, 3, "Laboratory", "active"),
        (6, "old", 1, "Closed Institute", "deleted"),
    ]
    schema = {"id": pl.Int64, "sis_id": pl.String, "parent_id": pl.Int64, "name": pl.String, "state": pl.String}
    return _stamped(pl.DataFrame(rows, schema=schema, orient="row"))


def _terms() -> pl.DataFrame:
    rows = [
        (1, None, "Default Term", None, None, "active"),
        (
            116,
            "2026SP",
            "Spring 2026",
            datetime(2026, 1, 12, 7, tzinfo=UTC),
            datetime(2026, 5, 15, 6, tzinfo=UTC),
            "active",
        ),
        (
            117,
            "2026SU",
            "Summer 2026",
            datetime(2026, 6, 1, 6, tzinfo=UTC),
            datetime(2026, 8, 21, 6, tzinfo=UTC),
            "active",
        ),
        (
            118,
            "2026FA",
            "Fall 2026",
            datetime(2026, 8, 24, 6, tzinfo=UTC),
            datetime(2026, 12, 18, 7, tzinfo=UTC),
            "active",
        ),
        (90, "1999XX", "Planned by Mistake", None, None, "deleted"),
    ]
    zoned = pl.Datetime("us", "UTC")
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "id": pl.Int64,
        "sis_id": pl.String,
        "name": pl.String,
        "start_at": zoned,
        "end_at": zoned,
        "state": pl.String,
    }
    return _stamped(pl.DataFrame(rows, schema=schema, orient="row"))


def _people(size: Size, chance: Chance) -> tuple[pl.DataFrame, pl.DataFrame]:
    ids = pl.DataFrame({"id": pl.int_range(1001, 1001 + size.users, eager=True)})
    users = ids.with_columns(
        _pick(FIRST, chance("id", "first", len(FIRST))).alias("first_name"),
        _pick(LAST, chance("id", "last", len(LAST))).alias("last_name"),
    )
    logins = users.filter(chance("id", "no login", 40) != 0).select(
        (pl.col("id") + 500_000_000).alias("id"),
        pl.col("id").alias("user_id"),
        pl.when(chance("id", "sis", 5) != 0).then(pl.format("S{}", "id")).alias("sis_id"),
        pl.format("u{}@uni.test", "id").alias("unique_id"),
        pl.lit("active").alias("state"),
    )
    second = logins.filter(chance("user_id", "second", 10) == 0).select(
        pl.col("id") + 500_000_000,
        "user_id",
        pl.when(pl.col("sis_id").is_null()).then(pl.format("X{}", "user_id")).alias("sis_id"),
        pl.format("second-{}", "user_id").alias("unique_id"),
        pl.lit("active").alias("state"),
    )
    return _stamped(users), _stamped(pl.concat([logins, second]).sort("user_id", "id"))


def _courses(size: Size, chance: Chance) -> pl.DataFrame:
    ids = pl.DataFrame({"id": pl.int_range(2001, 2001 + size.courses, eager=True)})
    return _stamped(
        ids.select(
            "id",
            pl.when(chance("id", "sis", 6) != 0).then(pl.format("CRS-{}", "id")).alias("sis_id"),
            pl.format("C{}", "id").alias("course_code"),
            pl.format("{} {}", _pick(SUBJECTS, chance("id", "subject", len(SUBJECTS))), "id").alias("name"),
            _pick(["available"] * 7 + ["claimed", "completed", "deleted"], chance("id", "state", 10)).alias("state"),
            (chance("id", "account", 4) + 2).cast(pl.Int64).alias("account_id"),
            pl.Series([116, 117, 118, 1]).gather(ids.get_column("id") % 4).alias("term_id"),
            pl.when(chance("id", "dated", 3) == 0).then(pl.lit(EPOCH - timedelta(days=20))).alias("start_at"),
            pl.when(chance("id", "dated", 3) == 0).then(pl.lit(EPOCH + timedelta(days=100))).alias("end_at"),
        )
    )


def _sections(courses: pl.DataFrame) -> pl.DataFrame:
    both = pl.concat([courses.with_columns(pl.lit(n).alias("n")) for n in (0, 1)])
    return _stamped(
        both.select(
            (pl.col("id") * 2 + pl.col("n")).cast(pl.Int64).alias("id"),
            pl.when(pl.col("sis_id").is_not_null()).then(pl.format("SEC-{}-{}", "id", "n")).alias("sis_id"),
            pl.col("id").alias("course_id"),
            pl.lit(None, dtype=pl.Int64).alias("nonxlist_course_id"),
            pl.format("Section {}, room “{}”", "n", "id").alias("name"),
            pl.lit("active").alias("state"),
        ).sort("id")
    )


def _enrollments(size: Size, chance: Chance) -> pl.DataFrame:
    ids = pl.DataFrame({"id": pl.int_range(5_000_001, 5_000_001 + size.enrollments, eager=True)})
    kinds = ["StudentEnrollment"] * 18 + ["TeacherEnrollment", "TaEnrollment", "ObserverEnrollment"]
    states = ["active"] * 14 + [
        "invited",
        "creation_pending",
        "completed",
        "completed",
        "inactive",
        "deleted",
        "rejected",
    ]
    drawn = ids.select(
        "id",
        (chance("id", "section", size.courses * 2) + 4002).cast(pl.Int64).alias("section_id"),
        (chance("id", "user", size.users) + 1001).cast(pl.Int64).alias("user_id"),
        _pick(kinds, chance("id", "kind", len(kinds))).alias("type"),
        _pick(states, chance("id", "state", len(states))).alias("state"),
        (chance("id", "batch", 5) != 0).alias("by_sis"),
        pl.lit(None, dtype=pl.Int64).alias("associated_user_id"),
    )
    return _stamped(drawn)


def _assignments(size: Size, courses: pl.DataFrame) -> pl.DataFrame:
    many = pl.concat([courses.with_columns(pl.lit(n).alias("n")) for n in range(size.assignments_per_course)])
    return _stamped(
        many.select(
            (pl.col("id") * 16 + pl.col("n")).cast(pl.Int64).alias("id"),
            pl.col("id").alias("course_id"),
            pl.format("Essay {}: “why?”", "n").alias("title"),
            pl.when(pl.col("n") != 0)
            .then(pl.lit('<p>Write, "in your own words".</p>\n<p>Thanks</p>'))
            .alias("description"),
            (pl.lit(EPOCH) + pl.duration(days=pl.col("n") * 14 - 7)).alias("due_at"),
            (pl.col("n") * 2.5 + 10).alias("points"),
            pl.lit("published").alias("state"),
        ).sort("id")
    )


def _stamped(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit(EPOCH - timedelta(days=30)).dt.cast_time_unit("us").alias("updated_at"))


def _pick(values: list[str], index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(values)).gather(index)
