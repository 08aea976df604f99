"""What deploy/ ships and README.md promises, as the tests read it."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
#: Debian's package has both; its older version is the stricter judge of what we ship.
SERVER, PROMTOOL = Path("/usr/bin/prometheus"), Path("/usr/bin/promtool")

needs_prometheus = pytest.mark.integration("/usr/bin/promtool", "prometheus")


class Metric(NamedTuple):
    """A row of the README's table of metrics."""

    name: str
    kind: str
    labels: frozenset[str]

    @property
    def series(self) -> str:
        """The name of a series that stands for it in Prometheus."""
        return self.name + "_count" if self.kind == "histogram" else self.name


#: The metrics of `rt-audio probe`, which come from a file and not from /metrics.
OF_PROBES = "rt_audio_probe_"


def metrics() -> list[Metric]:
    """Return the rows of the README's tables of metrics."""
    rows = re.findall(r"^\| `(rt_audio_\w+)` \| (\w+) \| (.*?) \|", readme(), re.MULTILINE)
    return [
        # Before the colon are the labels, behind it their values.
        Metric(name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in rows
    ]


def readme() -> str:
    """Return the text of the README at the top."""
    return (ROOT / "README.md").read_text()


@cache
def read(path: Path) -> Any:
    """Return the content of a YAML file, which no test may change."""
    return yaml.safe_load(path.read_text())


def rules(kind: str) -> list[dict[str, Any]]:
    """Return all rules of a kind, `alert` or `record`."""
    files = sorted(PROMETHEUS.glob("rules/*.yml"))
    return [
        rule
        for file in files
        for group in read(file)["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard that is shipped."""
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/rt-audio.json").read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, without the rows' titles."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Return the queries of the dashboard, each by its panel's title and its expression."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def promtool(*arguments: str) -> None:
    """Run promtool in deploy/prometheus; fail with its words if it is not content."""
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
