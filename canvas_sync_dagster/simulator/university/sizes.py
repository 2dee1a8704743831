"""Sizes of a university, and the numbers that all its tables share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

EPOCH = datetime(2026, 9, 1, 8, tzinfo=UTC)
"""When the simulated Canvas wakes up."""

ROOT_ACCOUNT = 1

SHARD = 10_000_000_000_000
"""Ids of another shard's objects are its number times this, plus their own."""

USERS_AT_MOST = 10_000_000
"""Room for users in a submission's id, which is made of its assignment's and its user's."""


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
