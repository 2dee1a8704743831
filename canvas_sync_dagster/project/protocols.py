"""Types of the user's functions. A type checker refuses a function that cannot be called with these arguments.

Parameters before `/` are passed by position: the user's function may name them as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.canvas.client import Canvas
    from canvas_sync_dagster.errors import RunFailedError
    from canvas_sync_dagster.live_events.event import Event
    from canvas_sync_dagster.live_events.handlers import LiveEvent
    from canvas_sync_dagster.live_events.tenant_inbox import Inbox
    from canvas_sync_dagster.sync.downloaded_report import DownloadedReport, ReportContext
    from canvas_sync_dagster.sync.extension_types import InsertionContext
    from canvas_sync_dagster.sync.scope import Term
    from canvas_sync_dagster.sync.session import Session
    from canvas_sync_dagster.tenants import TenantSettings
    from canvas_sync_dagster.warehouse.connection import Connection

    JobLog = dict[str, Any] | None
    """Row of the journal that belongs to a failed run, column → value; None if the run wrote none."""


class ReportProcessor(Protocol):
    """Processes a custom report. What it returns becomes metadata of the asset."""

    def __call__(self, report: DownloadedReport, context: ReportContext, /) -> object: ...


class StepFunction(Protocol):
    """Runs as an inserted step. What it returns becomes metadata of the asset."""

    def __call__(self, context: InsertionContext, /) -> object: ...


class RowProcessor(Protocol):
    """Processes one row of a report, header → text. False skips the row."""

    def __call__(self, row: Mapping[str, str], /) -> object: ...


class RowProcessorWithConnection(Protocol):
    """Processes one row of a report, and writes by the connection of the load."""

    def __call__(self, row: Mapping[str, str], connection: Connection, /) -> object: ...


class EventFunction(Protocol):
    """Processes a live event."""

    def __call__(self, event: LiveEvent, /) -> object: ...


class DefaultEventFunction(Protocol):
    """Applies a live event to the tables."""

    def __call__(self, event: LiveEvent, /) -> None: ...


class ModelEventFunction(Protocol):
    """Processes a live event in place of the default, which it may call."""

    def __call__(self, event: LiveEvent, super_: DefaultEventFunction, /) -> object: ...


class EventFilter(Protocol):
    """Returns whether a live event belongs to the tenant of an inbox."""

    def __call__(self, event: Event, inbox: Inbox, /) -> bool: ...


class TermFilter(Protocol):
    """Returns whether a term is in scope."""

    def __call__(self, term: Term, /) -> bool: ...


class ClientFunction(Protocol):
    """Returns the client of a tenant's account, or its access token."""

    def __call__(self, tenant: TenantSettings, account_id: str, /) -> Canvas | str: ...


# Types cannot express "any of these keywords", so each combination has a protocol.


class _Sync(Protocol):
    def __call__(self, batch: Mapping[str, Any], /) -> object: ...


class _SyncT(Protocol):
    def __call__(self, batch: Mapping[str, Any], /, *, tenant: str) -> object: ...


class _SyncS(Protocol):
    def __call__(self, batch: Mapping[str, Any], /, *, session: Session | None) -> object: ...


class _SyncTS(Protocol):
    def __call__(self, batch: Mapping[str, Any], /, *, tenant: str, session: Session | None) -> object: ...


class _Failure(Protocol):
    def __call__(self, error: RunFailedError, /) -> object: ...


class _FailureT(Protocol):
    def __call__(self, error: RunFailedError, /, *, tenant: str) -> object: ...


class _FailureJ(Protocol):
    def __call__(self, error: RunFailedError, /, *, job_log: JobLog) -> object: ...


class _FailureR(Protocol):
    def __call__(self, error: RunFailedError, /, *, run: dg.DagsterRun) -> object: ...


class _FailureS(Protocol):
    def __call__(self, error: RunFailedError, /, *, session: Session | None) -> object: ...


class _FailureTJ(Protocol):
    def __call__(self, error: RunFailedError, /, *, tenant: str, job_log: JobLog) -> object: ...


class _FailureTR(Protocol):
    def __call__(self, error: RunFailedError, /, *, tenant: str, run: dg.DagsterRun) -> object: ...


class _FailureTS(Protocol):
    def __call__(self, error: RunFailedError, /, *, tenant: str, session: Session | None) -> object: ...


class _FailureJR(Protocol):
    def __call__(self, error: RunFailedError, /, *, job_log: JobLog, run: dg.DagsterRun) -> object: ...


class _FailureJS(Protocol):
    def __call__(self, error: RunFailedError, /, *, job_log: JobLog, session: Session | None) -> object: ...


class _FailureRS(Protocol):
    def __call__(self, error: RunFailedError, /, *, run: dg.DagsterRun, session: Session | None) -> object: ...


class _FailureTJR(Protocol):
    def __call__(self, error: RunFailedError, /, *, tenant: str, job_log: JobLog, run: dg.DagsterRun) -> object: ...


class _FailureTJS(Protocol):
    def __call__(
        self, error: RunFailedError, /, *, tenant: str, job_log: JobLog, session: Session | None
    ) -> object: ...


class _FailureTRS(Protocol):
    def __call__(
        self, error: RunFailedError, /, *, tenant: str, run: dg.DagsterRun, session: Session | None
    ) -> object: ...


class _FailureJRS(Protocol):
    def __call__(
        self, error: RunFailedError, /, *, job_log: JobLog, run: dg.DagsterRun, session: Session | None
    ) -> object: ...


class _FailureTJRS(Protocol):
    def __call__(
        self, error: RunFailedError, /, *, tenant: str, job_log: JobLog, run: dg.DagsterRun, session: Session | None
    ) -> object: ...


SyncCallback = _Sync | _SyncT | _SyncS | _SyncTS
"""Called when a batch is over."""
SYNC_KEYWORDS = ("tenant", "session")
FailureCallback = (
    _Failure
    | _FailureT
    | _FailureJ
    | _FailureR
    | _FailureS
    | _FailureTJ
    | _FailureTR
    | _FailureTS
    | _FailureJR
    | _FailureJS
    | _FailureRS
    | _FailureTJR
    | _FailureTJS
    | _FailureTRS
    | _FailureJRS
    | _FailureTJRS
)
"""Called for a failed run."""
FAILURE_KEYWORDS = ("tenant", "job_log", "run", "session")

# A decorator returns the function that it was given, with its own type.
ReportProcessorT = TypeVar("ReportProcessorT", bound=ReportProcessor)
StepFunctionT = TypeVar("StepFunctionT", bound=StepFunction)
RowProcessorT = TypeVar("RowProcessorT", bound=RowProcessor | RowProcessorWithConnection)
EventFunctionT = TypeVar("EventFunctionT", bound=EventFunction)
ModelEventFunctionT = TypeVar("ModelEventFunctionT", bound=ModelEventFunction)
EventFilterT = TypeVar("EventFilterT", bound=EventFilter)
TermFilterT = TypeVar("TermFilterT", bound=TermFilter)
ClientFunctionT = TypeVar("ClientFunctionT", bound=ClientFunction)
SyncCallbackT = TypeVar("SyncCallbackT", bound=SyncCallback)
FailureCallbackT = TypeVar("FailureCallbackT", bound=FailureCallback)
