"""People and their logins."""

from canvas_sync_dagster.catalogue.columns import bigint, text
from canvas_sync_dagster.catalogue.model import Events, Model, ProvisioningFeed

users = Model(
    name="users",
    comment="People with a login. One row per person, however many logins; SIS ids stand on pseudonyms.",
    feed=ProvisioningFeed(
        "users",
        prefer="user_id",
        beside=(
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
        bigint("canvas_id", "canvas_user_id", "id", "user_id", comment="Canvas id of the user."),
        text("email", "email", "email"),
        text("first_name", "first_name"),
        text("last_name", "last_name"),
        text(
            "workflow_state",
            "status",
            comment="State of the login that speaks for the user: active, deleted, suspended.",
        ),
        text("login_id", "login_id", "login_id"),
        text("name", "full_name", "name"),
        text("sortable_name", "sortable_name", "sortable_name"),
    ),
)

pseudonyms = Model(
    name="pseudonyms",
    parents=("users",),
    comment="Logins; a user may have several.",
    feed=ProvisioningFeed(
        "pseudonyms", stock=False, beside=("integration_id", "authentication_provider_id", "created_by_sis")
    ),
    columns=(
        bigint("canvas_id", "canvas_pseudonym_id", "id", comment="Canvas id of the login."),
        bigint("canvas_user_id", "canvas_user_id", "user_id", indexed=True),
        text("sis_id", "user_id", "sis_user_id"),
        text("unique_id", "unique_id|login_id", "unique_id"),
        text("workflow_state", "status", "workflow_state"),
    ),
)

user_observers = Model(
    name="user_observers",
    parents=("users",),
    comment="Who observes whom. Canvas tells no id, so that the pair is the key.",
    feed=ProvisioningFeed("user_observers", beside=("observer_id", "student_id", "created_by_sis")),
    key=("observing_user_id", "observed_user_id"),
    single="/users/{observing_user_id}/observees/{observed_user_id}",
    columns=(
        bigint("observing_user_id", "canvas_observer_id", comment="Canvas id of who observes."),
        bigint("observed_user_id", "canvas_student_id", comment="Canvas id of who is observed.", indexed=True),
        text("workflow_state", "status"),
    ),
)
