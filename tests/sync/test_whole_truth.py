"""A random university, random changes, reports, lists, events and questions at random moments: the tables end up true."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from canvas_sync_dagster.errors import VolumeGateError
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.simulator import DeliveryFaults, SimulatedCanvas, University
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse import key_comparison
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading import merge
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from tests.fix_canvas import session_of
from tests.truth import live_term_ids, sync_everything
from tests.witness import assert_whole_truth

STEPS = 8
SHRINKING = SyncOptions(mode="full", accept_shrinkage=True)
"""A small university may lose a fifth of a term by chance."""


@pytest.fixture(autouse=True)
def _as_if_it_were_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_comparison, "KEYS_AT_ONCE", 20)
    monkeypatch.setattr(merge, "MANY", 20)


def test_a_first_sync_makes_every_column_of_every_table_true(canvas: SimulatedCanvas, session: Session) -> None:
    sync_everything(session)
    assert_whole_truth(canvas, session)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 51))])
def test_whatever_happens_a_full_sync_makes_every_table_equal_canvas(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    with (
        SimulatedCanvas(compile_seconds=0.01, seed=seed).serve() as canvas,
        session_of(canvas, database_url, tmp_path) as session,
    ):
        happenings = Happenings(canvas, session, dice)
        for _ in range(STEPS):
            happenings.step()
        canvas.faults.clear()
        canvas.advance(minutes=1)
        for name in ("terms", "accounts"):
            sync_list(Flow.of(session, SHRINKING), session.by_name[name])
        # Whoever is in an account that is gone is known to be only when the account is.
        reconcile(session, session.by_name["accounts"])
        sync_everything(session, SHRINKING)
        try:
            assert_whole_truth(canvas, session)
        except AssertionError as error:
            # What two terms lay claim to is marked by the second full sync; it stands among the known limits.
            if "is not marked" not in str(error):
                raise
            sync_everything(session, SHRINKING)
            assert_whole_truth(canvas, session)


class Happenings:
    """What may happen between two full syncs."""

    def __init__(self, canvas: SimulatedCanvas, session: Session, dice: random.Random) -> None:
        self.canvas, self.session, self.dice = canvas, session, dice
        self.delivery = DeliveryFaults(loss=0.2, duplicates=0.3, disorder=True, seed=dice.getrandbits(30))
        sync_everything(session)
        canvas.take_events()

    def step(self) -> None:
        self.canvas.advance(hours=self.dice.randint(1, 60))
        for _ in range(self.dice.randint(1, 4)):
            self.dice.choice(CHANGES)(self.canvas.university, self.dice)
        self.dice.choice([self.sync_some, self.sync_some, self.drain, self.ask])()

    def sync_some(self) -> None:
        """Some reports and lists, full or not, with rows in any order and twice."""
        self.canvas.faults.clear()
        for fault in ("shuffled_rows", "duplicate_rows", "reordered_columns"):
            self.canvas.faults.add(fault, times=self.dice.randint(0, 4))
        sync_list(Flow.of(self.session, SHRINKING), self.session.by_name["terms"])
        terms = live_term_ids(self.session)
        models = self.session.models
        work: list[Callable[[SyncOptions], object]] = [
            lambda options, model=model, scope=scope: sync_list(Flow.of(self.session, options, scope), model)  # type: ignore[misc]
            for model in rest_models(models)
            for scope in (terms if model.term_scoped else [""])
        ]
        work += [
            lambda options, group=group, scope=scope: sync_report(  # type: ignore[misc]
                Flow.of(self.session, options, scope), group, {m.name for m in group.models}
            )
            for group in report_groups(models)
            for scope in (terms if group.term_scoped else [""])
        ]
        for each in self.dice.sample(work, 8):
            # A term that loses much at once is refused, and stays as it was.
            with suppress(VolumeGateError):
                each(
                    SyncOptions(
                        mode=self.dice.choice(["full", "incremental"]), accept_shrinkage=self.dice.random() < 0.5
                    )
                )

    def drain(self) -> None:
        """Events, some of them lost, twice, or in disorder."""
        events = self.delivery.apply(self.canvas.take_events())
        with connect(self.session.database_url) as connection:
            ensure_partitions(self.session.warehouse_on(connection))
            store(self.session.warehouse_on(connection), [read_event(each, self.canvas.now) for each in events])
        drain(self.session)

    def ask(self) -> None:
        for model in self.dice.sample(self.session.models, 8):
            reconcile(self.session, model)


def _one(frame: pl.DataFrame, dice: random.Random) -> int:
    return int(dice.choice(frame.get_column("id").to_list()))


def move_course(u: University, dice: random.Random) -> None:
    terms = u.terms.filter(pl.col("state") != "deleted")
    u.set("courses", pl.col("id") == _one(u.courses, dice), term_id=_one(terms, dice), state="available")


def lose_course(u: University, dice: random.Random) -> None:
    """As if it had never been there, with all that is in it."""
    course = _one(u.courses, dice)
    sections = u.sections.filter(pl.col("course_id") == course).get_column("id").implode()
    u.enrollments = u.enrollments.filter(~pl.col("section_id").is_in(sections))
    u.sections = u.sections.filter((pl.col("course_id") != course) & (pl.col("nonxlist_course_id").ne_missing(course)))
    u.enrollments = u.enrollments.join(u.sections.select(section_id="id"), on="section_id", how="semi")
    u.assignments = u.assignments.filter(pl.col("course_id") != course)
    u.courses = u.courses.filter(pl.col("id") != course)


def lose_enrollments(u: University, dice: random.Random) -> None:
    lost = [_one(u.enrollments, dice) for _ in range(3)]
    u.enrollments = u.enrollments.filter(~pl.col("id").is_in(lost))


def lose_assignment(u: University, dice: random.Random) -> None:
    u.assignments = u.assignments.filter(pl.col("id") != _one(u.assignments, dice))


def lose_logins(u: University, dice: random.Random) -> None:
    user = int(dice.choice(u.logins.get_column("user_id").to_list()))
    u.logins = u.logins.filter(pl.col("user_id") != user)


def merge_users(u: University, dice: random.Random) -> None:
    one, other = _one(u.users, dice), _one(u.users, dice)
    u.set("enrollments", pl.col("user_id") == one, user_id=other)


def rename_account(u: University, dice: random.Random) -> None:
    u.set("accounts", pl.col("id") == _one(u.accounts, dice), name=f"Renamed {dice.random()}")


def close_account(u: University, dice: random.Random) -> None:
    u.set("accounts", pl.col("id") == dice.choice([4, 5]), state=dice.choice(["deleted", "active"]))


def rename_term(u: University, dice: random.Random) -> None:
    u.set("terms", pl.col("id") == _one(u.terms, dice), name=f"Renamed {dice.random()}")


def change_assignment(u: University, dice: random.Random) -> None:
    u.set(
        "assignments",
        pl.col("id") == _one(u.assignments, dice),
        title=f"“{dice.random()}”, again\nand again",
        points=7.25,
    )


def change_state(u: University, dice: random.Random) -> None:
    state = dice.choice(["available", "completed", "deleted", "claimed"])
    u.set("courses", pl.col("id") == _one(u.courses, dice), state=state)


CHANGES: list[Callable[[University, random.Random], None]] = [
    move_course,
    lose_course,
    lose_enrollments,
    lose_assignment,
    lose_logins,
    merge_users,
    rename_account,
    close_account,
    rename_term,
    change_assignment,
    change_state,
]
