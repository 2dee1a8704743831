"""Terms, accounts, and who may do what in them."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import bigint, boolean, json, numeric, text, time
from canvas_sync_dagster.catalogue.model import Events, Model, ProvisioningFeed, RestFeed

INACTIVE = MappingProxyType({"workflow_state": "inactive"})

terms = Model(
    name="terms",
    comment="Enrollment terms of the root account.",
    feed=RestFeed("/accounts/{account_id}/terms", (("workflow_state[]", "all"),), envelope="enrollment_terms"),
    single="/accounts/{account_id}/terms/{canvas_id}",
    columns=(
        bigint("canvas_id", api="id", comment="Canvas id of the term."),
        text("name", api="name"),
        time("start_at", api="start_at"),
        time("end_at", api="end_at"),
        text("workflow_state", api="workflow_state", comment="active or deleted."),
        bigint("grading_period_group_id", api="grading_period_group_id"),
        text("sis_id", api="sis_term_id"),
    ),
)

accounts = Model(
    name="accounts",
    comment="Accounts, the root one included, which no report lists.",
    feed=RestFeed("/accounts/{account_id}/sub_accounts", (("recursive", "true"),), first="/accounts/{account_id}"),
    single="/accounts/{canvas_id}",
    events=Events(("account_created", "account_updated")),
    columns=(
        bigint("canvas_id", "canvas_account_id", "id", "account_id", comment="Canvas id of the account."),
        text("sis_id", "account_id", "sis_account_id"),
        bigint("canvas_parent_account_id", "canvas_parent_id", "parent_account_id", "parent_account_id", indexed=True),
        text("sis_parent_account_id", "parent_account_id"),
        text("name", "name", "name", "name"),
        text("workflow_state", "status", "workflow_state", "workflow_state"),
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
        bigint("canvas_id", api="id", comment="Canvas id of the role."),
        text("label", api="label"),
        text("base_role_type", api="base_role_type"),
        bigint("canvas_account_id", api="account.id", indexed=True),
        text("workflow_state", api="workflow_state", comment="built_in, active or inactive."),
        json("permissions", api="permissions"),
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
        bigint("canvas_id", api="id", comment="Canvas id of the account user."),
        text("role_name", api="role"),
        bigint("canvas_account_id", api="account_id", indexed=True),
        bigint("canvas_role_id", api="role_id", indexed=True),
        bigint("canvas_user_id", api="user.id", indexed=True),
        text("workflow_state", api="workflow_state"),
    ),
)

grading_period_groups = Model(
    name="grading_period_groups",
    comment="Sets of grading periods.",
    feed=ProvisioningFeed("grading_period_groups", stock=False),
    columns=(
        bigint("canvas_id", "canvas_grading_period_group_id|grading_period_group_id", comment="Canvas id of the set."),
        text("title", "title"),
        boolean("weighted", "weighted"),
        boolean("display_totals_for_all_grading_periods", "display_totals_for_all_grading_periods"),
        text("workflow_state", "workflow_state|status"),
    ),
)

grading_periods = Model(
    name="grading_periods",
    parents=("grading_period_groups",),
    comment="Grading periods.",
    feed=ProvisioningFeed("grading_periods", stock=False),
    columns=(
        bigint("canvas_id", "canvas_grading_period_id|grading_period_id", comment="Canvas id of the grading period."),
        text("title", "title"),
        numeric("weight", "weight"),
        time("start_date", "start_date"),
        time("end_date", "end_date"),
        time("close_date", "close_date"),
        bigint(
            "canvas_grading_period_group_id", "canvas_grading_period_group_id|grading_period_group_id", indexed=True
        ),
        text("workflow_state", "workflow_state|status"),
    ),
)
