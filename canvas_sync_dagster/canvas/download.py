"""Download a report's file completely or not at all, without the token.

The URL from Canvas needs no token and redirects to storage on other hosts, so the token is not sent. URLs expire within
hours; when one is refused, a new one is requested.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import httpx

from canvas_sync_dagster.canvas.answers import address
from canvas_sync_dagster.canvas.client import Canvas, certificate_error, refused_certificate
from canvas_sync_dagster.canvas.lifecycle import Attachment
from canvas_sync_dagster.errors import CanvasUnavailableError, LocalDiskError, ReportContentError
from canvas_sync_dagster.printable import ended

LOG = logging.getLogger(__name__)
CHUNK = 1 << 20
"""Bytes in memory at a time."""
ATTEMPTS = 5
PAUSES = (0.0, 0.5, 2.0, 5.0, 10.0)
"""Seconds before each attempt. An expired URL is replaced at once; overloaded storage needs a pause."""
LARGEST = 50 * 1024**3
"""Maximum bytes of a file; a report of ten million rows has 1.5 billion."""


def download(
    canvas: Canvas,
    attachment: Attachment,
    fresh: Callable[[], Attachment],
    path: Path,
    *,
    sleep: Callable[[float], None],
) -> int:
    """Download the file and return its size in bytes.

    Args:
        canvas: Client whose connections are used; its token is not sent.
        attachment: URL and expected size of the file.
        fresh: Function that requests a new URL from Canvas.
        path: Destination; a file there is always complete.
        sleep: Function that waits for a number of seconds.

    Raises:
        ReportContentError: Every attempt returned something other than the file.
        AddressRefusedError: The URL, or a redirect from it, leads to this machine.
        CanvasUnavailableError: The storage does not respond.
        CanvasCertificateError: The TLS certificate of the storage is not trusted.
        LocalDiskError: The disk is full or not writable.
    """
    part = path.with_name(f"{path.name}.part")
    last: Exception = ReportContentError("no attempt was made")
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSES[attempt])
            attachment = fresh()
        try:
            size = _stream(canvas.http, attachment, part)
        except (ReportContentError, httpx.HTTPError, httpx.InvalidURL) as error:
            if refusal := refused_certificate(error):
                part.unlink(missing_ok=True)
                raise certificate_error("GET", httpx.URL(attachment.url), refusal) from None
            last = error
            LOG.warning("the download of a report's file: attempt %d of %d failed: %s", attempt + 1, ATTEMPTS, error)
            continue
        except OSError as error:
            part.unlink(missing_ok=True)
            raise disk_error(error, path.parent) from error
        part.replace(path)
        return size
    part.unlink(missing_ok=True)
    where = address(httpx.URL(attachment.url))
    if isinstance(last, ReportContentError):
        raise ReportContentError(
            f"the report's file at {where} cannot be used: {ended(str(last))} Run it again; if this repeats, ask Instructure."
        )
    raise CanvasUnavailableError(
        f"the storage at {where} does not deliver the report's file ({last}). Run it again later."
    )


def _stream(http: httpx.Client, attachment: Attachment, part: Path) -> int:
    url = httpx.URL(attachment.url)
    if url.scheme not in {"http", "https"}:
        raise ReportContentError(f"its URL has the scheme {url.scheme!r}")
    with http.stream("GET", url, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as response:
        _check_head(response)
        size, most = 0, LARGEST if attachment.size is None else min(attachment.size, LARGEST)
        with part.open("wb") as file:
            for chunk in response.iter_bytes(CHUNK):
                if size == 0 and looks_like_html(chunk):
                    raise ReportContentError("the storage returned a web page, probably a login page")
                size += len(chunk)
                if size > most:
                    raise ReportContentError(f"it is larger than {_spelled(most, attachment)}")
                file.write(chunk)
    if attachment.size is not None and size != attachment.size:
        raise ReportContentError(f"{size} bytes arrived, but Canvas announced {attachment.size}")
    return size


def _spelled(most: int, attachment: Attachment) -> str:
    return f"{LARGEST >> 30} GB" if most == LARGEST else f"the {attachment.size} bytes that Canvas announced"


def _check_head(response: httpx.Response) -> None:
    if response.status_code >= 500:
        raise httpx.TransportError(f"status {response.status_code}")
    if response.status_code != 200:
        raise ReportContentError(f"the storage refused its URL with status {response.status_code}")
    if "html" in response.headers.get("Content-Type", ""):
        raise ReportContentError("the storage returned a web page, probably a login page")


def looks_like_html(start: bytes) -> bool:
    """Return whether bytes are the start of a web page."""
    return start[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype", b"<html"))


def disk_error(error: OSError, directory: Path) -> LocalDiskError:
    """Return the error for a directory that cannot be written."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    what = "is full" if full else f"cannot be written ({error.strerror})"
    return LocalDiskError(
        f"the disk of {directory} {what}. Free some space, or point CANVAS_SYNC_HOME to another disk."
    )
