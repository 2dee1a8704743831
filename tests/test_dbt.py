"""docs/how-to/dbt.md with a real dagster-dbt, where it is installed: dbt models are downstream of our tables without a translator."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.test_docs import ROOT, blocks

pytest.importorskip("dagster_dbt")


@pytest.mark.filterwarnings("ignore")
def test_dbt_models_are_downstream_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples" / "dbt", tmp_path / "dbt")
    settings = "models: [terms, courses, enrollments], database_url: postgresql://u@h/warehouse"
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {{{settings}}}}}")
    (tmp_path / "dbt_location.py").write_text("\n".join(blocks("docs/how-to/dbt.md", "python")))
    for name, value in {"PGHOST": "h", "PGUSER": "u", "PGDATABASE": "warehouse"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "dbt"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.syspath_prepend(tmp_path)
    import dbt_location  # type: ignore[import-not-found]

    graph = dbt_location.defs.resolve_asset_graph()
    models = {name: graph.get(dg.AssetKey(name)) for name in ("changed_courses", "enrollments_by_term")}
    ours = {name: dg.AssetKey(["canvas", name]) for name in ("courses", "enrollments", "terms")}
    assert models["changed_courses"].parent_keys == {ours["courses"]}
    assert models["enrollments_by_term"].parent_keys == set(ours.values())
    names = {graph.get(key).metadata["dagster/table_name"] for key in ours.values()}
    assert names == {f"warehouse.canvas.{name}" for name in ours}
    assert models["changed_courses"].metadata["dagster/table_name"] == "warehouse.analytics.changed_courses"
