"""Names of Canvas's live events, to warn about a name that is probably mistyped."""

from __future__ import annotations

import warnings
from difflib import get_close_matches

from canvas_sync_dagster.errors import SettingError

NAMES = frozenset(
    """
    account_created account_notification_created account_updated asset_accessed assignment_created
    assignment_group_created assignment_group_updated assignment_override_created assignment_override_updated
    assignment_updated attachment_created attachment_deleted attachment_updated content_migration_completed
    content_migration_started conversation_created conversation_forwarded conversation_message_created
    course_completed course_created course_grade_change course_progress course_section_created
    course_section_updated course_updated discussion_entry_created discussion_entry_submitted
    discussion_topic_created discussion_topic_updated enrollment_created enrollment_state_created
    enrollment_state_updated enrollment_updated final_grade_custom_status grade_change grade_override
    group_category_created group_category_updated group_created group_membership_created group_membership_updated
    group_updated learning_outcome_created learning_outcome_group_created learning_outcome_group_updated
    learning_outcome_link_created learning_outcome_link_updated learning_outcome_result_created
    learning_outcome_result_updated learning_outcome_updated logged_in logged_out lti_resource_link_created
    lti_resource_link_updated master_migration_started module_created module_item_created module_item_updated
    module_updated outcome_calculation_method_created outcome_calculation_method_updated outcome_proficiency_created
    outcome_proficiency_updated outcomes_retry_outcome_alignment_clone plagiarism_resubmit quiz_created
    quiz_submitted quiz_updated rubric_assessed sis_batch_created sis_batch_updated submission_comment_created
    submission_created submission_custom_grade_status submission_updated syllabus_updated
    user_account_association_created user_created user_updated wiki_page_created wiki_page_deleted wiki_page_updated
    """.split()  # noqa: SIM905 (a hundred pairs of quotes would hide the names)
)
"""Events that Canvas documents; Canvas adds new ones."""
LIKENESS = 0.9
"""Of `difflib`, above which a name resembles another one: `user_craeted` has 0.92 to `user_created`; of the documented
names, few that belong together have more, such as `quiz_created` and `quiz_updated` with 0.83."""


def check_event_names(*names: object) -> None:
    """Warn about names that resemble an event of Canvas; other unknown names may be new events.

    Args:
        names: Names as they were registered.

    Raises:
        SettingError: A name is not a string, as with `@sync.subscribe` without parentheses.
    """
    for name in names:
        if not isinstance(name, str):
            allowed = 'names of events, as in @sync.subscribe("user_created"); @sync.subscribe() is every event'
            raise SettingError("live events", "expected the name of an event", allowed=allowed, value=name)
        if name not in NAMES and (similar := _similar(name)):
            warnings.warn(
                f"{name!r} is not a documented live event of Canvas; did you mean {similar!r}? It is registered as it is.",
                stacklevel=3,
            )


def _similar(name: str) -> str | None:
    """Return the documented event that a name resembles, also if it was written as a class name."""
    joined = {each.replace("_", ""): each for each in NAMES}
    found = get_close_matches(name.replace("_", "").lower(), joined, n=1, cutoff=LIKENESS)
    return joined[found[0]] if found else None
