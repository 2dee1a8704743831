"""Settings that all tenants of a code location share; they come from the environment only."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from canvas_sync_dagster.configuration.environment import PREFIX, home_directory, value_of
from canvas_sync_dagster.configuration.setting_errors import problem_in
from canvas_sync_dagster.errors import SettingError

JWK_URL = "https://8axpcl50e4.execute-api.us-east-1.amazonaws.com/main/jwks"
"""Instructure's key set for production and beta."""
VARIABLES = {
    "jwk_url": "DATASERVICES_JWK_URL",
    "event_key": "PRODUCTION_KEY1",
    "event_iv": "PRODUCTION_IV1",
    "health_port": f"{PREFIX}HEALTH_PORT",
    "batch_rows": "BULK_IMPORTER_BATCH_SIZE",
    "preload_run_workers": f"{PREFIX}PRELOAD_RUN_WORKERS",
}
"""Field → environment variable. The names without our prefix are those of the gem and of Instructure's tools."""
SECRETS = {"event_key", "event_iv"}


def _key(value: object, *, sizes: tuple[int, ...]) -> object:
    """Decode a key in hex or base64; the message does not contain its value."""
    if not isinstance(value, str):
        return value
    hexadecimal = re.fullmatch(r"(?:[0-9a-fA-F]{2})+", value) and len(value) // 2 in sizes
    try:
        key = bytes.fromhex(value) if hexadecimal else base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("neither hex nor base64") from None
    if len(key) not in sizes:
        raise ValueError("wrong number of bytes")
    return key


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not a URL of a key set")
    return value


class SharedSettings(BaseModel):
    """Settings of a code location. Descriptions list the allowed values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    home: Path = Field(Path(".canvas_sync"), description="a directory")
    jwk_url: Annotated[str, AfterValidator(_url)] = Field(JWK_URL, description="a URL")
    event_key: Annotated[bytes | None, BeforeValidator(partial(_key, sizes=(16, 24, 32)))] = Field(
        None, repr=False, description="16 or 24 or 32 bytes, in hex or base64"
    )
    event_iv: Annotated[bytes | None, BeforeValidator(partial(_key, sizes=(12, 16)))] = Field(
        None, repr=False, description="12 or 16 bytes, in hex or base64"
    )
    health_port: int | None = Field(None, ge=1, le=65535, description="1 to 65535")
    batch_rows: int | None = Field(None, ge=1, le=10_000_000, description="1 to 10000000 rows")
    preload_run_workers: bool = Field(default=True, description="true or false")


def read_shared_settings(variables: Mapping[str, str], directory: Path) -> SharedSettings:
    """Return the shared settings.

    Args:
        variables: Environment variables.
        directory: Directory that a relative `CANVAS_SYNC_HOME` is resolved against.

    Raises:
        SettingError: A value is wrong.
    """
    texts = {field: value_of(variables, name) for field, name in VARIABLES.items()}
    given = {field: text.strip() for field, text in texts.items() if text}
    try:
        return SharedSettings.model_validate({**given, "home": home_directory(variables, directory)})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        allowed = SharedSettings.model_fields[field].description or ""
        shown = None if field in SECRETS else given[field]
        raise SettingError(VARIABLES[field], problem_in(first), allowed=allowed, value=shown) from None
