"""Columns that a tenant excludes or hashes: the declaration of a model, changed so that all sources follow it.

An excluded column stays in the table and is null: no source has it any more. A hashed column keeps its sources, and each
text from them is replaced by its keyed hash. `Model.protected` keeps the declarations with the names in all sources, by
which rejected rows and live events are cleaned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from canvas_sync_dagster.catalogue.headers import normalize
from canvas_sync_dagster.catalogue.identity_cache import once_per_model_and
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash
from canvas_sync_dagster.catalogue.model import (
    CONTEXT_COLUMNS,
    Column,
    ColumnType,
    Model,
    Protected,
    ProvisioningFeed,
    ReportFeed,
    RestFeed,
)

TERMS = "terms"
FREE_IN_TERMS = frozenset({"name"})
"""Columns of terms that the sync does not read: by the others it finds the terms in scope."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which columns a tenant does not keep as Canvas sends them, each as `model.column`.

    Attributes:
        exclude: Columns that are not stored at all.
        hash: Columns whose texts are replaced by their keyed hash.
        key: Computes the hash; None if no column is hashed.
    """

    exclude: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    key: KeyedHash | None = None

    def of(self, model: Model) -> Model:
        """Return a model with its columns excluded or hashed, the same object for the same rules and model.

        Columns that do not exist are ignored; `problems` finds them.
        """
        if not any(name.partition(".")[0] == model.name for name in (*self.exclude, *self.hash)):
            return model
        return _protected(model, self)

    def problems(self, models: Iterable[Model]) -> Iterator[tuple[str, str, str, str]]:
        """Yield what is wrong: setting, column as it is written, problem, and what is allowed."""
        known = {model.name: model for model in models}
        for setting, names in (("exclude", self.exclude), ("hash", self.hash)):
            for written in names:
                model_name, _, column = written.partition(".")
                model = known.get(model_name)
                if model is None:
                    yield setting, written, "unknown model", ", ".join(known)
                elif problem := _problem(model, column, is_hashed=setting == "hash"):
                    yield setting, written, problem, ", ".join(_free(model, is_hashed=setting == "hash"))
                elif setting == "hash" and written in self.exclude:
                    yield setting, written, "the column is excluded as well", "each column once"


@once_per_model_and
def _protected(model: Model, rules: Rules) -> Model:
    kept: list[Column] = []
    protected: list[Protected] = []
    for column in model.columns:
        name = f"{model.name}.{column.name}"
        if name in rules.exclude:
            protected.append(Protected(column))
            kept.append(replace(column, report=(), api=None, event=(), transform=None, optional=True))
            continue
        if name in rules.hash:
            protected.append(Protected(column, rules.key))
        kept.append(column)
    headers = tuple(header for each in protected if each.hash is None for header in each.column.report)
    feed = model.feed if isinstance(model.feed, RestFeed) else _ignoring(model.feed, headers)
    return replace(model, columns=tuple(kept), protected=tuple(protected), feed=feed)


def _ignoring(feed: ProvisioningFeed | ReportFeed, headers: tuple[str, ...]) -> ProvisioningFeed | ReportFeed:
    """Return a feed whose report may have these headers: what is excluded on purpose is no schema drift."""
    return replace(feed, ignored=tuple(dict.fromkeys([*feed.ignored, *headers])))


def _problem(model: Model, name: str, *, is_hashed: bool) -> str:
    column = next((each for each in model.columns if each.name == name), None)
    if column is None:
        return "unknown column"
    if _is_needed(model, column):
        return "the sync needs this column, because it identifies rows, relates them, or shows their state"
    if is_hashed and column.type is not ColumnType.TEXT:
        return f"only texts can be hashed, and the column is {column.type.value}"
    return ""


def _free(model: Model, *, is_hashed: bool) -> Iterator[str]:
    """Yield the columns of a model that can be excluded or hashed."""
    return (f"{model.name}.{c.name}" for c in model.columns if not _problem(model, c.name, is_hashed=is_hashed))


def _is_needed(model: Model, column: Column) -> bool:
    """Return whether the sync reads a column itself: to identify, relate and delete rows, and to erase people."""
    walk = model.walk
    enriched = [
        name
        for each in (model.feed.enrichments if isinstance(model.feed, ProvisioningFeed) else ())
        for name in each.columns
    ]
    is_id = column.type is ColumnType.BIGINT and column.name.endswith("_id")
    among = walk.among[0] if walk is not None and walk.among else ""
    named = {*model.key, *model.identity, *model.gone, *CONTEXT_COLUMNS, *enriched, among, "workflow_state"}
    is_in_path = f"{{{column.name}}}" in (model.single or "")
    is_of_terms = model.name == TERMS and column.name not in FREE_IN_TERMS
    return column.user or is_id or column.name in named or is_in_path or is_of_terms


def event_keys(model: Model, protected: Protected) -> frozenset[str]:
    """Return the keys under which the bodies of a model's own events may have the value of a protected column.

    A key that feeds another column is not among them.
    """
    column = protected.column
    last = column.api.rpartition(".")[2] if column.api else ""
    names = {normalize(name) for name in (column.name, *column.report, *column.event, last) if name}
    others = {normalize(key) for each in model.columns if each.name != column.name for key in each.event}
    return frozenset(names - others)
