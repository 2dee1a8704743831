"""`CanvasSyncTranslator`: what the assets look like in Dagster. A subclass changes keys, groups, owners and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import dagster as dg

from canvas_sync_dagster.catalogue import Domain, Model
from canvas_sync_dagster.errors import CanvasSyncError, SettingError
from canvas_sync_dagster.sync.extensions import Translator
from canvas_sync_dagster.translation_settings import KEY_PART, KEY_RULE


@dataclass(frozen=True, slots=True)
class CanvasAsset:
    """An asset to be translated.

    Attributes:
        tenant: Slug of the tenant.
        name: Name of the model, custom report or step.
        kind: `model`, `report` or `step`.
        domain: What it is about; `custom` for everything that is yours.
        per_term: Whether it has a partition for each term.
        model: The model; None for a custom report or step.
        table: `database.schema.table` of the model.
        spec: The default specification, to which the tenant's `translation` in YAML was applied. Its dependencies have
            the translated keys of their assets.
    """

    tenant: str
    name: str
    kind: Literal["model", "report", "step"]
    domain: Domain
    per_term: bool
    model: Model | None
    table: str | None
    spec: dg.AssetSpec


class CanvasSyncTranslator:
    """Returns the specification of each asset. Pass an instance of a subclass to `CanvasSync.translator`.

    >>> class OursTranslator(CanvasSyncTranslator):
    ...     def get_asset_spec(self, asset):
    ...         spec = super().get_asset_spec(asset)
    ...         return spec.replace_attributes(key=spec.key.with_prefix("lms")).merge_attributes(owners=["team:lms"])
    """

    def get_asset_spec(self, asset: CanvasAsset) -> dg.AssetSpec:
        """Return the specification of an asset.

        Args:
            asset: The asset.

        Returns:
            A specification with the partitions and at least the dependencies of `asset.spec`. Assets that depend on this
            one, checks, jobs, sensors and live events use its key.
        """
        return asset.spec


def translated(translator: Translator, asset: CanvasAsset) -> dg.AssetSpec:
    """Return the specification that a translator gives to an asset.

    Raises:
        SettingError: The translator raises, or its result is not valid for the asset.
    """
    try:
        spec = translator.get_asset_spec(asset)
    except CanvasSyncError:
        raise
    except Exception as error:
        problem = f"{_name(translator)} raised {type(error).__name__}: {str(error).rstrip('.')}"
        raise _error(asset, problem, "a function that returns a valid AssetSpec") from error
    if not isinstance(spec, dg.AssetSpec):
        problem = f"{_name(translator)} returned {type(spec).__name__}"
        raise _error(asset, problem, "an AssetSpec; begin with super().get_asset_spec(asset)")
    _refuse_unusable(asset, spec)
    # Whether an op may leave an asset out is not for a translator to decide.
    return spec if spec.skippable is asset.spec.skippable else spec.replace_attributes(skippable=asset.spec.skippable)


def _refuse_unusable(asset: CanvasAsset, spec: dg.AssetSpec) -> None:
    if not spec.key.path or not all(KEY_PART.fullmatch(part) for part in spec.key.path):
        raise _error(asset, "not an asset key", KEY_RULE, spec.key.to_user_string())
    if spec.partitions_def != asset.spec.partitions_def:
        allowed = "the partitions of asset.spec, which a run of a term needs"
        raise _error(asset, "the partitions are other ones", allowed)
    if lost := _upstream(asset.spec) - _upstream(spec):
        problem = f"the dependencies lack {', '.join(sorted(key.to_user_string() for key in lost))}"
        raise _error(asset, problem, "the deps of asset.spec, and more with merge_attributes(deps=…)")


def _upstream(spec: dg.AssetSpec) -> set[dg.AssetKey]:
    return {dep.asset_key for dep in spec.deps}


def _error(asset: CanvasAsset, problem: str, allowed: str, value: object = None) -> SettingError:
    return SettingError(f"translation of {asset.name} of tenant {asset.tenant}", problem, allowed=allowed, value=value)


def _name(translator: object) -> str:
    return f"{type(translator).__name__}.get_asset_spec"
