"""Which terms a batch covers: those in scope, and once more those that have just left it."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.orchestration.batch_service import BatchService, last_sync_of
from canvas_sync_dagster.sync.session import Session


def run_batch(session: Session, key: str, scope: Sequence[str], *, named: bool = False) -> list[str]:
    """Opens and completes a batch whose scope is by rule, or named for once."""
    chosen = list(scope) if named else (lambda term: term.id in scope)
    batches = BatchService(session.tenant, session.database_url, session.models, chosen)
    batch = batches.open(key)
    assert batch is not None
    terms = batches.terms.of_batch(key)
    batches.note_terms(batch, terms)
    assert batches.close(batch, "completed", "all done", [])
    return terms


@pytest.fixture(autouse=True)
def _terms(session: Session) -> None:
    with psycopg.connect(session.database_url) as connection:
        connection.execute("insert into canvas.terms (canvas_id, sis_id) values (1, null), (116, 'SP'), (118, 'FA')")


def test_a_term_that_left_the_scope_is_synced_once_more_and_not_for_ever(session: Session) -> None:
    asked = [["1", "116"], ["118"], ["118"]]
    found = [run_batch(session, str(n), scope) for n, scope in enumerate(asked)]
    assert found == [["1", "116"], ["1", "116", "118"], ["118"]]


def test_terms_that_are_named_for_once_say_nothing_of_the_others(session: Session) -> None:
    assert run_batch(session, "a", ["1"]) == ["1"]
    assert run_batch(session, "b", ["FA"], named=True) == ["118"]
    assert run_batch(session, "c", ["116"]) == ["1", "116"]


def test_a_name_that_stands_for_no_term_is_refused(session: Session) -> None:
    batches = BatchService(session.tenant, session.database_url, session.models, ["118", "SP", "fall"])
    with pytest.raises(SettingError, match=r"--term-scope is 'fall': Canvas has no such term\. Allowed: 1 .*118"):
        batches.terms.refuse_unknown()
    BatchService(session.tenant, session.database_url, session.models, ["all", "active"]).terms.refuse_unknown()


def change(session: Session, statement: str) -> None:
    with psycopg.connect(session.database_url) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def test_a_deleted_term_gets_one_last_sync_and_in_full(session: Session) -> None:
    assert run_batch(session, "a", ["1", "118"]) == ["1", "118"]
    change(session, "update canvas.terms set workflow_state = 'deleted' where canvas_id = 118")
    batches = BatchService(session.tenant, session.database_url, session.models, lambda term: True)
    batch = batches.open("b")
    assert batch is not None
    assert batches.terms.of_batch("b") == ["1", "116", "118"]
    assert last_sync_of(batches.note_terms(batch, ["1", "116", "118"])) == ("118",)
    assert batches.close(batch, "completed", "all done", [])
    assert run_batch(session, "c", ["1", "118"]) == ["1", "116"]
    assert run_batch(session, "d", ["1", "118"]) == ["1"]


def test_a_deleted_term_that_is_named_for_once_is_synced(session: Session) -> None:
    change(session, "update canvas.terms set workflow_state = 'deleted' where canvas_id = 118")
    batches = BatchService(session.tenant, session.database_url, session.models, ["FA"])
    batches.terms.refuse_unknown()
    assert batches.terms.of_batch("a") == ["118"]
    assert BatchService(session.tenant, session.database_url, session.models, ["all"]).terms.of_batch("a") == [
        "1",
        "116",
    ]


def test_a_term_that_canvas_no_longer_lists_is_not_asked_for_and_fails_no_sync(session: Session) -> None:
    assert run_batch(session, "a", ["1", "118"]) == ["1", "118"]
    change(session, "update canvas.terms set missing_since = now() where canvas_id = 118")
    assert run_batch(session, "b", ["1", "118"]) == ["1"]
    named = BatchService(session.tenant, session.database_url, session.models, ["118"])
    with pytest.raises(SettingError, match=r"--term-scope is '118': Canvas has no such term"):
        named.terms.refuse_unknown()
    in_settings = session.tenant.model_copy(update={"term_scope": ("118", "1")})
    batches = BatchService(in_settings, session.database_url, session.models)
    batches.terms.refuse_unknown()
    assert batches.terms.of_batch("c") == ["1"]
    unknown = BatchService(
        session.tenant.model_copy(update={"term_scope": ("9",)}), session.database_url, session.models
    )
    with pytest.raises(SettingError, match="CANVAS_SYNC_TERM_SCOPE is '9'"):
        unknown.terms.refuse_unknown()
