"""Objects in the elements of Canvas's REST lists, with fields as the reports spell them. Pure.

Each function takes an element of a list and yields objects whose fields the columns of a model name with `api`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from canvas_sync_dagster.catalogue.model import Body

CONTENT_TYPES: Mapping[str, str] = {
    "File": "Attachment",
    "Page": "WikiPage",
    "Discussion": "DiscussionTopic",
    "Quiz": "Quizzes::Quiz",
    "SubHeader": "ContextModuleSubHeader",
    "ExternalTool": "ContextExternalTool",
}
"""Type of a module item in the API → class of its content in Canvas; the others are equal."""
OVERRIDDEN = (
    "due_at",
    "all_day",
    "all_day_date",
    "unlock_at",
    "lock_at",
    "student_ids",
    "group_id",
    "course_section_id",
)
"""Fields of an override that Canvas omits if they are not set."""
GRADES = (
    "current_score",
    "final_score",
    "unposted_current_score",
    "unposted_final_score",
    "override_score",
)


def grading_periods(period_set: Body) -> Iterator[Body]:
    """Yield the grading periods of a set; Canvas lists active ones only."""
    for period in period_set.get("grading_periods") or ():
        yield {"grading_period_group_id": period_set["id"], "workflow_state": "active", **period}


def active(body: Body) -> Iterator[Body]:
    """Yield an object of a list that contains active objects only."""
    yield {"workflow_state": "active", **body}


def assignment_groups(group: Body) -> Iterator[Body]:
    """Yield a group with its rules as text, one `name:value` per line, as Canvas stores them."""
    yield {**group, "workflow_state": "available", "rules": _rules(group.get("rules") or {})}


def _rules(rules: Mapping[str, object]) -> str | None:
    lines = [
        f"{name}:{value}\n"
        for name, given in rules.items()
        for value in (given if isinstance(given, list) else [given])
        if value not in (None, 0)
    ]
    return "".join(lines) or None


def assignments(assignment: Body) -> Iterator[Body]:
    """Yield an assignment with its submission types as text."""
    yield {
        **assignment,
        "context_type": "Course",
        "submission_type_names": ",".join(assignment.get("submission_types") or ()),
    }


def assignment_overrides(assignment: Body) -> Iterator[Body]:
    """Yield the overrides of an assignment. A date that an override does not set is null."""
    for override in assignment.get("overrides") or ():
        yield {
            **dict.fromkeys(OVERRIDDEN),
            "assignment_id": assignment["id"],
            "workflow_state": "active",
            **override,
        }


def course_scores(enrollment: Body) -> Iterator[Body]:
    """Yield the score of an enrollment for the whole course; Canvas's API has no id of it."""
    grades = enrollment.get("grades")
    if isinstance(grades, Mapping):
        # Canvas shows an override beside the grades.
        shown = {**enrollment, **grades}
        scores = {name: shown[name] for name in GRADES if name in shown}
        yield {**scores, "enrollment_id": enrollment["id"], "course_score": True, "workflow_state": "active",
               "grading_period_id": None, "assignment_group_id": None}  # fmt: skip


def modules(module: Body) -> Iterator[Body]:
    """Yield a module with the state that `published` shows."""
    yield {**module, "context_type": "Course", "workflow_state": _published(module)}


def module_items(module: Body) -> Iterator[Body]:
    """Yield the items of a module, with the class of their content in Canvas."""
    for item in module.get("items") or ():
        kind = str(item.get("type"))
        assignment = item.get("content_id") if kind == "Assignment" else None
        yield {
            "content_id": None,
            **item,
            "module_id": module["id"],
            "content_type": CONTENT_TYPES.get(kind, kind),
            "assignment_id": assignment,
            "workflow_state": _published(item),
        }


def _published(body: Body) -> str:
    # Canvas omits the field for a user who may not change the module, and then lists published objects only.
    return "active" if body.get("published", True) else "unpublished"


def course_progresses(user: Body) -> Iterator[Body]:
    """Yield the progress of a student, unless Canvas has an error in its place."""
    progress = user.get("progress")
    if isinstance(progress, Mapping) and "requirement_count" in progress:
        yield {**progress, "user_id": user["id"]}


def rubrics(rubric: Body) -> Iterator[Body]:
    """Yield a rubric with its criteria as JSON text."""
    context = f"{str(rubric.get('context_type')).lower()}_{rubric.get('context_id')}"
    yield {**rubric, "workflow_state": "active", "context_code": context, "data": _text(rubric.get("data"))}


def rubric_associations(rubric: Body) -> Iterator[Body]:
    """Yield the uses of a rubric."""
    for association in rubric.get("associations") or ():
        yield {**association, "summary_data": _text(association.get("summary_data")), "workflow_state": "active"}


def rubric_assessments(rubric: Body) -> Iterator[Body]:
    """Yield the assessments that were made with a rubric, with points and comments as JSON text."""
    for assessment in rubric.get("assessments") or ():
        yield {**assessment, "data": _text(assessment.get("data"))}


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
