"""The benchmark of the whole way compares what its contenders hold with the university, and counts what they write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WHOLE_WAY = Path(__file__).parents[1] / "benchmarks" / "whole_way.py"


def test_the_whole_way_of_this_project_and_of_a_minimal_extractor() -> None:
    """A day later, this project has fewer deleted enrollments than the extractor, and it writes only what has changed."""
    command = [sys.executable, str(WHOLE_WAY), "--scale", "0.001", "--who", "lean,minimal", "--json"]
    done = subprocess.run([*command, "--phases", "first,a day later"], capture_output=True, text=True, check=True)
    (results,) = json.loads(done.stdout)
    found = {(each["phase"], each["who"]): each for each in results}
    assert not any(any(counts) for counts in found["first", "minimal"]["faults"].values())
    # Reports list neither users without a login nor their enrollments.
    assert {model for model, counts in found["first", "lean"]["faults"].items() if any(counts)} == {
        "users",
        "enrollments",
    }
    _, ours, wrong = found["a day later", "lean"]["faults"]["enrollments"]
    _, theirs, _ = found["a day later", "minimal"]["faults"]["enrollments"]
    assert ours < theirs
    assert wrong == 0
    costs = {key: each["cost"] for key, each in found.items()}
    assert costs["a day later", "lean"]["rows"] < costs["a day later", "minimal"]["rows"]
    assert costs["first", "lean"]["requests"] > 0
    assert costs["first", "minimal"]["requests"] > 8
