"""Retries with exponential backoff; each one is logged as a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from tenacity import (
    AttemptManager,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)
from tenacity.stop import stop_never

LOG = logging.getLogger(__name__)
FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is twice as long."""


def attempts_at(
    what: str,
    on: type[Exception],
    *,
    attempts: int | None,
    seconds: float,
    longest_wait: float,
    jitter: float = 1.0,
) -> Iterator[AttemptManager]:
    """Yield context managers, one per attempt; an attempt whose block does not raise is the last.

    This is an iterator, and no decorator, so that no arguments are logged: they can contain a password.

    Args:
        what: What is attempted, for the log, such as `Canvas`.
        on: Class of the errors that are retried. The last one is raised unchanged.
        attempts: Maximum number of attempts; None for any number.
        seconds: Time after whose end no further attempt begins.
        longest_wait: Seconds; upper bound of a wait without its random part.
        jitter: Seconds; upper bound of the random part of a wait.
    """

    def log(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        of = "" if attempts is None else f" of {attempts}"
        wait = state.next_action.sleep if state.next_action else 0.0
        LOG.warning(
            "%s: attempt %d%s failed, the next one follows in %.1f seconds: %s",
            what,
            state.attempt_number,
            of,
            wait,
            error,
        )

    limit = stop_never if attempts is None else stop_after_attempt(attempts)
    yield from Retrying(
        retry=retry_if_exception_type(on),
        stop=limit | stop_after_delay(seconds),
        wait=wait_exponential(FIRST_WAIT, max=longest_wait) + wait_random(0, jitter),
        before_sleep=log,
        reraise=True,
    )
