"""`MappingOverride`: the changes of one model's mapping, recorded as frozen values in the order of the calls.

Mappings are changed by `CanvasSync.mapping()` in Python, by `mappings:` in `canvas_sync.yaml`, and by the gem's
`canvas_sync_provisioning_mapping.yml`; mapping_files.py reads the two files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from canvas_sync_dagster.catalogue.changes import (
    AddParameters,
    Alteration,
    AlterRows,
    Change,
    Link,
    SetKey,
    SetTable,
    Transform,
    Unlink,
    UnlinkAll,
    columns_named,
)
from canvas_sync_dagster.catalogue.model import Model, RestFeed, singular
from canvas_sync_dagster.catalogue.user_names import column_name, column_type, header_name, table_name
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.signatures import check_arguments


@dataclass(slots=True)
class MappingOverride:
    """Changes of one model's mapping. They are applied in the order of the calls.

    Attributes:
        model: Name of the model.
        declared: Declaration that is changed. If it is given, each call is applied to it at once, so that a wrong column
            is refused where it is written.
        where: Place of the mapping in messages; defaults to `mapping of MODEL`.
    """

    model: str
    declared: Model | None = None
    where: str = ""
    _changes: tuple[Change, ...] = field(default=(), init=False)
    _current: Model | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.where = self.where or f"mapping of {self.model}"
        self._current = self.declared

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes so far."""
        return self._changes

    def link_column(
        self,
        report: str | Mapping[str, str],
        database: str | None = None,
        *,
        type: str | None = None,
        transform: Transform | None = None,
    ) -> Self:
        """Load a column of the report into a column of the table.

        Args:
            report: Header in the report, or several as header → column.
            database: Column in the table; defaults to the header. `canvas-sync migrate` adds a new one.
            type: Type as the gem or PostgreSQL names it; defaults to the type of the column, or `text` for a new one.
            transform: Called with the value, empty text where there is none, and, if it takes two arguments, the whole
                record, header → text. A function of the value alone is called once per distinct value of a block of
                rows. It returns what is stored: a value of the column's type, or None; a list or dict as JSON.

        Raises:
            SettingError: The type does not exist, a name is no text, the sync itself sets the column, or the function
                accepts other arguments.
        """
        if isinstance(report, Mapping):
            if database is not None:
                allowed = "link_column({header: column, …}), or link_column(header, column)"
                raise SettingError(f"{self.where}: link_column", "columns are given twice", allowed=allowed)
            for header, column in report.items():
                self.link_column(header, column, type=type, transform=transform)
            return self
        header = header_name(report, f"{self.where}: link_column")
        column = column_name(header if database is None else database, f"{self.where}: {header}")
        kind = None if type is None else column_type(type, f"{self.where}: {header}")
        if transform is not None:
            check_arguments(transform, f"{self.where}: transform of {header}", "value", "record", optional=1)
        return self.add(Link(header, column, kind, transform))

    def unlink_column(self, *names: str) -> Self:
        """Stop loading columns, named as in the report or in the table. The table keeps them.

        Raises:
            SettingError: A column does not exist, or is part of the key.
        """
        for name in names:
            header_name(name, f"{self.where}: unlink_column")
            if self._current is not None:
                self._refuse_key(self._current, name)
            self.add(Unlink(name))
        return self

    def reset_links(self) -> Self:
        """Remove all links."""
        return self.add(UnlinkAll())

    def conflict_target(self, *columns: str) -> Self:
        """Identify rows by these columns.

        Raises:
            SettingError: No column is given, or a column does not exist.
        """
        if not columns:
            raise SettingError(f"{self.where}: conflict_target", "no column is named", allowed="names of columns")
        return self.add(SetKey(tuple(column_name(each, f"{self.where}: conflict_target") for each in columns)))

    def table(self, name: str) -> Self:
        """Store the model's rows in a table of this name, in the tenant's schema.

        Use it where another application has a table with the model's name. The names of model, asset and settings stay.

        Raises:
            SettingError: PostgreSQL does not accept the name, or it is reserved for state tables.
        """
        return self.add(SetTable(table_name(name, f"{self.where}: table")))

    def alter_rows(self, alteration: Alteration) -> Alteration:
        """Change each row, column → value, by a function; None leaves the row out. Usable as a decorator.

        Raises:
            SettingError: The function accepts other arguments.
        """
        check_arguments(alteration, f"{self.where}: alter_rows", "row")
        self.add(AlterRows(alteration))
        return alteration

    def params(self, given: Mapping[str, object] | None = None, **more: object) -> Self:
        """Add parameters to the model's report; None removes one.

        A report with your own parameters may list fewer rows, so no row counts as missing because of it.

        Args:
            given: Name → value, for names that are no Python names.
            more: The same. Lists and mappings are sent as Canvas reads them: `states=["active", "completed"]`.

        Raises:
            SettingError: The sync sets a parameter itself, no report feeds the model, or Canvas could not read a value.
        """
        return self.add(AddParameters({**(given or {}), **more}))

    def add(self, change: Change) -> Self:
        """Add a change.

        Raises:
            SettingError: The model is known and cannot be changed like this.
        """
        if self._current is not None:
            self._current = self._changed(self._current, change)
        self._changes = (*self._changes, change)
        return self

    def applied(self, model: Model) -> Model:
        """Return the changed declaration.

        Raises:
            SettingError: A change names a column that does not exist, or a part of the key has no link.
        """
        changed = model
        for change in self._changes:
            changed = self._changed(changed, change)
        unlinked = [name for name in changed.key if not changed[name].report and not isinstance(model.feed, RestFeed)]
        if unlinked:
            problem = "no column of the report is linked to a part of the key, which identifies rows"
            allowed = "a link to it, or a key of linked columns by conflict_target"
            raise SettingError(self.where, problem, allowed=allowed, value=unlinked[0])
        return _expecting(changed, model)

    def _changed(self, model: Model, change: Change) -> Model:
        try:
            return change.apply(model)
        except ValueError as error:
            columns = ", ".join(column.name for column in model.columns)
            raise SettingError(self.where, str(error), allowed=f"columns {columns}") from None

    def _refuse_key(self, model: Model, name: str) -> None:
        columns = columns_named(model, name)
        keys = [column for column in columns if column.name in model.key]
        if keys or not columns:
            problem = "it is part of the key, which identifies rows" if keys else "unknown column"
            free = ", ".join(column.name for column in model.columns if column.report and column.name not in model.key)
            raise SettingError(f"{self.where}: unlink_column", problem, allowed=free, value=name)


def refuse_shared_tables(models: Iterable[Model]) -> None:
    """Check that no two models have the same table.

    Raises:
        SettingError: Two models have the same table; it names both.
    """
    owners: dict[str, str] = {}
    for model in models:
        if other := owners.get(model.table):
            problem = f"the model {other} has this table already"
            raise SettingError(f"mapping of {model.name}: table", problem, allowed="another table", value=model.table)
        owners[model.table] = model.name


def _expecting(model: Model, old: Model) -> Model:
    """Add the headers that a mapping no longer links to those that are expected."""
    if isinstance(model.feed, RestFeed):
        return model
    headers = (spelling for column in old.report_columns() for spelling in column.report)
    return replace(model, feed=replace(model.feed, ignored=tuple(dict.fromkeys([*model.feed.ignored, *headers]))))


def with_legacy_ids(model: Model) -> Model:
    """Return the model with the key named as in the gem's old mappings: `canvas_user_id` instead of `canvas_id`.

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
