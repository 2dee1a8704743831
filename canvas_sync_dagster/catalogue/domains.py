"""The domains of Canvas: what a model is about. Dagster groups the assets by them."""

from __future__ import annotations

from enum import StrEnum


class Domain(StrEnum):
    """What a model is about."""

    PEOPLE = "people"
    COURSES = "courses"
    COURSEWORK = "coursework"
    OUTCOMES = "outcomes"
    CONTENT = "content"
    ORGANISATION = "organisation"
    CUSTOM = "custom"
    """Tables, custom reports and steps of the user."""
