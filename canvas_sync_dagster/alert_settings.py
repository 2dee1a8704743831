"""Settings of alerts: which problems are reported to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from canvas_sync_dagster.durations import Duration

ADDRESS = re.compile(r"[^@\s<>,;\x00-\x1f]+@[^@\s<>,;\x00-\x1f]+")
ALLOWED = (
    "a mapping with webhook_url or email, and optionally kinds, ui_url, remind_after, token_warning, webhook_format"
)


class AlertKind(Enum):
    """What an alert is about. The values are those of the setting `kinds`."""

    FAILED_SYNC = "failed_sync"
    """A batch failed, a run outside a batch failed and is not retried, or the tenant's database cannot be read."""
    STALE_TABLE = "stale_table"
    """A table was not synced within `stale_after`."""
    VOLUME_GATE = "volume_gate"
    """A report lists so few rows that the absent ones were not marked as missing."""
    REJECTED_ROWS = "rejected_rows"
    """Rows of a report could not be loaded."""
    DEAD_LETTERS = "dead_letters"
    """Live events failed eight times."""
    EXPIRING_TOKEN = "expiring_token"  # noqa: S105 (a name of a kind)
    """The Canvas token expires within `token_warning`."""


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class EmailAlerts(BaseModel):
    """Mail server and recipients."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    to: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(min_length=1, description="a list of addresses")
    sender: str = Field(alias="from", description="the address of the sender")
    host: str = Field(min_length=1, description="name of the SMTP server")
    port: int = Field(587, ge=1, le=65535, description="1 to 65535")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="starttls, tls, or none")
    user: str | None = Field(None, description="name of the account on the SMTP server")
    password: SecretStr | None = Field(None, description="password of the account")
    ca_file: Path | None = Field(None, description="file with the certificates that sign the server's, in PEM format")

    @field_validator("to")
    @classmethod
    def _to(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(ADDRESS.fullmatch, value)):
            raise ValueError("not a list of mail addresses")
        return value

    @field_validator("sender")
    @classmethod
    def _sender(cls, value: str) -> str:
        if not ADDRESS.fullmatch(value):
            raise ValueError("not a mail address")
        return value

    @model_validator(mode="after")
    def _login(self) -> EmailAlerts:
        if (self.user is None) is not (self.password is None):
            raise ValueError("email needs both user and password, or neither")
        if self.password is not None and self.security == "none":
            raise ValueError("email would send the password unencrypted; set security to starttls or tls")
        return self


class AlertSettings(BaseModel):
    """Which alerts a tenant sends, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    webhook_url: SecretStr | None = Field(None, description="URL of a webhook of Slack, Teams, or your own service")
    webhook_format: Literal["slack", "teams"] = Field("slack", description="slack or teams")
    email: EmailAlerts | None = Field(None, description="a mapping with to, from, host, and optionally port, user, …")
    kinds: Annotated[tuple[AlertKind, ...], BeforeValidator(_split)] = Field(
        tuple(AlertKind),
        description=f"a list of {', '.join(kind.value for kind in AlertKind)}; an empty list sends nothing",
    )
    ui_url: str | None = Field(None, description="URL of the Dagster UI, for links in messages")
    remind_after: Duration = Field(timedelta(days=1), description="time after which an open alert is repeated")
    token_warning: Duration = Field(
        timedelta(days=14), description="time before the expiry of the Canvas token at which the alert is sent"
    )

    @property
    def is_active(self) -> bool:
        """Whether anything is sent."""
        return bool(self.kinds) and (self.webhook_url is not None or self.email is not None)

    @field_validator("webhook_url")
    @classmethod
    def _webhook_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_web_url(value.get_secret_value()):
            raise ValueError("webhook_url is not the URL of a webhook")
        return value

    @field_validator("ui_url")
    @classmethod
    def _ui_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _is_web_url(value) or "@" in value:
            raise ValueError("ui_url is not a URL without user and password")
        return value.rstrip("/")


def _is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text.strip())
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def joined(default: object, own: object) -> Any:
    """Return the alerts of a tenant: those of the location, with the tenant's own fields in their place.

    >>> joined({"webhook_url": "a", "kinds": ["stale_table"]}, {"kinds": []})
    {'webhook_url': 'a', 'kinds': []}
    """
    if isinstance(default, Mapping) and isinstance(own, Mapping):
        return {**default, **own}
    return default if own is None else own
