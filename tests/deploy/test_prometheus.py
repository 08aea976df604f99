"""A real Prometheus with the shipped configuration, and the running service under load."""

import signal
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from math import isfinite
from typing import Any

import pytest
import trio

from tests.deploy.prometheus import Prometheus, load
from tests.deploy.shipped import OF_PROBES, metrics, needs_prometheus, queries, rules
from tests.peers.processes import DEADLINE_SECONDS, Served, serving, until
from tests.peers.reach import Service, upgrade_request

pytestmark = needs_prometheus

#: The jobs, each with its service: one is well, each of the others has its trouble caused. They
#: are named as the operator would name them, which the rules must know.
WELL, STUCK, DRAINING, GONE = "rt-audio", "stuck/rt-audio", "draining/rt-audio", "gone/rt-audio"
#: On a slow machine frames are late, and where `for` is nothing one late scrape is a target down.
ABOUT_TIME = {"RtAudioTurnaroundSlow", "RtAudioEventLoopLag", "RtAudioTargetDown"}
#: There only with TLS, and only with names in the tokens file: test_reload and web/test_app look.
NOT_EVERYWHERE = {"rt_audio_certificate_expiry_timestamp_seconds", "rt_audio_token_sessions_active"}
ADDED_BY_PROMETHEUS = {"__name__", "instance", "job"}


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Served]]:
    """Return the service of each job."""
    with (
        serving() as well,
        serving(RT_AUDIO_SEND_TIMEOUT_SECONDS="0.1") as stuck,
        serving(RT_AUDIO_DRAIN_SECONDS="600") as draining,
        serving() as gone,
    ):
        yield {WELL: well, STUCK: stuck, DRAINING: draining, GONE: gone}


@pytest.fixture(scope="module")
def prometheus(
    services: dict[str, Served], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Return a Prometheus that sees every service, and has seen one under load, as it still is."""
    ports = {job: each.port for job, each in services.items()}
    with (
        load(ports[WELL]),
        Prometheus.running(tmp_path_factory.mktemp("prometheus"), ports) as server,
    ):
        # It takes no target before its first five seconds are over.
        until(lambda: len(server.query("up == 1")) == len(ports), "the first scrapes")
        ended = f'rt_audio_sessions_total{{job="{WELL}", outcome="completed"}} > 3'
        until(lambda: server.query(ended), "calls that ended")
        yield server


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
        if metric.name in NOT_EVERYWHERE or metric.name.startswith(OF_PROBES):
            continue
        series = f'{metric.series}{{job="{WELL}"}}'
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


async def stick(port: int, peers: int) -> None:
    """Have this many peers send without reading, until the service drops them."""

    async def flood() -> None:
        caller = await Service(port).call()
        async with caller.stream:
            with suppress(trio.BrokenResourceError):
                while True:
                    await caller.send(bytes(1 << 20))

    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(peers):
                nursery.start_soon(flood)


def test_peers_that_do_not_read_fire_an_alert(
    prometheus: Prometheus, services: dict[str, Served]
) -> None:
    trio.run(stick, services[STUCK].port, 3)
    alert = prometheus.firing("RtAudioStuckPeers", STUCK)
    assert alert["labels"]["severity"] == "warning"
    assert "sessions dropped in 15 minutes" in alert["annotations"]["summary"]


def test_a_drain_that_goes_on_fires_an_alert_and_its_sessions_do_not_scale(
    prometheus: Prometheus, services: dict[str, Served]
) -> None:
    service = services[DRAINING]
    active = f'rt_audio:sessions_active:serving{{job="{DRAINING}"}}'
    with closing(socket.create_connection(("127.0.0.1", service.port))) as call:
        call.sendall(upgrade_request("/ws/audio"))
        until(lambda: prometheus.query(f"{active} == 1"), "a call on the line")
        service.process.send_signal(signal.SIGTERM)
        alert = prometheus.firing("RtAudioDrainTooLong", DRAINING)
        assert f"127.0.0.1:{service.port} has been" in alert["annotations"]["summary"]
        hidden = f'rt_audio_sessions_active{{job="{DRAINING}"}} == 1 unless on (job) {active}'
        until(lambda: prometheus.query(hidden), "the autoscaler to be told less")


def test_a_service_that_is_gone_fires_an_alert(
    prometheus: Prometheus, services: dict[str, Served]
) -> None:
    service = services[GONE]
    service.process.kill()
    alert = prometheus.firing("RtAudioTargetDown", GONE)
    assert alert["labels"]["severity"] == "critical"
    assert f"127.0.0.1:{service.port} does not answer" in alert["annotations"]["summary"]
