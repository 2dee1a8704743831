"""Links to pages of Canvas, for people who look at an asset."""

from __future__ import annotations

from urllib.parse import quote

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.tenants import TenantSettings


def canvas_page(tenant: TenantSettings, model: Model, scope: str) -> str | None:
    """Return the URL of the Canvas page that shows what a materialization contains; None without a base URL.

    The page is the list of the model's objects where Canvas has one, else the term's courses, else the account.

    Args:
        tenant: Settings of the tenant.
        model: The model.
        scope: Canvas term id, or empty.
    """
    if scope:
        return _page(tenant, f"/accounts/{{account_id}}?enrollment_term_id={scope}")
    return _page(tenant, model.page or "/accounts/{account_id}")


def reports_page(tenant: TenantSettings) -> str | None:
    """Return the URL of the Canvas page that lists the last report of each kind; None without a base URL."""
    return _page(tenant, "/accounts/{account_id}/settings#tab-reports")


def _page(tenant: TenantSettings, path: str) -> str | None:
    if tenant.base_url is None:
        return None
    return str(tenant.base_url).rstrip("/") + path.format(account_id=quote(tenant.account_id, safe=":~"))
