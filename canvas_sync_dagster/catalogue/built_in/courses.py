"""Courses, their sections and groups, and who is in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import BIGINT, TEXT, TIMESTAMP, column
from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.model import Enrichment, Events, Listing, Model, ProvisioningFeed, RestFeed, Suffices

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
    domain=Domain.COURSES,
    parents=("terms", "accounts"),
    comment="Courses, synced term by term.",
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
    listing=Listing(
        "/accounts/{account_id}/courses",
        (("enrollment_term_id", "{parent}"),),
        per="terms",
        holder="canvas_term_id",
        numbered=True,
    ),
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
        column("sis_id", TEXT, report="course_id", api="sis_course_id", comment="SIS id of the course."),
        column("course_code", TEXT, report="short_name", api="course_code", comment="Short name of the course."),
        column("name", TEXT, report="long_name", api="name", event="name", comment="Long name of the course."),
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
            "canvas_account_id",
            BIGINT,
            report="canvas_account_id",
            api="account_id",
            event="account_id",
            indexed=True,
            comment="Account of the course; points to accounts.canvas_id.",
        ),
        column(
            "canvas_term_id",
            BIGINT,
            report="canvas_term_id",
            api="enrollment_term_id",
            indexed=True,
            comment="Term of the course; points to terms.canvas_id.",
        ),
        column(
            "start_at",
            TIMESTAMP,
            report="start_date",
            api="start_at",
            comment="Start date of the course itself; null if the term's date applies.",
        ),
        column(
            "end_at",
            TIMESTAMP,
            report="end_date",
            api="end_at",
            comment="End date of the course itself; null if the term's date applies.",
        ),
        column(
            "grading_standard_id",
            BIGINT,
            report="grading_standard_id",
            api="grading_standard_id",
            optional=True,
            comment="Canvas id of the course's grading scheme; null if it has none. No table here holds schemes.",
        ),
    ),
)

course_nicknames = Model(
    name="course_nicknames",
    domain=Domain.COURSES,
    parents=("users",),
    comment="Nicknames that the token's user gave to courses. Canvas returns no other user's.",
    feed=RestFeed("/users/self/course_nicknames", per="self", inject="canvas_user_id"),
    key=("canvas_user_id", "canvas_course_id"),
    columns=(
        column("canvas_user_id", BIGINT, comment="User of the token; points to users.canvas_id.", user=True),
        column("canvas_course_id", BIGINT, api="course_id", comment="Course; points to courses.canvas_id."),
        column("name", TEXT, api="name", comment="Name of the course in Canvas."),
        column("nickname", TEXT, api="nickname", comment="Nickname that the user gave to the course."),
    ),
)

sections = Model(
    name="sections",
    domain=Domain.COURSES,
    parents=("courses",),
    comment="Sections of courses, with their cross-listing.",
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
    listing=Listing("/courses/{parent}/sections", per="courses", holder="canvas_course_id"),
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
        column(
            "sis_id",
            TEXT,
            report="section_id",
            api="sis_section_id",
            event="sis_source_id",
            comment="SIS id of the section.",
        ),
        column(
            "canvas_course_id",
            BIGINT,
            report="canvas_course_id",
            api="course_id",
            event="course_id",
            indexed=True,
            comment="Course in which the section is now; points to courses.canvas_id.",
        ),
        column(
            "canvas_nonxlist_course_id",
            BIGINT,
            api="nonxlist_course_id",
            event="nonxlist_course_id",
            comment="Original course of a cross-listed section; points to courses.canvas_id. Null if the section is not cross-listed.",
        ),
        column("name", TEXT, report="name", api="name", event="name", comment="Name of the section."),
        column("workflow_state", TEXT, report="status", event="workflow_state", comment="active or deleted."),
        column(
            "start_at",
            TIMESTAMP,
            report="start_date",
            api="start_at",
            event="start_at",
            comment="Start date of the section itself; null if the course's date applies.",
        ),
        column(
            "end_at",
            TIMESTAMP,
            report="end_date",
            api="end_at",
            event="end_at",
            comment="End date of the section itself; null if the course's date applies.",
        ),
    ),
)

enrollments = Model(
    name="enrollments",
    domain=Domain.COURSES,
    parents=("courses", "sections", "users"),
    comment="Memberships of users in sections of courses, with their role.",
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
    single="/accounts/{root_account_id}/enrollments/{canvas_id}",
    listing=Listing(
        "/courses/{parent}/enrollments",
        # By default, Canvas lists active and invited ones only. Test students are in no report.
        (
            *(("state[]", state) for state in ("active", "invited", "creation_pending", "completed", "inactive")),
            *(("type[]", kind) for kind in ROLES),
        ),
        per="courses",
        holder="canvas_course_id",
        requires="user.login_id",
    ),
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
        column(
            "canvas_course_id",
            BIGINT,
            report="canvas_course_id",
            api="course_id",
            event="course_id",
            indexed=True,
            comment="Course; points to courses.canvas_id.",
        ),
        column("course_sis_id", TEXT, report="course_id", api="sis_course_id", comment="SIS id of the course."),
        column(
            "canvas_user_id",
            BIGINT,
            report="canvas_user_id",
            api="user_id",
            event="user_id",
            indexed=True,
            comment="Enrolled user; points to users.canvas_id.",
            user=True,
        ),
        column(
            "user_sis_id", TEXT, report="user_id", api="sis_user_id", comment="SIS id of the user.", identifies=True
        ),
        column(
            "role",
            TEXT,
            report="role",
            api="role",
            folds=ROLES,
            comment="Role: student, teacher, ta, designer, observer, or the name of a custom role.",
        ),
        column("canvas_role_id", BIGINT, report="role_id", api="role_id", comment="Role; points to roles.canvas_id."),
        column(
            "canvas_section_id",
            BIGINT,
            report="canvas_section_id",
            api="course_section_id",
            event="course_section_id",
            indexed=True,
            comment="Section; points to sections.canvas_id.",
        ),
        column(
            "workflow_state",
            TEXT,
            report="status",
            api="enrollment_state",
            event="workflow_state",
            folds=ENROLLMENT_STATES,
            comment="invited, active, inactive, concluded, rejected or deleted, as reports spell it.",
        ),
        column(
            "base_role_type",
            TEXT,
            report="base_role_type",
            api="type",
            event="type",
            comment="Built-in role that the role is based on, such as StudentEnrollment.",
        ),
    ),
)

group_categories = Model(
    name="group_categories",
    domain=Domain.PEOPLE,
    comment="Sets of groups (group categories).",
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
        column("sis_id", TEXT, report="group_category_id", api="sis_group_category_id", comment="SIS id of the set."),
        column(
            "context_id",
            BIGINT,
            report="context_id",
            event="context_id",
            comment="Canvas id of the account or course of the set, by context_type.",
        ),
        column(
            "context_type",
            TEXT,
            report="context_type",
            api="context_type",
            event="context_type",
            comment="Account or Course.",
        ),
        column("name", TEXT, report="name", api="name", event="group_category_name", comment="Name of the set."),
        column(
            "role",
            TEXT,
            report="role",
            api="role",
            comment="Purpose of a set that Canvas itself made, such as student_organized; null otherwise.",
        ),
        column(
            "self_signup",
            TEXT,
            report="self_signup",
            api="self_signup",
            comment="enabled, restricted (to the student's own section), or null if students cannot sign up themselves.",
        ),
        column(
            "group_limit",
            BIGINT,
            report="group_limit",
            api="group_limit",
            event="group_limit",
            comment="Maximum number of users per group; null if there is none.",
        ),
        column(
            "auto_leader",
            TEXT,
            report="auto_leader",
            api="auto_leader",
            comment="How Canvas appoints a leader: first, random, or null.",
        ),
        column("workflow_state", TEXT, report="status", comment="active or deleted."),
    ),
)

groups = Model(
    name="groups",
    domain=Domain.PEOPLE,
    parents=("group_categories",),
    comment="Groups of users in accounts and courses.",
    feed=ProvisioningFeed("groups", ignored=("account_id", "course_id", "created_by_sis")),
    single="/groups/{canvas_id}",
    events=Events(("group_created", "group_updated"), Suffices.FOR_KNOWN_ROWS),
    columns=(
        column(
            "canvas_id", BIGINT, report="canvas_group_id", api="id", event="group_id", comment="Canvas id of the group."
        ),
        column("sis_id", TEXT, report="group_id", api="sis_group_id", comment="SIS id of the group."),
        column(
            "canvas_group_category_id",
            BIGINT,
            report="canvas_group_category_id",
            api="group_category_id",
            event="group_category_id",
            comment="Set of the group; points to group_categories.canvas_id.",
        ),
        column("group_category_sis_id", TEXT, report="group_category_id", comment="SIS id of the set."),
        column(
            "canvas_account_id",
            BIGINT,
            report="canvas_account_id",
            api="account_id",
            indexed=True,
            comment="Account of the group; points to accounts.canvas_id.",
        ),
        column(
            "canvas_course_id",
            BIGINT,
            report="canvas_course_id",
            api="course_id",
            indexed=True,
            comment="Course of the group; points to courses.canvas_id. Null for a group of an account.",
        ),
        column("name", TEXT, report="name", api="name", event="group_name", comment="Name of the group."),
        column("workflow_state", TEXT, report="status", event="workflow_state", comment="available or deleted."),
        column(
            "context_id",
            BIGINT,
            report="context_id",
            event="context_id",
            comment="Canvas id of the account or course of the group, by context_type.",
        ),
        column(
            "context_type",
            TEXT,
            report="context_type",
            api="context_type",
            event="context_type",
            comment="Account or Course.",
        ),
        column(
            "max_membership",
            BIGINT,
            report="max_membership",
            api="max_membership",
            event="max_membership",
            comment="Maximum number of users; null if there is none.",
        ),
    ),
)

group_memberships = Model(
    name="group_memberships",
    domain=Domain.PEOPLE,
    parents=("groups", "users"),
    comment="Memberships of users in groups. The stock report has no id of a membership, so the pair is the key.",
    feed=ProvisioningFeed("group_membership", ignored=("created_by_sis",)),
    key=("canvas_group_id", "canvas_user_id"),
    single="/groups/{canvas_group_id}/users/{canvas_user_id}",
    listing=Listing(
        "/groups/{parent}/memberships", (("filter_states[]", "accepted"),), per="groups", holder="canvas_group_id"
    ),
    events=Events(("group_membership_created", "group_membership_updated"), Suffices.ALWAYS),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_group_membership_id",
            api="id",
            event="group_membership_id",
            comment="Canvas id of the membership; null where only the stock report listed it.",
            indexed=True,
            optional=True,
        ),
        column(
            "canvas_group_id",
            BIGINT,
            report="canvas_group_id",
            api="group_id",
            event="group_id",
            comment="Group; points to groups.canvas_id.",
        ),
        column("group_sis_id", TEXT, report="group_id", comment="SIS id of the group."),
        column(
            "canvas_user_id",
            BIGINT,
            report="canvas_user_id",
            api="user_id",
            event="user_id",
            comment="Member; points to users.canvas_id.",
            indexed=True,
            user=True,
        ),
        column("user_sis_id", TEXT, report="user_id", comment="SIS id of the user.", identifies=True),
        column(
            "workflow_state",
            TEXT,
            report="status",
            api="workflow_state",
            event="workflow_state",
            comment="accepted, invited, requested, rejected or deleted.",
        ),
    ),
)
