"""A roll-out behind a real HAProxy: the benchmark's short run, by what it counts, never by time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.integration("haproxy", "haproxy")


def test_two_instances_are_replaced_and_no_call_is_dropped(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = ["benchmarks/rolling_restart.py", "--quick", "--streams", "16"]
    run = subprocess.run(
        [sys.executable, *command, "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    outcome = json.loads(figures.read_text())
    for trouble in ("cut", "refused", "failed"):
        assert outcome[trouble] == []
    assert outcome["frames_lost"] == 0
    assert outcome["let_finish"] > 0
    assert outcome["going_away"] > 0
    for drain in outcome["drains"]:
        assert drain["status"] == 0
        assert drain["outcomes"].keys() == {"completed", "drained"}
