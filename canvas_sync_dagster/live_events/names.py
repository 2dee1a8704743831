"""Names of Canvas's live events, so that a typing error is told from an event that is newer than this list."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import zip_longest

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
"""Those that Canvas documents."""
ALIKE = 0.7
"""Of `difflib`, from which a word counts as another one mistyped: `craeted` is 0.86 like `created`, `deleted` 0.57."""


def refuse_typing_errors(*names: object) -> None:
    """Checks names of events; one that resembles none of Canvas's may be new, and passes.

    Raises:
        SettingError: It is no name, or nearly that of an event.
    """
    for name in names:
        if not isinstance(name, str):
            allowed = 'names of events, as in @sync.subscribe("user_created"); @sync.subscribe() is every event'
            raise SettingError("live events", "this is no name of an event", allowed=allowed, value=name)
        if name not in NAMES and (meant := sorted(each for each in NAMES if _is_mistyped(name, each))):
            raise SettingError("live events", "there is no such event", allowed=" or ".join(meant), value=name)


def _is_mistyped(name: str, meant: str) -> bool:
    if name.replace("_", "").lower() == meant.replace("_", ""):
        return True
    pairs = list(zip_longest(name.lower().split("_"), meant.split("_"), fillvalue=""))
    return all(SequenceMatcher(None, given, word).ratio() >= ALIKE for given, word in pairs)
