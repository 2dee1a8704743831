"""The built-in models, each declared once.

Headers of the provisioning report come from Canvas's source code. Headers marked as assumed belong to proprietary
reports without public documentation; spelling is normalized, and a mapping can name other headers.
"""

from collections.abc import Iterable

from canvas_sync_dagster.catalogue.built_in.content import (
    content_migrations,
    context_module_items,
    context_modules,
    course_progresses,
)
from canvas_sync_dagster.catalogue.built_in.courses import (
    course_nicknames,
    courses,
    enrollments,
    group_categories,
    group_memberships,
    groups,
    sections,
)
from canvas_sync_dagster.catalogue.built_in.coursework import (
    assignment_groups,
    assignment_overrides,
    assignments,
    scores,
    submissions,
)
from canvas_sync_dagster.catalogue.built_in.organisation import (
    accounts,
    admins,
    grading_period_groups,
    grading_periods,
    roles,
    terms,
)
from canvas_sync_dagster.catalogue.built_in.outcomes import (
    learning_outcome_results,
    learning_outcomes,
    rubric_assessments,
    rubric_associations,
    rubrics,
)
from canvas_sync_dagster.catalogue.built_in.people import pseudonyms, user_observers, users
from canvas_sync_dagster.catalogue.model import Model

BUILT_IN: tuple[Model, ...] = (
    terms,
    accounts,
    roles,
    users,
    admins,
    pseudonyms,
    user_observers,
    grading_period_groups,
    grading_periods,
    courses,
    course_nicknames,
    sections,
    enrollments,
    group_categories,
    groups,
    group_memberships,
    assignment_groups,
    assignments,
    assignment_overrides,
    submissions,
    scores,
    context_modules,
    context_module_items,
    content_migrations,
    course_progresses,
    rubrics,
    rubric_associations,
    rubric_assessments,
    learning_outcomes,
    learning_outcome_results,
)
"""All models, parents before children; loads of one report follow this order."""

CARRIED_BY = {"xlist": "sections"}
"""Names without a table that users of the gem write in lists of models → the model that contains their data."""


def with_carriers(names: Iterable[str]) -> tuple[str, ...]:
    """Replace names without a table by the models that contain their data.

    >>> with_carriers(["users", "xlist", "sections"])
    ('users', 'sections')
    """
    return tuple(dict.fromkeys(CARRIED_BY.get(name, name) for name in names))
