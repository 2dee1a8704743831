"""Read and validate tenants, connections and policies from the environment, `.env` and `canvas_sync.yaml`.

A wrong value raises one `SettingError`, which names the setting as the user wrote it, its value, and what is allowed.
Secrets appear neither in errors nor in any `repr`. Precedence: environment, `.env`, file, default.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.mapping_files import cross_listing_from_gem, mapping_from_file, mapping_from_gem
from canvas_sync_dagster.catalogue.overrides import MappingOverride, refuse_shared_tables, with_legacy_ids
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.postgres_url import place_of
from canvas_sync_dagster.tenants import Genre, TenantSettings

PREFIX = "CANVAS_SYNC_"
JWK_URL = "https://8axpcl50e4.execute-api.us-east-1.amazonaws.com/main/jwks"
"""Instructure's key set for production and beta."""
HARMLESS_URL = re.compile(r"[A-Za-z0-9.:/_-]*")
"""A base URL that may be printed: no user, no query, and no `~`, which every Canvas token contains."""
GEM_FILE = "canvas_sync_provisioning_mapping.yml"
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
CONNECTION = {"base_url", "token", "account_id", "root_account_uuid", "shard", "database_url", "schema"}
"""Settings of one Canvas. With several tenants in the file, the environment sets them only for the tenant that
`CANVAS_SYNC_TENANT` names, so that a token is never sent to another school's Canvas."""


@dataclass(frozen=True, slots=True)
class BrokenTenant:
    """A tenant that is left out because of a wrong value, so that the other tenants load.

    Attributes:
        slug: Slug as the file spells it; it may itself be the wrong value.
        error: The wrong value, and what is allowed.
    """

    slug: str
    error: SettingError


class Settings(BaseModel):
    """All tenants of a code location, and the settings that they share."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    home: Path = Field(Path(".canvas_sync"), description="a directory")
    mappings: tuple[MappingOverride, ...] = ()
    legacy_ids: bool = False
    jwk_url: str = JWK_URL
    event_key: bytes | None = Field(None, repr=False)
    event_iv: bytes | None = Field(None, repr=False)
    health_port: int | None = Field(None, ge=1, le=65535, description="1 to 65535")
    batch_rows: int | None = Field(None, ge=1, le=10_000_000, description="1 to 10000000 rows")
    tenants: tuple[TenantSettings, ...] = ()
    broken: tuple[BrokenTenant, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        for number, tenant in enumerate(self.tenants):
            _refuse_shared_tables(tenant, self.tenants[:number], f"tenants.{tenant.slug}")
        return self

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, directory: Path | None = None, needs_tokens: bool = True
    ) -> Settings:
        """Read the environment, `.env` and, if it exists, the file.

        If one of several tenants has a wrong value, it is left out and listed in `broken`.

        Args:
            environ: Environment variables; `os.environ` by default.
            directory: Directory of `.env` and `canvas_sync.yaml`; the working directory by default.
            needs_tokens: Whether the variables of tokens in the file must be set. The receiver works without tokens.

        Returns:
            The validated settings.

        Raises:
            SettingError: A shared setting is wrong, or no tenant is valid.
        """
        directory = directory or Path.cwd()
        variables = _variables(environ, directory)
        path = variables.get(f"{PREFIX}CONFIG")
        if path and not (directory / path).is_file():
            raise SettingError(f"{PREFIX}CONFIG", "file not found", allowed="the path of a YAML file", value=path)
        file = directory / (path or "canvas_sync.yaml")
        content = _content_of_file(file) if file.is_file() else {}
        if not needs_tokens:
            content = _without_unset_tokens(content, variables)
        return cls._of(content, variables, directory, file)

    @classmethod
    def from_content(
        cls, content: Mapping[str, Any], environ: Mapping[str, str] | None = None, *, source: Path
    ) -> Settings:
        """Read content that replaces the file, such as a component's attributes; the environment takes precedence.

        Args:
            content: `tenants`, `mappings` and `legacy_ids`, in the form of `canvas_sync.yaml`.
            environ: Environment variables; `os.environ` by default.
            source: File that messages name. `.env` is read from the working directory.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong.
        """
        return cls._of(content, _variables(environ, Path.cwd()), Path.cwd(), source)

    @classmethod
    def of_tenants(cls, tenants: Iterable[TenantSettings | Mapping[str, Any]]) -> Settings:
        """Build settings from tenants given in Python; shared settings come from the environment.

        Args:
            tenants: Validated settings, or mappings with the same names.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong, or two tenants have the same slug.
        """
        made = tuple(each if isinstance(each, TenantSettings) else _given_tenant(each) for each in tenants)
        slugs = [each.slug for each in made]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise SettingError(
                "tenants", "two tenants have this slug", allowed="a different slug for each tenant", value=twice[0]
            )
        fields = {f"{PREFIX}{name.upper()}" for name in TenantSettings.model_fields}
        shared = {name: value for name, value in _variables(None, Path.cwd()).items() if name not in fields}
        whole = cls._of({}, shared, Path.cwd(), Path("tenants"))
        return whole.model_copy(update={"tenants": made})

    @classmethod
    def _of(cls, content: Mapping[str, Any], variables: Mapping[str, str], directory: Path, file: Path) -> Settings:
        given = _tenants_of_file(content, file)
        named = variables.get(f"{PREFIX}TENANT") or (next(iter(given)) if len(given) == 1 else "canvas")
        alone = not given or set(given) == {named}
        tenants: list[TenantSettings] = []
        broken: list[BrokenTenant] = []
        for slug, values in (given or {named: {}}).items():
            overrides = _overrides(variables, connection=alone or slug == named)
            try:
                tenant = _tenant(slug, _expanded(slug, values, variables, file), overrides, file)
                _refuse_shared_tables(tenant, tenants, f"{file.name}: tenants.{slug}")
                tenants.append(tenant)
            except SettingError as error:
                broken.append(BrokenTenant(slug, error))
        if broken and not tenants:
            raise broken[0].error
        return cls(
            home=home_directory(variables, directory),
            batch_rows=_batch_rows(variables),
            tenants=tuple(tenants),
            broken=tuple(broken),
            mappings=(*_gem_mappings(directory), *_mappings(content, file.name)),
            legacy_ids=_legacy_ids(content, file.name),
            jwk_url=_jwk_url(variables),
            health_port=_health_port(variables),
            event_key=_secret(variables, "PRODUCTION_KEY1", {16, 24, 32}),
            event_iv=_secret(variables, "PRODUCTION_IV1", {12, 16}),
        )

    @classmethod
    def from_file(cls, path: Path, environ: Mapping[str, str] | None = None) -> Settings:
        """Read a file; the environment takes precedence, and `.env` is read from the directory of the file.

        Args:
            path: The YAML file.
            environ: Environment variables; `os.environ` by default.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong.
        """
        variables = dict(os.environ if environ is None else environ)
        return cls.from_environment(
            {**variables, f"{PREFIX}CONFIG": str(path.resolve())}, directory=path.resolve().parent
        )

    def models(self) -> tuple[Model, ...]:
        """Return the built-in models with the mappings of the files applied.

        Raises:
            SettingError: A mapping names an unknown column or model.
        """
        found = [with_legacy_ids(model) if self.legacy_ids else model for model in BUILT_IN]
        for mapping in self.mappings:
            found = [mapping.applied(model) if model.name == mapping.model else model for model in found]
        refuse_shared_tables(found)
        return tuple(found)

    def tenant(self, slug: str | None = None) -> TenantSettings:
        """Return the settings of one tenant.

        Args:
            slug: Slug of the tenant; may be omitted if there is only one.

        Raises:
            SettingError: The slug is unknown or missing, or a setting of the tenant is wrong.
        """
        for each in self.broken:
            if each.slug == slug:
                raise each.error
        known = ", ".join(tenant.slug for tenant in self.tenants)
        found = [tenant for tenant in self.tenants if slug in {None, tenant.slug}]
        if len(found) != 1:
            problem = "several tenants are configured; specify one" if slug is None else "unknown tenant"
            raise SettingError("--tenant", problem, allowed=known, value=slug)
        return found[0]


def _variables(environ: Mapping[str, str] | None, directory: Path) -> dict[str, str]:
    in_file = {name: value for name, value in dotenv_values(directory / ".env").items() if value is not None}
    return in_file | dict(os.environ if environ is None else environ)


def home_directory(variables: Mapping[str, str], directory: Path) -> Path:
    """Return the absolute `CANVAS_SYNC_HOME`; a relative path is resolved against the given directory."""
    return (directory / Path(variables.get(f"{PREFIX}HOME") or ".canvas_sync").expanduser()).resolve()


def _batch_rows(variables: Mapping[str, str]) -> int | None:
    text = variables.get("BULK_IMPORTER_BATCH_SIZE", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000_000:
        raise SettingError("BULK_IMPORTER_BATCH_SIZE", "wrong value", allowed="1 to 10000000 rows", value=text)
    return int(text)


def _without_unset_tokens(content: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    tenants = content.get("tenants")
    if not isinstance(tenants, dict):
        return content

    def kept(values: object) -> object:
        if not isinstance(values, dict) or set(VARIABLE.findall(str(values.get("token", "")))) <= variables.keys():
            return values
        return {name: value for name, value in values.items() if name != "token"}

    return {**content, "tenants": {slug: kept(values) for slug, values in tenants.items()}}


def _health_port(variables: Mapping[str, str]) -> int | None:
    text = variables.get(f"{PREFIX}HEALTH_PORT", "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise SettingError(f"{PREFIX}HEALTH_PORT", "wrong value", allowed="1 to 65535", value=text)
    return int(text)


def _jwk_url(variables: Mapping[str, str]) -> str:
    url = variables.get("DATASERVICES_JWK_URL", "").strip() or JWK_URL
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise SettingError("DATASERVICES_JWK_URL", "not a URL of a key set", allowed="a URL", value=url)
    return url


def _secret(variables: Mapping[str, str], name: str, sizes: set[int]) -> bytes | None:
    """Read a key in hex or base64; messages do not contain its value."""
    text = variables.get(name, "").strip()
    if not text:
        return None
    allowed = f"{' or '.join(map(str, sorted(sizes)))} bytes, in hex or base64"
    try:
        hexadecimal = re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text) and len(text) // 2 in sizes
        found = bytes.fromhex(text) if hexadecimal else base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SettingError(name, "neither hex nor base64", allowed=allowed) from None
    if len(found) not in sizes:
        raise SettingError(name, "wrong number of bytes", allowed=allowed)
    return found


def _overrides(variables: Mapping[str, str], *, connection: bool) -> dict[str, str]:
    names = [name for name in TenantSettings.model_fields if name not in {"slug", "schema_name", "genres", "params"}]
    wanted = [name for name in names if connection or name not in CONNECTION]
    # An empty variable counts as unset, because compose files and CI systems pass unset variables as empty.
    return {name: variables[key] for name in wanted if variables.get(key := PREFIX + name.upper(), "").strip()}


def _tenant(slug: str, values: Mapping[str, Any], overrides: Mapping[str, str], file: Path) -> TenantSettings:
    given = {**values, **overrides, "slug": slug}
    try:
        return TenantSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        # Levels below a setting, such as the index of a list item, were not written by the user.
        place = tuple(map(str, first["loc"][: 3 if first["loc"][0] == "genres" else 1]))
        variable = PREFIX + ("TENANT" if place == ("slug",) else place[0].upper())
        in_environment = place[0] in overrides or (place == ("slug",) and not file.is_file())
        setting = variable if in_environment else f"{file.name}: tenants.{slug}.{'.'.join(place)}"
        # pydantic's message repeats the input, which may be a secret; ours shows only values that are not secret.
        raise _wrong(setting, place, given, str(first["msg"])) from None


def _given_tenant(given: object) -> TenantSettings:
    if not isinstance(given, Mapping):
        allowed = "TenantSettings, or a mapping with the same names"
        raise SettingError("tenants", "not a tenant", allowed=allowed, value=type(given).__name__)
    return _tenant(str(given.get("slug", "canvas")), given, {}, Path("CanvasSync"))


def _wrong(setting: str, place: Sequence[str], given: object, message: str) -> SettingError:
    name, fields = place[-1], TenantSettings.model_fields
    if place[0] == "genres" and len(place) > 1:
        field = Genre.model_fields.get(name) if len(place) > 2 else fields["genres"]
        known: Iterable[str] = Genre.model_fields
    else:
        field = fields.get("schema_name" if name == "schema" else name)
        known = ("schema" if key == "schema_name" else key for key in fields)
    if field is None:
        return SettingError(setting, "unknown setting", allowed=", ".join(known))
    shown = None if name in {"token", "database_url", "genres"} else _value(given, place)
    if name == "base_url" and not HARMLESS_URL.fullmatch(str(shown)):
        shown = None
    return SettingError(setting, message.removeprefix("Value error, "), allowed=field.description or "", value=shown)


def _value(given: object, place: Sequence[str]) -> object:
    for key in place:
        given = given.get(key) if isinstance(given, Mapping) else None
    return given


def _content_of_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SettingError(file.name, f"cannot be read: {error}", allowed="a YAML file") from error
    allowed = {"tenants", "mappings", "legacy_ids"}
    if not isinstance(content, dict):
        raise SettingError(file.name, "expected a mapping", allowed=f"the keys {', '.join(sorted(allowed))}")
    if unknown := sorted(set(map(str, content)) - allowed):
        raise SettingError(f"{file.name}: {unknown[0]}", "unknown setting", allowed=", ".join(sorted(allowed)))
    return content


def _tenants_of_file(content: Mapping[str, Any], file: Path) -> dict[str, object]:
    tenants = content.get("tenants")
    if tenants is None and (not file.is_file() or content):
        return {}
    if not isinstance(tenants, dict) or not tenants:
        raise SettingError(file.name, "no tenants are configured", allowed="tenants: {slug: {base_url: …, token: …}}")
    return {str(slug): values for slug, values in tenants.items()}


def _expanded(slug: str, values: object, variables: Mapping[str, str], file: Path) -> dict[str, Any]:
    where = f"{file.name}: tenants.{slug}"
    if not isinstance(values, dict):
        raise SettingError(where, "expected a mapping", allowed="base_url, token and other settings, with their values")
    return cast("dict[str, Any]", _expand(values, variables, where))


def _refuse_shared_tables(tenant: TenantSettings, others: Sequence[TenantSettings], where: str) -> None:
    """Refuse a tenant that shares tables with another one: each would regard the other's rows as missing."""
    for other in others:
        if tenant.slug == other.slug:
            raise SettingError(where, "two tenants have this slug", allowed="a different slug for each tenant")
        if (_server(tenant), tenant.schema_in_database) == (_server(other), other.schema_in_database):
            problem = f"tenant {other.slug} uses this schema in the same database"
            raise SettingError(
                f"{where}.schema",
                problem,
                allowed="a different schema or a different database",
                value=tenant.schema_in_database,
            )


def _server(tenant: TenantSettings) -> str | None:
    """Return host, port and database of a tenant, without the user; None for the embedded PostgreSQL."""
    if tenant.database_url is None:
        return None
    return " ".join(place_of(tenant.database_url.get_secret_value()))


def _mappings(content: Mapping[str, Any], where: str) -> list[MappingOverride]:
    given = content.get("mappings") or {}
    if not isinstance(given, dict):
        raise SettingError(f"{where}: mappings", "expected a mapping", allowed="mappings: {model: {columns: {…}}}")
    return [mapping_from_file(_model(name, where), each, f"{where}: mappings.{name}") for name, each in given.items()]


def _gem_mappings(directory: Path) -> list[MappingOverride]:
    """Read the gem's mapping file, if the working directory or its `config/` contains one."""
    for file in (directory / GEM_FILE, directory / "config" / GEM_FILE):
        if file.is_file():
            try:
                content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
                raise SettingError(file.name, f"cannot be read: {error}", allowed="a YAML file") from error
            if not isinstance(content, dict):
                raise SettingError(
                    file.name, "expected a mapping", allowed="{model: {conflict_target, report_columns}}"
                )
            return [
                cross_listing_from_gem(each, f"{file.name}: {name}")
                if name == "xlist"
                else mapping_from_gem(_model(name, file.name), each, f"{file.name}: {name}")
                for name, each in content.items()
            ]
    return []


def _model(name: object, where: str) -> str:
    known = [model.name for model in BUILT_IN]
    if name not in known:
        raise SettingError(f"{where}: {name}", "unknown model", allowed=", ".join(known))
    return str(name)


def _legacy_ids(content: Mapping[str, Any], where: str) -> bool:
    value = content.get("legacy_ids", False)
    if not isinstance(value, bool):
        raise SettingError(f"{where}: legacy_ids", "wrong value", allowed="true or false", value=value)
    return value


def _expand(value: object, variables: Mapping[str, str], where: str) -> object:
    """Replace `${NAME}` by values of the environment."""
    if isinstance(value, dict):
        return {key: _expand(each, variables, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_expand(each, variables, where) for each in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise SettingError(
                where, f"the environment variable {match[1]} is not set", allowed="a variable that is set"
            )
        return variables[match[1]]

    return VARIABLE.sub(variable, value)
