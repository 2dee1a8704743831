"""`translation` in the settings of a tenant: keys, groups, owners and other attributes of its assets in Dagster, in YAML.

The rules are those of Dagster, without importing it; a test compares both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from canvas_sync_dagster.cron import Cron

KEY_PART = re.compile(r"[A-Za-z0-9_.-]+")
KEY_RULE = "parts of letters, digits, _ . and -, such as lms/users or [lms, users]"
GROUP = re.compile(r"(?:[A-Za-z0-9_]|\{domain\}|\{tenant\})+(?:/(?:[A-Za-z0-9_]|\{domain\}|\{tenant\})+)*")
EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b")
TAG_NAME = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")
MOST_KINDS = 10

Key = tuple[str, ...]


def parse_key(value: object) -> Key:
    """Return the parts of an asset key.

    >>> parse_key("lms/users"), parse_key(["lms", "users"])
    (('lms', 'users'), ('lms', 'users'))

    Raises:
        ValueError: It is no key, or Dagster cannot name the output of an op after it.
    """
    parts = tuple(value.split("/") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ())
    if not parts or not all(isinstance(part, str) and KEY_PART.fullmatch(part) for part in parts):
        raise ValueError("not an asset key")
    return parts


def output_name(key: Key) -> str:
    """Return what Dagster distinguishes the assets of an op by: the names of the outputs, which it makes of the keys.

    >>> output_name(("lms", "course-progress")) == output_name(("lms__course_progress",))
    True
    """
    return re.sub(r"[-.]", "_", "__".join(key))


class Condition(BaseModel):
    """An automation condition of Dagster.

    Attributes:
        name: Name of the condition; `none` removes the default one.
        cron: Cron expression of `on_cron`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["eager", "on_missing", "on_cron", "none"]
    cron: str | None = None


CONDITIONS = 'eager, on_missing, none, or on_cron: "0 3 * * *"'


def parse_condition(value: object) -> Condition:
    """Parse `eager`, `on_missing`, `none`, or `{on_cron: "0 3 * * *"}`.

    Raises:
        ValueError: The condition is unknown, or the cron expression invalid.
    """
    if isinstance(value, Condition):
        return value
    if isinstance(value, str) and value in {"eager", "on_missing", "none"}:
        return Condition.model_validate({"name": value})
    if isinstance(value, Mapping) and list(value) == ["on_cron"] and isinstance(value["on_cron"], str):
        try:
            Cron.parse(value["on_cron"])
        except ValueError:
            raise ValueError("not a cron expression with five fields") from None
        return Condition(name="on_cron", cron=value["on_cron"])
    raise ValueError("unknown automation condition")


_WrittenKey = Annotated[
    Key,
    BeforeValidator(parse_key),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_WrittenCondition = Annotated[
    Condition,
    BeforeValidator(parse_condition),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["eager", "on_missing", "none"]},
                {"type": "object", "properties": {"on_cron": {"type": "string"}}, "required": ["on_cron"]},
            ]
        }
    ),
]


class AssetAttributes(BaseModel):
    """Attributes that all assets of a tenant can share. `tags` and `metadata` are added to ours; others replace ours."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key_prefix: _WrittenKey | None = Field(
        None,
        description=f"what precedes the name in the asset key, in place of the tenant's slug: {KEY_RULE}",
        examples=["lms", ["lms", "north"]],
    )
    group_name: str | None = Field(
        None,
        description="letters, digits and _, with / between levels; {domain} and {tenant} are replaced",
        examples=["canvas/{domain}"],
    )
    owners: tuple[str, ...] | None = Field(
        None,
        description="a list of email addresses and team:name",
        examples=[["team:lms", "registrar@school.edu"]],
    )
    tags: Mapping[str, str] = Field(
        {},
        description="tag → value: up to 63 letters, digits, _ . and -; a tag may have one namespace, as in school/layer",
        examples=[{"school/layer": "bronze"}],
    )
    kinds: tuple[str, ...] | None = Field(
        None, description=f"a list of at most {MOST_KINDS} kinds", examples=[["canvas", "postgres"]]
    )
    metadata: Mapping[str, JsonValue] = Field(
        {}, description="name → text, number, boolean, list or mapping", examples=[{"contact": "lms@school.edu"}]
    )
    automation_condition: _WrittenCondition | None = Field(
        None, description=CONDITIONS, examples=["eager", {"on_cron": "0 3 * * *"}]
    )

    @field_validator("group_name")
    @classmethod
    def _group(cls, value: str | None) -> str | None:
        if value is not None and not GROUP.fullmatch(value):
            raise ValueError("not the name of a group")
        return value

    @field_validator("owners")
    @classmethod
    def _owners(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for owner in value or ():
            if not EMAIL.fullmatch(owner) and not (owner.startswith("team:") and len(owner) > len("team:")):
                raise ValueError(f"{owner!r} is neither an email address nor a team")
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not TAG_NAME.fullmatch(name) or not TAG_VALUE.fullmatch(text):
                raise ValueError(f"{name!r} or its value {text!r} is not valid in a tag")
        return value

    @field_validator("kinds")
    @classmethod
    def _kinds(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (len(set(value)) > MOST_KINDS or not all(value)):
            raise ValueError("too many kinds, or an empty one")
        return value


class NamedAttributes(AssetAttributes):
    """Attributes of one asset. They take precedence over those of all assets."""

    key: _WrittenKey | None = Field(
        None, description=f"the whole asset key, in place of key_prefix: {KEY_RULE}", examples=["lms/people"]
    )
    description: str | None = Field(None, description="text, in Markdown", examples=["People with a login at school."])

    @model_validator(mode="after")
    def _one_key(self) -> NamedAttributes:
        if self.key is not None and self.key_prefix is not None:
            raise ValueError("key and key_prefix exclude each other")
        return self


class Translation(AssetAttributes):
    """Attributes of all assets of a tenant, and of single ones."""

    assets: Mapping[str, NamedAttributes] = Field(
        {},
        description="model, custom report or step → attributes of its asset",
        examples=[{"users": {"key": "lms/people", "owners": ["team:identity"]}}],
    )

    def of(self, name: str) -> NamedAttributes:
        """Return the attributes of one asset, with those of all assets where it has none."""
        return NamedAttributes.model_validate(_over(self, self.assets.get(name, NamedAttributes())))

    def key_of(self, tenant: str, name: str) -> Key:
        """Return the parts of an asset's key: `<tenant>/<name>` by default.

        >>> Translation(key_prefix="lms").key_of("canvas", "users")
        ('lms', 'users')
        """
        entry = self.assets.get(name)
        if entry is not None and entry.key is not None:
            return entry.key
        prefix = (entry.key_prefix if entry else None) or self.key_prefix
        return (*(prefix or (tenant,)), name)

    def below(self, own: Translation) -> Translation:
        """Return another translation, with this one where it has nothing: a component's, below that of a tenant."""
        names = dict.fromkeys([*self.assets, *own.assets])
        assets = {
            name: _over(self.assets.get(name, NamedAttributes()), own.assets.get(name, NamedAttributes()))
            for name in names
        }
        return Translation.model_validate({**_over(self, own), "assets": assets})


def _over(lower: AssetAttributes, upper: AssetAttributes) -> dict[str, Any]:
    """Return the attributes of both; where both have one, that of the upper, or the mapping of both."""
    found = {name: getattr(lower, name) for name in lower.model_fields_set - {"assets"}}
    for name in upper.model_fields_set - {"assets"}:
        value = getattr(upper, name)
        found[name] = {**found.get(name, {}), **value} if isinstance(value, Mapping) else value
    if isinstance(upper, NamedAttributes) and upper.key is not None:
        found.pop("key_prefix", None)
    elif upper.key_prefix is not None:
        found.pop("key", None)
    return found
