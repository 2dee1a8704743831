"""Terms, accounts, and who may do what in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.built_in import listed_objects
from canvas_sync_dagster.catalogue.columns import BIGINT, BOOLEAN, JSON, NUMERIC, TEXT, TIMESTAMP, column
from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.model import Events, Model, ProvisioningFeed, RestFeed

INACTIVE = MappingProxyType({"workflow_state": "inactive"})
PERIOD_SETS = "/accounts/{root_account_id}/grading_period_sets"
"""List of the sets of grading periods, each with its periods; only root accounts have them."""

terms = Model(
    name="terms",
    domain=Domain.ORGANISATION,
    page="/accounts/self/terms",
    comment="Enrollment terms of the root account.",
    feed=RestFeed("/accounts/{root_account_id}/terms", (("workflow_state[]", "all"),), envelope="enrollment_terms"),
    single="/accounts/{root_account_id}/terms/{canvas_id}",
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the term."),
        column("name", TEXT, api="name", comment="Name of the term."),
        column("start_at", TIMESTAMP, api="start_at", comment="Start of the term; null if it has no start."),
        column("end_at", TIMESTAMP, api="end_at", comment="End of the term; null if it has no end."),
        column("workflow_state", TEXT, api="workflow_state", comment="active or deleted."),
        column(
            "grading_period_group_id",
            BIGINT,
            api="grading_period_group_id",
            comment="Set of grading periods of the term; points to grading_period_groups.canvas_id.",
        ),
        column("sis_id", TEXT, api="sis_term_id", comment="SIS id of the term."),
    ),
)

accounts = Model(
    name="accounts",
    domain=Domain.ORGANISATION,
    page="/accounts/{account_id}/sub_accounts",
    comment="Accounts, including the root account, which reports omit.",
    feed=RestFeed("/accounts/{account_id}/sub_accounts", (("recursive", "true"),), first="/accounts/{account_id}"),
    single="/accounts/{canvas_id}",
    events=Events(("account_created", "account_updated")),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_account_id",
            api="id",
            event="account_id",
            comment="Canvas id of the account.",
        ),
        column("sis_id", TEXT, report="account_id", api="sis_account_id", comment="SIS id of the account."),
        column(
            "canvas_parent_account_id",
            BIGINT,
            report="canvas_parent_id",
            api="parent_account_id",
            event="parent_account_id",
            indexed=True,
            comment="Parent account; points to accounts.canvas_id. Null for the root account.",
        ),
        column("sis_parent_account_id", TEXT, report="parent_account_id", comment="SIS id of the parent account."),
        column("name", TEXT, report="name", api="name", event="name", comment="Name of the account."),
        column(
            "workflow_state",
            TEXT,
            report="status",
            api="workflow_state",
            event="workflow_state",
            comment="active or deleted.",
        ),
    ),
)

roles = Model(
    name="roles",
    domain=Domain.ORGANISATION,
    page="/accounts/{account_id}/permissions",
    parents=("accounts",),
    comment="Roles of accounts. A role that Canvas no longer lists is inactive.",
    feed=RestFeed(
        "/accounts/{parent}/roles",
        (("state[]", "active"), ("state[]", "inactive")),
        per="accounts",
        inject="canvas_account_id",
        holder="canvas_account_id",
        absent=INACTIVE,
    ),
    gone=INACTIVE,
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the role."),
        column("label", TEXT, api="label", comment="Name of the role."),
        column(
            "base_role_type",
            TEXT,
            api="base_role_type",
            comment="Built-in role that this role is based on, such as StudentEnrollment or AccountMembership.",
        ),
        column(
            "canvas_account_id",
            BIGINT,
            api="account.id",
            indexed=True,
            comment="Account that defines the role; points to accounts.canvas_id.",
        ),
        column("workflow_state", TEXT, api="workflow_state", comment="built_in, active or inactive."),
        column(
            "permissions",
            JSON,
            api="permissions",
            comment="Permission → its settings (enabled, locked, explicit …), as Canvas returns them.",
        ),
    ),
)

admins = Model(
    name="admins",
    domain=Domain.ORGANISATION,
    page="/accounts/{account_id}/settings#tab-users",
    parents=("accounts", "users"),
    comment="Administrators of accounts. An administrator whom Canvas no longer lists is inactive.",
    feed=RestFeed(
        "/accounts/{parent}/admins",
        per="accounts",
        inject="canvas_account_id",
        holder="canvas_account_id",
        absent=INACTIVE,
    ),
    gone=INACTIVE,
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the account user (user, account and role)."),
        column("role_name", TEXT, api="role", comment="Name of the role."),
        column(
            "canvas_account_id",
            BIGINT,
            api="account_id",
            indexed=True,
            comment="Account that the user administers; points to accounts.canvas_id.",
        ),
        column(
            "canvas_role_id",
            BIGINT,
            api="role_id",
            indexed=True,
            comment="Role in the account; points to roles.canvas_id.",
        ),
        column(
            "canvas_user_id",
            BIGINT,
            api="user.id",
            indexed=True,
            comment="Administrator; points to users.canvas_id.",
            user=True,
        ),
        column("workflow_state", TEXT, api="workflow_state", comment="active or inactive."),
    ),
)

grading_period_groups = Model(
    name="grading_period_groups",
    domain=Domain.ORGANISATION,
    page="/accounts/self/grading_standards",
    comment="Sets of grading periods.",
    feed=ProvisioningFeed("grading_period_groups", stock=False),
    rest=RestFeed(PERIOD_SETS, envelope="grading_period_sets", expand=listed_objects.active),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_grading_period_group_id", "grading_period_group_id"),
            api="id",
            comment="Canvas id of the set.",
        ),
        column("title", TEXT, report="title", api="title", comment="Title of the set."),
        column(
            "weighted",
            BOOLEAN,
            report="weighted",
            api="weighted",
            comment="Whether the periods' weights count towards the course grade.",
        ),
        column(
            "display_totals_for_all_grading_periods",
            BOOLEAN,
            report="display_totals_for_all_grading_periods",
            api="display_totals_for_all_grading_periods",
            comment="Whether Canvas shows a total over all periods.",
        ),
        column(
            "workflow_state",
            TEXT,
            report=("workflow_state", "status"),
            api="workflow_state",
            comment="active or deleted.",
        ),
    ),
)

grading_periods = Model(
    name="grading_periods",
    domain=Domain.ORGANISATION,
    page="/accounts/self/grading_standards",
    parents=("grading_period_groups",),
    comment="Grading periods.",
    feed=ProvisioningFeed("grading_periods", stock=False),
    rest=RestFeed(PERIOD_SETS, envelope="grading_period_sets", expand=listed_objects.grading_periods),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_grading_period_id", "grading_period_id"),
            api="id",
            comment="Canvas id of the grading period.",
        ),
        column("title", TEXT, report="title", api="title", comment="Title of the period."),
        column(
            "weight",
            NUMERIC,
            report="weight",
            api="weight",
            comment="Weight in the course grade, in percent; null if the set is not weighted.",
        ),
        column("start_date", TIMESTAMP, report="start_date", api="start_date", comment="Start of the period."),
        column("end_date", TIMESTAMP, report="end_date", api="end_date", comment="End of the period."),
        column(
            "close_date",
            TIMESTAMP,
            report="close_date",
            api="close_date",
            comment="Time after which grades of the period can no longer be changed.",
        ),
        column(
            "canvas_grading_period_group_id",
            BIGINT,
            report=("canvas_grading_period_group_id", "grading_period_group_id"),
            api="grading_period_group_id",
            indexed=True,
            comment="Set of the period; points to grading_period_groups.canvas_id.",
        ),
        column(
            "workflow_state",
            TEXT,
            report=("workflow_state", "status"),
            api="workflow_state",
            comment="active or deleted.",
        ),
    ),
)
