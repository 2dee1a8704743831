"""Merge the user's Dagster definitions with ours, and name conflicts before Dagster does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from canvas_sync_dagster.errors import SettingError


def merged(ours: dg.Definitions, more: Iterable[dg.Definitions]) -> dg.Definitions:
    """Merge definitions; an executor of the user replaces ours.

    Raises:
        SettingError: Two of them define the same name.
    """
    taken = set(_names(ours))
    for each in more:
        for kind, name in _names(each):
            if (kind, name) in taken:
                raise SettingError(
                    "definitions",
                    f"{kind} of this name is already defined, by CanvasSync or by merged definitions",
                    allowed="another name; tenants that share a code location must be configured in a single CanvasSync",
                    value=name,
                )
            taken.add((kind, name))
    return dg.Definitions.merge(ours, *more)


def _names(definitions: dg.Definitions) -> Iterator[tuple[str, str]]:
    for each in definitions.assets or ():
        # Only the keys that they define; those that they depend on may be ours.
        keys = (
            each.keys if isinstance(each, dg.AssetsDefinition) else [each.key] if isinstance(each, dg.AssetSpec) else []
        )
        yield from (("an asset", key.to_user_string()) for key in keys)
    for kind, group in (
        ("a job", definitions.jobs),
        ("a schedule", definitions.schedules),
        ("a sensor", definitions.sensors),
    ):
        yield from ((kind, each.name) for each in group or ())
    yield from (("a resource", name) for name in definitions.resources or {})
