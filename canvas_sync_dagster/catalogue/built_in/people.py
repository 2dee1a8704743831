"""People and their logins."""

from canvas_sync_dagster.catalogue.columns import BIGINT, TEXT, column
from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.model import Events, Listing, Model, ProvisioningFeed, RestFeed

LOGIN = ("user_login", "login_id", "unique_id")
"""Keys under which events have the login name of a user; `user_login` is in the metadata of nearly all of them."""

users = Model(
    name="users",
    domain=Domain.PEOPLE,
    page="/accounts/{account_id}/users",
    comment="People with a login: one row per person, however many logins. SIS ids are on pseudonyms.",
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
    listing=Listing("/accounts/{account_id}/users", numbered=True, requires="login_id"),
    events=Events(("user_created", "user_updated")),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report="canvas_user_id",
            api="id",
            event="user_id",
            comment="Canvas id of the user.",
            user=True,
        ),
        column(
            "email",
            TEXT,
            report="email",
            api="email",
            comment="Default e-mail address.",
            identifies=True,
            event_copies=("email", "user_email"),
        ),
        column(
            "first_name", TEXT, report="first_name", comment="First name, as Canvas derives it from the sortable name."
        ),
        column(
            "last_name", TEXT, report="last_name", comment="Last name, as Canvas derives it from the sortable name."
        ),
        column(
            "workflow_state",
            TEXT,
            report="status",
            comment="State of the login that represents the user: active, suspended or deleted.",
        ),
        column(
            "login_id",
            TEXT,
            report="login_id",
            api="login_id",
            comment="Login name of the login that represents the user.",
            identifies=True,
            event_copies=LOGIN,
        ),
        column(
            "name",
            TEXT,
            report="full_name",
            api="name",
            comment="Full name.",
            identifies=True,
            event_copies=("user_name", "short_name"),
        ),
        column(
            "sortable_name",
            TEXT,
            report="sortable_name",
            api="sortable_name",
            comment="Name by which lists are sorted, usually `last, first`.",
            identifies=True,
        ),
    ),
)

pseudonyms = Model(
    name="pseudonyms",
    domain=Domain.PEOPLE,
    page="/accounts/{account_id}/users",
    parents=("users",),
    comment="Logins; a user can have several.",
    feed=ProvisioningFeed(
        "pseudonyms", stock=False, ignored=("integration_id", "authentication_provider_id", "created_by_sis")
    ),
    rest=RestFeed(
        "/users/{parent}/logins",
        per="users",
        # The state of a user is that of one login; another one may be active.
        of_deleted=True,
        holder="canvas_user_id",
        # Only a change of the user, or of a login that an event brought, shows that logins changed.
        active_by=(("pseudonyms", "canvas_user_id"),),
    ),
    columns=(
        column("canvas_id", BIGINT, report="canvas_pseudonym_id", api="id", comment="Canvas id of the login."),
        column(
            "canvas_user_id",
            BIGINT,
            report="canvas_user_id",
            api="user_id",
            indexed=True,
            comment="Owner of the login; points to users.canvas_id.",
            user=True,
        ),
        column(
            "sis_id",
            TEXT,
            report="user_id",
            api="sis_user_id",
            comment="SIS id of the user, which Canvas keeps on the login.",
            identifies=True,
            event_copies=("user_sis_id", "sis_user_id"),
        ),
        column(
            "unique_id",
            TEXT,
            report=("unique_id", "login_id"),
            api="unique_id",
            comment="Login name.",
            identifies=True,
            event_copies=LOGIN,
        ),
        column("workflow_state", TEXT, report="status", api="workflow_state", comment="active, suspended or deleted."),
    ),
)

user_observers = Model(
    name="user_observers",
    domain=Domain.PEOPLE,
    parents=("users",),
    comment="Pairs of observer and observed student. Canvas has no id for a pair, so the pair is the key.",
    feed=ProvisioningFeed("user_observers", ignored=("observer_id", "student_id", "created_by_sis")),
    key=("observing_user_id", "observed_user_id"),
    single="/users/{observing_user_id}/observees/{observed_user_id}",
    columns=(
        column(
            "observing_user_id",
            BIGINT,
            report="canvas_observer_id",
            comment="Observer; points to users.canvas_id.",
            user=True,
        ),
        column(
            "observed_user_id",
            BIGINT,
            report="canvas_student_id",
            comment="Observed student; points to users.canvas_id.",
            indexed=True,
            user=True,
        ),
        column("workflow_state", TEXT, report="status", comment="active or deleted."),
    ),
)
