"""`AssetKeys`: the asset keys of one tenant, and the name of the model, custom report or step behind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import dagster as dg


@dataclass(frozen=True)
class AssetKeys:
    """The asset keys of one tenant.

    Attributes:
        tenant: Slug of the tenant.
        by_name: Name of a model, custom report or step → its asset key.

    >>> keys = AssetKeys("canvas", {"users": dg.AssetKey(["canvas", "users"])})
    >>> keys.name_of(keys.of("users"))
    'users'
    """

    tenant: str
    by_name: Mapping[str, dg.AssetKey]

    @cached_property
    def by_key(self) -> Mapping[dg.AssetKey, str]:
        """Asset key → name."""
        return {key: name for name, key in self.by_name.items()}

    def of(self, name: str) -> dg.AssetKey:
        """Return the key of a model, custom report or step."""
        return self.by_name[name]

    def all_of(self, names: Iterable[str]) -> list[dg.AssetKey]:
        """Return the keys of models, custom reports and steps, in the order of their names."""
        return [self.by_name[name] for name in names]

    def name_of(self, key: dg.AssetKey) -> str:
        """Return the name of the model, custom report or step that has this key."""
        return self.by_key[key]

    def names_in(self, keys: Iterable[dg.AssetKey]) -> set[str]:
        """Return the names of those keys that belong to this tenant."""
        return {self.by_key[key] for key in keys if key in self.by_key}
