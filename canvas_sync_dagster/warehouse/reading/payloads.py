"""Leaves excluded values out of the payloads of live events, and replaces hashed ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from canvas_sync_dagster.catalogue import Model, normalize
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash
from canvas_sync_dagster.catalogue.protection import event_keys
from canvas_sync_dagster.warehouse.reading.protection import hashed

EXCLUDED = "[excluded]"
"""Stands for an excluded value within another text, such as an address."""
SHORTEST = 4
"""Characters of a value that is looked for in other texts; a shorter one is part of many words."""

_normal = lru_cache(maxsize=4096)(normalize)
"""Events have a few hundred different keys; normalizing 50 of them anew takes 70 µs."""

Keys = Mapping[str, KeyedHash | None]
"""Normalized key → hash of its values; None if the key is left out."""


@dataclass(frozen=True, slots=True)
class PayloadProtection:
    """Which keys of which events are left out or hashed.

    Attributes:
        everywhere: Keys in the metadata and bodies of all events.
        bodies: Name of an event → keys in its body.
        fed: Name of an event → keys in its body that feed columns.
    """

    everywhere: Keys = field(default_factory=dict)
    bodies: Mapping[str, Keys] = field(default_factory=dict)
    fed: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, models: Iterable[Model]) -> PayloadProtection:
        """Return the protection that models with excluded or hashed columns require. An excluded column wins.

        Args:
            models: All models of the tenant's code location, whether it syncs them or not: events about all are stored.
        """
        everywhere: dict[str, KeyedHash | None] = {}
        bodies: dict[str, Keys] = {}
        fed: dict[str, frozenset[str]] = {}
        for model in models:
            own: dict[str, KeyedHash | None] = {}
            # Hashed columns first, so that an excluded one with the same key replaces them.
            for each in sorted(model.protected, key=lambda protected: protected.hash is None):
                own |= dict.fromkeys(event_keys(model, each), each.hash)
                for key in map(normalize, each.column.event_copies):
                    everywhere[key] = None if everywhere.get(key, each.hash) is None else each.hash
            keys = frozenset(normalize(key) for column in model.columns for key in column.event)
            for name in model.events.names if model.events else ():
                bodies[name], fed[name] = own, keys
        return cls(everywhere, {name: keys for name, keys in bodies.items() if keys}, fed)

    @property
    def is_empty(self) -> bool:
        """Whether no event is changed."""
        return not (self.everywhere or self.bodies)

    def applied(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return the payload of an event without the values that the tenant does not keep.

        They are also replaced in other texts of the payload, such as the address of a request, but not in values that feed
        columns which the tenant keeps.

        Args:
            name: Name of the event, as Canvas spells it.
            payload: With `metadata` and `body`.
        """
        found: dict[str, str] = {}
        body_keys = {**self.everywhere, **self.bodies.get(name, {})}
        kept = {
            part: _without(value, body_keys if part == "body" else self.everywhere, found)
            for part, value in payload.items()
        }
        if not found:
            return kept
        # The longest first: a login may begin with a name.
        texts = sorted(found.items(), key=lambda item: -len(item[0]))
        spared = self.fed.get(name, frozenset())
        return {
            part: _replaced(value, texts, spared if part == "body" else frozenset()) for part, value in kept.items()
        }


def _without(value: Any, keys: Keys, found: dict[str, str]) -> Any:
    """Return a value without the keys; note each text that it had, with what replaces it."""
    if isinstance(value, list):
        return [_without(each, keys, found) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept: dict[str, Any] = {}
    for key, each in value.items():
        name = _normal(key)
        if name not in keys:
            kept[key] = _without(each, keys, found)
            continue
        hash_of = keys[name]
        new = hashed(each, hash_of) if hash_of is not None else None
        if hash_of is not None:
            kept[key] = new
        if isinstance(each, (str, int)) and len(str(each)) >= SHORTEST and str(each) != new:
            found[str(each)] = new or EXCLUDED
            found[quote(str(each), safe="")] = new or EXCLUDED
    return kept


def _replaced(value: Any, texts: list[tuple[str, str]], spared: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: each if _normal(k) in spared else _replaced(each, texts, spared) for k, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, texts, spared) for each in value]
    if isinstance(value, str):
        for text, new in texts:
            value = value.replace(text, new)
    return value
