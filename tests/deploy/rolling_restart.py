"""Replace two instances of the service one after the other, under load, and count what callers see.

    python -m tests.deploy.rolling_restart --streams 300

HAProxy stands before them. The callers are the project's own client with `reconnect`. Half of them
make calls that are short enough to end in the drain time. The others make calls that outlive it.
Exit status: 0 if no call was cut, refused or lost a frame, 1 if one was, 2 without HAProxy.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from service.client.roundtrips import percentile
from tests.deploy.callers import Habits, Stream, calling
from tests.deploy.instances import Balancer, Drain, Instance, balancing, haproxy


@dataclass(frozen=True)
class Plan:
    """The times of a run, in seconds unless the name says otherwise.

    Two failed checks mark an instance down. The notice must be longer than that takes.
    """

    habits: Habits
    interval_ms: int
    notice: float
    drain: float


FULL = Plan(Habits(100, (1, 5), (30, 40), finish_seconds=45), interval_ms=500, notice=3, drain=8)
QUICK = Plan(
    Habits(100, (0.2, 0.6), (60, 60), finish_seconds=0), interval_ms=100, notice=0.6, drain=0.7
)


@dataclass(frozen=True)
class Outcome:
    """The figures of a run; the round trips are those of the median stream.

    `frames_lost` counts streams without a 1001: frames without a reply, and wrong replies.
    `frames_unanswered` and `frames_wrong` count streams with a 1001.
    """

    streams: int
    frames: int
    let_finish: int
    going_away: int
    cut: list[str]
    refused: list[str]
    failed: list[str]
    frames_lost: int
    frames_unanswered: int
    frames_wrong: int
    p50_ms: float
    p99_ms: float
    gaps_ms: list[float]
    drains: list[Drain]

    @classmethod
    def of(cls, streams: list[Stream], drains: list[Drain]) -> "Outcome":
        """Add up what the callers saw, and what the instances logged of their drains."""
        stayed = [stream for stream in streams if not stream.going_away]
        told = [stream for stream in streams if stream.going_away]
        return cls(
            streams=len(streams),
            frames=sum(stream.frames for stream in streams),
            let_finish=sum(drain.outcomes.get("completed", 0) for drain in drains),
            going_away=sum(stream.going_away for stream in streams),
            cut=[why for stream in streams for why in stream.cut],
            refused=[why for stream in streams for why in stream.refused],
            failed=[stream.failed for stream in streams if stream.failed is not None],
            frames_lost=sum(stream.unanswered + stream.wrong for stream in stayed),
            frames_unanswered=sum(stream.unanswered for stream in told),
            frames_wrong=sum(stream.wrong for stream in told),
            p50_ms=_median([stream.p50_ms for stream in streams if stream.p50_ms is not None]),
            p99_ms=_median([stream.p99_ms for stream in streams if stream.p99_ms is not None]),
            gaps_ms=sorted(gap for stream in streams for gap in stream.gaps_ms),
            drains=drains,
        )

    def broken(self) -> list[str]:
        """Return each promise that was not kept."""
        promises = {
            "no call is cut": not self.cut,
            "no upgrade is refused": not self.refused,
            "no stream is given up": not self.failed,
            "no frame is lost where the call was let finish": not self.frames_lost,
            "no reply is another frame's": not self.frames_wrong,
            "each drain ends with status 0": all(drain.status == 0 for drain in self.drains),
            "each drain lets calls finish and tells others to reconnect": all(
                drain.outcomes.keys() == {"completed", "drained"} for drain in self.drains
            ),
        }
        return [promise for promise, kept in promises.items() if not kept]


def _median(values: list[float]) -> float:
    return percentile(sorted(values), 50) if values else 0.0


def replace_all(plan: Plan, streams: int) -> Outcome:
    """Replace both instances under the load of so many streams at a time."""
    settings = {
        "RT_AUDIO_MAX_SESSIONS": str(2 * streams),
        "RT_AUDIO_DRAIN_NOTICE_SECONDS": str(plan.notice),
        "RT_AUDIO_DRAIN_SECONDS": str(plan.drain),
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        instances = [Instance(name, settings, stack) for name in ("a", "b")]
        for instance in instances:
            instance.start()
        balancer = stack.enter_context(
            balancing(instances, folder, 4 * streams + 100, plan.interval_ms)
        )
        url = f"ws://127.0.0.1:{balancer.port}/ws/audio"
        with calling(url, streams, plan.habits) as seen:
            drains = [replace(instance, balancer) for instance in instances]
    return Outcome.of(seen, drains)


def replace(instance: Instance, balancer: Balancer) -> Drain:
    """Drain an instance, start another in its place, and wait until it gets calls."""
    drain = instance.drain()
    instance.start()
    balancer.wait_until_up(instance)
    return drain


def show(outcome: Outcome) -> None:
    """Print the figures, and the first of each kind of trouble."""
    gaps = "none"
    if outcome.gaps_ms:
        p50, p99 = (percentile(outcome.gaps_ms, percent) for percent in (50, 99))
        gaps = f"p50 {p50:,.0f}, p99 {p99:,.0f}, max {outcome.gaps_ms[-1]:,.0f} ms"
    rows = {
        "streams": f"{outcome.streams:,}, with {outcome.frames:,} frames",
        "ended with 1001": f"{outcome.going_away:,}",
        "let finish in a drain": f"{outcome.let_finish:,}",
        "cut": f"{len(outcome.cut):,}",
        "upgrades refused": f"{len(outcome.refused):,}",
        "streams given up": f"{len(outcome.failed):,}",
        "frames lost": f"{outcome.frames_lost:,} in streams that were let finish",
        "frames unanswered": f"{outcome.frames_unanswered:,} in streams that ended with 1001",
        "gap on reconnect": gaps,
        "round trip": f"p50 {outcome.p50_ms:.2f}, p99 {outcome.p99_ms:.2f} ms in the median stream",
    }
    for drain in outcome.drains:
        ended = ", ".join(f"{count} {name}" for name, count in sorted(drain.outcomes.items()))
        rows[f"drain of {drain.instance}"] = (
            f"{drain.seconds:.2f} s to exit status {drain.status}; "
            f"{drain.sessions} on the line at SIGTERM; then ended: {ended or 'none'}"
        )
    for name, value in rows.items():
        print(f"{name:22} {value}")
    for trouble in (outcome.cut, outcome.refused, outcome.failed):
        print(*trouble[:3], sep="\n", end="\n" if trouble else "")


def main() -> int:
    """Run the roll-out and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=300, help="how many at a time")
    parser.add_argument("--quick", action="store_true", help="a short run, not for quoting")
    arguments = parser.parse_args()
    if haproxy() is None:
        print("there is no HAProxy here; in Debian: apt-get install haproxy")
        return 2
    outcome = replace_all(QUICK if arguments.quick else FULL, arguments.streams)
    show(outcome)
    broken = outcome.broken()
    for promise in broken:
        print(f"NOT KEPT: {promise}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
