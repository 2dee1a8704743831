"""What killed processes downloaded is removed by the next run; what a living one downloads is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from canvas_sync_dagster.sync.downloads import ELSEWHERE_FOR, UNLOCKED_FOR, download_directory, remove_abandoned

HOLDING = """
import sys, time
from pathlib import Path
from canvas_sync_dagster.sync.downloads import download_directory
with download_directory(Path(sys.argv[1]), "canvas") as directory:
    (directory / "users.part").write_text("Zoe")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_directory_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    later = time.time() + 10 * UNLOCKED_FOR.total_seconds()
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert remove_abandoned(tmp_path, later) == 0
        assert list(tmp_path.rglob("*.part"))
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.rglob("*.part")), "a killed process removes nothing"
    assert remove_abandoned(tmp_path) == 0, "it may be about to be locked"
    assert remove_abandoned(tmp_path, later) == 1
    assert list((tmp_path / "downloads").iterdir()) == []


def test_the_next_download_removes_what_was_left(tmp_path: Path) -> None:
    with download_directory(tmp_path, "canvas") as first:
        (first / "users.part").write_text("Zoe")
        old = first.with_name(first.name[:-3] + "abc")
        old.mkdir()
        (old / "users.part").write_text("Zoe")
        os.utime(old, (0, 0))
        with download_directory(tmp_path, "canvas") as second:
            assert sorted((tmp_path / "downloads").iterdir()) == sorted([first, second])
    assert list((tmp_path / "downloads").iterdir()) == []


def test_the_directory_of_another_host_goes_by_its_age_alone(tmp_path: Path) -> None:
    other = tmp_path / "downloads" / "canvas-elsewhere-abc"
    other.mkdir(parents=True)
    assert remove_abandoned(tmp_path, time.time() + ELSEWHERE_FOR.total_seconds() / 2) == 0
    assert remove_abandoned(tmp_path, time.time() + ELSEWHERE_FOR.total_seconds() + 1) == 1
