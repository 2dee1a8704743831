"""Read the lists of many parents over REST at the same time, page by page."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from canvas_sync_dagster.canvas.client import PAGE_SIZE, Canvas
from canvas_sync_dagster.catalogue import RestFeed
from canvas_sync_dagster.errors import (
    CanvasError,
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasUnavailableError,
    NotCanvasError,
)

AT_ONCE = 8
"""Lists that are read at the same time at most. The throttle decides how many requests Canvas has room for."""
PAGES_AHEAD = 32
"""Pages that wait to be staged: 3,200 objects. A walk needs no more memory, however long it is."""
ACCOUNT: Final = 0
"""Parent of a list that belongs to the whole account."""
READ, NOT_FOUND, HIDDEN, FAILED = "read", "not_found", "hidden", "failed"
"""How a list ended: read; its parent does not exist; the token may not read it; Canvas answers with a server error."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parent:
    """What a list belongs to.

    Attributes:
        id: Its Canvas id; `ACCOUNT` for the whole account. Ids of courses and accounts overlap, so that of an account
            among courses is negative.
        context: Course or account in the path (`courses/2001`); empty if the path needs none.
        since: Reads only what changed since then; None reads the whole list.
    """

    id: int
    context: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of one list.

    Attributes:
        parent: Id of the parent; `ACCOUNT` if the list has none.
        bodies: The objects.
    """

    parent: int
    bodies: Sequence[Body]


@dataclass(frozen=True, slots=True)
class ListEnd:
    """The end of one list.

    Attributes:
        parent: Id of the parent.
        result: `READ`, `NOT_FOUND`, `HIDDEN` or `FAILED`.
        error: The response of Canvas, unless the list was read.
    """

    parent: int
    result: str
    error: CanvasError | None = None


def read_lists(canvas: Canvas, feed: RestFeed, parents: Sequence[Parent]) -> Iterator[Page | ListEnd]:
    """Yield the pages of all lists as they arrive, and the end of each list after its pages.

    Args:
        canvas: The client.
        feed: Path and form of the lists.
        parents: The parents; `[Parent(ACCOUNT)]` for the only list of a feed without parents.

    Raises:
        CanvasSyncError: Canvas cannot be reached, or it answered with something that is not a list.
    """
    if len(parents) == 1:
        yield from _list(canvas, feed, parents[0])
        return
    arrived: queue.Queue[Page | ListEnd | BaseException] = queue.Queue(PAGES_AHEAD)
    stopped = threading.Event()

    def read(parent: Parent) -> None:
        try:
            for item in _list(canvas, feed, parent):
                _put(arrived, item, stopped)
                if stopped.is_set():
                    return
        except BaseException as error:
            # The caller's thread raises it.
            _put(arrived, error, stopped)

    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        try:
            for parent in parents:
                threads.submit(read, parent)
            left = len(parents)
            while left:
                item = arrived.get()
                if isinstance(item, BaseException):
                    raise item
                left -= isinstance(item, ListEnd)
                yield item
        finally:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _put(
    arrived: queue.Queue[Page | ListEnd | BaseException],
    item: Page | ListEnd | BaseException,
    stopped: threading.Event,
) -> None:
    """Hand an item to the caller's thread, and wait while it is busy; discard the item once the caller has stopped."""
    while not stopped.is_set():
        try:
            arrived.put(item, timeout=0.5)
        except queue.Full:
            continue
        return


def _list(canvas: Canvas, feed: RestFeed, parent: Parent) -> Iterator[Page | ListEnd]:
    """Yield the pages of one list, then its end."""
    objects = _objects(canvas, feed, parent)
    try:
        while bodies := list(islice(objects, PAGE_SIZE)):
            yield Page(parent.id, bodies)
    except CanvasNotFoundError as error:
        if feed.per is None:
            raise
        yield ListEnd(parent.id, NOT_FOUND, error)
    except CanvasRequestError as error:
        if error.status not in feed.empty_if:
            raise
        yield ListEnd(parent.id, READ)
    except CanvasForbiddenError as error:
        yield ListEnd(parent.id, HIDDEN, error)
    except CanvasUnavailableError as error:
        if error.status is None:
            # Canvas itself cannot be reached.
            raise
        yield ListEnd(parent.id, FAILED, error)
    else:
        yield ListEnd(parent.id, READ)


def _objects(canvas: Canvas, feed: RestFeed, parent: Parent) -> Iterator[Body]:
    if feed.first is not None:
        yield _object(canvas, feed.first)
    for element in _elements(canvas, feed, parent):
        complete = _completed(canvas, feed, parent, element)
        yield from (complete,) if feed.expand is None else feed.expand(complete)


def _elements(canvas: Canvas, feed: RestFeed, parent: Parent) -> Iterator[Body]:
    path = _path(feed.path, parent)
    if feed.is_object:
        yield _object(canvas, path, feed.parameters)
        return
    for parameters in _queries(feed, parent):
        for body in canvas.get_list(path, parameters, envelope=feed.envelope):
            yield body[feed.item] if feed.item else body


def _queries(feed: RestFeed, parent: Parent) -> list[tuple[tuple[str, str], ...]]:
    """Return the parameters of each request: one for the whole list, or one for each respect in which objects change."""
    if parent.since is None:
        return [feed.parameters]
    since = parent.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [(*feed.parameters, (name, since)) for name in feed.since]


def _completed(canvas: Canvas, feed: RestFeed, parent: Parent, element: Body) -> Body:
    """Return an element with the list that Canvas omitted because it is long."""
    if feed.separate is None or feed.separate[0] in element:
        return element
    key, path = feed.separate
    return {**element, key: list(canvas.get_list(_path(path, parent).replace("{id}", str(element["id"]))))}


def _object(canvas: Canvas, path: str, parameters: tuple[tuple[str, str], ...] = ()) -> Body:
    body = canvas.get(path, parameters)
    if not isinstance(body, dict):
        raise NotCanvasError(f"{path} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return body


def _path(path: str, parent: Parent) -> str:
    return path.replace("{parent}", str(parent.id)).replace("{context}", parent.context)
