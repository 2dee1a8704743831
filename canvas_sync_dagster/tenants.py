"""Settings of a tenant: its Canvas, the place of its copy, and its policy. `settings.py` reads the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from canvas_sync_dagster.alert_settings import ALLOWED as ALERTS_ALLOWED
from canvas_sync_dagster.alert_settings import AlertSettings
from canvas_sync_dagster.catalogue import BUILT_IN, Model, with_carriers
from canvas_sync_dagster.catalogue.feed_settings import refuse_impossible_feeds
from canvas_sync_dagster.catalogue.identity_cache import with_history
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash
from canvas_sync_dagster.catalogue.parameters import refuse_parameters
from canvas_sync_dagster.catalogue.protection import Rules
from canvas_sync_dagster.durations import Duration
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.full_sync_policy import FullSyncEvery
from canvas_sync_dagster.postgres_url import ALLOWED, problem_of
from canvas_sync_dagster.translation_settings import Translation

OFF = "off"
"""Value of `audit_schedule` that stops the audits."""
SLUG = re.compile(r"[a-z][a-z0-9_]{0,30}")
EVERY_SUB_ACCOUNT = "all"
"""Value of `split_reports` for all accounts directly below the tenant's account."""
SLUG_RULE = "a lowercase letter, then up to 30 lowercase letters, digits or underscores"
SHORTEST_KEY = 32
"""Characters of a hash key: 128 bits in hexadecimal digits."""
FINDINGS = ("header_contract", "volume", "rejects", "duplicate_keys", "suspects", "orphans")
"""Findings of a load that `blocking_checks` can name; `sync.findings` makes them."""


def parse_updated_after(value: object) -> datetime | bool:
    """Parse `true`, `false` or an ISO-8601 date; a date without a time zone is UTC.

    Raises:
        ValueError: The value is neither a boolean nor a date.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    folded = str(value).strip().lower()
    if folded in {"true", "false"}:
        return folded == "true"
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError("not an ISO-8601 date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _off(value: object) -> object:
    # YAML reads `off` as false.
    return OFF if value is False or str(value).strip().lower() in {OFF, "false"} else value


def _cron(value: str) -> str:
    if not re.fullmatch(r"(@(hourly|daily|weekly|monthly|yearly))|([\w*/,\-]+\s+){4}[\w*/,\-]+", value.strip()):
        raise ValueError("not a cron expression")
    return value.strip()


UnknownColumns = Literal["warn", "add", "fail"]


def _split_ids(value: object) -> object:
    given = (value,) if isinstance(value, int) else _split(value)
    return tuple(map(str, given)) if isinstance(given, (list, tuple)) else given


AccountIds = Annotated[tuple[str, ...], BeforeValidator(_split_ids)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


@dataclass(frozen=True, slots=True)
class BrokenTenant:
    """A tenant that is left out because of a wrong value, so that the other tenants load.

    Attributes:
        slug: Slug as the file spells it; it may itself be the wrong value.
        error: The wrong value, and what is allowed.
    """

    slug: str
    error: SettingError


class Policy(BaseModel):
    """When a sync runs, which terms it covers, and how much it requests.

    The description of each field states what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    models: Names = Field(
        ("all",),
        examples=[["terms", "users", "courses"]],
        description=f"all, or a list of {', '.join(m.name for m in BUILT_IN)}",
    )
    term_scope: Names = Field(
        ("active",),
        examples=["active", ["118", "2027SP"]],
        description="active, all, or a list of term ids or SIS term ids",
    )
    updated_after: Annotated[datetime | bool, BeforeValidator(parse_updated_after)] = Field(
        True, description="true, false, or an ISO-8601 date"
    )
    full_sync_every: str = Field(
        "sunday/2",
        description="15%, 10 days, sunday, or saturday/4; a weekday means the first sync on or after that day",
    )
    schedule: str = Field("0 */3 * * *", description="a cron expression with five fields")
    timezone: str = Field("UTC", description="an IANA time zone such as America/Denver")
    report_timeout: Duration = Field(timedelta(days=1), description="how long a report may take in all, such as 1 day")
    report_compilation_timeout: Duration = Field(
        timedelta(hours=1), description="how long Canvas may compile a report, such as 1 hour"
    )
    report_max_tries: int = Field(3, ge=1, le=100, description="1 to 100 tries per report")
    term_order: Literal["fifo", "lifo", "random", "priority"] = Field(
        "fifo", description="fifo, lifo, random, or priority (newest term first)"
    )
    term_concurrency: int = Field(4, ge=1, le=100, description="1 to 100 term runs at the same time")
    reports_ahead: int = Field(2, ge=0, le=20, description="0 to 20 reports that a run requests in advance")
    on_failed_term: Literal["continue", "stop"] = Field(
        "continue", description="continue or stop: whether further terms are synced after one has failed"
    )

    def wants(self, model: str) -> bool:
        """Return whether the sync includes a model."""
        return "all" in self.models or model in self.models

    @field_validator("models")
    @classmethod
    def _models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = {model.name for model in BUILT_IN}
        value = with_carriers(value)
        if unknown := [name for name in value if name != "all" and name not in known]:
            raise ValueError(f"unknown model {', '.join(unknown)}")
        if not value:
            raise ValueError("the list of models is empty")
        return value

    @field_validator("full_sync_every")
    @classmethod
    def _full_sync_every(cls, value: str) -> str:
        FullSyncEvery.parse(value)
        return value

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        return _cron(value)

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("unknown time zone") from None
        return value


class Genre(Policy):
    """A further kind of sync of a tenant, with its own schedule; other settings default to those of the tenant."""

    schedule: str = Field(description="a cron expression with five fields", examples=["*/30 * * * *"])
    steps: Names = Field((), description="a list of custom reports, tables and steps", examples=[["my_report"]])


class TenantSettings(Policy):
    """Settings of one tenant: its Canvas, the place of its copy, and its policy."""

    slug: str = Field("canvas", description=SLUG_RULE)
    enabled: bool = Field(True, description="true or false: false pauses the tenant's schedules and sensors")
    base_url: str | None = Field(
        None, description="a URL such as https://school.instructure.com", examples=["https://school.instructure.com"]
    )
    token: SecretStr | None = Field(None, description="a Canvas access token", examples=["{{ env.CANVAS_SYNC_TOKEN }}"])
    account_id: str = Field("self", description="self, digits, or sis_account_id:…")
    root_account_uuid: str | None = Field(
        None, description="the UUID that Canvas gives its root account", examples=["Qm2sV0xXbTzRkWpYcN4hD7uJ"]
    )
    shard: int | None = Field(
        None,
        ge=1,
        description="number of the Canvas shard in global ids; by default, read from live events",
        examples=[1042],
    )
    database_url: SecretStr | None = Field(None, description=ALLOWED, examples=["{{ env.CANVAS_SYNC_DATABASE_URL }}"])
    schema_name: str | None = Field(
        None, alias="schema", description="a name of at most 63 characters", examples=["canvas"]
    )
    batch_genre: str = Field("default", description="name of the usual sync's genre")
    genres: Mapping[str, Genre] = Field(
        {},
        description="genre → its schedule, and the settings that differ from the tenant's",
        examples=[{"grades": {"schedule": "*/30 * * * *", "models": ["enrollments", "scores"]}}],
    )
    history: Names = Field(
        (),
        description="a list of models whose earlier rows are kept in a table <model>_history",
        examples=[["enrollments", "submissions"]],
    )
    params: Mapping[str, Mapping[str, Any]] = Field(
        {},
        description="model → parameters of its report; those that the sync sets itself are refused",
        examples=[{"users": {"created_by_sis": True}}],
    )
    feeds: Mapping[str, Literal["report", "rest"]] = Field(
        {},
        description="model → report or rest: what feeds it, for a model that both can feed",
        examples=[{"submissions": "rest"}],
    )
    unknown_columns: UnknownColumns | Mapping[str, UnknownColumns] = Field(
        "warn",
        description="warn, add or fail: what a column of a report does that its model does not declare; or model → one of "
        "them, and warn for the others",
        examples=["add", {"users": "add", "courses": "fail"}],
    )
    exclude: Names = Field(
        (),
        description="a list of columns, each as model.column, that are stored nowhere; their columns are null",
        examples=[["users.email"]],
    )
    hash: Names = Field(
        (),
        description="a list of columns of texts, each as model.column, that are stored as a keyed hash (see hash_key)",
        examples=[["users.login_id", "pseudonyms.unique_id"]],
    )
    hash_key: SecretStr | None = Field(
        None,
        validate_default=True,
        description=f"a secret of at least {SHORTEST_KEY} characters, the key of the hashes; "
        "`openssl rand -hex 32` makes one",
        examples=["{{ env.CANVAS_SYNC_HASH_KEY }}"],
    )
    provisioning_report: Literal["auto", "proservices_provisioning_csv", "provisioning_csv"] = Field(
        "auto", description="proservices_provisioning_csv, provisioning_csv, or auto"
    )
    split_reports: AccountIds = Field(
        (),
        description="all, or a list of ids of sub-accounts: each report of a term is requested once per sub-account",
        examples=["all", ["12", "15"]],
    )
    sync_new_terms: bool = Field(
        True,
        description="true or false: whether a term that comes into scope is synced without waiting for the schedule",
    )
    blocking_checks: Names = Field(
        (),
        description=f"a list of {', '.join(FINDINGS)}: after a load with such a finding, nothing downstream runs",
        examples=[["volume", "header_contract"]],
    )
    translation: Translation = Field(
        Translation(),
        description="key_prefix, group_name, owners and other attributes of the assets in Dagster",
        examples=[{"owners": ["team:lms"], "assets": {"users": {"key": "identity/people"}}}],
    )
    stale_after: Duration = Field(
        timedelta(days=1), description="time without a sync after which a table is stale, such as 1 day"
    )
    freshness_policies: bool | None = Field(
        None,
        description="true or false: whether the assets have freshness policies; by default, up to 20 tenants in a location",
        examples=[True],
    )
    lost_after: Duration = Field(
        timedelta(minutes=2), description="time without a heartbeat after which a run is orphaned, such as 2 minutes"
    )
    token_expires_at: datetime | None = Field(
        None,
        description="an ISO-8601 date: when the token expires, for a Canvas that does not report it",
        examples=["2027-06-30"],
    )
    alerts: AlertSettings | None = Field(
        None, description=ALERTS_ALLOWED, examples=[{"webhook_url": "{{ env.ALERTS_WEBHOOK_URL }}"}]
    )
    audit_schedule: Annotated[str, BeforeValidator(_off)] = Field(
        "50 4 * * *",
        description="a cron expression with five fields, or off: when the tables are compared with Canvas",
        examples=["50 4 * * sunday", "off"],
    )
    audit_sample: int = Field(
        400, ge=1, le=100_000, description="1 to 100000: rows, and lists of Canvas, that an audit reads per model"
    )
    unsigned_events: bool = Field(False, description="true or false: whether unsigned live events are accepted")
    poll_seconds: float = Field(
        30.0, gt=0, le=3600, description="longest pause between two polls of a report, in seconds: above 0, up to 3600"
    )

    def policy_for_unknown_columns(self, model: str) -> UnknownColumns:
        """Return what an undeclared column in the report of a model does."""
        given = self.unknown_columns
        return given if isinstance(given, str) else given.get(model, "warn")

    @property
    def rules(self) -> Rules:
        """Which columns are excluded or hashed."""
        key = KeyedHash(self.hash_key.get_secret_value()) if self.hash_key is not None and self.hash else None
        return Rules(self.exclude, self.hash, key)

    @property
    def reason_to_skip(self) -> str | None:
        """Why schedules and sensors skip this tenant; None if they do not."""
        if not self.enabled:
            return f"{self.slug} is paused by its setting enabled: false"
        if self.base_url is None and self.database_url is None:
            return f"{self.slug} is not configured: CANVAS_SYNC_BASE_URL is not set"
        return None

    @property
    def schema_in_database(self) -> str:
        """PostgreSQL schema of the tenant's tables."""
        return self.schema_name or self.slug

    @property
    def time_zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def full_sync_policy(self) -> FullSyncEvery | None:
        """When a scope is read in full; None if `updated_after` is a date and `full_sync_every` is not set."""
        if isinstance(self.updated_after, datetime) and "full_sync_every" not in self.model_fields_set:
            return None
        return FullSyncEvery.parse(self.full_sync_every)

    def of_genre(self, name: str) -> TenantSettings:
        """Return the settings of a genre; a genre that is not declared differs only by its name."""
        genre = self.genres.get(name)
        given = genre.model_fields_set & set(Policy.model_fields) if genre else set()
        return self.model_copy(update={**{field: getattr(genre, field) for field in given}, "batch_genre": name})

    def chosen(self, models: Iterable[Model]) -> tuple[Model, ...]:
        """Return the models that this tenant syncs, with its columns excluded or hashed.

        Models that the user declared are always included.
        """
        known, built_in = tuple(models), {model.name for model in BUILT_IN}
        wanted = {model.name for model in known if model.name not in built_in or self.wants(model.name)}
        if any(model.term_scoped for model in known if model.name in wanted):
            # The terms are the partitions.
            wanted.add("terms")
        return tuple(self.adapted(model) for model in known if model.name in wanted)

    def adapted(self, model: Model) -> Model:
        """Return a model with its columns excluded or hashed, and with its history, as the settings say."""
        protected = self.rules.of(model)
        return with_history(protected) if model.name in self.history else protected

    @field_validator("audit_schedule")
    @classmethod
    def _audit_schedule(cls, value: str) -> str:
        return value if value == OFF else _cron(value)

    @field_validator("slug")
    @classmethod
    def _slug(cls, value: str) -> str:
        if not SLUG.fullmatch(value):
            raise ValueError("not a tenant slug")
        return value

    @field_validator("genres")
    @classmethod
    def _genres(cls, value: Mapping[str, Genre], info: ValidationInfo) -> Mapping[str, Genre]:
        own = {"terms", *info.data.get("models", ("all",))}
        for name, genre in value.items():
            if not SLUG.fullmatch(name):
                raise ValueError(f"invalid name {name}; expected {SLUG_RULE}")
            if name == info.data.get("batch_genre"):
                raise ValueError(f"{name} is already the batch_genre of the tenant")
            if "all" not in own and (lost := [each for each in genre.models if each not in {"all", *own}]):
                raise ValueError(f"{name} contains the models {', '.join(lost)}, which the tenant does not sync")
        return value

    @field_validator("history")
    @classmethod
    def _history(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known, synced = {model.name for model in BUILT_IN}, {"terms", *info.data.get("models", ("all",))}
        if unknown := [name for name in value if name not in known]:
            raise ValueError(f"unknown model {', '.join(unknown)}")
        if "all" not in synced and (lost := [name for name in value if name not in synced]):
            raise ValueError(f"the tenant does not sync {', '.join(lost)}")
        return tuple(dict.fromkeys(value))

    @field_validator("params")
    @classmethod
    def _params(cls, value: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        known = {model.name: model for model in BUILT_IN}
        for name, given in value.items():
            if name not in known:
                raise ValueError(f"unknown model {name}; set parameters of custom reports where they are registered")
            try:
                refuse_parameters(known[name], given)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return value

    @field_validator("feeds")
    @classmethod
    def _feeds(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        refuse_impossible_feeds(value, BUILT_IN)
        return value

    @field_validator("exclude", "hash")
    @classmethod
    def _columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in value if len(name.split(".")) != 2]:
            raise ValueError(f"{wrong[0]} is not of the form model.column")
        return tuple(dict.fromkeys(value))

    @field_validator("hash_key")
    @classmethod
    def _hash_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("hash"):
            raise ValueError("it is not set, and the setting hash requires it")
        if value is not None and len(value.get_secret_value()) < SHORTEST_KEY:
            raise ValueError("the key is too short, so that hashes could be reversed by trying all keys")
        return value

    @field_validator("blocking_checks")
    @classmethod
    def _blocking_checks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in FINDINGS]:
            raise ValueError(f"unknown finding {', '.join(unknown)}")
        return tuple(dict.fromkeys(value))

    @field_validator("split_reports")
    @classmethod
    def _split_reports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if EVERY_SUB_ACCOUNT in value and len(set(value)) > 1:
            raise ValueError("all and ids of sub-accounts exclude each other")
        if wrong := [each for each in value if each != EVERY_SUB_ACCOUNT and not re.fullmatch(r"[0-9]{1,18}", each)]:
            raise ValueError(f"{', '.join(wrong)}: not an id of a Canvas account")
        return tuple(dict.fromkeys(value))

    @field_validator("schema_name")
    @classmethod
    def _schema(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value or len(value.encode()) > 63):
            raise ValueError("not a valid name in PostgreSQL")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value.strip())
        if "@" in value or "?" in value or "#" in value:
            raise ValueError(
                "it must not contain user, password, query or fragment; set the token in CANVAS_SYNC_TOKEN"
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not the URL of a Canvas")
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    @field_validator("token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("a token contains only printable ASCII characters, without spaces")
        return value

    @field_validator("token_expires_at")
    @classmethod
    def _token_expires_at(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @field_validator("account_id")
    @classmethod
    def _account_id(cls, value: str) -> str:
        if not re.fullmatch(r"self|\d+|(\d+~)\d+|sis_account_id:[^/?#]+", value):
            raise ValueError("invalid account id")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (problem := problem_of(value.get_secret_value())):
            raise ValueError(problem)
        return value
