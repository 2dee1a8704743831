"""Decides what is wrong in a tenant: pure, from facts and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from canvas_sync_dagster.alert_settings import AlertKind
from canvas_sync_dagster.printable import quotable

MOST_NAMED = 10
"""Maximum number of terms or errors that one message lists."""
RECOVERY = timedelta(minutes=5)
"""How long a database may be away before an alert is due: a restart or a failover takes less."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong, for as long as it is.

    Attributes:
        tenant: Slug of the tenant.
        kind: What it is about.
        subject: What exactly, such as a model; unique within tenant and kind.
        text: What happened and where, in one sentence without a full stop.
        remedy: What to do, in the imperative.
        path: Path of a page of the Dagster UI, from its root; empty if there is none.
        size: How many rows, events or terms are affected, if that may grow.
        grace: How long it may last before an alert is due.
    """

    tenant: str
    kind: AlertKind
    subject: str
    text: str
    remedy: str
    path: str = ""
    size: int = 1
    grace: timedelta = timedelta(0)

    @property
    def key(self) -> tuple[str, str]:
        """Kind and subject."""
        return self.kind.value, self.subject


@dataclass(frozen=True, slots=True)
class FailedSync:
    """The latest batch of a genre, which failed.

    Attributes:
        genre: Its genre.
        key: Its key, which is the tag of its runs.
        reason: Why, in one sentence.
        errors: Errors of its reports and lists, each once.
    """

    genre: str
    key: str
    reason: str
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FailedRun:
    """The latest run of a job and partition outside a batch, which failed and is not retried.

    Attributes:
        job: Its job.
        partition: Its partition; empty if it has none.
        run_id: Its id.
    """

    job: str
    partition: str
    run_id: str

    @property
    def subject(self) -> str:
        return f"{self.job} {self.partition}".strip()


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What decides about the alerts of a tenant.

    Attributes:
        failed_syncs: For each genre whose latest batch failed, that batch.
        stale: Model → ids of the stale terms; an empty string is the whole account.
        held: Model and term → why absent rows were not marked.
        rejected: Model → number of rejected rows.
        dead: Number of dead letters.
        token_expires_at: When the token expires; None if it does not, or if that is unknown.
    """

    failed_syncs: Sequence[FailedSync] = ()
    stale: Mapping[str, Sequence[str]] = field(default_factory=dict)
    held: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    dead: int = 0
    token_expires_at: datetime | None = None


def conditions(
    tenant: str,
    facts: TenantFacts,
    now: datetime,
    *,
    token_warning: timedelta,
    asset_path: Callable[[str], str] = lambda _: "",
) -> Iterator[Condition]:
    """Yield what is wrong in a tenant.

    Args:
        tenant: Slug of the tenant.
        facts: What was read from its database.
        now: Current time, aware.
        token_warning: Time before the expiry of a token from which it is reported.
        asset_path: Returns the path of a model's page in the Dagster UI.
    """
    yield from (_failed_sync(tenant, each) for each in facts.failed_syncs)
    for model, scopes in facts.stale.items():
        if scopes:
            yield _stale(tenant, model, scopes, asset_path(model))
    for model in dict.fromkeys(name for name, _ in facts.held):
        found = {scope: why for (name, scope), why in facts.held.items() if name == model}
        yield _held(tenant, model, found, asset_path(model))
    yield from (_rejected(tenant, *each, asset_path(each[0])) for each in facts.rejected.items() if each[1])
    if facts.dead:
        yield _dead(tenant, facts.dead)
    if facts.token_expires_at is not None and facts.token_expires_at - now < token_warning:
        yield _expiring(tenant, facts.token_expires_at, now)


def unreadable(tenant: str, reason: str) -> Condition:
    """Return the condition of a tenant whose database cannot be read.

    Args:
        tenant: Slug of the tenant.
        reason: Message of the error, which names the remedy.
    """
    text = f"the state of {tenant} cannot be read: {quotable(reason, 600)}"
    remedy = "run `canvas-sync doctor`"
    return Condition(tenant, AlertKind.FAILED_SYNC, "database", text, remedy, grace=RECOVERY)


def failed_run(tenant: str, run: FailedRun) -> Condition:
    """Return the condition of a run that failed outside a batch."""
    of_term = f" for term {run.partition}" if run.partition else ""
    text = f"a run of {run.job}{of_term} failed in {tenant}"
    remedy = "read the run's log, correct the cause, then re-execute the run"
    return Condition(tenant, AlertKind.FAILED_SYNC, f"run {run.subject}", text, remedy, f"/runs/{run.run_id}")


def _failed_sync(tenant: str, failed: FailedSync) -> Condition:
    errors = "".join(f"; {quotable(error)}" for error in failed.errors[:MOST_NAMED])
    text = f"the sync of {tenant} (genre {failed.genre}) failed: {quotable(failed.reason, 600)}{errors}"
    remedy = f"run `canvas-sync status --tenant {tenant}`, correct the cause, then re-execute the root run from failure"
    path = f"/runs?q[0]=tag:canvas_sync/batch_id={failed.key}"
    return Condition(tenant, AlertKind.FAILED_SYNC, f"sync {failed.genre}", text, remedy, path)


def _stale(tenant: str, model: str, scopes: Sequence[str], path: str) -> Condition:
    text = f"{model} of {tenant} is stale{_in_terms(scopes)}"
    remedy = "look for failed or missing runs; check that the schedule is running"
    return Condition(tenant, AlertKind.STALE_TABLE, model, text, remedy, path, len(scopes))


def _held(tenant: str, model: str, held: Mapping[str, str], path: str) -> Condition:
    reasons = "; ".join(dict.fromkeys(map(quotable, held.values())))
    text = f"the volume gate holds {model} of {tenant}{_in_terms(list(held))}: {reasons}"
    remedy = "look at the report in Canvas; if it is right, run `canvas-sync sync --accept-shrinkage` once"
    return Condition(tenant, AlertKind.VOLUME_GATE, model, text, remedy, path, len(held))


def _rejected(tenant: str, model: str, count: int, path: str) -> Condition:
    text = f"{count:,} rejected {'row' if count == 1 else 'rows'} of {model} in {tenant}"
    remedy = "read the reasons in canvas_sync_rejected_rows, correct the mapping, then run `canvas-sync replay rejects`"
    return Condition(tenant, AlertKind.REJECTED_ROWS, model, text, remedy, path, count)


def _dead(tenant: str, count: int) -> Condition:
    text = f"{count:,} live {'event' if count == 1 else 'events'} of {tenant} could not be applied"
    remedy = "read the column error of canvas_sync_live_events, correct the cause, then run `canvas-sync replay events`"
    return Condition(tenant, AlertKind.DEAD_LETTERS, "live events", text, remedy, size=count)


def _expiring(tenant: str, at: datetime, now: datetime) -> Condition:
    verb = "expires" if at > now else "has expired"
    text = f"the Canvas token of {tenant} {verb} at {at:%Y-%m-%d %H:%M %Z}"
    remedy = "create a token in Canvas, set it, and restart the code location"
    return Condition(tenant, AlertKind.EXPIRING_TOKEN, "token", text, remedy)


def _in_terms(scopes: Iterable[str]) -> str:
    """Return ` in the terms 1, 2 and 5 more`; nothing if the scope is the whole account."""
    named = [scope for scope in scopes if scope]
    if not named:
        return ""
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return f" in the {'terms' if len(named) > 1 else 'term'} {', '.join(named[:MOST_NAMED])}{more}"
