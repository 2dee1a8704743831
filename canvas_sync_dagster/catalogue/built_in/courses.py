"""Courses, their sections and groups, and who is in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import bigint, text, time
from canvas_sync_dagster.catalogue.model import Enrichment, Events, Model, ProvisioningFeed, RestFeed, Suffices

COURSE_STATES = MappingProxyType(
    {"claimed": "unpublished", "created": "unpublished", "available": "active", "completed": "concluded"}
)
ENROLLMENT_STATES = MappingProxyType({"creation_pending": "invited", "completed": "concluded"})
ROLES = MappingProxyType(
    {
        "StudentEnrollment": "student",
        "TeacherEnrollment": "teacher",
        "TaEnrollment": "ta",
        "DesignerEnrollment": "designer",
        "ObserverEnrollment": "observer",
    }
)

courses = Model(
    name="courses",
    parents=("terms", "accounts"),
    comment="Courses of a term.",
    feed=ProvisioningFeed(
        "courses",
        beside=(
            "integration_id",
            "account_id",
            "term_id",
            "course_format",
            "canvas_blueprint_course_id",
            "blueprint_course_id",
            "created_by_sis",
        ),
    ),
    term_scoped=True,
    term_by=("canvas_term_id",),
    single="/courses/{canvas_id}",
    events=Events(("course_created", "course_updated")),
    columns=(
        bigint("canvas_id", "canvas_course_id", "id", "course_id", comment="Canvas id of the course."),
        text("sis_id", "course_id", "sis_course_id"),
        text("course_code", "short_name", "course_code"),
        text("name", "long_name", "name", "name"),
        text(
            "workflow_state",
            "status",
            "workflow_state",
            "workflow_state",
            folds=COURSE_STATES,
            comment="unpublished, active, concluded or deleted, as reports spell it.",
        ),
        bigint("canvas_account_id", "canvas_account_id", "account_id", "account_id", indexed=True),
        bigint("canvas_term_id", "canvas_term_id", "enrollment_term_id", indexed=True),
        time("start_at", "start_date", "start_at"),
        time("end_at", "end_date", "end_at"),
        bigint("grading_standard_id", "grading_standard_id", "grading_standard_id", optional=True),
    ),
)

course_nicknames = Model(
    name="course_nicknames",
    parents=("users",),
    comment="What the token's user calls courses. Canvas shows nobody else's.",
    feed=RestFeed("/users/self/course_nicknames", per="self", inject="canvas_user_id"),
    key=("canvas_user_id", "canvas_course_id"),
    columns=(
        bigint("canvas_user_id", comment="Canvas id of the user."),
        bigint("canvas_course_id", api="course_id", comment="Canvas id of the course."),
        text("name", api="name"),
        text("nickname", api="nickname"),
    ),
)

sections = Model(
    name="sections",
    parents=("courses",),
    comment="Sections of courses.",
    feed=ProvisioningFeed(
        "sections",
        enrichments=(
            Enrichment(
                "xlist",
                key="canvas_section_id",
                columns=MappingProxyType({"canvas_nonxlist_course_id": "canvas_nonxlist_course_id"}),
            ),
        ),
        beside=("course_id", "integration_id", "canvas_account_id", "account_id", "created_by_sis"),
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    single="/sections/{canvas_id}",
    events=Events(("course_section_created", "course_section_updated"), Suffices.FOR_KNOWN_ROWS),
    carries=(("enrollments", "canvas_section_id", "canvas_course_id"),),
    columns=(
        bigint("canvas_id", "canvas_section_id", "id", "course_section_id", comment="Canvas id of the section."),
        text("sis_id", "section_id", "sis_section_id", "sis_source_id"),
        bigint("canvas_course_id", "canvas_course_id", "course_id", "course_id", indexed=True),
        bigint(
            "canvas_nonxlist_course_id",
            None,
            "nonxlist_course_id",
            "nonxlist_course_id",
            comment="Course that a cross-listed section was made in; null when it is not cross-listed.",
        ),
        text("name", "name", "name", "name"),
        text("workflow_state", "status", None, "workflow_state"),
        time("start_at", "start_date", "start_at", "start_at"),
        time("end_at", "end_date", "end_at", "end_at"),
    ),
)

enrollments = Model(
    name="enrollments",
    parents=("courses", "sections", "users"),
    comment="Who takes part in which section, as what.",
    feed=ProvisioningFeed(
        "enrollments",
        beside=(
            "section_id",
            "canvas_associated_user_id",
            "associated_user_id",
            "created_by_sis",
            "limit_section_privileges",
            "canvas_temporary_enrollment_source_user_id",
            "temporary_enrollment_source_user_id",
            "root_account",
        ),
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    single="/accounts/{account_id}/enrollments/{canvas_id}",
    events=Events(("enrollment_created", "enrollment_updated"), Suffices.FOR_KNOWN_ROWS),
    columns=(
        bigint("canvas_id", "canvas_enrollment_id", "id", "enrollment_id", comment="Canvas id of the enrollment."),
        bigint("canvas_course_id", "canvas_course_id", "course_id", "course_id", indexed=True),
        text("course_sis_id", "course_id", "sis_course_id"),
        bigint("canvas_user_id", "canvas_user_id", "user_id", "user_id", indexed=True),
        text("user_sis_id", "user_id", "sis_user_id"),
        text("role", "role", "role", folds=ROLES),
        bigint("canvas_role_id", "role_id", "role_id"),
        bigint("canvas_section_id", "canvas_section_id", "course_section_id", "course_section_id", indexed=True),
        text("workflow_state", "status", "enrollment_state", "workflow_state", folds=ENROLLMENT_STATES),
        text("base_role_type", "base_role_type", "type", "type"),
    ),
)

group_categories = Model(
    name="group_categories",
    comment="Sets of groups.",
    feed=ProvisioningFeed("group_categories"),
    single="/group_categories/{canvas_id}",
    events=Events(("group_category_created", "group_category_updated")),
    columns=(
        bigint("canvas_id", "canvas_group_category_id", "id", "group_category_id", comment="Canvas id of the set."),
        text("sis_id", "group_category_id", "sis_group_category_id"),
        bigint("context_id", "context_id", None, "context_id"),
        text("context_type", "context_type", "context_type", "context_type"),
        text("name", "name", "name", "group_category_name"),
        text("role", "role", "role"),
        text("self_signup", "self_signup", "self_signup"),
        bigint("group_limit", "group_limit", "group_limit", "group_limit"),
        text("auto_leader", "auto_leader", "auto_leader"),
        text("workflow_state", "status"),
    ),
)

groups = Model(
    name="groups",
    parents=("group_categories",),
    comment="Groups of accounts and courses.",
    feed=ProvisioningFeed("groups", beside=("account_id", "course_id", "created_by_sis")),
    single="/groups/{canvas_id}",
    events=Events(("group_created", "group_updated"), Suffices.FOR_KNOWN_ROWS),
    columns=(
        bigint("canvas_id", "canvas_group_id", "id", "group_id", comment="Canvas id of the group."),
        text("sis_id", "group_id", "sis_group_id"),
        bigint("canvas_group_category_id", "canvas_group_category_id", "group_category_id", "group_category_id"),
        text("group_category_sis_id", "group_category_id"),
        bigint("canvas_account_id", "canvas_account_id", "account_id", indexed=True),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        text("name", "name", "name", "group_name"),
        text("workflow_state", "status", None, "workflow_state"),
        bigint("context_id", "context_id", None, "context_id"),
        text("context_type", "context_type", "context_type", "context_type"),
        bigint("max_membership", "max_membership", "max_membership", "max_membership"),
    ),
)

group_memberships = Model(
    name="group_memberships",
    parents=("groups", "users"),
    comment="Who is in which group. The stock report tells no id of a membership, so that the pair is the key.",
    feed=ProvisioningFeed("group_membership", beside=("created_by_sis",)),
    key=("canvas_group_id", "canvas_user_id"),
    single="/groups/{canvas_group_id}/users/{canvas_user_id}",
    events=Events(("group_membership_created", "group_membership_updated"), Suffices.ALWAYS),
    columns=(
        bigint(
            "canvas_id",
            "canvas_group_membership_id",
            "id",
            "group_membership_id",
            comment="Canvas id of the membership; null where only the stock report spoke of it.",
            indexed=True,
            optional=True,
        ),
        bigint("canvas_group_id", "canvas_group_id", "group_id", "group_id", comment="Canvas id of the group."),
        text("group_sis_id", "group_id"),
        bigint(
            "canvas_user_id", "canvas_user_id", "user_id", "user_id", comment="Canvas id of the user.", indexed=True
        ),
        text("user_sis_id", "user_id"),
        text("workflow_state", "status", "workflow_state", "workflow_state"),
    ),
)
