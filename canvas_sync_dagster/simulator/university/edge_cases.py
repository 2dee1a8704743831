"""Rows that a sync must survive, put into every new university."""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.university.sizes import SHARD
from canvas_sync_dagster.simulator.university.state import University


def add_edge_cases(u: University, *, complete: bool) -> None:
    """Add the rows.

    Args:
        u: The new university.
        complete: Add those, too, which a larger university has by chance.
    """
    _add_rows(u)
    if complete:
        _add_what_chance_left_out(u)


def _add_rows(u: University) -> None:
    """Add rows that a sync must survive."""
    course, other = 2003, 2007
    u.set("courses", pl.col("id").is_in([course, other]), state="available", term_id=118)
    u.set("sections", pl.col("id") == course * 2 + 1, course_id=other, nonxlist_course_id=course)
    foreign = SHARD * 3 + 77
    first = u.enrollments.row(0, named=True)
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
    u.enrollments = pl.concat([pl.DataFrame(extra, schema=u.enrollments.schema), u.enrollments])
    user = {**u.users.row(0, named=True), "id": foreign, "first_name": "Plato", "last_name": ""}
    u.users = pl.concat([u.users, pl.DataFrame([user], schema=u.users.schema)])
    login = u.logins.row(0, named=True)
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
    u.logins = pl.concat([u.logins, pl.DataFrame(gone, schema=u.logins.schema)]).sort("user_id", "id")


def _add_what_chance_left_out(u: University) -> None:
    """Add rows that a small university may lack by chance."""
    u.set("courses", pl.col("id") == 2011, state="completed")
    u.set("courses", pl.col("id") == 2009, state="deleted")
    if u.users.join(u.logins, left_on="id", right_on="user_id", how="anti").is_empty():
        u.logins = u.logins.filter(pl.col("user_id") != 1010)
    for user, first in ((1011, True), (1012, False)):
        _two_logins(u, user, sis_first=first)


def _two_logins(u: University, user: int, *, sis_first: bool) -> None:
    live = u.logins.filter(pl.col("state") != "deleted")
    has = live.group_by("user_id", maintain_order=True).agg(pl.col("sis_id").is_not_null().alias("sis"))
    if [sis_first, not sis_first] in has.get_column("sis").to_list():
        return
    others = u.logins.filter(pl.col("user_id") != user)
    pair = [
        {**u.logins.row(0, named=True), "id": 450_000_000 + user * 2 + n, "user_id": user,
         "sis_id": f"S{user}" if (n == 0) == sis_first else None, "unique_id": f"u{user}-{n}", "state": "active"}
        for n in (0, 1)
    ]  # fmt: skip
    u.logins = pl.concat([others, pl.DataFrame(pair, schema=others.schema)]).sort("user_id", "id")
