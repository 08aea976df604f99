"""Measure well-behaved real-time streams beside callers that misbehave.

    python benchmarks/misbehave.py                        # everything
    python benchmarks/misbehave.py --quick                # the flood table in about a minute
    python benchmarks/misbehave.py --service ../before    # the same, of another checkout

benchmarks/README.md says what each table means. Exit status: 0 if every promise holds, 1 if not.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio
from harness import abuse
from harness.generator import FAULTS, Cores, Generator, GeneratorError, Names, Report
from harness.scrape import metrics
from harness.servers import OURS, ROOT, Kind, Pool, Server, ServerError

#: The good streams: so many, a frame of 320 bytes each 20 ms.
STREAMS = 50
#: How long a reply, an answer or a new call may take before it counts as lost, in seconds.
PATIENCE = 10.0
#: How often /health is asked and a new caller comes, in seconds; each on a connection of its own.
EVERY = 0.1
#: The flood begins so long after the streams, and the measurement so long after the flood.
LEAD_SECONDS = 0.4
P99_MS = 20.0
#: In a soak, where streams come and go beside every kind of flood at once.
SOAK_P99_MS = 50.0
HEALTH_MS = 100.0
#: Memory that has not grown for so long has reached its peak.
QUIET_SECONDS = 3.0
#: Megabytes of tiny frames may wait in socket buffers when the callers are gone.
REST_SECONDS = 60
#: Memory may move by so much after the first minute of a soak: an allocator's arenas breathe.
GROWTH_MIB = 8.0

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Probes:
    """Times of the probes' answers, in ms from the moment when each probe was due."""

    asked: int = 0
    health: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    late: float = 0.0  # the most that a probe itself began too late


async def receive(stream: trio.SocketStream, size: int, ending: bytes = b"") -> bytes:
    """Read until there are `size` bytes, or the ending, or the end of the stream."""
    data = b""
    while len(data) < size and not (ending and data.endswith(ending)):
        more = await stream.receive_some(size - len(data))
        if not more:
            break
        data += more
    return data


async def health(port: int) -> bool:
    """Ask for /health on a new connection; return whether it says 200."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(HEALTH)
        return (await receive(stream, 65536)).startswith(b"HTTP/1.1 200 ")


async def new_call(port: int) -> bool:
    """Call, send one frame and leave; return whether its reply came."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(abuse.upgrade())
        head = await receive(stream, 65536, b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            return False
        await stream.send_all(abuse.AUDIO)
        reply = len(abuse.AUDIO) - 4  # which has no mask
        return len(await receive(stream, reply)) == reply


async def probe(port: int, seconds: float) -> Probes:
    """Ask for /health and make new calls at fixed times; a late answer delays no later probe."""
    probes = Probes()

    async def once(due: float, what: Callable[[int], Awaitable[bool]], times: list[float]) -> None:
        with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
            if await what(port):
                times.append((trio.current_time() - due) * 1000)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        while (due := began + probes.asked * EVERY) < began + seconds:
            await trio.sleep_until(due)
            probes.late = max(probes.late, (trio.current_time() - due) * 1000)
            probes.asked += 1
            nursery.start_soon(once, due, health, probes.health)
            nursery.start_soon(once, due, new_call, probes.calls)
    return probes


@dataclass(frozen=True)
class Suffering:
    """Figures of the good streams, of /health and of new calls, beside the bad callers."""

    good: Report
    probes: Probes
    flood: float  # bytes a second that the callers sent

    def broken(self) -> list[str]:
        """Return the promises that were not kept."""
        asked, health, calls = self.probes.asked, self.probes.health, self.probes.calls
        promises = {
            f"p99 under {P99_MS:g} ms": self.good["p99_us"] < P99_MS * 1000,
            "no frame lost": not self.good["faults"],
            f"/health within {HEALTH_MS:g} ms": len(health) == asked and max(health) <= HEALTH_MS,
            "all new calls in": len(calls) == asked,
        }
        return [promise for promise, kept in promises.items() if not kept]


def suffer(
    server: Server, generator: Generator, name: str, callers: int, seconds: float
) -> Suffering:
    """Measure the good streams beside so many callers of one kind."""
    with abuse.beside(generator.core, server.port, {name: callers}) as crowd:
        streams = generator.start(
            "streams",
            server.port,
            server.kind.path,
            conns=STREAMS,
            seconds=seconds,
            warmup=2 * LEAD_SECONDS,
            patience=PATIENCE,
            check=1,
            server_pid=server.pid,
        )
        try:
            time.sleep(LEAD_SECONDS)
            began = time.monotonic()
            crowd.begin()
            time.sleep(LEAD_SECONDS)
            probes = trio.run(probe, server.port, seconds)
            text, _ = streams.communicate(timeout=60)
            lasted = time.monotonic() - began
        finally:
            streams.kill()
            streams.wait()
    return Suffering(Generator.parse(text), probes, crowd.counts[name].sent / lasted)


def flood(
    pool: Pool, kind: Kind, floods: list[str], numbers: tuple[int, ...], seconds: float
) -> bool:
    """Print the table of the good streams beside each kind of flood; return whether all is kept."""
    print(
        f"\n{STREAMS} real-time streams beside callers that flood and read. Times in ms, from the"
        " time when each frame was due.\n\n"
        "| flood | callers | p50 | p99 | max | lost | /health, worst | new calls in | worst "
        "| service's core | flood, MiB/s | sent late by, p99 / max | broken |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    )
    kept = True
    for name in floods:
        for number in numbers:
            with pool.use(kind) as server:
                seen = suffer(server, pool.generator, name, number, seconds)
            good, probes, broken = seen.good, seen.probes, seen.broken()
            late = max(good["late_max_us"] / 1000, probes.late)
            print(
                f"| {name} | {number} | {good['p50_us'] / 1000:.2f} | {good['p99_us'] / 1000:.2f} "
                f"| {good['max_us'] / 1000:.1f} | {good['faults']:.0f} "
                f"| {worst(probes.health, probes.asked)} "
                f"| {len(probes.calls)} of {probes.asked} | {worst(probes.calls, probes.asked)} "
                f"| {good['server_core']:.0%} | {seen.flood / abuse.MIB:.1f} "
                f"| {good['late_p99_us'] / 1000:.2f} / {late:.1f} "
                f"| {', '.join(broken)} |",
                flush=True,
            )
            kept &= not broken
    promises = f"p99 under {P99_MS:g} ms, none lost, /health within {HEALTH_MS:g} ms, all calls in"
    print(f"\n{'ok  ' if kept else 'FAIL'} beside every flood: {promises}")
    return kept


def worst(times: list[float], asked: int) -> str:
    """Return the longest time; "none" if an answer is missing."""
    return f"{max(times):.1f}" if len(times) == asked else "none"


def memory(pool: Pool, kind: Kind, quick: bool) -> bool:
    """Print the table of the memory that each kind of hoarding caller costs."""
    print(
        "\nMemory for each caller: how far the service's resident memory grew at its peak.\n\n"
        "| what the caller does | callers | KiB for each | at most | cut off by the service |\n"
        "|---|--:|--:|--:|--:|"
    )
    kept = True
    for name, hoard in abuse.HOARDS.items():
        number = hoard.callers // 5 if quick else hoard.callers
        with pool.use(kind, fresh=True) as server:
            pool.generator.run("echo", server.port, kind.path, conns=10, seconds=0.5)
            before = server.memory_kib("Rss")
            with abuse.beside(pool.cores.generator, server.port, {name: number}) as crowd:
                crowd.begin()
                crowd.wait_until_begun()
                grown = (peak(server) - before) / number
        kept &= grown <= hoard.most_kib
        cells = [f"{number:,}", f"{grown:,.1f}", f"{hoard.most_kib:,}"]
        print("|", " | ".join([name, *cells, f"{crowd.counts[name].ended:,}"]), "|", flush=True)
    print(f"\n{'ok  ' if kept else 'FAIL'} each caller takes as much memory as is stated, at most")
    return kept


def peak(server: Server) -> float:
    """Return the service's most resident memory in KiB, once it has not grown for some seconds."""
    most, since = 0.0, time.monotonic()
    while time.monotonic() < since + QUIET_SECONDS:
        time.sleep(0.1)
        if (now := server.peak_kib()) > most:
            most, since = now, time.monotonic()
    return most


@dataclass(frozen=True)
class Sample:
    """The service's memory, files and sessions, `seconds` after the start."""

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


def soak(pool: Pool, kind: Kind, seconds: float, streams: int, bad: int, every: float) -> bool:
    """Run streams that come and go beside every kind of bad caller; print the memory over time."""
    callers = dict.fromkeys(abuse.FLOODS, bad) | dict.fromkeys(abuse.RUDE, 10 * bad)
    callers = {name: number for name, number in callers.items() if number}
    print(
        f"\n{streams} real-time streams that come and go, for {seconds:g} s, beside {bad} of each"
        f" kind of flood and {10 * bad} of each of: {', '.join(abuse.RUDE)}\n"
    )
    samples: list[Sample] = []
    with pool.use(kind, fresh=True) as server:
        # One small run first: what is loaded or cached once must not look like growth.
        pool.generator.run("echo", server.port, kind.path, conns=10, seconds=0.5)
        server.settled(patience=3)
        began = time.monotonic()
        before = Sample.take(server, began)
        options = {"conns": streams, "seconds": seconds, "check": 1, "warmup": LEAD_SECONDS}
        load = pool.generator.start("soak", server.port, kind.path, **options)
        try:
            with abuse.beside(pool.cores.generator, server.port, callers) as crowd:
                crowd.begin()
                while load.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        load.wait(timeout=every)
                        break
                    samples.append(Sample.take(server, began))
                    print(samples[-1], flush=True)
            good = Generator.parse(load.communicate()[0])
        finally:
            load.kill()
            load.wait()
        after = wait_for_rest(server, before)
    print(f"before: {before}\nafter:  {after}")
    print(f"memory  {curve([sample.rss_mib for sample in samples])}")
    for name, count in crowd.counts.items():
        print(f"{count.calls:7,} calls, {count.sent / abuse.MIB:10,.1f} MiB: {name}")
    grown, wrong = growth(samples), [f"{good[f]:.0f} {f}" for f in FAULTS if good.get(f)]
    promises = {
        f"p50 {good['p50_us'] / 1000:.2f} ms, p99 {good['p99_us'] / 1000:.2f} ms, "
        f"{SOAK_P99_MS:g} allowed": good["p99_us"] < SOAK_P99_MS * 1000,
        f"{good['opened']:,.0f} good connections, {good['measured']:,.0f} frames: "
        f"{', '.join(wrong) or 'none refused, closed, broken or lost'}": not wrong,
        f"memory grew {grown:+.1f} MiB after the first minute, {GROWTH_MIB:g} allowed": (
            grown <= GROWTH_MIB
        ),
        f"open files: {before.files} before, {after.files} after": rested(after, before),
        f"sessions gauge: {after.sessions:.0f}": after.sessions == 0,
    }
    for promise, holds in promises.items():
        print("ok  " if holds else "FAIL", promise)
    return all(promises.values())


def rested(now: Sample, before: Sample) -> bool:
    """Return whether sessions and files are back where they were before, but for two files."""
    return now.sessions == 0 and now.files <= before.files + 2


def wait_for_rest(server: Server, before: Sample) -> Sample:
    """Wait until the service has worked off the callers' last bytes; return its state then."""
    began = time.monotonic()
    while True:
        after = Sample.take(server, began)
        if rested(after, before) or after.seconds > REST_SECONDS:
            return after
        time.sleep(0.5)


def growth(samples: list[Sample]) -> float:
    """Return how far resident memory grew, in MiB, from after the first minute to the end.

    Both ends are medians of up to six samples. A run of less than three minutes takes its first
    third for the first minute.
    """
    settled = min(60.0, samples[-1].seconds / 3)
    counted = [sample.rss_mib for sample in samples if sample.seconds > settled]
    width = max(1, min(6, len(counted) // 2))
    return statistics.median(counted[-width:]) - statistics.median(counted[:width])


def curve(values: list[float]) -> str:
    """Draw the values as a line of bars, from the least to the largest."""
    bars = "▁▂▃▄▅▆▇█"
    least, span = min(values), max(values) - min(values) or 1
    return "".join(bars[round((value - least) / span * (len(bars) - 1))] for value in values)


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, not for quoting")
    parser.add_argument("--only", type=Names(["flood", "memory", "soak"]), help="by comma")
    parser.add_argument("--floods", type=Names(list(abuse.FLOODS)), help="kinds, by comma")
    parser.add_argument("--minutes", type=float, help="of the soak; 5, or 0.5 with --quick")
    parser.add_argument("--streams", type=int, default=STREAMS, help="good ones of the soak")
    parser.add_argument("--bad", type=int, default=1, help="flooders of each kind in the soak")
    parser.add_argument("--service", type=Path, default=ROOT, metavar="DIR", help="a checkout")
    arguments = parser.parse_args()
    quick = arguments.quick
    names = arguments.only or (["flood"] if quick else ["flood", "memory", "soak"])
    kind = dataclasses.replace(OURS, root=arguments.service.resolve())
    cores = Cores.choose()
    kept = []
    try:
        pool = Pool(Generator.build(cores.generator), cores)
        print(f"{kind.root}; {cores.busy():.0%} of both cores was in use before")
        os.sched_setaffinity(0, {cores.generator})
        try:
            if "flood" in names:
                numbers, seconds = ((1, 20), 1.0) if quick else ((1, 3, 20), 5.0)
                floods = arguments.floods or list(abuse.FLOODS)
                kept.append(flood(pool, kind, floods, numbers, seconds))
            if "memory" in names:
                kept.append(memory(pool, kind, quick))
            if "soak" in names:
                seconds = 60 * (arguments.minutes or (0.5 if quick else 5))
                every = min(10, seconds / 12)
                kept.append(soak(pool, kind, seconds, arguments.streams, arguments.bad, every))
        finally:
            pool.close()
    except (GeneratorError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
