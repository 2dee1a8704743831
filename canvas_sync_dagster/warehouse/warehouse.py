"""A tenant's tables on an open connection: the values that functions on them take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.connection import Connection


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A tenant's schema, for the length of one transaction.

    Attributes:
        connection: In a transaction, which the caller ends.
        schema: The tenant's PostgreSQL schema.
        models: All models of the tenant, by name. Statements on state tables need none.
    """

    connection: Connection = field(repr=False)
    schema: str
    models: Mapping[str, Model] = field(default_factory=dict, repr=False)

    def identifier(self, table: str) -> sql.Identifier:
        """Return a table's name with its schema, quoted."""
        return sql.Identifier(self.schema, table)

    def has(self, table: str) -> bool:
        """Return whether the schema has a table of this name."""
        name = self.identifier(table).as_string(self.connection)
        return self.connection.execute("select to_regclass(%s) is not null", (name,)).fetchone() == (True,)

    def lock(self, purpose: str, *of: str) -> None:
        """Wait for a lock of this tenant, and hold it until the transaction ends.

        Args:
            purpose: What the lock is for, such as `load`.
            of: What is locked for it, such as a model and a scope.
        """
        query = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"
        self.connection.execute(query, (lock_name(self.schema, purpose, *of),))

    def table(self, model: Model) -> Table:
        """Return the table of a model."""
        return Table(self, model)


@dataclass(frozen=True, slots=True)
class Table:
    """The table of a model, for the length of one transaction.

    Attributes:
        warehouse: The schema that it is in.
        model: Whose rows it has.
    """

    warehouse: Warehouse
    model: Model

    @property
    def connection(self) -> Connection:
        return self.warehouse.connection

    @property
    def name(self) -> sql.Identifier:
        """Schema and table, quoted."""
        return self.warehouse.identifier(self.model.table)

    def sibling(self, model: str) -> Table:
        """Return the table of another model of the tenant, by the model's name.

        Raises:
            KeyError: The tenant does not sync the model.
        """
        return self.warehouse.table(self.warehouse.models[model])


def lock_name(schema: str, purpose: str, *of: str) -> str:
    """Return the name by which processes lock the same thing.

    >>> lock_name("canvas", "load", "courses", "7")
    'canvas_sync load canvas courses 7'
    """
    return " ".join(["canvas_sync", purpose, schema, *of])
