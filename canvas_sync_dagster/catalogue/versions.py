"""The version of a declaration, which Dagster shows as the code version of the asset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from canvas_sync_dagster.catalogue.identity_cache import once_per_model
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash
from canvas_sync_dagster.catalogue.model import Model

WITHOUT_EFFECT = {"comment", "domain", "event_copies", "history", "page"}
"""Fields that change no row."""


@once_per_model
def code_version(model: Model) -> str:
    """Return a digest of a declaration with its mappings, the same in every process.

    A function counts by its name: the digest does not change with its body.
    """
    text = json.dumps(_plain(model), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: object) -> object:
    if is_dataclass(value):
        found = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        kept = {name: each for name, each in found.items() if name not in WITHOUT_EFFECT}
        return {"type": type(value).__name__, **kept}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, KeyedHash):
        return value.id
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
