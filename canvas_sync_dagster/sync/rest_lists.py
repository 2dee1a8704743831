"""Read the lists of many parents over REST at the same time, page by page."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from canvas_sync_dagster.canvas.client import PAGE_SIZE, Canvas
from canvas_sync_dagster.catalogue import RestFeed
from canvas_sync_dagster.errors import (
    CanvasError,
    CanvasForbiddenError,
    CanvasNotFoundError,
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


def read_lists(canvas: Canvas, feed: RestFeed, parents: Sequence[int]) -> Iterator[Page | ListEnd]:
    """Yield the pages of all lists as they arrive, and the end of each list after its pages.

    Args:
        canvas: The client.
        feed: Path and form of the lists.
        parents: Ids of the parents; `[ACCOUNT]` for the only list of a feed without parents.

    Raises:
        CanvasSyncError: Canvas cannot be reached, or it answered with something that is not a list.
    """
    if len(parents) == 1:
        yield from _list(canvas, feed, parents[0])
        return
    arrived: queue.Queue[Page | ListEnd | BaseException] = queue.Queue(PAGES_AHEAD)
    stopped = threading.Event()

    def read(parent: int) -> None:
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


def _list(canvas: Canvas, feed: RestFeed, parent: int) -> Iterator[Page | ListEnd]:
    """Yield the pages of one list, then its end."""
    objects = _objects(canvas, feed, parent)
    try:
        while bodies := list(islice(objects, PAGE_SIZE)):
            yield Page(parent, bodies)
    except CanvasNotFoundError as error:
        if feed.per is None:
            raise
        yield ListEnd(parent, NOT_FOUND, error)
    except CanvasForbiddenError as error:
        yield ListEnd(parent, HIDDEN, error)
    except CanvasUnavailableError as error:
        if error.status is None:
            # Canvas itself cannot be reached.
            raise
        yield ListEnd(parent, FAILED, error)
    else:
        yield ListEnd(parent, READ)


def _objects(canvas: Canvas, feed: RestFeed, parent: int) -> Iterator[Body]:
    if feed.first is not None:
        first = canvas.get(feed.first)
        if not isinstance(first, dict):
            raise NotCanvasError(f"{feed.first} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
        yield first
    path = feed.path.replace("{parent}", str(parent))
    for body in canvas.get_list(path, feed.parameters, envelope=feed.envelope):
        yield body[feed.item] if feed.item else body
