"""Mappings of one's own: in Python, in our file, and in the gem's."""

from __future__ import annotations

from pathlib import Path

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, ColumnType
from canvas_sync_dagster.catalogue.overrides import MappingOverride, with_legacy_ids
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings

MODELS = {model.name: model for model in BUILT_IN}


def test_an_override_makes_a_new_declaration_and_leaves_the_old_one() -> None:
    mapping = MappingOverride("users")
    mapping.link_column("pronouns").link_column({"short_name": "nickname"}, type="string").unlink_column(
        "sortable_name"
    )
    mapping.link_column("joined", "joined_at", type="datetime")
    users = mapping.applied(MODELS["users"])
    assert users["pronouns"].report == ("pronouns",)
    assert users["nickname"].report == ("short_name",)
    assert users["joined_at"].type is ColumnType.TIMESTAMP
    assert users["sortable_name"].report == ()
    assert MODELS["users"]["sortable_name"].report


def test_a_reset_forgets_all_links() -> None:
    mapping = MappingOverride("users").reset_links().link_column("canvas_user_id", "canvas_id")
    assert [column.name for column in mapping.applied(MODELS["users"]).report_columns()] == ["canvas_id"]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(SettingError, match=r"mapping of users.*sortabel_name.*sortable_name"):
        MappingOverride("users").unlink_column("sortabel_name").applied(MODELS["users"])
    with pytest.raises(SettingError, match=r"dateime.*datetime"):
        MappingOverride("users").link_column("x", type="dateime")


def test_both_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(
        "mappings:\n  courses:\n    unlink: [grading_standard_id]\n    columns:\n      course_format: format\n"
    )
    (tmp_path / "canvas_sync_provisioning_mapping.yml").write_text(
        "users:\n  conflict_target: canvas_id\n  report_columns:\n"
        "    canvas_user_id: {database_column_name: canvas_id, type: integer}\n"
        "    full_name: {database_column_name: name, type: string}\n"
    )
    models = {model.name: model for model in Settings.from_environment({}, directory=tmp_path).models()}
    assert models["courses"]["format"].report == ("course_format",)
    assert models["courses"]["grading_standard_id"].report == ()
    assert [column.name for column in models["users"].report_columns()] == ["canvas_id", "name"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mappings: [1]", "mappings"),
        ("mappings: {userz: {}}", "userz.*users"),
        ("mappings: {users: {colums: {}}}", "colums"),
        ("mappings: {users: {columns: {x: {typ: a}}}}", "typ"),
        ("legacy_ids: maybe", "legacy_ids.*true or false"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(text)
    with pytest.raises(SettingError, match=says):
        Settings.from_environment({}, directory=tmp_path).models()


def test_legacy_ids_rename_the_key_everywhere() -> None:
    courses = with_legacy_ids(MODELS["courses"])
    assert courses.key == ("canvas_course_id",)
    assert courses.single == "/courses/{canvas_course_id}"
    assert with_legacy_ids(MODELS["group_categories"]).key == ("canvas_group_category_id",)
