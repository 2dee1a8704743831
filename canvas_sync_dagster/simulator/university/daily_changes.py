"""Changes at a university as days pass; they depend on the seed and the day, not on the size of the steps."""

from __future__ import annotations

import random
from datetime import timedelta

import polars as pl

from canvas_sync_dagster.simulator.university.sizes import EPOCH
from canvas_sync_dagster.simulator.university.state import University


def advance(university: University, duration: timedelta) -> None:
    """Let time pass; rows change at the end of each whole day, however large the steps are.

    Raises:
        ValueError: The duration is negative.
    """
    if duration < timedelta(0):
        raise ValueError(f"the clock of the simulated Canvas cannot go back by {duration}")
    until = university.now + duration
    while (dawn := EPOCH + timedelta(days=university.days + 1)) <= until:
        university.now = dawn
        university.days += 1
        _pass_day(university, random.Random(f"{university.seed}:day {university.days}"))
    university.now = until


def _pass_day(university: University, dice: random.Random) -> None:
    _pass_day_of_enrollments(university, dice)
    course = dice.choice(university.courses.get_column("id").to_list())
    university.set(
        "courses",
        pl.col("id") == course,
        name=f"Renamed on day {university.days}, “again”",
        state=dice.choice(["available", "available", "completed", "deleted"]),
    )
    section = dice.choice(university.sections.get_column("id").to_list())
    _cross_list(university, section, dice.choice(university.courses.get_column("id").to_list()))
    user = dice.choice(university.users.get_column("id").to_list())
    university.set("users", pl.col("id") == user, last_name=f"Married-{university.days}")
    university.append(
        "logins",
        {
            "id": 2_000_000_000 + university.days,
            "user_id": user,
            "unique_id": f"day{university.days}@uni.test",
            "state": "active",
        },
    )
    university.logins = university.logins.sort("user_id", "id")
    if university.days % 5 == 0:
        login = dice.choice(university.logins.get_column("id").to_list())
        university.set("logins", pl.col("id") == login, state="deleted")
    if university.days % 30 == 0:
        _open_term(university)


def _pass_day_of_enrollments(university: University, dice: random.Random) -> None:
    share = max(1, university.size.enrollments // 100)
    sample = university.enrollments.sample(share, seed=dice.getrandbits(32)).get_column("id").implode()
    university.set("enrollments", pl.col("id").is_in(sample), state=dice.choice(["active", "completed", "deleted"]))
    newest = int(university.enrollments.get_column("id").max())  # type: ignore[arg-type]
    joiners = university.enrollments.sample(share, seed=dice.getrandbits(32)).with_columns(
        pl.int_range(newest + 1, newest + 1 + share, dtype=pl.Int64).alias("id"),
        pl.lit("active").alias("state"),
        pl.lit(university.now).alias("updated_at"),
    )
    university.enrollments = pl.concat([university.enrollments, joiners])


def _open_term(university: University) -> None:
    """Add a term with one course and its section, without enrollments."""
    term = int(university.terms.get_column("id").max()) + 1  # type: ignore[arg-type]
    course = int(university.courses.get_column("id").max()) + 1  # type: ignore[arg-type]
    ends = university.now + timedelta(days=110)
    university.append(
        "terms",
        {
            "id": term,
            "sis_id": f"T{term}",
            "name": f"Term {term}",
            "start_at": university.now,
            "end_at": ends,
            "state": "active",
        },
    )
    university.append("courses", {"id": course, "sis_id": f"CRS-{course}", "course_code": f"C{course}", "name": f"New {course}",
                             "state": "claimed", "account_id": 2, "term_id": term})  # fmt: skip
    university.append("sections", {"id": course * 2, "course_id": course, "name": "Section 0", "state": "active"})


def _cross_list(university: University, section: int, course: int) -> None:
    row = university.sections.row(by_predicate=pl.col("id") == section, named=True)
    home = row["nonxlist_course_id"]
    if home is not None:
        university.set("sections", pl.col("id") == section, course_id=home, nonxlist_course_id=None)
    elif row["course_id"] != course:
        university.set("sections", pl.col("id") == section, course_id=course, nonxlist_course_id=row["course_id"])
