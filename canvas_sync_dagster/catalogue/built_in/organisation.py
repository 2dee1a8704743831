"""Terms, accounts, and who may do what in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import BIGINT, BOOLEAN, JSON, NUMERIC, TEXT, TIMESTAMP, column
from canvas_sync_dagster.catalogue.model import Events, Model, ProvisioningFeed, RestFeed

INACTIVE = MappingProxyType({"workflow_state": "inactive"})

terms = Model(
    name="terms",
    comment="Enrollment terms of the root account.",
    feed=RestFeed("/accounts/{account_id}/terms", (("workflow_state[]", "all"),), envelope="enrollment_terms"),
    single="/accounts/{account_id}/terms/{canvas_id}",
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the term."),
        column("name", TEXT, api="name"),
        column("start_at", TIMESTAMP, api="start_at"),
        column("end_at", TIMESTAMP, api="end_at"),
        column("workflow_state", TEXT, api="workflow_state", comment="active or deleted."),
        column("grading_period_group_id", BIGINT, api="grading_period_group_id"),
        column("sis_id", TEXT, api="sis_term_id"),
    ),
)

accounts = Model(
    name="accounts",
    comment="Accounts, the root one included, which no report lists.",
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
        column("sis_id", TEXT, report="account_id", api="sis_account_id"),
        column(
            "canvas_parent_account_id",
            BIGINT,
            report="canvas_parent_id",
            api="parent_account_id",
            event="parent_account_id",
            indexed=True,
        ),
        column("sis_parent_account_id", TEXT, report="parent_account_id"),
        column("name", TEXT, report="name", api="name", event="name"),
        column("workflow_state", TEXT, report="status", api="workflow_state", event="workflow_state"),
    ),
)

roles = Model(
    name="roles",
    parents=("accounts",),
    comment="Roles of accounts; those that Canvas no longer lists are inactive.",
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
        column("label", TEXT, api="label"),
        column("base_role_type", TEXT, api="base_role_type"),
        column("canvas_account_id", BIGINT, api="account.id", indexed=True),
        column("workflow_state", TEXT, api="workflow_state", comment="built_in, active or inactive."),
        column("permissions", JSON, api="permissions"),
    ),
)

admins = Model(
    name="admins",
    parents=("accounts", "users"),
    comment="Who administers which account; those that Canvas no longer lists are inactive.",
    feed=RestFeed(
        "/accounts/{parent}/admins",
        per="accounts",
        inject="canvas_account_id",
        holder="canvas_account_id",
        absent=INACTIVE,
    ),
    gone=INACTIVE,
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the account user."),
        column("role_name", TEXT, api="role"),
        column("canvas_account_id", BIGINT, api="account_id", indexed=True),
        column("canvas_role_id", BIGINT, api="role_id", indexed=True),
        column("canvas_user_id", BIGINT, api="user.id", indexed=True),
        column("workflow_state", TEXT, api="workflow_state"),
    ),
)

grading_period_groups = Model(
    name="grading_period_groups",
    comment="Sets of grading periods.",
    feed=ProvisioningFeed("grading_period_groups", stock=False),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_grading_period_group_id", "grading_period_group_id"),
            comment="Canvas id of the set.",
        ),
        column("title", TEXT, report="title"),
        column("weighted", BOOLEAN, report="weighted"),
        column("display_totals_for_all_grading_periods", BOOLEAN, report="display_totals_for_all_grading_periods"),
        column("workflow_state", TEXT, report=("workflow_state", "status")),
    ),
)

grading_periods = Model(
    name="grading_periods",
    parents=("grading_period_groups",),
    comment="Grading periods.",
    feed=ProvisioningFeed("grading_periods", stock=False),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_grading_period_id", "grading_period_id"),
            comment="Canvas id of the grading period.",
        ),
        column("title", TEXT, report="title"),
        column("weight", NUMERIC, report="weight"),
        column("start_date", TIMESTAMP, report="start_date"),
        column("end_date", TIMESTAMP, report="end_date"),
        column("close_date", TIMESTAMP, report="close_date"),
        column(
            "canvas_grading_period_group_id",
            BIGINT,
            report=("canvas_grading_period_group_id", "grading_period_group_id"),
            indexed=True,
        ),
        column("workflow_state", TEXT, report=("workflow_state", "status")),
    ),
)
