"""A university as Canvas would hold it: seeded, deterministic, and changing only when its clock is advanced.

All tables are frames, and all chance is a hash of an id and the seed, so that the large one is as quick to make as the
small one is exact. Column names are Canvas's database names.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

EPOCH = datetime(2026, 9, 1, 8, tzinfo=UTC)
"""When the simulated Canvas wakes up."""
ROOT_ACCOUNT = 1
SHARD = 10_000_000_000_000
"""Ids of another shard's objects are its number times this, plus their own."""
USERS_AT_MOST = 10_000_000
"""Room for users in a submission's id, which is made of its assignment's and its user's."""

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


@dataclass(frozen=True, slots=True)
class Size:
    """How large a university is; submissions follow from enrollments and assignments."""

    users: int
    courses: int
    enrollments: int
    assignments_per_course: int


SIZES = {
    "small": Size(users=40, courses=24, enrollments=160, assignments_per_course=2),
    "medium": Size(users=60_000, courses=8_000, enrollments=400_000, assignments_per_course=5),
    "large": Size(users=600_000, courses=80_000, enrollments=4_000_000, assignments_per_course=5),
}


class University:
    """The tables of a simulated Canvas at its present moment.

    Args:
        size: `small`, `medium` or `large`.
        seed: Two universities of one size and seed are the same, and change in the same way.
    """

    def __init__(self, size: str = "small", *, seed: int = 1) -> None:
        self.size = SIZES[size]
        self.seed = seed
        self.now = EPOCH
        self.days = 0
        """Whole days that have passed since `EPOCH`."""
        self.accounts = self._accounts()
        self.terms = self._terms()
        self.users, self.logins = self._people()
        self.courses = self._courses()
        self.sections = self._sections()
        self.enrollments = self._enrollments()
        self.assignments = self._assignments()
        self._curiosities()
        if size == "small":
            self._certainties()

    def chance(self, column: str, salt: str, below: int) -> pl.Expr:
        """Returns a number from 0 up to a bound that is always the same for one id."""
        return pl.col(column).hash(random.Random(f"{self.seed}:{salt}").getrandbits(60)) % below

    def _accounts(self) -> pl.DataFrame:
        rows = [
            (1, None, None, "University of Simulation", "active"),
            (2, "arts", 1, "Faculty of Arts", "active"),
            (3, "sci", 1, "Faculty of Science & “Engineering”", "active"),
            (4, "phil", 2, "Philosophy, Logic", "active"),
            (5, None, 3, "Laboratory", "active"),
            (6, "old", 1, "Closed Institute", "deleted"),
        ]
        schema = {"id": pl.Int64, "sis_id": pl.String, "parent_id": pl.Int64, "name": pl.String, "state": pl.String}
        return self._stamped(pl.DataFrame(rows, schema=schema, orient="row"))

    def _terms(self) -> pl.DataFrame:
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
        return self._stamped(pl.DataFrame(rows, schema=schema, orient="row"))

    def _people(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        ids = pl.DataFrame({"id": pl.int_range(1001, 1001 + self.size.users, eager=True)})
        users = ids.with_columns(
            _pick(FIRST, self.chance("id", "first", len(FIRST))).alias("first_name"),
            _pick(LAST, self.chance("id", "last", len(LAST))).alias("last_name"),
        )
        logins = users.filter(self.chance("id", "no login", 40) != 0).select(
            (pl.col("id") + 500_000_000).alias("id"),
            pl.col("id").alias("user_id"),
            pl.when(self.chance("id", "sis", 5) != 0).then(pl.format("S{}", "id")).alias("sis_id"),
            pl.format("u{}@uni.test", "id").alias("unique_id"),
            pl.lit("active").alias("state"),
        )
        second = logins.filter(self.chance("user_id", "second", 10) == 0).select(
            pl.col("id") + 500_000_000,
            "user_id",
            pl.when(pl.col("sis_id").is_null()).then(pl.format("X{}", "user_id")).alias("sis_id"),
            pl.format("second-{}", "user_id").alias("unique_id"),
            pl.lit("active").alias("state"),
        )
        return self._stamped(users), self._stamped(pl.concat([logins, second]).sort("user_id", "id"))

    def _courses(self) -> pl.DataFrame:
        ids = pl.DataFrame({"id": pl.int_range(2001, 2001 + self.size.courses, eager=True)})
        return self._stamped(
            ids.select(
                "id",
                pl.when(self.chance("id", "sis", 6) != 0).then(pl.format("CRS-{}", "id")).alias("sis_id"),
                pl.format("C{}", "id").alias("course_code"),
                pl.format("{} {}", _pick(SUBJECTS, self.chance("id", "subject", len(SUBJECTS))), "id").alias("name"),
                _pick(["available"] * 7 + ["claimed", "completed", "deleted"], self.chance("id", "state", 10)).alias(
                    "state"
                ),
                (self.chance("id", "account", 4) + 2).cast(pl.Int64).alias("account_id"),
                pl.Series([116, 117, 118, 1]).gather(ids.get_column("id") % 4).alias("term_id"),
                pl.when(self.chance("id", "dated", 3) == 0).then(pl.lit(EPOCH - timedelta(days=20))).alias("start_at"),
                pl.when(self.chance("id", "dated", 3) == 0).then(pl.lit(EPOCH + timedelta(days=100))).alias("end_at"),
            )
        )

    def _sections(self) -> pl.DataFrame:
        both = pl.concat([self.courses.with_columns(pl.lit(n).alias("n")) for n in (0, 1)])
        return self._stamped(
            both.select(
                (pl.col("id") * 2 + pl.col("n")).cast(pl.Int64).alias("id"),
                pl.when(pl.col("sis_id").is_not_null()).then(pl.format("SEC-{}-{}", "id", "n")).alias("sis_id"),
                pl.col("id").alias("course_id"),
                pl.lit(None, dtype=pl.Int64).alias("nonxlist_course_id"),
                pl.format("Section {}, room “{}”", "n", "id").alias("name"),
                pl.lit("active").alias("state"),
            ).sort("id")
        )

    def _enrollments(self) -> pl.DataFrame:
        ids = pl.DataFrame({"id": pl.int_range(5_000_001, 5_000_001 + self.size.enrollments, eager=True)})
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
            (self.chance("id", "section", self.size.courses * 2) + 4002).cast(pl.Int64).alias("section_id"),
            (self.chance("id", "user", self.size.users) + 1001).cast(pl.Int64).alias("user_id"),
            _pick(kinds, self.chance("id", "kind", len(kinds))).alias("type"),
            _pick(states, self.chance("id", "state", len(states))).alias("state"),
            (self.chance("id", "batch", 5) != 0).alias("by_sis"),
            pl.lit(None, dtype=pl.Int64).alias("associated_user_id"),
        )
        return self._stamped(drawn)

    def _assignments(self) -> pl.DataFrame:
        many = pl.concat(
            [self.courses.with_columns(pl.lit(n).alias("n")) for n in range(self.size.assignments_per_course)]
        )
        return self._stamped(
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

    def _curiosities(self) -> None:
        """Puts in on purpose what a sync must survive."""
        course, other = 2003, 2007
        self.set("courses", pl.col("id").is_in([course, other]), state="available", term_id=118)
        self.set("sections", pl.col("id") == course * 2 + 1, course_id=other, nonxlist_course_id=course)
        foreign = SHARD * 3 + 77
        first = self.enrollments.row(0, named=True)
        section = course * 2
        extra = [
            {**first, "id": 4_000_001, "section_id": section, "user_id": 1002, "state": "deleted", "by_sis": True},
            {**first, "id": 4_000_002, "section_id": section, "user_id": 1002, "state": "active"},
            {**first, "id": 4_000_003, "section_id": section, "user_id": foreign, "state": "active"},
            {**first, "id": 4_000_004, "section_id": section, "user_id": 1003, "type": "ObserverEnrollment", "state": "active"},
            {**first, "id": 4_000_005, "section_id": section, "user_id": 1003, "type": "ObserverEnrollment", "state": "active",
             "associated_user_id": 1002},
            {**first, "id": 4_000_006, "section_id": section, "user_id": 1004, "state": "creation_pending"},
        ]  # fmt: skip
        self.enrollments = pl.concat([pl.DataFrame(extra, schema=self.enrollments.schema), self.enrollments])
        user = {**self.users.row(0, named=True), "id": foreign, "first_name": "Plato", "last_name": ""}
        self.users = pl.concat([self.users, pl.DataFrame([user], schema=self.users.schema)])
        login = self.logins.row(0, named=True)
        gone = [
            {**login, "id": 400_000_001, "user_id": foreign, "sis_id": None, "unique_id": "plato@uni.test"},
            {
                **login,
                "id": 400_000_002,
                "user_id": 1005,
                "sis_id": "GONE-1",
                "unique_id": "gone-1",
                "state": "deleted",
            },
            {**login, "id": 400_000_003, "user_id": 1006, "sis_id": None, "unique_id": "gone-2", "state": "deleted"},
        ]
        self.logins = pl.concat([self.logins, pl.DataFrame(gone, schema=self.logins.schema)]).sort("user_id", "id")

    def _certainties(self) -> None:
        """Puts in what chance may have left out of a small university."""
        self.set("courses", pl.col("id") == 2011, state="completed")
        self.set("courses", pl.col("id") == 2009, state="deleted")
        if self.users.join(self.logins, left_on="id", right_on="user_id", how="anti").is_empty():
            self.logins = self.logins.filter(pl.col("user_id") != 1010)
        for user, first in ((1011, True), (1012, False)):
            self._two_logins(user, sis_first=first)

    def _two_logins(self, user: int, *, sis_first: bool) -> None:
        live = self.logins.filter(pl.col("state") != "deleted")
        has = live.group_by("user_id", maintain_order=True).agg(pl.col("sis_id").is_not_null().alias("sis"))
        if [sis_first, not sis_first] in has.get_column("sis").to_list():
            return
        others = self.logins.filter(pl.col("user_id") != user)
        pair = [
            {**self.logins.row(0, named=True), "id": 450_000_000 + user * 2 + n, "user_id": user,
             "sis_id": f"S{user}" if (n == 0) == sis_first else None, "unique_id": f"u{user}-{n}", "state": "active"}
            for n in (0, 1)
        ]  # fmt: skip
        self.logins = pl.concat([others, pl.DataFrame(pair, schema=others.schema)]).sort("user_id", "id")

    def subtree(self, account: int) -> list[int]:
        """Returns an account and all below it."""
        parents = dict(self.accounts.select("id", "parent_id").rows())
        found = [account]
        for each in found:
            found += [child for child, parent in parents.items() if parent == each]
        return found

    def submissions(self, term_id: int | None = None) -> pl.DataFrame:
        """Returns what students handed in up to now; follows from enrollments, assignments and the clock."""
        courses = self.courses.filter(pl.col("term_id") == term_id) if term_id is not None else self.courses
        students = self.enrollments.filter(
            (pl.col("type") == "StudentEnrollment") & (pl.col("state") != "deleted")
        ).join(self.sections.select(section_id="id", course_id="course_id"), on="section_id")
        # Whoever sits in two sections of a course hands in once.
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
        """Adds a row to a table, as of now; what is not named is null."""
        frame: pl.DataFrame = getattr(self, table)
        whole = dict.fromkeys(frame.columns) | row | {"updated_at": self.now}
        setattr(self, table, pl.concat([frame, pl.DataFrame([whole], schema=frame.schema)]))

    def set(self, table: str, where: pl.Expr, **values: object) -> None:
        """Changes rows of a table, as of now."""
        frame: pl.DataFrame = getattr(self, table)
        changed = {**values, "updated_at": self.now}
        columns = [
            pl.when(where).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name)).alias(name)
            for name, value in changed.items()
        ]
        setattr(self, table, frame.with_columns(columns))

    def _stamped(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.lit(EPOCH - timedelta(days=30)).dt.cast_time_unit("us").alias("updated_at"))


def _pick(values: list[str], index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(values)).gather(index)
