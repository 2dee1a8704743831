"""What exceptions say: PostgreSQL's message without values, a user's own words, and of other libraries the class alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pydantic
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from canvas_sync_dagster.catalogue.headers import match_header
from canvas_sync_dagster.errors import CanvasSyncError, HeaderContractError
from canvas_sync_dagster.printable import LONGEST_MESSAGE, printable
from canvas_sync_dagster.redaction import message, redact, summary, trace
from canvas_sync_dagster.resources import as_dagster_failure
from canvas_sync_dagster.warehouse.connection import connect, explained

PLANTED = "Zoë Plantedsson"

TABLES = """
create table people (id int primary key, name text not null check (name not like 'Zo%'), born date, code varchar(3));
create table logins (id int references people, name text unique);
insert into people values (1, 'a'); insert into logins values (1, 'Zoë Plantedsson');
create function refuse() returns trigger language plpgsql as
  $$ begin raise exception 'no %', new.name using errcode = '23514'; end $$;
create table guarded (name text); create trigger refuse before insert on guarded for each row execute function refuse();
"""
STATEMENTS = {
    "insert into people values (2, %s)": 'new row for relation "people" violates check constraint "people_name_check"',
    "insert into logins values (1, %s)": 'duplicate key value violates unique constraint "logins_name_key"',
    "insert into logins values (19440, %s || '!')": "violates foreign key constraint",
    "insert into people (id, code) values (3, %s)": "[SQLSTATE 22001]",
    "insert into people values (4, null, null, left(%s, 3))": "[table public.people, column name]",
    "select %s::integer": "invalid text representation (SQLSTATE 22P02)",
    "select %s::date": "invalid datetime format (SQLSTATE 22007)",
    "select %s::jsonb": "invalid text representation (SQLSTATE 22P02)",
    "insert into guarded values (%s)": "check violation (SQLSTATE 23514)",
    "select (%s || '1')::text from nowhere": 'relation "nowhere" does not exist',
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        opened.execute(TABLES)
        yield opened


def test_postgresql_names_table_column_and_constraint_and_quotes_no_value(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    for statement, expected in STATEMENTS.items():
        with pytest.raises(CanvasSyncError) as caught, explained(database_url, "testing"):
            connection.execute(statement, (PLANTED,))
        said = str(caught.value) + trace(caught.value) + repr(caught.value.__cause__)
        assert "Planted" not in said, statement
        assert "Failing row" not in said
        assert expected.replace("[SQLSTATE 22001]", "string data right truncation (SQLSTATE 22001)") in said, said


def test_a_copy_names_the_line(connection: psycopg.Connection[Any], database_url: str) -> None:
    rows = [f"{number}\t{PLANTED if number == 70 else 'x'}\n" for number in range(10, 100)]
    with (
        pytest.raises(
            CanvasSyncError, match=r"people_name_check.*\[table public.people, constraint .*, line 61\]"
        ) as caught,
        explained(database_url, "loading"),
        connection.cursor().copy("copy people (id, name) from stdin") as copy,
    ):
        copy.write("".join(rows))
    assert "Planted" not in trace(caught.value)


def test_a_value_that_python_cannot_hold_is_not_quoted(connection: psycopg.Connection[Any], database_url: str) -> None:
    with pytest.raises(CanvasSyncError) as caught, explained(database_url, "reading"):
        connection.execute("select make_interval(years => %s)", (20205 * 1000,)).fetchone()
    assert "20205" not in message(caught.value) + repr(caught.value.__cause__)


class Person(pydantic.BaseModel):
    born: date


QUOTING: list[Callable[[], object]] = [
    lambda: pl.Series([PLANTED]).cast(pl.Int64),
    lambda: Person.model_validate({"born": PLANTED}),
    lambda: json.loads(f"{{{PLANTED}"),
    lambda: int(PLANTED),
    lambda: dict[str, str]()[PLANTED],
    lambda: date.fromisoformat(PLANTED),
]


@pytest.mark.parametrize("quoting", QUOTING)
def test_what_a_library_quotes_reaches_no_stack_trace_and_no_event_of_dagster(quoting: Callable[[], object]) -> None:
    def caused() -> None:
        try:
            quoting()
        except Exception as error:
            raise RuntimeError("the step failed") from error

    for function in (quoting, caused):
        with pytest.raises(Exception) as caught, as_dagster_failure():
            function()
        shown = "".join(_printed(caught.value))
        assert "Planted" not in shown
        if isinstance(caught.value, dg.Failure):
            assert "withheld" in shown or "the step failed" in shown


def _printed(error: BaseException) -> Iterator[str]:
    """What Dagster stores and prints of an exception."""

    assert error.__traceback__ is not None
    yield serializable_error_info_from_exc_info((type(error), error, error.__traceback__)).to_string()
    if isinstance(error, dg.Failure):
        yield f"{error.description} {error.metadata}"


def test_a_users_own_words_stay() -> None:
    with pytest.raises(ValueError, match="no such department") as caught, as_dagster_failure():
        raise ValueError("no such department")
    assert summary(caught.value) == "ValueError: no such department"
    assert redact(caught.value)
    assert 'raise ValueError("no such department")' in trace(caught.value)


def test_a_key_that_the_code_spells_is_named() -> None:
    for function in (lambda: dict[str, str]()["emial"], lambda: dict[int, str]()[1002]):
        with pytest.raises(KeyError) as caught:
            function()
        assert message(caught.value) in {"'emial'", "1002"}


def test_errors_of_the_network_and_of_types_stay() -> None:
    assert message(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    with pytest.raises(TypeError) as caught:
        int([])  # type: ignore[call-overload]
    assert "must be a string" in message(caught.value)


def test_a_first_line_without_any_known_name_is_not_repeated() -> None:
    wanted = {"canvas_id": ("canvas_user_id",), "email": ("email",)}
    with pytest.raises(HeaderContractError, match="None of the 3 values") as caught:
        match_header(["19440", PLANTED, "z@x.test"], wanted, required=["canvas_id"], where="users.csv")
    assert "Planted" not in str(caught.value)
    with pytest.raises(HeaderContractError, match="Its header is: id, email"):
        match_header(["id", "email"], wanted, required=["canvas_id"], where="users.csv")


def test_control_characters_of_others_are_escaped_and_texts_are_bounded() -> None:
    error = CanvasSyncError("a\x1b]0;title\x07b\u202ec\x9b31m\nnext\tline")
    assert str(error) == "a\\x1b]0;title\\x07b\\u202ec\\x9b31m\nnext\tline"
    assert len(printable("x" * 10**6)) == LONGEST_MESSAGE
