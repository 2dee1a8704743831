"""Find the rows of one course, or the logins of one user, without a search through whole tables."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import polars as pl

from canvas_sync_dagster.simulator.university.state import University

TABLES = ("courses", "sections", "enrollments", "assignments", "logins", "users")


class CourseIndex:
    """The tables of a university, sorted by course, or by user.

    A table is replaced as a whole when it changes, so an index holds the tables that it was made from.

    Args:
        university: At its present moment.
    """

    def __init__(self, university: University) -> None:
        self._made_from = _tables(university)
        homes = university.sections.select(section_id="id", course_id="course_id")
        enrollments = university.enrollments.join(homes, on="section_id", maintain_order="left")
        self._frames: Mapping[str, tuple[pl.DataFrame, pl.Series]] = {
            "courses": _sorted(university.courses, "id"),
            "sections": _sorted(university.sections, "course_id"),
            "enrollments": _sorted(enrollments, "course_id", keep=university.enrollments.columns),
            "assignments": _sorted(university.assignments, "course_id"),
            "logins": _sorted(university.logins, "user_id"),
        }
        self.users = frozenset(university.users.get_column("id").to_list())

    def is_of(self, university: University) -> bool:
        """Return whether no table was replaced since the index was made."""
        return all(old is new for old, new in zip(self._made_from, _tables(university), strict=True))

    def rows(self, table: str, number: int) -> pl.DataFrame:
        """Return the rows of a course; of `logins`, those of a user."""
        frame, keys = self._frames[table]
        start = int(keys.search_sorted(number, "left"))
        return frame.slice(start, int(keys.search_sorted(number, "right")) - start)


_INDEXES: WeakKeyDictionary[University, CourseIndex] = WeakKeyDictionary()


def index_of(university: University) -> CourseIndex:
    """Return the index of a university, which is made again after a change."""
    index = _INDEXES.get(university)
    if index is None or not index.is_of(university):
        index = _INDEXES[university] = CourseIndex(university)
    return index


def of_course(university: University, course: int) -> University:
    """Return a copy with one course and its contents only, so that its objects are quick to find."""
    index, narrow = index_of(university), copy.copy(university)
    for table in ("courses", "sections", "enrollments", "assignments"):
        setattr(narrow, table, index.rows(table, course))
    return narrow


def of_courses(university: University, courses: pl.Series) -> University:
    """Return a copy with these courses and their contents only."""
    narrow = copy.copy(university)
    narrow.courses = university.courses.filter(pl.col("id").is_in(courses.implode()))
    narrow.assignments = university.assignments.filter(pl.col("course_id").is_in(courses.implode()))
    narrow.sections = university.sections.filter(pl.col("course_id").is_in(courses.implode()))
    homes = narrow.sections.get_column("id").implode()
    narrow.enrollments = university.enrollments.filter(pl.col("section_id").is_in(homes))
    return narrow


def _tables(university: University) -> list[pl.DataFrame]:
    return [getattr(university, name) for name in TABLES]


def _sorted(frame: pl.DataFrame, key: str, keep: list[str] | None = None) -> tuple[pl.DataFrame, pl.Series]:
    ordered = frame.sort(key, maintain_order=True)
    return ordered.select(keep) if keep else ordered, ordered.get_column(key)
