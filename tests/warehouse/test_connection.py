"""Connections work through a pooler, whatever the role, the database and the environment set."""

from __future__ import annotations

import psycopg
import pytest

from canvas_sync_dagster.warehouse.connection import SETTINGS, Connection, Pooling, connect, dedicated_session, pooling
from tests.fix_pgbouncer import needs_pgbouncer, pgbouncer

MODES = ("direct", "session", "transaction")


def values(connection: Connection) -> dict[str, str]:
    rows = connection.execute("select name, setting || coalesce(unit, '') from pg_settings").fetchall()
    return {name.lower(): value for name, value in rows}


def expected(found: dict[str, str]) -> dict[str, str]:
    return {name: {"work_mem": "65536kB"}.get(name, value) for name, value in SETTINGS.items()}


@needs_pgbouncer
@pytest.mark.parametrize("mode", MODES[1:])
def test_each_transaction_has_our_settings_through_a_pooler_and_leaves_none(database_url: str, mode: str) -> None:
    with pgbouncer(database_url, mode, default_pool_size=1) as url:
        with connect(url) as connection:
            for _ in range(2):
                found = values(connection)
                assert found["transaction_isolation"] == "read committed"
                assert {name: found[name].removesuffix("ms") for name in SETTINGS} == expected(found)
                connection.commit()
            with connection.transaction():
                assert connection.execute("show jit").fetchone() == ("off",)
        with psycopg.connect(url) as other:
            assert other.execute("show jit").fetchone() == ("on",)
            assert other.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)


@needs_pgbouncer
@pytest.mark.parametrize(("mode", "kind"), [("session", Pooling.SESSION), ("transaction", Pooling.TRANSACTION)])
@pytest.mark.parametrize("round_robin", [0, 1])
def test_a_pooler_is_recognised(database_url: str, mode: str, kind: Pooling, round_robin: int) -> None:
    assert pooling(database_url) is Pooling.NONE
    with pgbouncer(database_url, mode, server_round_robin=round_robin) as url:
        # Several server processes, so that the next transaction may get another one.
        with connect(url) as one, connect(url) as two:
            one.execute("select 1"), two.execute("select 1")
        assert pooling(url) is kind
        session = dedicated_session(url)
        assert (session is None) == (mode == "transaction")
        if session:
            session.close()
