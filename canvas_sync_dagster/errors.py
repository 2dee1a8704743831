"""Every exception class of the package, sorted by what a caller can do about it.

CanvasSyncError
├── MisconfiguredError          a person must change a setting, a mapping or a schema; exit code 2
│   ├── SettingError            one setting has a wrong value
│   ├── SchemaError             the database lacks a table, a column or a right
│   └── DatabaseLimitError      a time limit of the role, the database or a pooler ended a statement
├── TransientError              a later attempt may succeed without a change
│   ├── CanvasUnavailableError  Canvas does not respond, or responds with a server error
│   ├── CanvasThrottledError    Canvas rejects further requests of this token for now
│   ├── SyncUnderWayError       another sync of the tenant and genre is running
│   ├── DatabaseUnavailableError PostgreSQL cannot be reached, or the connection was lost
│   ├── WalkInterruptedError    the staged rows of a walk were removed, or another run continues the walk
│   ├── EventPostponedError     a live event cannot be applied now; it stays in the inbox
│   ├── AlertNotDeliveredError  a webhook or a mail server did not accept an alert
│   └── LocalDiskError          a file cannot be written on this machine
├── PermanentError              another attempt gives the same result
│   ├── CanvasCertificateError  the TLS certificate of Canvas, or of the storage of its files, is not trusted
│   ├── CanvasUnauthorizedError Canvas does not accept the token
│   ├── CanvasForbiddenError    the token lacks a permission
│   ├── CanvasNotFoundError     the object does not exist, or the token may not see it
│   ├── CanvasRequestError      Canvas rejected the request as invalid
│   ├── AddressRefusedError     a redirect or the address of a file leads to this machine
│   ├── NotCanvasError          the server at the base URL is not Canvas's API
│   ├── ReportFailedError       a report failed as often as the settings allow
│   ├── RunFailedError          a Dagster run failed; `on_failure` receives this error
│   ├── FunctionError           a function of the user raised, or returned an invalid value
│   ├── AuditIncompleteError    Canvas hides from the token what an audit has to read
│   ├── DemoFailedError         a run of the demo failed
│   └── EmbeddedPostgresError   the embedded PostgreSQL cannot run here
├── CanvasError                 a request to Canvas failed; the base of each Canvas… error above
├── DeliveryError               the receiver does not accept a delivery
│   ├── ProvenanceError         the event's origin could not be verified, or it belongs to another tenant
│   ├── DeliveryDeferredError   the event cannot be verified or stored right now
│   └── EventError              the delivery is not a readable event
└── DataRejectedError           a report cannot be loaded; nothing was published
    ├── ReportContentError      the file is not the report that was requested
    ├── HeaderContractError     a key column is missing
    ├── RejectThresholdError    too many rows are unreadable
    └── VolumeGateError         so many rows are missing that the report itself is in doubt

A message states what happened, where (tenant, model, term, report), and what to do next. `tests/test_errors.py` checks
that this tree is complete, and that no other module defines an exception class.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from canvas_sync_dagster.printable import ended, printable


class CanvasSyncError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        message: Text for people. Control characters are escaped, because it may quote text from Canvas.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class MisconfiguredError(CanvasSyncError):
    """A person must change a setting, a mapping or a schema."""


class SettingError(MisconfiguredError):
    """One setting has a wrong value.

    Args:
        setting: Name as the user wrote it: a variable, an option, or a file with a path of keys.
        problem: What is wrong with the value.
        allowed: What is allowed.
        value: The value, unless it may be a secret; None is not shown.
    """

    def __init__(self, setting: str, problem: str, *, allowed: str, value: object = None) -> None:
        self.setting = setting
        self.value = value
        self._problem, self._allowed = problem, allowed
        shown = "" if value is None else f" is {value!r}"
        super().__init__(f"{setting}{shown}: {ended(problem)} Allowed: {allowed}")

    def without_setting(self) -> str:
        """Return the value, the problem and what is allowed, for a message that names the setting by itself."""
        shown = "" if self.value is None else f"{self.value!r}: "
        return f"{shown}{ended(self._problem)} Allowed: {self._allowed}"

    def renamed(self, written: str, shown: str) -> SettingError:
        """Return the error with a part of the setting's name replaced, for a user who writes it in another place."""
        setting = self.setting.replace(written, shown)
        return SettingError(setting, self._problem, allowed=self._allowed, value=self.value)


class SchemaError(MisconfiguredError):
    """The database lacks a table, a column or a right that the sync needs."""


class DatabaseLimitError(MisconfiguredError):
    """A time limit of the role, the database, the server or a pooler ended a statement."""


class TransientError(CanvasSyncError):
    """A later attempt may succeed without a change."""


class DatabaseUnavailableError(TransientError):
    """PostgreSQL cannot be reached, or the connection was lost."""


class SyncUnderWayError(TransientError):
    """Another sync of the tenant and genre is running.

    Args:
        tenant: Slug of the tenant.
        genre: Genre of the batch.
        ends_at: When it counts as failed unless its process shows that it is alive; None if the process is known to live.
    """

    def __init__(self, tenant: str, genre: str, ends_at: datetime | None = None) -> None:
        unless = (
            f". Its process has not been seen since the database was started; unless it is, that sync ends by itself at "
            f"{ends_at.astimezone(UTC):%H:%M:%S} UTC, and the next one can begin"
            if ends_at
            else ""
        )
        super().__init__(
            f"a sync of {tenant} ({genre}) is under way already, so this one was not started; "
            f"`canvas-sync status` shows it{unless}"
        )


class WalkInterruptedError(TransientError):
    """The staged rows of a walk were removed, or another run continues the walk."""


class EventPostponedError(TransientError):
    """A live event cannot be applied now. It stays in the inbox, and the attempt does not count.

    Args:
        reason: Error of a Canvas or a database that does not answer; None if there is no time left.
    """

    def __init__(self, reason: Exception | None = None) -> None:
        self.reason = reason
        super().__init__("the event cannot be applied now; the next drain tries again")


class AlertNotDeliveredError(TransientError):
    """A webhook or a mail server did not accept an alert; it is sent again later. The message contains no URL."""


class LocalDiskError(TransientError):
    """A file cannot be written on this machine."""


class PermanentError(CanvasSyncError):
    """Another attempt gives the same result."""


class CanvasError(CanvasSyncError):
    """A request to Canvas failed.

    Args:
        message: Text for people.
        method: HTTP method of the request.
        url: URL of the request, without secrets.
        status: HTTP status of the response; None if there was no response.
    """

    def __init__(self, message: str, *, method: str = "", url: str = "", status: int | None = None) -> None:
        self.method = method
        self.url = url
        self.status = status
        super().__init__(message)


class CanvasUnavailableError(CanvasError, TransientError):
    """Canvas does not respond, or responds with a server error."""


class CanvasCertificateError(CanvasError, PermanentError):
    """The TLS certificate of Canvas, or of the storage of its files, is not trusted."""


class CanvasThrottledError(CanvasError, TransientError):
    """Canvas rejects further requests of this token for now."""


class CanvasUnauthorizedError(CanvasError, PermanentError):
    """Canvas does not accept the token."""


class CanvasForbiddenError(CanvasError, PermanentError):
    """Canvas accepts the token, but the token lacks a permission."""


class CanvasNotFoundError(CanvasError, PermanentError):
    """The object does not exist in Canvas, or the token may not see it."""


class CanvasRequestError(CanvasError, PermanentError):
    """Canvas rejected the request as invalid."""


class NotCanvasError(CanvasError, PermanentError):
    """The server at the base URL is not Canvas's API."""


class AddressRefusedError(CanvasError, PermanentError):
    """A redirect or the address of a file leads to this machine or its cloud's metadata service.

    Args:
        host: Name of the host in the address.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"{host} resolves to a loopback, link-local or metadata address, which Canvas's files are never at; nothing was "
            "sent to it. Check CANVAS_SYNC_BASE_URL, and the name in your DNS."
        )


class ReportFailedError(PermanentError):
    """A Canvas report failed as often as the settings allow."""


class RunFailedError(PermanentError):
    """A Dagster run failed. `on_failure` receives it as an instance of the class that the run raised, too.

    Args:
        message: Message of the original exception.
        step: Step that raised it; empty if the run ended without a failed step.
        class_name: Class of the original exception, with its module.
        stack: Stack trace, as text.
    """

    def __init__(self, message: str, *, step: str = "", class_name: str = "", stack: str = "") -> None:
        self.step = step
        self.class_name = class_name
        self.stack = stack
        Exception.__init__(self, message)

    def __str__(self) -> str:
        # An instance may also be a KeyError, whose `__str__` puts the message in quotes.
        return str(self.args[0])


class FunctionError(PermanentError):
    """A function of the user raised, or returned an invalid value.

    Args:
        registered: Call that registered it, as the user wrote it.
        function: Its role and name.
        key: Key of the row that it was called for.
        problem: What it did.
    """

    def __init__(self, registered: str, function: str, key: str, problem: str) -> None:
        self.registered = registered
        self.function = function
        self.key = key
        super().__init__(f"{registered}: {function} {problem}, for {key}. Correct the function, then run this again.")


class AuditIncompleteError(PermanentError):
    """Canvas hides from the token what an audit has to read. What could be read was compared and stored.

    Args:
        tenant: Slug of the tenant.
        failed: For each model that could not be audited completely its name and the reason.
    """

    def __init__(self, tenant: str, failed: Sequence[str]) -> None:
        super().__init__(
            f"the audit of {tenant} is incomplete: {'; '.join(failed)}. Give the token's user the permission to read them, "
            "or audit other models with --model."
        )


class DemoFailedError(PermanentError):
    """A run of the demo failed."""


class EmbeddedPostgresError(PermanentError):
    """The embedded PostgreSQL cannot run here."""


class DataRejectedError(CanvasSyncError):
    """A report cannot be loaded; nothing was published."""


class ReportContentError(DataRejectedError):
    """The file is not the report that was requested."""


class HeaderContractError(DataRejectedError):
    """A report lacks a key column, without which its rows cannot be identified."""


class RejectThresholdError(DataRejectedError):
    """Too many rows of a report are unreadable."""


class VolumeGateError(DataRejectedError):
    """So many rows of a scope are missing that the report itself is in doubt."""


class DeliveryError(CanvasSyncError):
    """The receiver does not accept a delivery."""


class ProvenanceError(DeliveryError):
    """The event's origin could not be verified, or it belongs to another tenant."""


class DeliveryDeferredError(DeliveryError):
    """The event cannot be verified or stored right now; the sender should retry."""


class EventError(DeliveryError):
    """The delivery is not a readable event."""
