"""Prometheus: one collector that reads the roster and the tally at each scrape.

The names are a contract; README.md has their table. Labels have a handful of values each, and
every series is there at 0 from the start.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, islice

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service import __revision__, __version__, logs
from service.calls.roster import Roster
from service.tally import Histogram, Tally
from service.web.access import Access

#: So many names of tokens are labels, the first in the file: each is a series for Prometheus.
MOST_NAMES = 100


class Metrics:
    """The metrics of one service, in a registry of their own unless one is given."""

    def __init__(
        self,
        roster: Roster,
        tally: Tally,
        codecs: Mapping[str, bool],
        access: Access,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.registry.register(_ServiceCollector(roster, tally, codecs, access))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type: Prometheus text, or OpenMetrics if accepted."""
        encode, content_type = exposition.choose_encoder(accept)
        return encode(self.registry), content_type


class _ServiceCollector(Collector):
    def __init__(
        self, roster: Roster, tally: Tally, codecs: Mapping[str, bool], access: Access
    ) -> None:
        self._roster, self._tally, self._codecs, self._access = roster, tally, codecs, access

    def collect(self) -> Iterator[Metric]:
        roster, tally = self._roster, self._tally
        yield _histogram(
            "frame_size_bytes", "Inbound audio frames by size.", ["encoding"],
            (((name,), histogram) for name, histogram in tally.frame_bytes.items()),
        )  # fmt: skip
        yield _histogram(
            "encode_seconds", "Time to encode one frame to G.711.", ["codec", "law"],
            tally.encode_seconds.items(),
        )  # fmt: skip
        yield _histogram(
            "decode_seconds", "Time to decode one frame from G.711.", ["codec", "law"],
            tally.decode_seconds.items(),
        )  # fmt: skip
        yield _histogram(
            "resample_seconds", "Time to resample one frame for its reply.", [],
            [((), tally.resample_seconds)],
        )  # fmt: skip
        yield _histogram(
            "frame_turnaround_seconds", "From a frame read to its reply written.", [],
            [((), tally.turnaround_seconds)],
        )  # fmt: skip
        yield _counter("frames", "Audio frames.", "direction", tally.frames)
        yield _counter(
            "audio_seconds", "Seconds of audio, by the rates of the sessions.", "direction",
            tally.audio_seconds,
        )  # fmt: skip
        yield _gauge("sessions_active", "Sessions on the line.", roster.active)
        yield self._sessions_by_name()
        yield _counter("sessions_started", "Sessions begun.", "dialect", tally.sessions_started)
        yield _by_dialect("sessions", "Sessions ended.", "outcome", tally.sessions)
        yield _counter(
            "peer_closes", "Sessions that the peer closed, by its close code.", "code",
            tally.peer_closes,
        )  # fmt: skip
        yield _histogram(
            "session_duration_seconds", "Duration of ended sessions.", [],
            [((), tally.session_seconds)],
        )  # fmt: skip
        yield _by_dialect(
            "connections_refused", "Upgrades or connections refused before a session.", "reason",
            tally.refused,
        )  # fmt: skip
        yield _by_dialect(
            "dialect_errors", "Messages that broke the rules of their dialect; most are skipped.",
            "reason",
            {(dialect, slip): count for dialect, counts in tally.dialect_errors.items()
             for slip, count in counts.items()},
        )  # fmt: skip
        yield _counter(
            "tls_handshake_failures", "TLS handshakes that failed.", "reason", tally.tls_failures
        )
        yield _counter(
            "frames_rejected", "Messages that ended their session.", "reason",
            tally.frames_rejected,
        )  # fmt: skip
        yield _histogram(
            "event_loop_lag_seconds", "How late the event loop wakes a sleeper.", [],
            [((), tally.loop_lag_seconds)],
        )  # fmt: skip
        yield _count(
            "event_loop_stalled_seconds", "Time that the event loop stood still, 20 ms or more.",
            tally.loop_stalled_seconds,
        )  # fmt: skip
        yield _counter(
            "codec_fallbacks", "Sessions that got this codec though they asked for another.",
            "codec", tally.codec_fallbacks,
        )  # fmt: skip
        yield _count(
            "log_lines_dropped", "Log lines lost: nobody read, or they could not be written.",
            logs.dropped(),
        )  # fmt: skip
        yield _counter(
            "reloads", "Times that tokens, secrets, or certificate and key were read anew.",
            "outcome", tally.reloads,
        )  # fmt: skip
        yield _gauge(
            "last_reload_successful", "0 while a file is wrong and the old one is in use.",
            tally.reload_successful,
        )  # fmt: skip
        if tally.certificate_expires is not None:
            yield _gauge(
                "certificate_expiry_timestamp_seconds", "When the certificate expires.",
                tally.certificate_expires,
            )  # fmt: skip
        yield _histogram(
            "queue_seconds", "Audio that waits for a handler, or to be played.", ["direction"],
            (((name,), histogram) for name, histogram in tally.queue_seconds.items()),
        )  # fmt: skip
        yield _counter(
            "frames_dropped", "Frames that came for a handler, who never heard them.", "reason",
            tally.frames_dropped,
        )  # fmt: skip
        yield _histogram(
            "interarrival_jitter_seconds", "How much earlier or later than due a frame came.", [],
            [((), tally.interarrival_jitter_seconds)],
        )  # fmt: skip
        yield _count("underruns", "Gaps in a handler's speech.", tally.underruns)
        yield _histogram(
            "clear_seconds", "From a handler's clear to the last byte of what it had played.", [],
            [((), tally.clear_seconds)],
        )  # fmt: skip
        yield _count("handler_errors", "Calls ended by a handler's bug.", tally.handler_errors)
        yield _gauge("draining", "1 while the service is going away.", roster.draining)
        yield _gauge(
            "accepting", "1 while GET /capacity answers 200: not draining, and not full.",
            roster.no_capacity() is None,
        )  # fmt: skip
        yield _gauge(
            "drain_deadline_timestamp_seconds",
            "When a drain ends the calls that are left, in Unix time; 0 where there is none.",
            roster.drain_deadline,
        )
        yield _gauge("max_sessions", "The most sessions at a time.", roster.max_sessions)
        available = GaugeMetricFamily(
            "rt_audio_codec_available", "1 if this interpreter has the codec.", labels=["codec"]
        )
        for name, here in self._codecs.items():
            available.add_metric([name], here)
        yield available
        running = {"version": __version__, "revision": __revision__}
        yield InfoMetricFamily("rt_audio_build", "What is running.", value=running)

    def _sessions_by_name(self) -> Metric:
        """Give the sessions of each name in the tokens file, of MOST_NAMES at most."""
        family = GaugeMetricFamily(
            "rt_audio_token_sessions_active", "Sessions on the line, by their token's name.",
            labels=["token"],
        )  # fmt: skip
        tokens = self._access.tokens
        names = dict.fromkeys(token.name for token in tokens.values()) if tokens else {}
        named = (name for name in names if name is not None)
        for name in islice(named, MOST_NAMES):
            family.add_metric([name], self._roster.by_holder.calls_of(name))
        return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rt_audio_{name}", documentation, value=value)


def _count(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"rt_audio_{name}", documentation, value=value)


def _counter(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"rt_audio_{name}", documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_dialect(
    name: str, documentation: str, label: str, values: Mapping[tuple[str, str], float]
) -> Metric:
    labels = ["dialect", label]
    family = CounterMetricFamily(f"rt_audio_{name}", documentation, labels=labels)
    for keys, value in values.items():
        family.add_metric(list(keys), value)
    return family


def _histogram(
    name: str,
    documentation: str,
    labels: list[str],
    histograms: Iterable[tuple[tuple[str, ...], Histogram]],
) -> Metric:
    family = HistogramMetricFamily(f"rt_audio_{name}", documentation, labels=labels)
    for values, histogram in histograms:
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(list(values), buckets, histogram.sum)
    return family
