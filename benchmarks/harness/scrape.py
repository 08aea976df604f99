"""Read the service's own /metrics, as Prometheus would."""

from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from harness.servers import ServerError

Series = dict[str, float]

#: What the event loop's lag may be at full load, in ms: one of its histogram's bounds.
LAG_MS = 10.0


def metrics(port: int) -> Series:
    """Return the value of each series on /metrics."""
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines: list[str] = answer.read().decode().splitlines()
    except (URLError, TimeoutError) as error:
        raise ServerError(f"/metrics does not answer: {error}") from None
    series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in series}


@dataclass(frozen=True)
class Lag:
    """How late the event loop woke a sleeper between two scrapes, by upper bounds in ms."""

    counts: dict[float, float]

    @classmethod
    def between(cls, before: Series, after: Series) -> "Lag":
        """Return the lags that were counted from one scrape to the next."""
        name = "rt_audio_event_loop_lag_seconds_bucket"
        return cls(
            {
                float(series.split('"')[1]) * 1000: value - before[series]
                for series, value in after.items()
                if series.startswith(name)
            }
        )

    @property
    def samples(self) -> float:
        """How often it was looked at."""
        return max(self.counts.values())

    @property
    def p99_ms(self) -> float:
        """The least bound that 99 % of the lags are within."""
        return min(ms for ms, count in self.counts.items() if count >= 0.99 * self.samples)

    def over(self, ms: float) -> float:
        """Return the share of the lags beyond one of the bounds."""
        return 1 - self.counts[ms] / self.samples
