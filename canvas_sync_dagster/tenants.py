"""A tenant: one Canvas, where its copy lives, and how it is synced. Values are validated; reading them is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from canvas_sync_dagster.catalogue import BUILT_IN, Model, with_carriers
from canvas_sync_dagster.catalogue.overrides import refuse_parameters
from canvas_sync_dagster.postgres_url import ALLOWED, problem_of
from canvas_sync_dagster.rhythm import FullSyncEvery

SLUG = re.compile(r"[a-z][a-z0-9_]{0,30}")
SLUG_RULE = "a letter, then up to 30 small letters, digits or underscores"
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
UNIT_NAMES = "seconds, minutes, hours, days or weeks"


def parse_duration(value: object) -> timedelta:
    """Reads `1 day`, `90 minutes`, `30 seconds`; a number alone is refused, for the gem means days.

    >>> parse_duration("1 hour")
    datetime.timedelta(seconds=3600)

    Raises:
        ValueError: The value is not a positive duration with a unit.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError(f"a duration needs its unit: {UNIT_NAMES}, as in `{text} days`, which the gem means")
    if not match or match[2] not in UNITS or float(match[1]) <= 0:
        raise ValueError(f"this is not a duration: a number and a unit ({UNIT_NAMES})")
    try:
        return timedelta(seconds=float(match[1]) * UNITS[match[2]])
    except OverflowError:
        raise ValueError("this is longer than time itself") from None


def parse_updated_after(value: object) -> datetime | bool:
    """Reads `true`, `false` or an ISO-8601 date; a date without a zone is UTC.

    Raises:
        ValueError: The value is none of them.
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
        raise ValueError("this is no date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Policy(BaseModel):
    """When a sync runs, which terms it covers, and how much it asks for. Descriptions say what is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    models: Names = Field(("all",), description=f"all, or a list of {', '.join(m.name for m in BUILT_IN)}")
    term_scope: Names = Field(("active",), description="active, all, or a list of term ids or SIS term ids")
    updated_after: Annotated[datetime | bool, BeforeValidator(parse_updated_after)] = Field(
        True, description="true, false, or an ISO-8601 date"
    )
    full_sync_every: str = Field(
        "sunday/2", description="15%, 10 days, sunday, or saturday/4: the first sync on or after that day"
    )
    schedule: str = Field("0 */3 * * *", description="a cron line of five fields")
    timezone: str = Field("UTC", description="a name such as America/Denver")
    report_timeout: Duration = Field(timedelta(days=1), description="a duration such as 1 day")
    report_compilation_timeout: Duration = Field(timedelta(hours=1), description="a duration such as 1 hour")
    report_max_tries: int = Field(3, ge=1, le=100, description="1 to 100")
    term_order: Literal["fifo", "lifo", "random", "priority"] = Field(
        "fifo", description="fifo, lifo, random, or priority (the newest first)"
    )
    term_concurrency: int = Field(4, ge=1, le=100, description="1 to 100 term runs at once")
    reports_ahead: int = Field(2, ge=0, le=20, description="0 to 20 reports that a run orders before it needs them")
    on_failed_term: Literal["continue", "stop"] = Field("continue", description="continue, or stop")

    def wants(self, model: str) -> bool:
        """Says whether a model belongs to the sync."""
        return "all" in self.models or model in self.models

    @field_validator("models")
    @classmethod
    def _models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = {model.name for model in BUILT_IN}
        value = with_carriers(value)
        if unknown := [name for name in value if name != "all" and name not in known]:
            raise ValueError(f"there is no model {', '.join(unknown)}")
        if not value:
            raise ValueError("no model is named")
        return value

    @field_validator("full_sync_every")
    @classmethod
    def _full_sync_every(cls, value: str) -> str:
        FullSyncEvery.parse(value)
        return value

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        if not re.fullmatch(r"(@(hourly|daily|weekly|monthly|yearly))|([\w*/,\-]+\s+){4}[\w*/,\-]+", value.strip()):
            raise ValueError("this is not a cron line")
        return value.strip()

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("there is no such time zone") from None
        return value


class Genre(Policy):
    """A further kind of sync of a tenant, with a schedule of its own; what it leaves out is as the tenant has it."""

    schedule: str = Field(description="a cron line of five fields")
    steps: Names = Field((), description="a list of your own reports, tables and steps")


class TenantSettings(Policy):
    """One Canvas, where its copy lives, and how it is synced."""

    slug: str = Field("canvas", description=SLUG_RULE)
    base_url: str | None = Field(None, description="a URL such as https://school.instructure.com")
    token: SecretStr | None = Field(None, description="a Canvas access token")
    account_id: str = Field("self", description="self, digits, or sis_account_id:…")
    root_account_uuid: str | None = Field(None, description="the UUID that Canvas gives its root account")
    shard: int | None = Field(None, ge=1, description="number of the shard in global ids; learned from live events")
    database_url: SecretStr | None = Field(None, description=ALLOWED)
    schema_name: str | None = Field(None, alias="schema", description="a name of at most 63 characters")
    batch_genre: str = Field("default", description="any name")
    genres: Mapping[str, Genre] = Field({}, description="genre → what its syncs do differently, and their schedule")
    params: Mapping[str, Mapping[str, Any]] = Field(
        {}, description="model → parameters of its report; those that the sync sets itself are refused"
    )
    provisioning_report: Literal["auto", "proservices_provisioning_csv", "provisioning_csv"] = Field(
        "auto", description="proservices_provisioning_csv, provisioning_csv, or auto"
    )
    stale_after: Duration = Field(
        timedelta(days=1), description="a duration such as 1 day, from which a table is behind"
    )
    lost_after: Duration = Field(
        timedelta(minutes=2), description="a duration such as 2 minutes of silence, after which a run counts as dead"
    )
    unsigned_events: bool = Field(False, description="true or false: whether unsigned live events are believed")
    poll_seconds: float = Field(
        30.0, gt=0, le=3600, description="longest pause between two looks at a report: seconds, more than 0, up to 3600"
    )

    @property
    def schema_in_database(self) -> str:
        """Postgres schema of the tenant's tables."""
        return self.schema_name or self.slug

    @property
    def time_zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def rhythm(self) -> FullSyncEvery | None:
        """How often a scope is read in full; a date in `updated_after` leaves only a rhythm that was asked for."""
        if isinstance(self.updated_after, datetime) and "full_sync_every" not in self.model_fields_set:
            return None
        return FullSyncEvery.parse(self.full_sync_every)

    def of_genre(self, name: str) -> TenantSettings:
        """Returns the settings that a sync of a genre has; one that is not declared differs by its name alone."""
        genre = self.genres.get(name)
        given = genre.model_fields_set & set(Policy.model_fields) if genre else set()
        return self.model_copy(update={**{field: getattr(genre, field) for field in given}, "batch_genre": name})

    def chosen(self, models: Iterable[Model]) -> tuple[Model, ...]:
        """Picks the models that this tenant syncs; those of one's own always belong to them."""
        known, built_in = tuple(models), {model.name for model in BUILT_IN}
        wanted = {model.name for model in known if model.name not in built_in or self.wants(model.name)}
        if any(model.term_scoped for model in known if model.name in wanted):
            # Without terms nobody knows the partitions.
            wanted.add("terms")
        return tuple(model for model in known if model.name in wanted)

    @field_validator("slug")
    @classmethod
    def _slug(cls, value: str) -> str:
        if not SLUG.fullmatch(value):
            raise ValueError("this is not a tenant slug")
        return value

    @field_validator("genres")
    @classmethod
    def _genres(cls, value: Mapping[str, Genre], info: ValidationInfo) -> Mapping[str, Genre]:
        own = {"terms", *info.data.get("models", ("all",))}
        for name, genre in value.items():
            if not SLUG.fullmatch(name):
                raise ValueError(f"{name} is no name: {SLUG_RULE}")
            if name == info.data.get("batch_genre"):
                raise ValueError(f"{name} is the tenant's own batch_genre already")
            if "all" not in own and (lost := [each for each in genre.models if each not in {"all", *own}]):
                raise ValueError(f"{name} has the models {', '.join(lost)}, which the tenant itself does not sync")
        return value

    @field_validator("params")
    @classmethod
    def _params(cls, value: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        known = {model.name: model for model in BUILT_IN}
        for name, given in value.items():
            if name not in known:
                raise ValueError(
                    f"there is no model {name}; parameters of your own reports belong to their registration"
                )
            try:
                refuse_parameters(known[name], given)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return value

    @field_validator("schema_name")
    @classmethod
    def _schema(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value or len(value.encode()) > 63):
            raise ValueError("PostgreSQL takes no such name")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value.strip())
        if "@" in value or "?" in value or "#" in value:
            raise ValueError("it must have no user, password, query or fragment; a token belongs in CANVAS_SYNC_TOKEN")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("this is not the address of a Canvas")
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    @field_validator("token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("a token has no blanks and no other characters than ASCII's")
        return value

    @field_validator("account_id")
    @classmethod
    def _account_id(cls, value: str) -> str:
        if not re.fullmatch(r"self|\d+|(\d+~)\d+|sis_account_id:[^/?#]+", value):
            raise ValueError("this names no account")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (problem := problem_of(value.get_secret_value())):
            raise ValueError(problem)
        return value
