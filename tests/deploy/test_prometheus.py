"""A real Prometheus with the shipped configuration, the service under load, and faults.

The faults are caused all at once, beside the tests of what is well.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import isfinite
from typing import Any

import pytest

from tests.deploy.faults import FAULTS, Fault, strike
from tests.deploy.prometheus import Prometheus
from tests.deploy.scene import ABUSED, WELL, Scene, scene
from tests.deploy.shipped import OF_PROBES, metrics, needs_prometheus, queries, rules
from tests.peers.processes import DEADLINE_SECONDS, until

pytestmark = needs_prometheus

#: On a slow machine frames are late, and where `for` is nothing one late scrape is a target down.
ABOUT_TIME = {"RtAudioTurnaroundSlow", "RtAudioEventLoopLag", "RtAudioTargetDown"}
ADDED_BY_PROMETHEUS = {"__name__", "instance", "job"}
#: A bug of ours, a machine that is too slow, and a day of a few failures.
NOT_CAUSED = {"RtAudioTurnaroundSlow", "RtAudioBudgetBurnsSlowly"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Return the services and the Prometheus, which has seen all of them."""
    with scene(tmp_path_factory.mktemp("prometheus")) as it:
        # It takes no target before its first five seconds are over.
        until(lambda: len(it.prometheus.query("up == 1")) == len(it.targets), "the first scrapes")
        yield it


@pytest.fixture(scope="module", autouse=True)
def strikes(stage: Scene) -> Iterator[dict[str, "Future[None]"]]:
    """Have every fault caused; returns what becomes of each."""
    with ThreadPoolExecutor(len(FAULTS)) as hands:
        yield {fault.cause: hands.submit(strike, fault, stage) for fault in FAULTS}
        stage.over.set()


@pytest.fixture(scope="module")
def prometheus(stage: Scene) -> Prometheus:
    """Return the Prometheus, once calls have ended."""
    ended = f'rt_audio_sessions_total{{job="{WELL}", outcome="completed"}} > 3'
    until(lambda: stage.prometheus.query(ended), "calls that ended")
    return stage.prometheus


def has_numbers(series: list[dict[str, Any]]) -> bool:
    """Tell whether a query found anything, and not only the quantiles of nothing."""
    return any(isfinite(float(each["value"][1])) for each in series)


def test_the_target_is_up(prometheus: Prometheus) -> None:
    def up() -> list[str]:
        targets = prometheus.get("targets")["activeTargets"]
        ours = [each for each in targets if each["labels"]["job"] == WELL]
        return [each["scrapeUrl"] for each in ours if each["health"] == "up"]

    [url] = until(up, "a scrape in time")
    assert url.endswith("/metrics")


def test_every_metric_of_the_readme_is_there_with_its_labels(prometheus: Prometheus) -> None:
    assert len(metrics()) > 15
    for metric in metrics():
        if metric.name.startswith(OF_PROBES):
            continue
        # Of the two the abused one has TLS, and names for its tokens.
        series = f'{metric.series}{{job=~"{WELL}|{ABUSED}"}}'
        for each in until(partial(prometheus.query, series), series):
            assert set(each["metric"]) - ADDED_BY_PROMETHEUS == metric.labels, metric


def test_every_rule_is_healthy(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules("alert")) + len(rules("record"))
    assert {rule["health"] for rule in found} == {"ok"}


@pytest.mark.parametrize("record", [rule["record"] for rule in rules("record")])
def test_every_recording_rule_has_data(prometheus: Prometheus, record: str) -> None:
    until(lambda: has_numbers(prometheus.query(f'{record}{{job="{WELL}"}}')), record)


@pytest.mark.parametrize(
    "expression",
    [pytest.param(expression, id=f"{number} {panel}")
     for number, (panel, expression) in enumerate(queries(), 1)],
)  # fmt: skip
def test_every_query_of_the_dashboard_has_data(prometheus: Prometheus, expression: str) -> None:
    for variable, value in (("$namespace", ".*"), ("$pod", ".*"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    until(lambda: has_numbers(prometheus.query(expression)), expression)


def test_nothing_fires_about_a_service_that_is_well(prometheus: Prometheus) -> None:
    firing = {
        alert["labels"]["alertname"]
        for alert in prometheus.get("alerts")["alerts"]
        if alert["labels"].get("job", WELL) == WELL
    }
    assert firing <= ABOUT_TIME


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.cause for fault in FAULTS])
def test_a_fault_fires_its_alert(
    prometheus: Prometheus, strikes: dict[str, "Future[None]"], fault: Fault
) -> None:
    strikes[fault.cause].result(timeout=DEADLINE_SECONDS)
    alert = prometheus.firing(fault.alert, **fault.labels)
    assert fault.summary in alert["annotations"]["summary"]


def test_every_alert_is_caused_here() -> None:
    assert {fault.alert for fault in FAULTS} | NOT_CAUSED == {
        rule["alert"] for rule in rules("alert")
    }
