"""Run the service for long with callers that come and go, and check that it gives everything back.

    python benchmarks/soak.py --minutes 10 --streams 500

Each of the real-time streams lives for 2 to 20 seconds; then it says goodbye, or just closes, or
resets the connection, and another takes its place. Every ten seconds the service's resident memory,
open files and session gauge are read. Exit status: 0 if all checks hold, 1 if one does not.
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.generator import FAULTS, Cores, Generator, GeneratorError, Report
from harness.scrape import metrics
from harness.servers import OURS, Pool, Server, ServerError
from rich.console import Console

#: Memory may move by so much after the first minute: an allocator's arenas breathe, a leak of one
#: session's state (tens of KiB, 45 sessions a second) passes it within seconds.
TOLERANCE_MIB = 4.0
FILES_TOLERANCE = 2
SETTLE_SECONDS = 15
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Sample:
    """What the service held at one moment, `seconds` after the start."""

    seconds: float
    rss_mib: float
    files: int
    sessions: float

    @classmethod
    def take(cls, server: Server, began: float) -> "Sample":
        """Read the process's figures from /proc and the gauge from /metrics."""
        return cls(
            time.monotonic() - began,
            server.memory_kib("Rss") / 1024,
            len(list(Path(f"/proc/{server.pid}/fd").iterdir())),
            metrics(server.port)["rt_audio_sessions_active"],
        )

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.0f} s  {self.rss_mib:7.1f} MiB  "
            f"{self.files:5} files  {self.sessions:5.0f} sessions"
        )


def watch(
    server: Server, load: "subprocess.Popen[str]", every: float, console: Console
) -> tuple[list[Sample], Report]:
    """Take samples until the generator is done; return them and the generator's report."""
    began = time.monotonic()
    samples: list[Sample] = []
    while True:
        try:
            text, _ = load.communicate(timeout=every)
            break
        except subprocess.TimeoutExpired:
            samples.append(Sample.take(server, began))
            console.print(str(samples[-1]), highlight=False)
    return samples, Generator.parse(text)


def wait_for_rest(server: Server, before: Sample) -> Sample:
    """Give the service some seconds to end its last sessions; return how it is then."""
    began = time.monotonic()
    while True:
        after = Sample.take(server, began)
        rested = after.sessions == 0 and after.files <= before.files + FILES_TOLERANCE
        if rested or after.seconds > SETTLE_SECONDS:
            return after
        time.sleep(0.5)


def growth(samples: list[Sample]) -> float:
    """Return how far resident memory grew, in MiB, from after the first minute to the end.

    Both ends are medians of up to six samples, a minute's. A run of less than three minutes takes
    its first third for the first minute.
    """
    settled = min(60.0, samples[-1].seconds / 3)
    counted = [sample.rss_mib for sample in samples if sample.seconds > settled]
    width = max(1, min(6, len(counted) // 2))
    return statistics.median(counted[-width:]) - statistics.median(counted[:width])


def curve(values: list[float]) -> str:
    """Draw the values as a line of bars, from the least to the largest."""
    least, span = min(values), max(values) - min(values) or 1
    return "".join(BARS[round((value - least) / span * (len(BARS) - 1))] for value in values)


def check(samples: list[Sample], before: Sample, after: Sample, load: Report) -> dict[str, bool]:
    """Return each promise, with its figures, and whether it was kept."""
    grown = growth(samples)
    wrong = ", ".join(f"{load[fault]:.0f} {fault}" for fault in FAULTS if load.get(fault))
    return {
        f"memory grew {grown:+.1f} MiB after the first minute, of {TOLERANCE_MIB:g} allowed": (
            grown <= TOLERANCE_MIB
        ),
        f"open files: {before.files} before, {after.files} after": (
            after.files <= before.files + FILES_TOLERANCE
        ),
        f"sessions gauge: {after.sessions:.0f}": after.sessions == 0,
        f"{load['opened']:,.0f} connections, {load['measured']:,.0f} frames: "
        f"{wrong or 'none refused, closed, broken or lost'}": not wrong,
    }


def main() -> int:
    """Run the soak and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    arguments = parser.parse_args()
    console = Console()
    cores = Cores.choose()
    try:
        generator = Generator.build(cores.generator)
        pool = Pool(generator, cores)
        with pool.use(OURS, fresh=True) as server:
            # One small run first: what is loaded or cached once must not look like growth.
            generator.run("echo", server.port, OURS.path, conns=10, seconds=0.5)
            time.sleep(1)
            before = Sample.take(server, time.monotonic())
            console.print(f"before:   {before}", highlight=False)
            seconds = arguments.minutes * 60
            options = {"conns": arguments.streams, "seconds": seconds, "check": 1, "warmup": 0}
            load = generator.start("soak", server.port, OURS.path, **options)
            try:
                samples, outcome = watch(server, load, arguments.every, console)
            finally:
                load.kill()
                load.wait()
            after = wait_for_rest(server, before)
    except (GeneratorError, ServerError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    if len(samples) < 3:
        console.print("too short for three samples: give more --minutes or a smaller --every")
        return 1
    console.print(f"after:    {after}", highlight=False)
    console.print(f"memory  {curve([sample.rss_mib for sample in samples])}")
    console.print(f"round trip: p50 {outcome['p50_us']:,.0f} us, p99 {outcome['p99_us']:,.0f} us")
    kept = check(samples, before, after, outcome)
    for promise, holds in kept.items():
        console.print("ok  " if holds else "FAIL", promise, style=None if holds else "red")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
