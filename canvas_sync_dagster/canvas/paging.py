"""`Link` headers: where the next page is. Addresses are opaque; a client that counts pages loops for ever."""

from __future__ import annotations

import httpx

from canvas_sync_dagster.canvas.answers import address
from canvas_sync_dagster.errors import NotCanvasError


def next_page(response: httpx.Response, base: httpx.URL) -> httpx.URL | None:
    """Returns the address of the next page, if there is one.

    Raises:
        NotCanvasError: It is no address, or leads to another host, where the token must not go.
    """
    link = response.links.get("next", {}).get("url")
    if not link:
        return None
    try:
        url = response.request.url.join(link)
    except httpx.InvalidURL as error:
        raise NotCanvasError(
            f"{address(response.request.url)} says that its next page is at {link[:100]!r}, which is no address ({error})."
        ) from None
    if not same_origin(url, base):
        raise NotCanvasError(
            f"{address(response.request.url)} says that its next page is at {url.scheme}://{url.host}; the token is not "
            "sent to another host. Check CANVAS_SYNC_BASE_URL: use the name by which Canvas calls itself."
        )
    return url


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Says whether scheme, host and port are the same."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)
