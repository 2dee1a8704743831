"""Every command: 2 for wrong usage or configuration, in one message and without a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands.instance import dagster_instance
from canvas_sync_dagster.errors import SettingError

COMMANDS = ("status", "doctor", "sync", "migrate", "reconcile", "replay rejects", "replay events", "dbt-sources")


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("CANVAS_SYNC_", "DAGSTER_"))]:
        monkeypatch.delenv(name)


def called(line: str, **variables: str) -> Result:
    return CliRunner().invoke(main, line.split(), env=variables)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_setting_a_wrong_tenant_and_a_broken_file_are_configuration(command: str) -> None:
    Path("own.py").write_text("from canvas_sync_dagster import CanvasSync\nsync = {}['missing']\n")
    for done, words in (
        (called(command, CANVAS_SYNC_SCHEDULE="daily"), "CANVAS_SYNC_SCHEDULE is 'daily'"),
        (called(f"{command} --tenant nobody"), "unknown tenant"),
        (called(f"{command} -f own.py"), "KeyError in own.py, line 2"),
        (called(f"{command} --no-such-option"), "No such option"),
    ):
        assert done.exit_code == 2, done.output
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["sync --models nothing", "reconcile --model nothing", "replay rejects --model nothing"]
)
def test_a_model_that_does_not_exist_is_wrong_usage(command: str) -> None:
    done = called(command)
    assert done.exit_code == 2, done.output
    assert "unknown model" in done.stderr


def test_an_invalid_configuration_of_dagster_is_configuration(tmp_path: Path) -> None:
    Path("dagster.yaml").write_text("storage: {nonsense: 1}\n")
    with pytest.raises(SettingError, match=r"dagster\.yaml"):
        dagster_instance(tmp_path)
