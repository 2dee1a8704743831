"""The user's own definitions beside ours: what both define is named before Dagster would stumble over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from canvas_sync_dagster.errors import SettingError


def merged(ours: dg.Definitions, more: Iterable[dg.Definitions]) -> dg.Definitions:
    """Merges definitions; an executor of the user's replaces ours.

    Raises:
        SettingError: Two of them define the same name.
    """
    taken = set(_names(ours))
    for each in more:
        for kind, name in _names(each):
            if (kind, name) in taken:
                raise SettingError(
                    "definitions",
                    f"there is {kind} of this name already, of CanvasSync or of what is merged with it",
                    allowed="another name; tenants that share a code location belong into one CanvasSync",
                    value=name,
                )
            taken.add((kind, name))
    return dg.Definitions.merge(ours, *more)


def _names(definitions: dg.Definitions) -> Iterator[tuple[str, str]]:
    for each in definitions.assets or ():
        # Not the keys that they merely depend on, which may well be ours.
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
