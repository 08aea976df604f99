"""The metrics page: its names are a contract."""

import io
import re
from collections.abc import Collection
from itertools import pairwise, product
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse

from service import __version__, codec
from service.audio.encodings import ENCODINGS
from service.calls.roster import Roster
from service.dialects.events import Slip
from service.ending import CLOSE_CODES, OUTCOMES, REJECTIONS
from service.tally import Refusal, Tally, TlsFailure
from service.web.access import Access
from service.web.metrics import Metrics
from tests.peers.house import admitted

PAIRS = [(name, law) for name in codec.available() for law in codec.LAWS]
SERIES: dict[str, list[tuple[str, str]]] = {
    "rt_audio_frame_size_bytes_count": [("encoding", name) for name in ENCODINGS],
    "rt_audio_frames_total": [("direction", "inbound"), ("direction", "outbound")],
    "rt_audio_audio_seconds_total": [("direction", "inbound"), ("direction", "outbound")],
    "rt_audio_peer_closes_total": [("code", name) for name in CLOSE_CODES],
    "rt_audio_codec_fallbacks_total": [("codec", name) for name in codec.available()],
    "rt_audio_tls_handshake_failures_total": [("reason", name) for name in TlsFailure],
    "rt_audio_log_lines_dropped_total": [],
    "rt_audio_sessions_started_total": [("dialect", "raw"), ("dialect", "twilio")],
    "rt_audio_frames_rejected_total": [("reason", name) for name in REJECTIONS],
    "rt_audio_frame_turnaround_seconds_count": [],
    "rt_audio_resample_seconds_count": [],
    "rt_audio_session_duration_seconds_count": [],
    "rt_audio_event_loop_lag_seconds_count": [],
    "rt_audio_event_loop_stalled_seconds_total": [],
    "rt_audio_reloads_total": [("outcome", "ok"), ("outcome", "failed")],
    "rt_audio_sessions_active": [],
    "rt_audio_draining": [],
}

#: Those that have a dialect too, and its values.
BY_DIALECT = {
    "rt_audio_sessions_total": ("outcome", OUTCOMES, ("raw", "twilio")),
    "rt_audio_connections_refused_total": ("reason", Refusal, ("raw", "twilio", "none")),
    "rt_audio_dialect_errors_total": ("reason", Slip, ("raw", "twilio")),
}
README = (Path(__file__).parent.parent.parent / "README.md").read_text()


@pytest.fixture
def roster() -> Roster:
    return Roster(7)


@pytest.fixture
def tally() -> Tally:
    return Tally(codec.available(), codec.LAWS, ("raw", "twilio"))


@pytest.fixture
def metrics(roster: Roster, tally: Tally) -> Metrics:
    codecs = {"audioop": True, "numpy": True, "opus": False}
    return Metrics(roster, tally, codecs, Access([], None))


def value(metrics: Metrics, series: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(series, labels)


def test_every_series_is_there_at_0_from_the_start(metrics: Metrics) -> None:
    for series, labels in SERIES.items():
        for each in [dict([label]) for label in labels] or [{}]:
            assert value(metrics, series, **each) == 0, (series, each)
    for series, (label, names, dialects) in BY_DIALECT.items():
        for dialect, name in product(dialects, names):
            both = {"dialect": dialect, label: name}
            assert value(metrics, series, **both) == 0, (series, both)


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_every_codec_has_its_latencies(metrics: Metrics, direction: str) -> None:
    series = f"rt_audio_{direction}_seconds_bucket"
    for (name, law), bound in product(PAIRS, ("2.5e-07", "0.01", "+Inf")):
        assert value(metrics, series, codec=name, law=law, le=bound) == 0, (name, law, bound)


async def test_what_is_counted_is_shown(metrics: Metrics, roster: Roster, tally: Tally) -> None:
    tally.frame_bytes["alaw"].add(160)
    tally.frame_bytes["ulaw"].add(160)
    tally.sessions["raw", "stuck"] += 1
    tally.turnaround_seconds.add(0.02)
    tally.turnaround_seconds.add(0.03)
    tally.turnaround_seconds.add(99)
    with admitted(roster):
        assert value(metrics, "rt_audio_sessions_active") == 1
    roster.drain()
    assert value(metrics, "rt_audio_sessions_active") == 0
    assert value(metrics, "rt_audio_frames_total", direction="inbound") == 2
    assert value(metrics, "rt_audio_sessions_total", dialect="raw", outcome="stuck") == 1
    assert value(metrics, "rt_audio_draining") == 1
    turnaround = "rt_audio_frame_turnaround_seconds"
    assert value(metrics, f"{turnaround}_bucket", le="0.02") == 1
    assert value(metrics, f"{turnaround}_bucket", le="5.0") == 2
    assert value(metrics, f"{turnaround}_bucket", le="+Inf") == 3
    assert value(metrics, f"{turnaround}_sum") == pytest.approx(99.05)


def lags(metrics: Metrics) -> dict[str, float]:
    """Return how many wake-ups of the event loop were late by at most so much, and their sum."""
    name = "rt_audio_event_loop_lag_seconds"
    bounds = {bound: value(metrics, f"{name}_bucket", le=bound) for bound in ("0.1", "0.5", "+Inf")}
    return {name: count for name, count in bounds.items() if count is not None}


def test_a_stall_of_the_event_loop_counts_each_waking_that_it_swallowed(
    metrics: Metrics, tally: Tally
) -> None:
    """Frozen for 2 s of every 10 s: one waking in ten is later than 1 s."""
    stalled = "rt_audio_event_loop_stalled_seconds_total"
    for _ in range(320):
        tally.woke(0.001)
    assert value(metrics, stalled) == 0
    tally.woke(2.0)
    assert value(metrics, stalled) == pytest.approx(2)
    # Every 25 ms: 2 s late, 1.975 s, ... 0.1 s, 0.075 s, 0.05 s, 0.025 s and just in time.
    assert lags(metrics) == {"0.1": 325, "0.5": 341, "+Inf": 401}


def test_a_process_that_was_stopped_for_hours_counts_them_at_once(
    metrics: Metrics, tally: Tally
) -> None:
    tally.woke(8 * 3600.0)
    assert value(metrics, "rt_audio_event_loop_stalled_seconds_total") == 8 * 3600
    assert lags(metrics) == {"0.1": 0, "0.5": 0, "+Inf": 1200}


def test_sessions_of_minutes_are_told_apart(tally: Tally) -> None:
    """A quantile between two bounds is a guess, so no bound is more than twice the one before."""
    minutes = [bound for bound in tally.session_seconds.bounds if 60 <= bound <= 1800]
    assert (minutes[0], minutes[-1]) == (60, 1800)
    assert all(later <= 2 * earlier for earlier, later in pairwise(minutes))


def test_the_service_says_what_it_is(metrics: Metrics) -> None:
    assert value(metrics, "rt_audio_max_sessions") == 7
    assert value(metrics, "rt_audio_codec_available", codec="audioop") == 1
    assert value(metrics, "rt_audio_codec_available", codec="opus") == 0
    running = {"version": __version__, "revision": "unknown"}  # which an image replaces
    assert value(metrics, "rt_audio_build_info", **running) == 1
    names = {family.name for family in metrics.registry.collect()}
    assert {"rt_audio_build", "process_resident_memory_bytes", "python_info"} <= names


def test_both_formats_parse(metrics: Metrics) -> None:
    page, content_type = metrics.render("")
    assert content_type.startswith("text/plain")
    assert len(list(parse(io.StringIO(page.decode())))) > 20
    page, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(io.StringIO(page.decode()))  # type: ignore[no-untyped-call]
    assert len(list(families)) > 20


def test_the_registry_may_be_given() -> None:
    registry = CollectorRegistry()
    assert Metrics(Roster(1), Tally([], []), {}, Access([], None), registry).registry is registry
    assert registry.get_sample_value("rt_audio_max_sessions") == 1


@pytest.mark.parametrize(
    ("series", "label", "values"),
    [
        *((series, label, names) for series, (label, names, _) in BY_DIALECT.items()),
        ("rt_audio_frames_rejected_total", "reason", REJECTIONS),
        ("rt_audio_tls_handshake_failures_total", "reason", TlsFailure),
    ],
)
def test_the_readme_has_each_value_of_a_label(
    series: str, label: str, values: Collection[str]
) -> None:
    [cell] = re.findall(rf"^\| `{series}` \| counter \| (.*?) \|", README, re.MULTILINE)
    assert cell.partition(f"`{label}`: ")[2].split(", ") == list(values)


def test_the_readme_tells_what_each_error_of_a_dialect_is() -> None:
    section = README.partition("#### Errors of a dialect")[2].partition("\n#")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {"reason", *Slip}
