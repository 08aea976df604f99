"""The dashboard, without Grafana: in step with its source, whole, and about metrics that exist."""

import re
import runpy
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from tests.deploy.shipped import DEPLOY, OF_PROBES, dashboard, metrics, panels, queries, read, rules

GRAFANA = DEPLOY / "grafana"
PANELS = {panel["title"]: panel for panel in panels()}
#: Of prometheus-client and of Prometheus itself.
COMMON = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds",
          "process_max_fds", "process_start_time_seconds", "up", "ALERTS"}  # fmt: skip
#: What is not of a pod: a service's calls as a whole, its alerts, and who calls it from elsewhere.
WHOLE, ELSEWHERE = "rt_audio:calls_failed:", ("ALERTS", OF_PROBES)

every_panel = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)


def test_the_json_is_what_its_source_generates() -> None:
    rendered = runpy.run_path(str(GRAFANA / "dashboard.py"))["rendered"]()
    shipped = (GRAFANA / "dashboards/rt-audio.json").read_text()
    assert shipped == rendered, "run: python deploy/grafana/dashboard.py"


@every_panel
def test_a_panel_says_what_it_shows_in_which_unit_and_what_is_bad(panel: dict[str, Any]) -> None:
    assert "Bad: " in panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


@every_panel
def test_a_panel_asks_the_chosen_source_about_the_chosen_pods(panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        if target["expr"].startswith(WHOLE):
            assert '{namespace=~"$namespace"}' in target["expr"]
        elif not target["expr"].startswith(ELSEWHERE):
            assert 'namespace=~"$namespace", pod=~"$pod"' in target["expr"]


def test_panels_do_not_overlap_and_their_numbers_are_their_own() -> None:
    everything = dashboard()["panels"]
    assert Counter(panel["id"] for panel in everything).most_common(1)[0][1] == 1
    for one, other in combinations([panel["gridPos"] for panel in everything], 2):
        apart = [
            one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at]
            for at, size in (("x", "w"), ("y", "h"))
        ]
        assert any(apart), (one, other)


def test_queries_are_about_metrics_that_exist() -> None:
    known = {metric.name for metric in metrics()} | COMMON
    known |= {rule["record"] for rule in rules("record")}
    for title, expression in queries():
        bare = re.sub(r"\{[^}]*\}", "", expression)
        names = re.findall(r"\b(?:rt_audio|process_|up\b|ALERTS)[\w:]*", bare)
        assert names, title
        assert {re.sub("_bucket$", "", name) for name in names} <= known, title


def test_variables_are_there_and_all_matches_no_label_too() -> None:
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}
    used = {name for _, text in queries() for name in re.findall(r"\$(\w+)", text)}
    assert used - {"__rate_interval"} == {"namespace", "pod"}
    assert variables.keys() == {"datasource", "namespace", "pod"}
    assert all(re.fullmatch(variables[name]["allValue"], "") for name in used & variables.keys())


def test_one_frame_time_is_marked_where_times_must_stay_below_it() -> None:
    for title in ("Turnaround of a frame", "Turnaround p99 by process", "Event loop lag"):
        defaults = PANELS[title]["fieldConfig"]["defaults"]
        assert defaults["thresholds"]["steps"][1] == {"value": 0.02, "color": "red"}
        assert defaults["custom"]["thresholdsStyle"]["mode"] == "dashed"


def test_the_scrape_interval_that_grafana_reckons_with_is_prometheus_own() -> None:
    [source] = read(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
    interval = read(DEPLOY / "prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    assert source["type"] == "prometheus"


def test_a_number_of_which_little_is_bad_turns_red_as_it_falls() -> None:
    steps = PANELS["Room left"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["color"] for step in steps] == ["red", "orange", "green"]
    assert steps[1]["value"] == pytest.approx(1 - near_the_limit())


def near_the_limit() -> float:
    """Return the share of sessions from which RtAudioSessionsNearLimit fires."""
    [rule] = [rule for rule in rules("alert") if rule["alert"] == "RtAudioSessionsNearLimit"]
    return float(rule["expr"].split(">")[1])


def test_every_alert_that_fires_is_named() -> None:
    panel = PANELS["Alerts that fire"]
    assert panel["type"] == "table"
    [target] = panel["targets"]
    assert (target["format"], target["instant"]) == ("table", True)
    hidden = panel["transformations"][0]["options"]["excludeByName"]
    assert not hidden.keys() & {"alertname", "severity", "namespace", "pod", "instance"}


BY_DIALECT = {
    "Provider calls begun": ("rt_audio_sessions_started_total", "dialect"),
    "Provider calls ended": ("rt_audio_sessions_total", "dialect, outcome"),
    "Provider calls refused": ("rt_audio_connections_refused_total", "dialect, reason"),
    "Dialect errors": ("rt_audio_dialect_errors_total", "dialect, reason"),
}


@pytest.mark.parametrize("title", BY_DIALECT)
def test_telephony_is_told_by_dialect_without_series_that_are_always_0(title: str) -> None:
    metric, labels = BY_DIALECT[title]
    [target] = PANELS[title]["targets"]
    assert target["expr"].startswith(f"sum by ({labels}) (rate({metric}{{")
    assert 'dialect!~"raw|none"' in target["expr"]
    [override] = PANELS[title]["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byValue", "options": {"reducer": "allIsZero"}}
    [hidden] = override["properties"]
    assert hidden["value"] == {"viz": False, "legend": True, "tooltip": True}


def test_what_has_a_dialect_is_summed_over_it() -> None:
    """A rate of each series would be one for each dialect where one is meant for all."""
    by_dialect = "|".join(metric for metric, _ in BY_DIALECT.values())
    everything = [rule for kind in ("record", "alert") for rule in rules(kind)]
    shown = queries() + [
        (rule.get("record", rule.get("alert")), rule["expr"]) for rule in everything
    ]
    for name, expression in shown:
        for match in re.finditer(by_dialect, expression):
            before = expression[: match.start()]
            assert re.search(r"sum( by \([\w, ]+\) )?\((rate|increase)\($", before), name
