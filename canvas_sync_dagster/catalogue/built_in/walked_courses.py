"""What the walks over the lists of courses share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

COURSES: Final = "/accounts/{account_id}/courses"
"""List of the courses of the account and of the accounts below it; Canvas omits deleted ones."""
ACTIVITY: Final = (
    ("submissions", "canvas_course_id"),
    ("enrollments", "canvas_course_id"),
    ("assignments", "canvas_context_id"),
)
"""Rows whose change shows that somebody works in a course: reports, walks and live events write them."""
RUNNING: Mapping[str, str] = MappingProxyType({"completed": "imported", "running": "importing"})
"""State of a content migration in the API → in Canvas."""
