"""Changes of a model's mapping, as frozen values. `apply` returns a new declaration and leaves the old one as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from canvas_sync_dagster.catalogue.headers import normalize
from canvas_sync_dagster.catalogue.model import SYSTEM_COLUMNS, Column, ColumnType, Model, ProvisioningFeed
from canvas_sync_dagster.catalogue.parameters import refuse_parameters

Transform = Callable[[str], object] | Callable[[str, Mapping[str, str]], object]
"""Returns what a column stores; called with the value, or with the value and the record, header → text."""
Alteration = Callable[[dict[str, Any]], "dict[str, Any] | None"]
"""Returns a changed row, column → value, or None to leave it out."""


@runtime_checkable
class Change(Protocol):
    """One change of a mapping. Settings hold changes, and pydantic checks them by `isinstance`."""

    def apply(self, model: Model) -> Model:
        """Return the changed declaration.

        Raises:
            ValueError: The model has no such column, or cannot be changed like this.
        """
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """Load a column of the report into a column of the table, which is added if the model lacks it.

    Attributes:
        header: Name in the report.
        column: Name in the table.
        type: Type of the column; None keeps the type that it has, or `text` for a new one.
        transform: The user's function that makes the stored value.
    """

    header: str
    column: str
    type: ColumnType | None = None
    transform: Transform | None = None

    def apply(self, model: Model) -> Model:
        old = next((column for column in model.columns if column.name == self.column), None)
        if old is None and self.column in {column.name for column in SYSTEM_COLUMNS}:
            raise ValueError(f"the sync itself sets the column {self.column}")
        column = old or Column(self.column, ColumnType.TEXT)
        linked = replace(column, report=(self.header,), type=self.type or column.type, transform=self.transform)
        return model.with_columns(linked)


@dataclass(frozen=True, slots=True)
class Unlink:
    """Stop loading a column, named as in the table or in the report. The table keeps it."""

    name: str

    def apply(self, model: Model) -> Model:
        columns = columns_named(model, self.name)
        if not columns:
            raise ValueError(f"there is no column {self.name!r} to unlink")
        return model.with_columns(*(replace(column, report=()) for column in columns))


@dataclass(frozen=True, slots=True)
class UnlinkAll:
    """Stop loading all columns."""

    def apply(self, model: Model) -> Model:
        return replace(model, columns=tuple(replace(column, report=()) for column in model.columns))


@dataclass(frozen=True, slots=True)
class SetKey:
    """Identify rows by these columns."""

    columns: tuple[str, ...]

    def apply(self, model: Model) -> Model:
        return replace(model, key=self.columns)


@dataclass(frozen=True, slots=True)
class SetTable:
    """Store the rows in a table of this name."""

    name: str

    def apply(self, model: Model) -> Model:
        return replace(model, stored_in=self.name)


@dataclass(frozen=True, slots=True)
class AlterRows:
    """Change each row of a report by the user's function."""

    alteration: Alteration

    def apply(self, model: Model) -> Model:
        return replace(model, alterations=(*model.alterations, self.alteration))


@dataclass(frozen=True, slots=True)
class AddParameters:
    """Add parameters to the model's report; None removes one."""

    parameters: Mapping[str, object]

    def apply(self, model: Model) -> Model:
        refuse_parameters(model, self.parameters)
        return replace(model, parameters={**model.parameters, **self.parameters})


@dataclass(frozen=True, slots=True)
class SetCrossListing:
    """Set which columns of sections the table `xlist` of the provisioning report updates.

    Attributes:
        headers: Column of sections → header of `xlist`.
    """

    headers: Mapping[str, str]

    def apply(self, model: Model) -> Model:
        if not isinstance(model.feed, ProvisioningFeed):
            return model
        columns = {name: header for name, header in self.headers.items() if name not in model.key}
        (old,) = (extra for extra in model.feed.enrichments if extra.table == "xlist")
        key = next((self.headers[name] for name in model.key if name in self.headers), old.key)
        present = {column.name for column in model.columns}
        added = (Column(name, ColumnType.BIGINT) for name in columns if name not in present)
        feed = replace(model.feed, enrichments=(replace(old, key=key, columns=columns),))
        return replace(model.with_columns(*added), feed=feed)


def columns_named(model: Model, name: str) -> list[Column]:
    """Return the columns with this name in the table or in the report."""
    folded = normalize(name)
    return [c for c in model.columns if c.name == name or folded in map(normalize, c.report)]
