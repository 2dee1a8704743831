"""People and their logins."""

from canvas_sync_dagster.catalogue.columns import BIGINT, TEXT, column
from canvas_sync_dagster.catalogue.model import Events, Model, ProvisioningFeed

users = Model(
    name="users",
    comment="People with a login. One row per person, however many logins; SIS ids stand on pseudonyms.",
    feed=ProvisioningFeed(
        "users",
        prefer="user_id",
        ignored=(
            "integration_id",
            "authentication_provider_id",
            "short_name",
            "created_by_sis",
            "pronouns",
        ),
    ),
    single="/users/{canvas_id}?include[]=email",
    events=Events(("user_created", "user_updated")),
    columns=(
        column(
            "canvas_id", BIGINT, report="canvas_user_id", api="id", event="user_id", comment="Canvas id of the user."
        ),
        column("email", TEXT, report="email", api="email"),
        column("first_name", TEXT, report="first_name"),
        column("last_name", TEXT, report="last_name"),
        column(
            "workflow_state",
            TEXT,
            report="status",
            comment="State of the login that speaks for the user: active, deleted, suspended.",
        ),
        column("login_id", TEXT, report="login_id", api="login_id"),
        column("name", TEXT, report="full_name", api="name"),
        column("sortable_name", TEXT, report="sortable_name", api="sortable_name"),
    ),
)

pseudonyms = Model(
    name="pseudonyms",
    parents=("users",),
    comment="Logins; a user may have several.",
    feed=ProvisioningFeed(
        "pseudonyms", stock=False, ignored=("integration_id", "authentication_provider_id", "created_by_sis")
    ),
    columns=(
        column("canvas_id", BIGINT, report="canvas_pseudonym_id", api="id", comment="Canvas id of the login."),
        column("canvas_user_id", BIGINT, report="canvas_user_id", api="user_id", indexed=True),
        column("sis_id", TEXT, report="user_id", api="sis_user_id"),
        column("unique_id", TEXT, report=("unique_id", "login_id"), api="unique_id"),
        column("workflow_state", TEXT, report="status", api="workflow_state"),
    ),
)

user_observers = Model(
    name="user_observers",
    parents=("users",),
    comment="Who observes whom. Canvas tells no id, so that the pair is the key.",
    feed=ProvisioningFeed("user_observers", ignored=("observer_id", "student_id", "created_by_sis")),
    key=("observing_user_id", "observed_user_id"),
    single="/users/{observing_user_id}/observees/{observed_user_id}",
    columns=(
        column("observing_user_id", BIGINT, report="canvas_observer_id", comment="Canvas id of who observes."),
        column(
            "observed_user_id",
            BIGINT,
            report="canvas_student_id",
            comment="Canvas id of who is observed.",
            indexed=True,
        ),
        column("workflow_state", TEXT, report="status"),
    ),
)
