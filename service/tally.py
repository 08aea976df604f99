"""Everything that is counted, as plain numbers that the audio path can afford.

A Prometheus counter costs 0.3 to 1 us for each change, an `int` in a list 0.04 us. So sessions
write here, and the collector of `web.metrics` reads at each scrape. One thread writes; no lock.
"""

from bisect import bisect_left
from collections.abc import Collection
from enum import StrEnum
from itertools import product

from service.audio.encodings import ENCODINGS
from service.dialects.events import Slip
from service.ending import CLOSE_CODES, OUTCOMES, REJECTIONS


class Refusal(StrEnum):
    """Why an upgrade or a connection was refused: `rt_audio_connections_refused_total` has it."""

    ORIGIN = "origin"
    UNAUTHORIZED = "unauthorized"
    BAD_PARAMETER = "bad_parameter"
    TOO_MANY_UPGRADES = "too_many_upgrades"
    TOO_MANY_SESSIONS = "too_many_sessions"
    AT_CAPACITY = "at_capacity"
    DRAINING = "draining"
    ABANDONED = "abandoned"
    PROXY_HEADER = "proxy_header"
    BAD_HANDSHAKE = "bad_handshake"
    NOT_FOUND = "not_found"


class TlsFailure(StrEnum):
    """Why a TLS handshake failed: a label of `rt_audio_tls_handshake_failures_total`."""

    TIMEOUT = "timeout"
    LOST = "lost"
    NOT_TLS = "not_tls"
    CERTIFICATE = "certificate"
    INCOMPATIBLE = "incompatible"
    PROTOCOL = "protocol"


#: For a dialect, where a connection was refused before anybody could know it.
NOWHERE = "none"
#: Why audio was dropped that a handler should have heard.
DROPS = ("live", "unheard")

_FRAME_BYTES = (80, 160, 320, 480, 640, 960, 1280, 1920, 3840, 16384, 65536, 1048576)
_CODEC_SECONDS = (
    0.25e-6, 0.5e-6, 1e-6, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 64e-6, 125e-6, 250e-6, 500e-6,
    1e-3, 2e-3, 5e-3, 10e-3,
)  # fmt: skip
# 20 ms is one frame time: with a slower turnaround the audio falls behind.
_TURNAROUND_SECONDS = (
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5,
)  # fmt: skip
_LAG_SECONDS = (0.5e-3, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
#: The event loop asks to be woken after so many seconds, again and again.
LAG_SAMPLE_SECONDS = 0.025
#: It stands still when it wakes later than this, one frame time, in seconds. Less is load.
_STALL_SECONDS = 0.02
#: The most samples of one stall: 30 s, when the liveness probe has given up. A process that was
#: stopped for hours must not count for long when it goes on.
_MOST_LAG_SAMPLES = 1200
_QUEUE_SECONDS = (0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_JITTER_SECONDS = (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1)
_CLEAR_SECONDS = (50e-6, 200e-6, 1e-3, 5e-3, 0.02, 0.1, 0.5, 1, 5)
# Most calls last 1 to 30 minutes; there a bound is at most twice the one before.
_SESSION_SECONDS = (
    1, 5, 15, 30, 60, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 3600, 2 * 3600, 4 * 3600,
)  # fmt: skip


class Histogram:
    """Counts of values by upper bound (inclusive), and their sum; the last count has no bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def bucket(self, value: float) -> int:
        """Return the index of the count that a value belongs to."""
        return bisect_left(self.bounds, value)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """The numbers of one service; every series exists at 0 from the start."""

    def __init__(
        self, codecs: Collection[str], laws: Collection[str], dialects: Collection[str] = ("raw",)
    ) -> None:
        pairs = [(codec, law) for codec in codecs for law in laws]
        self.frame_bytes = {name: Histogram(_FRAME_BYTES) for name in ENCODINGS}
        self.encode_seconds = {pair: Histogram(_CODEC_SECONDS) for pair in pairs}
        self.decode_seconds = {pair: Histogram(_CODEC_SECONDS) for pair in pairs}
        self.resample_seconds = Histogram(_CODEC_SECONDS)
        self.turnaround_seconds = Histogram(_TURNAROUND_SECONDS)
        self.session_seconds = Histogram(_SESSION_SECONDS)
        self.loop_lag_seconds = Histogram(_LAG_SECONDS)
        self.loop_stalled_seconds = 0.0
        self.inbound_seconds = 0.0
        self.outbound_seconds = 0.0
        self.sessions_started = dict.fromkeys(dialects, 0)
        self.sessions: dict[tuple[str, str], int] = dict.fromkeys(product(dialects, OUTCOMES), 0)
        self.peer_closes = dict.fromkeys(CLOSE_CODES, 0)
        self.spoken_frames = 0
        self.underruns = 0
        self.handler_errors = 0
        self.queue_seconds = {name: Histogram(_QUEUE_SECONDS) for name in ("inbound", "outbound")}
        self.interarrival_jitter_seconds = Histogram(_JITTER_SECONDS)
        self.clear_seconds = Histogram(_CLEAR_SECONDS)
        self.frames_dropped = dict.fromkeys(DROPS, 0)
        self.codec_fallbacks = dict.fromkeys(codecs, 0)
        self.refused: dict[tuple[str, str], int] = dict.fromkeys(
            product((*dialects, NOWHERE), Refusal), 0
        )
        self.tls_failures: dict[str, int] = dict.fromkeys(TlsFailure, 0)
        self.dialect_errors: dict[str, dict[str, int]] = {
            name: dict.fromkeys(Slip, 0) for name in dialects
        }
        self.frames_rejected: dict[str, int] = dict.fromkeys(REJECTIONS, 0)
        self.reloads = {"ok": 0, "failed": 0}
        self.reload_successful = True
        self.certificate_expires: float | None = None  # in seconds since 1970; None without TLS

    def woke(self, late: float) -> None:
        """Count by how many seconds the event loop was late to wake.

        Each further waking that was due meanwhile counts as well, with the rest of the lateness
        from then on. With one sample for a stall, the quantiles would leave out just the stalls.
        """
        if late > _STALL_SECONDS:
            self.loop_stalled_seconds += late
        missed = int(late / LAG_SAMPLE_SECONDS)
        for number in range(min(missed + 1, _MOST_LAG_SAMPLES)):
            self.loop_lag_seconds.add(late - number * LAG_SAMPLE_SECONDS)

    @property
    def frames(self) -> dict[str, int]:
        """Frames by direction: by their sizes; by the turnarounds of replies, and unasked."""
        return {
            "inbound": sum(histogram.count for histogram in self.frame_bytes.values()),
            "outbound": self.turnaround_seconds.count + self.spoken_frames,
        }

    @property
    def audio_seconds(self) -> dict[str, float]:
        """Seconds of audio by direction."""
        return {"inbound": self.inbound_seconds, "outbound": self.outbound_seconds}
