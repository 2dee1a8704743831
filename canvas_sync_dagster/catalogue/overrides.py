"""Overrides of mappings: each makes a new declaration from an old one; nothing is mutated.

Three ways lead here: `CanvasSync.mapping()` in Python, `mappings:` in `canvas_sync.yaml`, and the gem's own
`canvas_sync_provisioning_mapping.yml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from canvas_sync_dagster.catalogue.headers import normalize
from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, ProvisioningFeed, RestFeed, singular
from canvas_sync_dagster.catalogue.parameters import OWNED, encoded, refuse_owned
from canvas_sync_dagster.errors import SettingError

TYPES = {
    "bigint": ColumnType.BIGINT,
    "integer": ColumnType.BIGINT,
    "string": ColumnType.TEXT,
    "text": ColumnType.TEXT,
    "boolean": ColumnType.BOOLEAN,
    "numeric": ColumnType.NUMERIC,
    "decimal": ColumnType.NUMERIC,
    "float": ColumnType.NUMERIC,
    "datetime": ColumnType.TIMESTAMP,
    "timestamptz": ColumnType.TIMESTAMP,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
    "bigint[]": ColumnType.BIGINT_ARRAY,
}
"""Types as the gem and PostgreSQL name them."""
SETTINGS = ("reset", "unlink", "columns", "conflict_target", "table", "params")
"""What `mappings: {model: {…}}` may hold."""
TABLES = frozenset(
    {
        *("users", "accounts", "terms", "courses", "sections", "enrollments", "groups", "group_membership"),
        *("group_categories", "xlist", "user_observers", "admins", "roles", "pseudonyms"),
        *("grading_periods", "grading_period_groups"),
    }
)
"""Parameters by which a provisioning report is asked for its tables; the selection of the run sets them."""

STATE_PREFIX = "canvas_sync_"
"""How the names of the sync's own tables in a tenant's schema begin."""
NAME_BYTES = 63
"""Longest name that PostgreSQL takes."""

Transform = Callable[[str, Mapping[str, str]], object]
Alteration = Callable[[dict[str, Any]], "dict[str, Any] | None"]


@dataclass(slots=True)
class MappingOverride:
    """What is changed about one model's mapping; calls are applied in their order, by `applied`.

    Attributes:
        model: Name of the model.
        declared: The model that it changes, where it is known at once: what is wrong is then refused by each call.
    """

    model: str
    _changes: list[Callable[[Model], Model]] = field(default_factory=list)
    declared: Model | None = None

    def link_column(
        self,
        report: str | Mapping[str, str],
        database: str | None = None,
        *,
        type: str | None = None,
        transform: Transform | None = None,
    ) -> Self:
        """Loads a column of the report into a column of the table.

        Args:
            report: Header in the report, or several as header → column.
            database: Column in the table; the header itself if not given. `canvas-sync migrate` adds a new one.
            type: One of the gem's or PostgreSQL's names; the column's own, or text, if not given.
            transform: Called with the value, empty text where there is none, and the whole record, header → text.
                Returns what is stored: of the column's type, or None; a list or dict as JSON.

        Raises:
            SettingError: There is no such type.
        """
        if isinstance(report, Mapping):
            for header, column in report.items():
                self.link_column(header, column, type=type, transform=transform)
            return self
        kind = column_type(type, f"mapping of {self.model}: {report}") if type else None
        self._changes.append(lambda model: _linked(model, report, database or report, kind, transform))
        return self

    def unlink_column(self, *names: str) -> Self:
        """Loads columns no longer, named as in the report or in the table; the table keeps them.

        Raises:
            SettingError: There is no such column, or it is part of the key.
        """
        for name in names:
            if self.declared is not None:
                self._refuse_key(self._changed(self.declared), name)
            self._changes.append(lambda model, name=name: _unlinked(model, name))  # type: ignore[misc]
        return self

    def _refuse_key(self, model: Model, name: str) -> None:
        keys = [column for column in _linked_as(model, name) if column.name in model.key]
        if keys or not _linked_as(model, name):
            problem = "it is part of the key, which tells rows apart" if keys else "there is no such column"
            free = ", ".join(column.name for column in model.columns if column.report and column.name not in model.key)
            raise SettingError(f"mapping of {self.model}: unlink_column", problem, allowed=free, value=name)

    def reset_links(self) -> Self:
        """Forgets all links that there were up to now."""
        self._changes.append(lambda model: replace(model, columns=tuple(replace(c, report=()) for c in model.columns)))
        return self

    def conflict_target(self, *columns: str) -> Self:
        """Makes these columns the key."""
        self._changes.append(lambda model: replace(model, key=columns))
        return self

    def table(self, name: str) -> Self:
        """Keeps the model's rows in a table of this name, in the tenant's schema.

        Use it where another application has a table of the model's own name. The names of model, asset and settings
        stay as they are.

        Raises:
            SettingError: PostgreSQL does not accept the name, or it is one of the sync's own tables.
        """
        stored_in = table_name(name, f"mapping of {self.model}: table")
        self._changes.append(lambda model: replace(model, stored_in=stored_in))
        return self

    def alter_rows(self, alteration: Alteration) -> Alteration:
        """Has each row, column → value, changed by a function; None leaves the row out. Usable as a decorator."""
        self._changes.append(lambda model: replace(model, alterations=(*model.alterations, alteration)))
        return alteration

    def params(self, given: Mapping[str, object] | None = None, **more: object) -> Self:
        """Add parameters to the model's report; None removes one.

        A report with parameters of your own may list fewer rows, so that none is taken for missing because of it.

        Args:
            given: Name → value, where a name is no Python name.
            more: The same. Lists and mappings are sent as Canvas reads them: `states=["active", "completed"]`.
        """
        added = {**(given or {}), **more}
        self._changes.append(lambda model: _with_parameters(model, added))
        return self

    def applied(self, model: Model) -> Model:
        """Returns the new declaration.

        Raises:
            SettingError: It names something that is not there.
        """
        changed = self._changed(model)
        unlinked = [name for name in changed.key if not changed[name].report and not isinstance(model.feed, RestFeed)]
        if unlinked:
            problem = "no column of the report is linked to a part of the key, which tells rows apart"
            allowed = "a link to it, or a key of linked columns by conflict_target"
            raise SettingError(f"mapping of {self.model}", problem, allowed=allowed, value=unlinked[0])
        return _expecting(changed, model)

    def _changed(self, model: Model) -> Model:
        changed = model
        for change in self._changes:
            try:
                changed = change(changed)
            except ValueError as error:
                columns = ", ".join(column.name for column in changed.columns)
                raise SettingError(f"mapping of {self.model}", str(error), allowed=f"columns {columns}") from None
        return changed


def table_name(name: object, where: str) -> str:
    """Checks the name of a table.

    Raises:
        SettingError: It cannot be used.
    """
    allowed = f"a name of 1 to {NAME_BYTES} bytes that does not begin with {STATE_PREFIX}"
    if not isinstance(name, str) or not name or "\0" in name or len(name.encode()) > NAME_BYTES:
        raise SettingError(where, "this is not a name for a table", allowed=allowed, value=name)
    if name.startswith(STATE_PREFIX):
        raise SettingError(where, "this is one of the sync's own tables", allowed=allowed, value=name)
    return name


def refuse_shared_tables(models: Iterable[Model]) -> None:
    """Refuses two models with one table.

    Raises:
        SettingError: Names both.
    """
    owners: dict[str, str] = {}
    for model in models:
        if other := owners.get(model.table):
            problem = f"the model {other} has this table already"
            raise SettingError(f"mapping of {model.name}: table", problem, allowed="another table", value=model.table)
        owners[model.table] = model.name


def column_type(name: str, where: str) -> ColumnType:
    """Reads the name of a type.

    Raises:
        SettingError: There is no such type.
    """
    found = TYPES.get(name.strip().lower())
    if found is None:
        raise SettingError(where, "there is no such type", allowed=", ".join(TYPES), value=name)
    return found


def _with_parameters(model: Model, added: Mapping[str, object]) -> Model:
    refuse_parameters(model, added)
    return replace(model, parameters={**model.parameters, **added})


def refuse_parameters(model: Model, given: Mapping[str, object]) -> None:
    """Refuse parameters of a built-in model's report that cannot be set.

    Raises:
        ValueError: The sync sets one itself, no report feeds the model, or a value has no form that Canvas reads.
    """
    if isinstance(model.feed, RestFeed):
        raise ValueError(f"{model.name} is read over REST, so that it has no report to give parameters to")  # noqa: TRY004 (a wrong setting)
    tables = TABLES if isinstance(model.feed, ProvisioningFeed) else frozenset()
    refuse_owned(given, OWNED | tables)
    encoded(given)


def _expecting(model: Model, old: Model) -> Model:
    """A header that a mapping no longer links is still expected."""
    if isinstance(model.feed, RestFeed):
        return model
    told = (spelling for column in old.report_columns() for spelling in column.report)
    return replace(model, feed=replace(model.feed, ignored=tuple(dict.fromkeys([*model.feed.ignored, *told]))))


def _linked(model: Model, report: str, name: str, kind: ColumnType | None, transform: Transform | None) -> Model:
    old = next((column for column in model.columns if column.name == name), Column(name, ColumnType.TEXT))
    return model.with_columns(replace(old, report=(report,), type=kind or old.type, transform=transform))


def _unlinked(model: Model, name: str) -> Model:
    hit = _linked_as(model, name)
    if not hit:
        raise ValueError(f"there is no column {name!r} to unlink")
    return model.with_columns(*(replace(column, report=()) for column in hit))


def _linked_as(model: Model, name: str) -> list[Column]:
    """Return the columns that are named so, in the table or in the report."""
    folded = normalize(name)
    return [c for c in model.columns if c.name == name or folded in map(normalize, c.report)]


def from_file(model: str, given: object, where: str) -> MappingOverride:
    """Reads one model of `mappings:`: `{reset, unlink, columns: {header: name or {…}}, conflict_target, table, params}`.

    Raises:
        SettingError: It is not of this form.
    """
    if not isinstance(given, Mapping):
        raise SettingError(where, "is no mapping", allowed=f"{{{', '.join(SETTINGS)}}}")
    if unknown := sorted(set(map(str, given)) - {*SETTINGS, "report_columns"}):
        raise SettingError(f"{where}.{unknown[0]}", "there is no such setting", allowed=", ".join(SETTINGS))
    mapping = MappingOverride(model)
    if given.get("reset"):
        mapping.reset_links()
    mapping.unlink_column(*_names(given.get("unlink"), f"{where}.unlink"))
    for header, link in _links(given.get("columns", given.get("report_columns")), where):
        mapping.link_column(header, link.get("database_column_name"), type=link.get("type"))
    if target := _names(given.get("conflict_target"), f"{where}.conflict_target"):
        mapping.conflict_target(*target)
    if (asked := given.get("params")) is not None:
        if not isinstance(asked, Mapping):
            raise SettingError(f"{where}.params", "expected a mapping", allowed="{parameter: value}")
        mapping.params(asked)
    if (table := given.get("table")) is not None:
        mapping.table(table_name(table, f"{where}.table"))
    return mapping


def from_gem(model: str, given: object, where: str) -> MappingOverride:
    """Reads one model of the gem's file, which replaces the whole mapping.

    Raises:
        SettingError: It is not of the gem's form.
    """
    if not isinstance(given, Mapping) or not isinstance(given.get("report_columns"), Mapping):
        raise SettingError(
            where, "is not of the gem's form", allowed="{conflict_target, report_columns: {header: {…}}}"
        )
    return from_file(model, {**given, "reset": True}, where)


def xlist_from_gem(given: object, where: str) -> MappingOverride:
    """Reads `xlist` of the gem's file: which columns of sections its table of the report sets.

    Raises:
        SettingError: It is not of the gem's form.
    """
    if not isinstance(given, Mapping) or not isinstance(given.get("report_columns"), Mapping):
        raise SettingError(
            where, "is not of the gem's form", allowed="{conflict_target, report_columns: {header: {…}}}"
        )
    links = {
        str(link.get("database_column_name") or header): header
        for header, link in _links(given["report_columns"], where)
    }
    mapping = MappingOverride("sections")
    mapping._changes.append(lambda model: _cross_listed(model, links))
    return mapping


def _cross_listed(model: Model, links: Mapping[str, str]) -> Model:
    if not isinstance(model.feed, ProvisioningFeed):
        return model
    columns = {name: header for name, header in links.items() if name not in model.key}
    (old,) = (extra for extra in model.feed.enrichments if extra.table == "xlist")
    new = replace(old, key=next((links[name] for name in model.key if name in links), old.key), columns=columns)
    there = {column.name for column in model.columns}
    added = (Column(name, ColumnType.BIGINT) for name in columns if name not in there)
    return replace(model.with_columns(*added), feed=replace(model.feed, enrichments=(new,)))


def _names(given: object, where: str) -> Sequence[str]:
    if given is None:
        return ()
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise SettingError(where, "is no list of names", allowed="a name, or a list of names")
    return found


def _links(given: object, where: str) -> list[tuple[str, dict[str, Any]]]:
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise SettingError(
            f"{where}.columns", "is no mapping", allowed="{header: column} or {header: {database_column_name, type}}"
        )
    links = []
    for header, link in given.items():
        named = {"database_column_name": link} if isinstance(link, str) else dict(link or {})
        if unknown := sorted(set(map(str, named)) - {"database_column_name", "type"}):
            raise SettingError(
                f"{where}.{header}.{unknown[0]}", "there is no such setting", allowed="database_column_name, type"
            )
        links.append((str(header), named))
    return links


def with_legacy_ids(model: Model) -> Model:
    """Names the key as the gem's old mappings did: `canvas_user_id` instead of `canvas_id`.

    >>> from canvas_sync_dagster.catalogue.built_in import users
    >>> with_legacy_ids(users).key
    ('canvas_user_id',)
    """
    if model.key != ("canvas_id",):
        return model
    name = f"canvas_{singular(model.name)}_id"
    columns = tuple(replace(c, name=name) if c.name == "canvas_id" else c for c in model.columns if c.name != name)
    single = model.single and model.single.replace("{canvas_id}", f"{{{name}}}")
    return replace(model, columns=columns, key=(name,), single=single)
