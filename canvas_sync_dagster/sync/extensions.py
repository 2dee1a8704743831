"""What users add to a code location: their functions, by what they are for. Holds no state and is never mutated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.scope import Term

if TYPE_CHECKING:
    from canvas_sync_dagster.canvas.client import Canvas
    from canvas_sync_dagster.tenants import TenantSettings

Fetch = Callable[["Canvas", Mapping[str, Any]], Any]
Field = str | Callable[[Mapping[str, Any]], object] | Callable[[Mapping[str, Any], Mapping[str, Any]], object]
"""A key of the object, or a function of the object and, if it takes a second argument, the row of the table."""
Apply = Callable[[Mapping[str, Any], dict[str, object], Mapping[str, Any]], "Mapping[str, object] | None"]
MarkDeleted = Mapping[str, object] | str | Callable[[Mapping[str, Any]], "Mapping[str, object] | None"]
RowFunction = Callable[..., object]
"""Gets a row, header → text, and, if it takes a second argument, the connection of the load."""
ClientFactory = Callable[["TenantSettings", str], "Canvas | str"]


class Translator(Protocol):
    """Returns the specification of each asset: a `CanvasSyncTranslator`, which needs Dagster."""

    def get_asset_spec(self, asset: Any) -> Any:
        """Return the specification of an asset."""


@dataclass(frozen=True, slots=True)
class ApiOverride:
    """How the single objects of a model are requested and mapped, in place of its declaration.

    Attributes:
        fetch: Returns the object for a row of the table.
        fields: Column → key of the object, dotted for a nested one, or a function of the object (and the row).
        mark_deleted: What a 404 means for the row: values, a `workflow_state`, or a function that returns values.
        apply: Gets the object, its mapped columns and the row; returns the columns to write.
    """

    fetch: Fetch | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    mark_deleted: MarkDeleted | None = None
    apply: Apply | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, which the table must have."""
        gone = self.mark_deleted
        named = ("workflow_state",) if isinstance(gone, str) else () if gone is None or callable(gone) else tuple(gone)
        return (*self.fields, *named)

    @property
    def maps_by_function(self) -> bool:
        """Whether a function maps objects, and so needs their rows."""
        return self.apply is not None or any(callable(source) for source in self.fields.values())

    @property
    def has_function(self) -> bool:
        """Whether any of these is a function, and so needs the row."""
        return self.maps_by_function or self.fetch is not None or callable(self.mark_deleted)


@dataclass(frozen=True, slots=True)
class Extensions:
    """All functions that users registered with a code location.

    Attributes:
        api: Model → how its objects are asked for.
        row_by_row: Model → function that each row of its reports goes to, in place of the table.
        events: Functions that live events go to.
        accepts_event: Returns whether a live event belongs to a tenant, in place of the comparison of root accounts.
        quiet: Job classes that the journal keeps only if they failed.
        client: Returns the client or the token of a tenant and account, so that no secret passes through settings.
        on_sync: Functions called at the end of a batch, with `success` or `complete`.
        on_failure: Functions called for failed runs.
        term_scope: Returns whether a term is in scope, in place of the setting.
        translator: Returns the specification of each asset; None for the default ones.
    """

    api: Mapping[str, ApiOverride] = field(default_factory=dict)
    row_by_row: Mapping[str, RowFunction] = field(default_factory=dict)
    quiet: frozenset[str] = frozenset()
    client: ClientFactory | None = None
    term_scope: Callable[[Term], bool] | None = None
    on_sync: tuple[tuple[str, Callable[..., object]], ...] = ()
    on_failure: tuple[Callable[..., object], ...] = ()
    events: Any = None
    accepts_event: Callable[..., bool] | None = None
    translator: Translator | None = None

    def row_functions(self, chosen: frozenset[str] | None) -> Mapping[str, RowFunction]:
        """Returns the row functions that a run uses: all, or those of the chosen models.

        Raises:
            SettingError: A chosen model has none.
        """
        if chosen is None:
            return self.row_by_row
        if without := sorted(chosen - self.row_by_row.keys()):
            raise SettingError(
                "legacy_support",
                f"no function takes the rows of {', '.join(without)}; register one by `sync.row_by_row`",
                allowed=f"all, none, or of {', '.join(sorted(self.row_by_row)) or 'no model, for none has a function'}",
            )
        return {name: self.row_by_row[name] for name in chosen}
