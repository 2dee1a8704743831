"""Every exception of the package, sorted by what a caller can do about it.

CanvasSyncError
├── MisconfiguredError          a setting, a mapping or a schema must be changed by a person; exit code 2
│   ├── SettingError            one setting has a wrong value
│   ├── SchemaError             the database lacks a table, a column or a right
│   └── DatabaseLimitError      a time limit of the role, the database or a pooler ended a statement
├── TransientError              trying again later may succeed without anybody doing anything
│   ├── CanvasUnavailableError  Canvas is down, unreachable or overloaded
│   ├── CanvasThrottledError    Canvas refuses more requests for now
│   ├── SyncUnderWayError       another sync of the tenant and genre is under way
│   ├── DatabaseUnavailableError PostgreSQL cannot be reached, or the connection was lost
│   └── LocalDiskError          a file cannot be written here
├── PermanentError              trying again gives the same answer
│   ├── CanvasUnauthorizedError the token is not accepted
│   ├── CanvasForbiddenError    the token may not do this
│   ├── CanvasNotFoundError     Canvas has no such thing, or hides it
│   ├── CanvasRequestError      Canvas calls the request wrong
│   ├── AddressRefusedError    a redirect or a file's address leads to this machine
│   ├── NotCanvasError          what answers is not Canvas's API
│   ├── ReportFailedError       a report failed as often as it may
│   ├── RunFailedError          a run of Dagster's failed; on_failure gets it
│   ├── FunctionError           a function of the user's raised, or returned what it may not
│   └── EmbeddedPostgresError   the embedded PostgreSQL cannot run here
├── DeliveryError               a delivery to the receiver that is not accepted
│   ├── ProvenanceError         nobody knows that Canvas sent it
│   └── EventError              it cannot be read
└── DataRejectedError           what Canvas delivered cannot be loaded; nothing was published
    ├── ReportContentError      the file is not what was asked for
    ├── HeaderContractError     a key column is missing
    ├── RejectThresholdError    too many rows are unreadable
    └── VolumeGateError         so many rows are missing that the source itself is in doubt

Messages say what happened, where (tenant, model, term, report), and what to do next.
"""

from __future__ import annotations

from canvas_sync_dagster.printable import printable


class CanvasSyncError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        message: For people; control characters in it are escaped, for it may repeat a text of Canvas.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class MisconfiguredError(CanvasSyncError):
    """A setting, a mapping or a schema must be changed by a person."""


class SettingError(MisconfiguredError):
    """One setting has a wrong value."""

    def __init__(self, setting: str, problem: str, *, allowed: str, value: object = None) -> None:
        self.setting = setting
        self.value = value
        shown = "" if value is None else f" is {value!r}"
        super().__init__(f"{setting}{shown}: {problem}. Allowed: {allowed}")


class SchemaError(MisconfiguredError):
    """The database lacks a table, a column or a right that the sync needs."""


class DatabaseLimitError(MisconfiguredError):
    """A time limit of the role, the database, the server or a pooler ended a statement."""


class TransientError(CanvasSyncError):
    """Trying again later may succeed without anybody doing anything."""


class DatabaseUnavailableError(TransientError):
    """PostgreSQL cannot be reached, or the connection was lost."""


class SyncUnderWayError(TransientError):
    """Another sync of the tenant and genre is under way."""

    def __init__(self, tenant: str, genre: str) -> None:
        super().__init__(
            f"a sync of {tenant} ({genre}) is under way already, so this one was not started; `canvas-sync status` shows it"
        )


class LocalDiskError(TransientError):
    """A file cannot be written here."""


class PermanentError(CanvasSyncError):
    """Trying again gives the same answer."""


class CanvasError(CanvasSyncError):
    """Canvas answered, or failed to answer, one request."""

    def __init__(self, message: str, *, method: str = "", url: str = "", status: int | None = None) -> None:
        self.method = method
        self.url = url
        self.status = status
        super().__init__(message)


class CanvasUnavailableError(CanvasError, TransientError):
    """Canvas is down, unreachable or overloaded."""


class CanvasThrottledError(CanvasError, TransientError):
    """Canvas refuses more requests from this token for now."""


class CanvasUnauthorizedError(CanvasError, PermanentError):
    """Canvas does not accept the token."""


class CanvasForbiddenError(CanvasError, PermanentError):
    """Canvas accepts the token, but it may not do this."""


class CanvasNotFoundError(CanvasError, PermanentError):
    """Canvas has no such thing, or hides it from this token."""


class CanvasRequestError(CanvasError, PermanentError):
    """Canvas calls the request wrong."""


class NotCanvasError(CanvasError, PermanentError):
    """What answers at the base URL is not Canvas's API."""


class AddressRefusedError(CanvasError, PermanentError):
    """An address that Canvas named leads to this machine or its cloud, and not to a storage of files."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"{host} resolves to a loopback, link-local or metadata address, which Canvas's files are never at; nothing was "
            "sent to it. Check CANVAS_SYNC_BASE_URL, and the name in your DNS."
        )


class ReportFailedError(PermanentError):
    """A Canvas report failed as often as it may."""


class RunFailedError(PermanentError):
    """A run of Dagster's failed. `on_failure` gets it, as an instance of the class that the run raised, too.

    Args:
        message: What was raised.
        step: Step that raised it; empty if the run ended without a failed step.
        class_name: Class of what was raised, with its module.
        stack: Stack trace, as text.
    """

    def __init__(self, message: str, *, step: str = "", class_name: str = "", stack: str = "") -> None:
        self.step = step
        self.class_name = class_name
        self.stack = stack
        Exception.__init__(self, message)

    def __str__(self) -> str:
        # KeyError, which it may be as well, would quote it.
        return str(self.args[0])


class FunctionError(PermanentError):
    """A function of the user's raised, or returned what it may not.

    Args:
        registered: Where it was registered, as the user wrote it.
        function: Its role and name.
        key: Key of the row that it was called for.
        problem: What it did.
    """

    def __init__(self, registered: str, function: str, key: str, problem: str) -> None:
        self.registered = registered
        self.function = function
        self.key = key
        super().__init__(f"{registered}: {function} {problem}, for {key}. Correct the function, then run this again.")


class EmbeddedPostgresError(PermanentError):
    """The embedded PostgreSQL cannot run here."""


class DataRejectedError(CanvasSyncError):
    """What Canvas delivered cannot be loaded; nothing was published."""


class ReportContentError(DataRejectedError):
    """The file is not what was asked for."""


class HeaderContractError(DataRejectedError):
    """A report lacks a column without which its rows cannot be told apart."""


class RejectThresholdError(DataRejectedError):
    """Too many rows of a report are unreadable."""


class VolumeGateError(DataRejectedError):
    """So many rows of a scope are missing that the source itself is in doubt."""


class DeliveryError(CanvasSyncError):
    """A delivery to the receiver that is not accepted."""


class ProvenanceError(DeliveryError):
    """Nobody knows that Canvas sent it, or not for this tenant."""


class ComeAgainError(DeliveryError):
    """It cannot be judged or stored at the moment; whoever sent it should send it again."""


class EventError(DeliveryError):
    """It cannot be read as an event."""
