"""Two tenants of the settings do not sync into the same tables, however their database is spelled."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.session import open_session
from tests.fix_canvas import tenant_of


def test_a_second_tenant_is_refused_and_a_renamed_one_is_not(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    def prepare(settings: Settings, slug: str) -> None:
        with open_session(settings, settings.tenant(slug), BUILT_IN) as session:
            Flow.of(session, SyncOptions()).prepare(["terms"], per_term=False)

    def owner() -> str:
        with psycopg.connect(database_url) as connection:
            query = "select value from lms.canvas_sync_remembered where name = 'tenant'"
            ((value,),) = connection.execute(query).fetchall()
        return str(value)

    one, other = (tenant_of(canvas, database_url, slug=slug, schema="lms") for slug in ("one", "other"))
    with pytest.raises(SettingError, match="tenant one uses this schema"):
        Settings(home=tmp_path, tenants=(one, other))
    # Two addresses of one server, of which the settings cannot know that they are.
    elsewhere = Settings(
        home=tmp_path, tenants=(one, other.model_copy(update={"database_url": SecretStr("postgresql://h/x")}))
    )
    both = elsewhere.model_copy(update={"tenants": (one, other)})
    prepare(both, "one")
    prepare(both, "one")
    with pytest.raises(SettingError, match=r"tenants\.other\.schema is 'lms': tenant one uses this schema"):
        prepare(both, "other")
    assert owner() == "one"
    prepare(Settings(home=tmp_path, tenants=(other,)), "other")
    assert owner() == "other"
