"""Courses, their sections and groups, and who is in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import BIGINT, TEXT, TIMESTAMP, column
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
        ignored=(
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
        column(
            "canvas_id",
            BIGINT,
            report="canvas_course_id",
            api="id",
            event="course_id",
            comment="Canvas id of the course.",
        ),
        column("sis_id", TEXT, report="course_id", api="sis_course_id"),
        column("course_code", TEXT, report="short_name", api="course_code"),
        column("name", TEXT, report="long_name", api="name", event="name"),
        column(
            "workflow_state",
            TEXT,
            report="status",
            api="workflow_state",
            event="workflow_state",
            folds=COURSE_STATES,
            comment="unpublished, active, concluded or deleted, as reports spell it.",
        ),
        column(
            "canvas_account_id", BIGINT, report="canvas_account_id", api="account_id", event="account_id", indexed=True
        ),
        column("canvas_term_id", BIGINT, report="canvas_term_id", api="enrollment_term_id", indexed=True),
        column("start_at", TIMESTAMP, report="start_date", api="start_at"),
        column("end_at", TIMESTAMP, report="end_date", api="end_at"),
        column("grading_standard_id", BIGINT, report="grading_standard_id", api="grading_standard_id", optional=True),
    ),
)

course_nicknames = Model(
    name="course_nicknames",
    parents=("users",),
    comment="What the token's user calls courses. Canvas shows nobody else's.",
    feed=RestFeed("/users/self/course_nicknames", per="self", inject="canvas_user_id"),
    key=("canvas_user_id", "canvas_course_id"),
    columns=(
        column("canvas_user_id", BIGINT, comment="Canvas id of the user."),
        column("canvas_course_id", BIGINT, api="course_id", comment="Canvas id of the course."),
        column("name", TEXT, api="name"),
        column("nickname", TEXT, api="nickname"),
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
        ignored=("course_id", "integration_id", "canvas_account_id", "account_id", "created_by_sis"),
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    single="/sections/{canvas_id}",
    events=Events(("course_section_created", "course_section_updated"), Suffices.FOR_KNOWN_ROWS),
    carries=(("enrollments", "canvas_section_id", "canvas_course_id"),),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_section_id",
            api="id",
            event="course_section_id",
            comment="Canvas id of the section.",
        ),
        column("sis_id", TEXT, report="section_id", api="sis_section_id", event="sis_source_id"),
        column("canvas_course_id", BIGINT, report="canvas_course_id", api="course_id", event="course_id", indexed=True),
        column(
            "canvas_nonxlist_course_id",
            BIGINT,
            api="nonxlist_course_id",
            event="nonxlist_course_id",
            comment="Course that a cross-listed section was made in; null when it is not cross-listed.",
        ),
        column("name", TEXT, report="name", api="name", event="name"),
        column("workflow_state", TEXT, report="status", event="workflow_state"),
        column("start_at", TIMESTAMP, report="start_date", api="start_at", event="start_at"),
        column("end_at", TIMESTAMP, report="end_date", api="end_at", event="end_at"),
    ),
)

enrollments = Model(
    name="enrollments",
    parents=("courses", "sections", "users"),
    comment="Who takes part in which section, as what.",
    feed=ProvisioningFeed(
        "enrollments",
        ignored=(
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
        column(
            "canvas_id",
            BIGINT,
            report="canvas_enrollment_id",
            api="id",
            event="enrollment_id",
            comment="Canvas id of the enrollment.",
        ),
        column("canvas_course_id", BIGINT, report="canvas_course_id", api="course_id", event="course_id", indexed=True),
        column("course_sis_id", TEXT, report="course_id", api="sis_course_id"),
        column("canvas_user_id", BIGINT, report="canvas_user_id", api="user_id", event="user_id", indexed=True),
        column("user_sis_id", TEXT, report="user_id", api="sis_user_id"),
        column("role", TEXT, report="role", api="role", folds=ROLES),
        column("canvas_role_id", BIGINT, report="role_id", api="role_id"),
        column(
            "canvas_section_id",
            BIGINT,
            report="canvas_section_id",
            api="course_section_id",
            event="course_section_id",
            indexed=True,
        ),
        column(
            "workflow_state",
            TEXT,
            report="status",
            api="enrollment_state",
            event="workflow_state",
            folds=ENROLLMENT_STATES,
        ),
        column("base_role_type", TEXT, report="base_role_type", api="type", event="type"),
    ),
)

group_categories = Model(
    name="group_categories",
    comment="Sets of groups.",
    feed=ProvisioningFeed("group_categories"),
    single="/group_categories/{canvas_id}",
    events=Events(("group_category_created", "group_category_updated")),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_group_category_id",
            api="id",
            event="group_category_id",
            comment="Canvas id of the set.",
        ),
        column("sis_id", TEXT, report="group_category_id", api="sis_group_category_id"),
        column("context_id", BIGINT, report="context_id", event="context_id"),
        column("context_type", TEXT, report="context_type", api="context_type", event="context_type"),
        column("name", TEXT, report="name", api="name", event="group_category_name"),
        column("role", TEXT, report="role", api="role"),
        column("self_signup", TEXT, report="self_signup", api="self_signup"),
        column("group_limit", BIGINT, report="group_limit", api="group_limit", event="group_limit"),
        column("auto_leader", TEXT, report="auto_leader", api="auto_leader"),
        column("workflow_state", TEXT, report="status"),
    ),
)

groups = Model(
    name="groups",
    parents=("group_categories",),
    comment="Groups of accounts and courses.",
    feed=ProvisioningFeed("groups", ignored=("account_id", "course_id", "created_by_sis")),
    single="/groups/{canvas_id}",
    events=Events(("group_created", "group_updated"), Suffices.FOR_KNOWN_ROWS),
    columns=(
        column(
            "canvas_id", BIGINT, report="canvas_group_id", api="id", event="group_id", comment="Canvas id of the group."
        ),
        column("sis_id", TEXT, report="group_id", api="sis_group_id"),
        column(
            "canvas_group_category_id",
            BIGINT,
            report="canvas_group_category_id",
            api="group_category_id",
            event="group_category_id",
        ),
        column("group_category_sis_id", TEXT, report="group_category_id"),
        column("canvas_account_id", BIGINT, report="canvas_account_id", api="account_id", indexed=True),
        column("canvas_course_id", BIGINT, report="canvas_course_id", api="course_id", indexed=True),
        column("name", TEXT, report="name", api="name", event="group_name"),
        column("workflow_state", TEXT, report="status", event="workflow_state"),
        column("context_id", BIGINT, report="context_id", event="context_id"),
        column("context_type", TEXT, report="context_type", api="context_type", event="context_type"),
        column("max_membership", BIGINT, report="max_membership", api="max_membership", event="max_membership"),
    ),
)

group_memberships = Model(
    name="group_memberships",
    parents=("groups", "users"),
    comment="Who is in which group. The stock report tells no id of a membership, so that the pair is the key.",
    feed=ProvisioningFeed("group_membership", ignored=("created_by_sis",)),
    key=("canvas_group_id", "canvas_user_id"),
    single="/groups/{canvas_group_id}/users/{canvas_user_id}",
    events=Events(("group_membership_created", "group_membership_updated"), Suffices.ALWAYS),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_group_membership_id",
            api="id",
            event="group_membership_id",
            comment="Canvas id of the membership; null where only the stock report spoke of it.",
            indexed=True,
            optional=True,
        ),
        column(
            "canvas_group_id",
            BIGINT,
            report="canvas_group_id",
            api="group_id",
            event="group_id",
            comment="Canvas id of the group.",
        ),
        column("group_sis_id", TEXT, report="group_id"),
        column(
            "canvas_user_id",
            BIGINT,
            report="canvas_user_id",
            api="user_id",
            event="user_id",
            comment="Canvas id of the user.",
            indexed=True,
        ),
        column("user_sis_id", TEXT, report="user_id"),
        column("workflow_state", TEXT, report="status", api="workflow_state", event="workflow_state"),
    ),
)
