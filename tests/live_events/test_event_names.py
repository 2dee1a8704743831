"""A mistyped event name causes a warning; an unknown one may be a new event of Canvas."""

from __future__ import annotations

import warnings

import pytest

from canvas_sync_dagster.live_events.event_names import NAMES, check_event_names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user_craeted", "user_created"),
        ("user_create", "user_created"),
        ("CourseUpdated", "course_updated"),
        ("submission_updatd", "submission_updated"),
        ("enrollement_created", "enrollment_created"),
    ],
)
def test_a_name_that_resembles_an_event_causes_a_warning(name: str, meant: str) -> None:
    with pytest.warns(UserWarning, match=f"'{name}' .*'{meant}'"):
        check_event_names(name)


def test_documented_and_new_events_cause_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_event_names(*NAMES)
        check_event_names("user_deleted", "course_archived", "quizzes_next_cloned", "something_else_entirely")
