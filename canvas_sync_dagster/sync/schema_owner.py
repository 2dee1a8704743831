"""Whose tables a schema has: the tenant that synced into it, so that no second tenant of the settings does.

The settings refuse two tenants with one schema of one database, but a server has several spellings (`localhost`,
`127.0.0.1`, a pooler), and only its tables show that it is the same.
"""

from __future__ import annotations

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.remembered import remember, remembered

OWNER = "tenant"
"""Name under which the state table `canvas_sync_remembered` keeps the slug."""


def claim_schema(session: Session) -> None:
    """Write the tenant into its schema, unless another tenant of the settings is there.

    A schema without a tenant is adopted, and so is that of a tenant which is no longer configured: it was renamed.

    Args:
        session: Of the tenant; its tables exist.

    Raises:
        SettingError: Another tenant of the settings syncs into these tables: each would mark the other's rows as missing.
    """
    slug, schema = session.tenant.slug, session.schema
    with session.warehouse("looking whose tables these are") as warehouse:
        if remembered(warehouse, OWNER) == slug:
            return
        # Two tenants may begin at once.
        warehouse.lock("owner")
        owner = remembered(warehouse, OWNER)
        if owner in session.others:
            raise SettingError(
                f"tenants.{slug}.schema",
                f"tenant {owner} uses this schema in the same database, which its database_url spells in another way",
                allowed=f"a different schema or a different database. If the tables are those of {slug}, delete the row "
                f"named {OWNER} from {schema}.canvas_sync_remembered",
                value=schema,
            )
        if owner != slug:
            remember(warehouse, OWNER, slug)
