"""What a Canvas thing is: one frozen declaration per model, from which everything else is derived.

A declaration names the table, its key and its columns, how each source spells every column, and the feed that fills
it. It holds data only; nothing here reads, writes or waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, str] = MappingProxyType({})
DELETED: Mapping[str, str] = MappingProxyType({"workflow_state": "deleted"})


class ColumnType(StrEnum):
    """Types of table columns, named as PostgreSQL names them."""

    BIGINT = "bigint"
    TEXT = "text"
    BOOLEAN = "boolean"
    NUMERIC = "numeric"
    TIMESTAMP = "timestamptz"
    JSON = "jsonb"
    BIGINT_ARRAY = "bigint[]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table and how each source spells it.

    Args:
        name: Column in the table.
        type: Its PostgreSQL type.
        report: Header in reports; several spellings are tried in order. Empty: no report tells it.
        api: Key in the REST object, dotted for a nested one (`account.id`). None: REST does not tell it.
        event: Keys in the bodies of live events; several spellings are tried in order. Empty: no event tells it.
        folds: Value as REST and events spell it → as reports do, where they differ (`completed` → `concluded`).
        comment: What it means; becomes the comment on the column.
        indexed: Whether a secondary index helps the joins that people write.
        transform: Called with the value, as text, and the whole record, header → text; returns what is stored.
        optional: Whether only some kinds of the report tell it, so that its absence from a header is no drift.
        keeps_empty_text: Whether a quoted empty string stays one instead of becoming null.
    """

    name: str
    type: ColumnType
    report: tuple[str, ...] = ()
    api: str | None = None
    event: tuple[str, ...] = ()
    folds: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    comment: str = ""
    indexed: bool = False
    keeps_empty_text: bool = False
    optional: bool = False
    transform: Callable[[str, Mapping[str, str]], object] | None = None


@dataclass(frozen=True, slots=True)
class Enrichment:
    """A second table of a report that knows more about rows of the first.

    The rows of `table` never insert; they set `columns` on rows that are there.

    Args:
        table: Name of the table in the report (`xlist`).
        key: Header that holds the key of the enriched row.
        columns: Column of the model → header in the enriching table.
    """

    table: str
    key: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProvisioningFeed:
    """One table of the provisioning report, which carries many.

    Args:
        table: The report's parameter and the name of its CSV (`courses`).
        stock: Whether Canvas's stock `provisioning_csv` carries it, too.
        enrichments: Tables that are asked for together with it.
        prefer: Header that decides between rows of one key: the first row that fills it wins, else the last row.
        ignored: Headers that Canvas is known to tell beside those that the table keeps; any other is a drift.
    """

    table: str
    stock: bool = True
    enrichments: tuple[Enrichment, ...] = ()
    prefer: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportFeed:
    """A report of its own.

    Args:
        report: Canvas's name of it (`proserv_assignment_export_csv`).
        parameters: What is asked of it beside term and `updated_after`.
        takes_updated_after: Whether it can be limited to what changed since a time.
        assumed_header: Whether its header is assumed, for want of public documentation.
        prefer: As for `ProvisioningFeed`.
        ignored: As for `ProvisioningFeed`.
    """

    report: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    takes_updated_after: bool = True
    assumed_header: bool = False
    prefer: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestFeed:
    """A walk over REST lists; complete or nothing.

    Args:
        path: Path below `/api/v1`, with `{account_id}` for the tenant's account and `{parent}` for each parent.
        parameters: Query of the first page.
        envelope: Key under which the list stands, where it is not the whole answer.
        first: Path of a single object that the list leaves out (the root account).
        per: Model whose live rows are the parents, each with a list of its own; `self` is the token's user.
        inject: Column that takes the parent's id, where the objects do not tell it.
        item: Key under which each element holds the object.
        absent: What a complete walk writes to rows that it did not see; they become suspects if it is empty.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    envelope: str | None = None
    first: str | None = None
    per: str | None = None
    inject: str | None = None
    item: str | None = None
    absent: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    holder: str | None = None
    among: tuple[str, str] | None = None


Feed = ProvisioningFeed | ReportFeed | RestFeed


class Suffices(StrEnum):
    """When an event's body says enough to be applied without asking Canvas again."""

    NEVER = "never"
    FOR_KNOWN_ROWS = "for known rows"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Events:
    """The live events that speak of a model.

    Args:
        names: As Canvas sends them.
        suffices: When the body is enough. It is not where a column may change that the body does not tell.
    """

    names: tuple[str, ...]
    suffices: Suffices = Suffices.NEVER


@dataclass(frozen=True, slots=True)
class Model:
    """A Canvas thing that has a table.

    Args:
        name: Name of model, asset and table (`courses`).
        columns: All columns but the system's, in the order in which the table gets them.
        feed: What fills it in bulk.
        key: Columns of the natural key, which is the primary key.
        term_scoped: Whether its feed is asked term by term.
        parents: Models that its rows point to; they are drawn, and loaded, before it.
        comment: What a row is; becomes the comment on the table.
        term_by: How a row's term is found: a column that holds it, or a column and the model that it points to.
        single: Path of one object, with `{account_id}` and names of columns in braces. None: Canvas shows none.
        gone: What is written to a row that Canvas says is gone.
        events: Live events that speak of it.
        carries: Models whose rows follow a row of this one: child, its column that points here, the column they share.
        alterations: Functions that each row of a report goes through, column → value; None leaves the row out.
    """

    name: str
    columns: tuple[Column, ...]
    feed: Feed
    key: tuple[str, ...] = ("canvas_id",)
    term_scoped: bool = False
    parents: tuple[str, ...] = ()
    comment: str = ""
    term_by: tuple[str, ...] = ()
    single: str | None = None
    gone: Mapping[str, str] = field(default_factory=lambda: DELETED)
    events: Events | None = None
    carries: tuple[tuple[str, str, str], ...] = ()
    alterations: tuple[Callable[[dict[str, Any]], dict[str, Any] | None], ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"model {self.name}: a column is declared twice")
        if unknown := set(self.key) - set(names):
            raise ValueError(f"model {self.name}: the key names columns that are not declared: {sorted(unknown)}")

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"model {self.name} has no column {name!r}; it has {', '.join(c.name for c in self.columns)}")

    def report_columns(self) -> Iterator[Column]:
        """Yields the columns that a report tells."""
        return (column for column in self.columns if column.report)

    def api_columns(self) -> Iterator[Column]:
        """Yields the columns that REST tells."""
        return (column for column in self.columns if column.api)

    def references(self, models: Mapping[str, Model]) -> Iterator[tuple[str, Model]]:
        """Yields the columns that hold a parent's Canvas id, with the parent: `canvas_user_id` points to users."""
        for name in self.parents:
            column = f"canvas_{singular(name)}_id"
            parent = models.get(name)
            # A parent under legacy ids has this column as its own key.
            is_known = parent is not None and parent.key in {("canvas_id",), (column,)}
            if parent is not None and is_known and any(c.name == column for c in self.columns):
                yield column, parent

    def event_columns(self) -> Iterator[Column]:
        """Yields the columns that live events tell."""
        return (column for column in self.columns if column.event)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Headers that are expected in a report though the table does not keep them."""
        if isinstance(self.feed, RestFeed):
            return ()
        return (*self.feed.ignored, *([self.feed.prefer] if self.feed.prefer else []))

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Returns the user's functions that rows of a report go through."""
        transforms = (column.transform for column in self.report_columns() if column.transform is not None)
        return (*transforms, *self.alterations)

    @property
    def deleted_values(self) -> dict[str, str]:
        """What marks a row as deleted, as far as the table has columns for it."""
        return {name: value for name, value in self.gone.items() if any(column.name == name for column in self.columns)}

    def with_columns(self, *columns: Column) -> Model:
        """Returns a copy that has these columns in place of its own of the same name, and the new ones at the end."""
        new = {column.name: column for column in columns}
        kept = tuple(new.pop(column.name, column) for column in self.columns)
        return replace(self, columns=kept + tuple(new.values()))


SYSTEM_COLUMNS = (
    Column("created_at", ColumnType.TIMESTAMP, comment="When this copy gained the row."),
    Column("updated_at", ColumnType.TIMESTAMP, comment="When this copy gained the row or its content last changed."),
    Column("observed_at", ColumnType.TIMESTAMP, comment="Canvas's content is known to be at least this fresh."),
    Column("missing_since", ColumnType.TIMESTAMP, comment="Since when complete reports no longer list the row."),
    Column("row_hash", ColumnType.BIGINT, comment="Digest of the report record that the row was last loaded from."),
)
"""What every data table carries beside its model's columns."""


def singular(name: str) -> str:
    """Returns the singular of a model's name.

    >>> [singular(name) for name in ("users", "group_categories", "course_progresses")]
    ['user', 'group_category', 'course_progress']
    """
    return re.sub(r"ies$", "y", name) if name.endswith("ies") else re.sub(r"(ss)es$|s$", r"\1", name)
