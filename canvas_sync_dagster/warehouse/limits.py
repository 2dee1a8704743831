"""Time limits that administrators set on roles, databases, servers and poolers: which of them ended a statement."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors as pg

from canvas_sync_dagster.postgres_url import ENCODING

SECONDS = 5
"""How long the server may take to answer which limit it has; the error itself is known already."""
LIMITS: dict[type[psycopg.Error], str] = {
    pg.QueryCanceled: "statement_timeout",
    pg.LockNotAvailable: "lock_timeout",
    pg.IdleInTransactionSessionTimeout: "idle_in_transaction_session_timeout",
    pg.IdleSessionTimeout: "idle_session_timeout",
    pg.TransactionTimeout: "transaction_timeout",
}
"""PostgreSQL's errors, and the settings that raise them."""
POOLERS = re.compile(r"\b(query timeout|idle transaction timeout|client_idle_timeout)\b")
"""How pgbouncer spells its own limits in its messages."""
OWNERS = {"user": "the role's", "database": "the database's", "database user": "the role's", "override": "the role's"}
"""Where pg_settings finds a value → whose limit it is; anything else is the server's."""

SERVERS = "the server's"


def limit_hit(url: str, error: psycopg.Error) -> str | None:
    """Name the limit that ended a statement, for people.

    Args:
        url: Of the database, which is asked for the value and where it is set.
        error: As PostgreSQL or a pooler reported it.

    Returns:
        For example `the role's statement_timeout of 100 ms`; None if the error has another cause.
    """
    said = str(error)
    if isinstance(error, psycopg.OperationalError) and (found := POOLERS.search(said)):
        return f"the pooler's {found[1].replace(' ', '_')}"
    if isinstance(error, pg.QueryCanceled) and "user request" in said:
        return "a cancel request of an administrator or a pooler"
    name = next((name for kind, name in LIMITS.items() if isinstance(error, kind)), None)
    return limit_of(url, name) or f"a {name}" if name else None


def limit_of(url: str, name: str) -> str | None:
    """Describe a limit as a new session has it: `the role's statement_timeout of 100 ms`.

    Args:
        url: Of the database.
        name: Of the setting, such as `statement_timeout`.

    Returns:
        None if there is no limit, or the server does not answer.
    """
    query = "select setting, unit, source from pg_settings where name = %s and setting <> '0'"
    try:
        with psycopg.connect(url, connect_timeout=SECONDS, client_encoding=ENCODING) as connection:
            row = connection.execute(query, (name,)).fetchone()
    except psycopg.Error:
        return None
    if row is None:
        return None
    value, unit, source = row
    return f"{OWNERS.get(str(source), SERVERS)} {name} of {value} {unit}"
