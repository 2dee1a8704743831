"""The tables of a university as Canvas would hold them; they change only when the clock is advanced.

All tables are Polars frames, and every random choice is a hash of an id and the seed: a large university is quick to
make, and a small one is exact. Column names are those of Canvas's database.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime

import polars as pl

from canvas_sync_dagster.simulator.university.sizes import EPOCH, USERS_AT_MOST, Size

Chance = Callable[[str, str, int], pl.Expr]


def chance_of(seed: int) -> Chance:
    """Return a function that draws numbers.

    Returns:
        `chance(column, salt, below)`: a number from 0 to below `below` that depends on the seed, the salt and the
        value in the column only.
    """

    def chance(column: str, salt: str, below: int) -> pl.Expr:
        return pl.col(column).hash(random.Random(f"{seed}:{salt}").getrandbits(60)) % below

    return chance


@dataclass(eq=False)
class University:
    """The tables of a simulated Canvas at its present moment.

    Attributes:
        size: Number of users, courses and so on at the beginning.
        seed: Decides all that is random.
        now: Canvas's clock.
        days: Whole days that have passed since `EPOCH`.
        changes: How often a share of the rows was changed.
    """

    size: Size
    seed: int
    accounts: pl.DataFrame
    terms: pl.DataFrame
    users: pl.DataFrame
    logins: pl.DataFrame
    courses: pl.DataFrame
    sections: pl.DataFrame
    enrollments: pl.DataFrame
    assignments: pl.DataFrame
    now: datetime = EPOCH
    days: int = 0
    changes: int = 0

    def chance(self, column: str, salt: str, below: int) -> pl.Expr:
        """Return a number from 0 to below a bound that is always the same for one value of the column."""
        return chance_of(self.seed)(column, salt, below)

    def subtree(self, account: int) -> list[int]:
        """Return the ids of an account and of all accounts below it."""
        parents = dict(self.accounts.select("id", "parent_id").rows())
        found = [account]
        for each in found:
            found += [child for child, parent in parents.items() if parent == each]
        return found

    def submissions(self, term_id: int | None = None) -> pl.DataFrame:
        """Return one row per student and assignment; states follow from the clock.

        Args:
            term_id: Only of courses in this term; all terms if not given.
        """
        courses = self.courses.filter(pl.col("term_id") == term_id) if term_id is not None else self.courses
        students = self.enrollments.filter(
            (pl.col("type") == "StudentEnrollment") & (pl.col("state") != "deleted")
        ).join(self.sections.select(section_id="id", course_id="course_id"), on="section_id")
        # A student in two sections of a course submits once.
        students = students.sort("id").unique(["course_id", "user_id"], keep="first", maintain_order=True)
        tasks = self.assignments.join(courses.select(course_id="id"), on="course_id", how="semi")
        pairs = students.select("course_id", "section_id", "user_id", joined_at="updated_at").join(
            tasks.select("course_id", "due_at", "points", assignment_id="id"), on="course_id"
        )
        rows = pairs.with_columns(
            (pl.col("assignment_id") * USERS_AT_MOST + pl.col("user_id") % USERS_AT_MOST).alias("id")
        ).with_columns(
            (pl.col("due_at") - pl.duration(hours=self.chance("id", "early", 72))).alias("submitted_at"),
            (pl.col("due_at") + pl.duration(hours=self.chance("id", "graded", 240))).alias("graded_at"),
            (self.chance("id", "score", 41).cast(pl.Float64) / 40 * pl.col("points")).round(2).alias("score"),
            (self.chance("id", "excused", 50) == 0).alias("excused"),
        )
        submitted, graded = pl.col("submitted_at") <= self.now, pl.col("graded_at") <= self.now
        return rows.with_columns(
            pl.when(submitted).then("submitted_at").alias("submitted_at"),
            pl.when(graded).then("graded_at").alias("graded_at"),
            pl.when(graded).then("score").alias("score"),
            pl.when(graded).then(pl.lit("graded")).when(submitted).then(pl.lit("submitted")).otherwise(pl.lit("unsubmitted")).alias("state"),
            pl.max_horizontal("joined_at", pl.when(graded).then("graded_at").when(submitted).then("submitted_at")).alias("updated_at"),
        ).drop("joined_at").sort("id")  # fmt: skip

    def append(self, table: str, row: dict[str, object]) -> None:
        """Add a row to a table at the current time; columns that are not named are null.

        Raises:
            ValueError: The table, or a column of the row, does not exist.
        """
        frame = self._table(table, row)
        whole = dict.fromkeys(frame.columns) | row | {"updated_at": self.now}
        setattr(self, table, pl.concat([frame, pl.DataFrame([whole], schema=frame.schema)]))

    def _table(self, name: str, columns: Iterable[str]) -> pl.DataFrame:
        tables = [each.name for each in fields(self) if isinstance(getattr(self, each.name), pl.DataFrame)]
        if name not in tables:
            raise ValueError(f"the simulated Canvas has no table {name!r}; it has {', '.join(tables)}")
        frame: pl.DataFrame = getattr(self, name)
        if unknown := [column for column in columns if column not in frame.columns]:
            raise ValueError(
                f"the table {name} of the simulated Canvas has no column {unknown[0]!r}; it has {', '.join(frame.columns)}"
            )
        return frame

    def set(self, table: str, where: pl.Expr, **values: object) -> None:
        """Change rows of a table at the current time.

        Args:
            table: Such as `courses`.
            where: Condition for the rows.
            values: Column → new value.

        Raises:
            ValueError: The table, or a column of `values`, does not exist.
        """
        frame = self._table(table, values)
        changed = {**values, "updated_at": self.now}
        columns = [
            pl.when(where).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name)).alias(name)
            for name, value in changed.items()
        ]
        setattr(self, table, frame.with_columns(columns))
