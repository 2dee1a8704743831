"""Declarations of Canvas models: one frozen value per model, from which everything else is derived.

A declaration names the table, its key, its columns, the name of each column in every source, and the feed that fills
the table. It holds data only: nothing here reads, writes or waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash

Body = Mapping[str, Any]
"""An object of Canvas's API."""
CONTEXTS = "contexts"
"""`RestFeed.per` of lists that both courses and accounts have."""
CONTEXT_COLUMNS = ("canvas_context_id", "canvas_context_type")
"""Columns that a walk over courses and accounts fills."""
NOTHING: Mapping[str, str] = MappingProxyType({})
NO_ECHOES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
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
    """One column of a table and its name in each source.

    Args:
        name: Column in the table.
        type: Its PostgreSQL type.
        report: Headers in the report, tried in order. Empty if no report has the column.
        api: Key in the REST object, dotted for a nested one (`account.id`). None if REST does not return it.
        event: Keys in the body of live events, tried in order. Empty if no event carries the column.
        folds: Value in REST and events → value in reports, where the two differ (`completed` → `concluded`).
        comment: Meaning: unit, values, and what it points to. It becomes the comment in PostgreSQL and the description
            in Dagster, dbt and the data dictionary.
        indexed: Whether the table gets a secondary index on the column.
        transform: Function of the value (text), or of it and the whole record (header → text), that returns the stored
            value.
        optional: Whether some kinds of the report omit the header, so that its absence is no schema drift.
        keeps_empty_text: Whether a quoted empty string stays one instead of becoming null.
        user: Whether it holds the Canvas id of a user, or an array of them.
        identifies: Whether its value identifies a person by itself (a name, a login, an address).
        event_copies: Keys under which the metadata of any event, and the bodies of events of other models, have the same
            value.
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
    transform: Callable[[str], object] | Callable[[str, Mapping[str, str]], object] | None = None
    user: bool = False
    identifies: bool = False
    event_copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protected:
    """A column that a tenant does not keep as Canvas sends it.

    Args:
        column: The column as it is declared, with its names in all sources.
        hash: Computes what is stored in place of a text; None if the column is excluded, so that nothing is stored.
    """

    column: Column
    hash: KeyedHash | None = None


@dataclass(frozen=True, slots=True)
class Enrichment:
    """A second table of a report that adds columns to rows of the first.

    Rows of `table` never insert; they update `columns` of existing rows.

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
    """One table of the provisioning report, which has many.

    Args:
        table: The report's parameter and the name of its CSV (`courses`).
        stock: Whether Canvas's stock `provisioning_csv` has it as well.
        enrichments: Tables that are requested together with it.
        prefer: Header that decides between rows of one key: the first row with a value in it wins, else the last row.
        ignored: Headers that Canvas is known to send and the table does not keep; any other one is schema drift.
    """

    table: str
    stock: bool = True
    enrichments: tuple[Enrichment, ...] = ()
    prefer: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportFeed:
    """A report with one table.

    Args:
        report: Canvas's name of the report (`proserv_assignment_export_csv`).
        parameters: Parameters of the report in addition to the term and `updated_after`.
        takes_updated_after: Whether the report accepts `updated_after`.
        assumed_header: Whether its header is an assumption, because there is no public documentation.
        prefer: As for `ProvisioningFeed`.
        ignored: As for `ProvisioningFeed`.
    """

    report: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    takes_updated_after: bool = True
    assumed_header: bool = False
    prefer: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestFeed:
    """A walk over REST lists, published as a whole or not at all.

    Args:
        path: Path below `/api/v1`, with `{account_id}` for the tenant's account, `{root_account_id}` for the root
            account above it, `{parent}` for the id of each parent, and `{context}` for the course or account of each
            parent (`courses/2001`).
        parameters: Query of the first page.
        envelope: Key of the list in the response. None if the response is the list.
        first: Path of a single object that the list omits (the root account).
        per: Model whose active rows are the parents; each has a list. `self` is the token's user; `contexts` are the
            courses and the accounts.
        of_deleted: Whether parents that are marked as deleted have lists, too.
        parents_path: Path of the list of the courses. If given, Canvas is asked which courses there are, because in one
            sync their table may be loaded after this model.
        inject: Column that gets the parent's id, where the objects do not contain it.
        item: Key of the object in each element of the list. None if the element is the object.
        expand: Pure function that returns the objects in an element of the list. None if the element is the object.
        is_object: Whether the path has one object in place of a list; `expand` returns what it contains.
        separate: Key of a list in each element that Canvas may omit if it is long, and its path with `{parent}` and `{id}`.
        empty_if: HTTP statuses by which Canvas reports that a parent has no such objects.
        absent: Values that a complete walk writes to rows that it did not list. If empty, they become suspects.
        holder: Column with the id of the parent whose list a row belongs to; or a column, the model that it points to,
            and the column with the parent's id there. Rows of a parent that Canvas did not answer for are left alone.
        among: Column and value of the rows that the walk can list at all. Other rows are never marked as missing.
        active_by: Models and their columns with the parent's id, or with the value of a third name, a column of the
            parent. A change of such a row, or of the parent's own row, makes the parent active; an incremental sync reads
            the lists of active parents only. If empty, every sync reads all.
        since: Parameters each of which limits the list to what changed in one respect since a time. If given, an
            incremental sync reads the lists of parents that are not active once with each parameter.
        only_with: Model and its column with the parent's id. A parent without such a row has an empty list, which is not
            read.
        size: Models and their columns with the parent's id; the product of their rows is the length of a list. If empty,
            a list is expected to have one page.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    envelope: str | None = None
    first: str | None = None
    per: str | None = None
    of_deleted: bool = False
    parents_path: str | None = None
    inject: str | None = None
    item: str | None = None
    expand: Callable[[Body], Iterable[Body]] | None = None
    is_object: bool = False
    separate: tuple[str, str] | None = None
    empty_if: tuple[int, ...] = ()
    absent: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    holder: str | tuple[str, str, str] | None = None
    among: tuple[str, str] | None = None
    active_by: tuple[tuple[str, ...], ...] = ()
    since: tuple[str, ...] = ()
    only_with: tuple[str, str] | None = None
    size: tuple[tuple[str, str], ...] = ()


Feed = ProvisioningFeed | ReportFeed | RestFeed


@dataclass(frozen=True, slots=True)
class Listing:
    """Lists over REST that do not feed the table, by which an audit finds objects that the table lacks.

    Args:
        path: Path below `/api/v1`, with `{account_id}` for the tenant's account and `{parent}` for each parent.
        parameters: Query of the first page. They select all objects that reports contain.
        per: Model whose rows are the parents; each has a list. None if the account has one list.
        holder: Column with the id of the parent.
        numbered: Whether Canvas numbers the pages, so that a random one can be read. Otherwise a list is read from its
            beginning.
        requires: Field that objects in reports have, dotted for a nested one. Objects without it are in no report, such
            as users without a login.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    per: str | None = None
    holder: str | None = None
    numbered: bool = False
    requires: str | None = None


class Suffices(StrEnum):
    """When the body of an event is enough to apply the event without reading the object from Canvas."""

    NEVER = "never"
    FOR_KNOWN_ROWS = "for known rows"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Omission:
    """A boolean column that bodies of events omit although an event may set it to true.

    Args:
        column: Name of the column. While it is true in a row, each event of the row requires a read from Canvas.
        unless: Column → values with which a body rules out that its event has set the column; no values: any but null.
    """

    column: str
    unless: Mapping[str, frozenset[str]]

    def is_ruled_out(self, values: Mapping[str, object]) -> bool:
        """Return whether the event with this body (column → value) cannot have set the column."""
        return any(
            values.get(name) is not None and (not allowed or str(values[name]) in allowed)
            for name, allowed in self.unless.items()
        )


@dataclass(frozen=True, slots=True)
class Events:
    """The live events about a model.

    Args:
        names: Names of the events in Canvas.
        suffices: When the body is enough. It is not enough where a column that the body omits may have changed.
        omissions: Columns that bodies omit although events may change them.
        echoes: Name of an event that only repeats a part of another event of the same change → columns that it repeats.
    """

    names: tuple[str, ...]
    suffices: Suffices = Suffices.NEVER
    omissions: tuple[Omission, ...] = ()
    echoes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_ECHOES)


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A path of Canvas that returns several single objects by their ids, in one request.

    Args:
        path: Path with column names in braces.
        ids: Query parameter → column whose values it lists. Canvas returns each combination of the values.
        most: Largest number of values of one parameter that Canvas accepts.
    """

    path: str
    ids: Mapping[str, str]
    most: int = 100


@dataclass(frozen=True, slots=True)
class Model:
    """A Canvas model that has a table.

    Args:
        name: Name of model and asset, and of the table unless a mapping sets another (`courses`).
        columns: All columns but the system's, in the order in which the table gets them.
        feed: Source that fills the table in bulk, if this Canvas offers it.
        key: Columns of the natural key, which is the primary key.
        term_scoped: Whether its feed is requested term by term.
        parents: Models that its rows point to. They are loaded before it and are its upstream assets.
        comment: Meaning of a row. It becomes the comment on the table.
        term_by: How to find a row's term: a column with the term's id, or a column and the model that it points to.
        single: Path of one object, with `{account_id}`, `{root_account_id}` and column names in braces. None if Canvas has no such path.
        several: Path of several single objects. None if Canvas has no such path.
        listing: Lists of its objects that do not feed the table; None if Canvas has none that an audit can use.
        gone: Values that mark a row as deleted.
        events: Live events about it.
        carries: Models whose rows change with a row of this one: (child, its column that points here, shared column).
        alterations: Functions that change each row of a report (column → value). A function returns None to omit the row.
        parameters: Parameters that the user adds to the model's report.
        stored_in: Name of the table that a mapping sets. None: the table has the model's name.
        page: Path of the Canvas page that shows the objects to people, with `{account_id}`. None if there is no such page.
        domain: What the model is about; its asset is in the group of this name.
        rest: Walk that fills the table in its place, for a Canvas that does not offer the report, or where the setting
            `feeds` requests it. None if there is no such walk, or if `feed` is the walk.
        identity: Columns that identify a row for a feed that lacks the key. A row that only such a feed knows gets a
            negative key until another feed knows its key.
        protected: Columns that the tenant excludes or hashes.
        history: Whether earlier states of its rows are kept.
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
    several: ObjectList | None = None
    listing: Listing | None = None
    gone: Mapping[str, str] = field(default_factory=lambda: DELETED)
    events: Events | None = None
    carries: tuple[tuple[str, str, str], ...] = ()
    alterations: tuple[Callable[[dict[str, Any]], dict[str, Any] | None], ...] = ()
    parameters: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    stored_in: str | None = None
    page: str | None = None
    domain: Domain = Domain.CUSTOM
    rest: RestFeed | None = None
    identity: tuple[str, ...] = ()
    protected: tuple[Protected, ...] = ()
    history: bool = False

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

    @property
    def table(self) -> str:
        """Name of the table within the tenant's schema."""
        return self.stored_in or self.name

    def report_columns(self) -> Iterator[Column]:
        """Yield the columns that a report has."""
        return (column for column in self.columns if column.report)

    def api_columns(self) -> Iterator[Column]:
        """Yield the columns that REST returns."""
        return (column for column in self.columns if column.api)

    def references(self, models: Mapping[str, Model]) -> Iterator[tuple[str, Model]]:
        """Yield each column that holds a parent's Canvas id, with the parent: `canvas_user_id` points to users."""
        for name in self.parents:
            column = f"canvas_{singular(name)}_id"
            parent = models.get(name)
            # A parent under legacy ids has this column as its own key.
            is_known = parent is not None and parent.key in {("canvas_id",), (column,)}
            if parent is not None and is_known and any(c.name == column for c in self.columns):
                yield column, parent

    def event_columns(self) -> Iterator[Column]:
        """Yield the columns that live events carry."""
        return (column for column in self.columns if column.event)

    def omissions(self) -> list[Omission]:
        """Return the columns that bodies of events omit although events may change them, as far as the table keeps them."""
        if self.events is None or not self.events.omissions:
            return []
        kept = {column.name for column in self.report_columns()}
        return [each for each in self.events.omissions if each.column in kept]

    @property
    def walk(self) -> RestFeed | None:
        """Return the walk over REST that can feed the table, whether it is the preferred feed or not; None if none can."""
        return self.feed if isinstance(self.feed, RestFeed) else self.rest

    def is_walked(self, column: Column) -> bool:
        """Return whether the walk over REST fills a column."""
        injected = self.walk is not None and column.name == self.walk.inject
        in_context = self.walk is not None and self.walk.per == CONTEXTS and column.name in CONTEXT_COLUMNS
        return bool(column.api) or injected or in_context

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the headers that are expected in a report although the table does not keep them."""
        if isinstance(self.feed, RestFeed):
            return ()
        return (*self.feed.ignored, *([self.feed.prefer] if self.feed.prefer else []))

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Return the user's functions that rows of a report go through."""
        transforms = (column.transform for column in self.report_columns() if column.transform is not None)
        return (*transforms, *self.alterations)

    @property
    def deleted_values(self) -> dict[str, str]:
        """Return the values that mark a row as deleted, for the columns that the table has."""
        return {name: value for name, value in self.gone.items() if any(column.name == name for column in self.columns)}

    def with_columns(self, *columns: Column) -> Model:
        """Return a copy in which these columns replace those of the same name; new ones are appended."""
        new = {column.name: column for column in columns}
        kept = tuple(new.pop(column.name, column) for column in self.columns)
        return replace(self, columns=kept + tuple(new.values()))


SYSTEM_COLUMNS = (
    Column("created_at", ColumnType.TIMESTAMP, comment="When the row was inserted here."),
    Column("updated_at", ColumnType.TIMESTAMP, comment="When the row was inserted here or its content last changed."),
    Column(
        "observed_at",
        ColumnType.TIMESTAMP,
        comment="Time of the newest report, read or event that confirmed the content.",
    ),
    Column(
        "missing_since",
        ColumnType.TIMESTAMP,
        comment="Time since which complete reports no longer list the row; null if they do.",
    ),
    Column(
        "row_hash",
        ColumnType.BIGINT,
        comment="Digest of the report record that the row was last loaded from; null if another source wrote it last.",
    ),
)
"""Columns that every data table has in addition to its model's columns."""


def singular(name: str) -> str:
    """Return the singular of a model's name.

    >>> [singular(name) for name in ("users", "group_categories", "course_progresses")]
    ['user', 'group_category', 'course_progress']
    """
    return re.sub(r"ies$", "y", name) if name.endswith("ies") else re.sub(r"(ss)es$|s$", r"\1", name)
