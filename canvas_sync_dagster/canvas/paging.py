"""`Link` headers: the URL of the next page. URLs are opaque; a client that counts pages may loop for ever."""

from __future__ import annotations

import httpx

from canvas_sync_dagster.canvas.answers import address
from canvas_sync_dagster.errors import NotCanvasError


def next_page(response: httpx.Response, base: httpx.URL) -> httpx.URL | None:
    """Return the URL of the next page; None if this is the last page.

    Raises:
        NotCanvasError: The link is not a URL, or leads to another host, which must not get the token.
    """
    link = response.links.get("next", {}).get("url")
    if not link:
        return None
    try:
        url = response.request.url.join(link)
    except httpx.InvalidURL as error:
        raise NotCanvasError(
            f"{address(response.request.url)}: the link to the next page, {link[:100]!r}, is not a URL ({error})."
        ) from None
    if not same_origin(url, base):
        raise NotCanvasError(
            f"{address(response.request.url)}: the link to the next page leads to {url.scheme}://{url.host}; the token is "
            "not sent to another host. Check CANVAS_SYNC_BASE_URL: use the host name that Canvas itself uses."
        )
    return url


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Return whether scheme, host and port are equal."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)
