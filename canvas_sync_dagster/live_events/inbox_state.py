"""Decides from values whether a look at an inbox is worth its query. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from canvas_sync_dagster.warehouse.state.inbox import Backlog

SETTLED_SECONDS = 20.0
"""How long an inbox is looked at after its newest number grew: the number grows before its event is committed, and the
receiver commits within 12 seconds."""
LOOK_SECONDS = 300.0
"""Longest time between two looks at an inbox in which nothing seems to happen."""


@dataclass(frozen=True, slots=True)
class InboxState:
    """What is known about an inbox. Times are those of one clock, in seconds.

    Attributes:
        position: Number of its newest event; None if the role may not read it.
        moved_at: When this number was first seen.
        look_at: When it is looked at again, whatever its number is.
        looked: Whether a look since then found that nothing is due.
    """

    position: int | None
    moved_at: float
    look_at: float
    looked: bool = False


def seen(state: InboxState | None, position: int | None, now: float) -> InboxState:
    """Return the state after the newest number was read.

    Args:
        state: The state before; None if nothing is known.
        position: The number.
        now: Current time.
    """
    if state is None or position != state.position:
        return InboxState(position, now, now + LOOK_SECONDS)
    return state


def needs_look(state: InboxState, now: float) -> bool:
    """Return whether an event of the inbox may be due."""
    if state.position is None or not state.looked:
        return True
    return now >= state.look_at or now - state.moved_at < SETTLED_SECONDS


def looked(state: InboxState, backlog: Backlog, now: float, spread: float) -> InboxState:
    """Return the state after a look.

    Args:
        state: The state before.
        backlog: What the look found.
        now: Current time.
        spread: A random number from 0 to 1, which spreads the looks at many inboxes over time.
    """
    pause = LOOK_SECONDS * (1 + spread) / 2
    if backlog.next_in is not None:
        pause = min(pause, max(0.0, backlog.next_in))
    return replace(state, look_at=now + pause, looked=backlog.due == 0)
