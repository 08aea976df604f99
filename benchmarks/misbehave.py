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

import trio
from harness import abuse
from harness.generator import FAULTS, BenchmarkError, Cores, Generator, report_of
from harness.options import checkout, names
from harness.servers import OURS, ROOT, Kind, Pool, Server

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


def row(*cells: object) -> None:
    """Print one row of a Markdown table at once, for the next may take a while."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def verdict(kept: bool, promise: str) -> bool:
    """Print whether a promise is kept, and return it."""
    print("ok  " if kept else "FAIL", promise)
    return kept


@dataclass
class Probes:
    """Times of the probes' answers, in ms from the moment when each probe was due."""

    asked: int = 0
    health: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    late: float = 0.0  # the most that a probe itself began too late

    def worst(self, times: list[float]) -> float | None:
        """Return the longest of these times; None if an answer is missing."""
        return max(times) if len(times) == self.asked else None


async def receive(stream: trio.SocketStream, size: int, ending: bytes = b"") -> bytes:
    """Read until there are `size` bytes, or the ending, or the end of the stream."""
    data = b""
    while len(data) < size and not (ending and data.endswith(ending)):
        more = await stream.receive_some(size - len(data))
        if not more:
            break
        data += more
    return data


async def health(stream: trio.SocketStream) -> bool:
    """Ask for /health; return whether it says 200."""
    await stream.send_all(HEALTH)
    return (await receive(stream, 65536)).startswith(b"HTTP/1.1 200 ")


async def new_call(stream: trio.SocketStream) -> bool:
    """Call, send one frame and leave; return whether its reply came."""
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

    async def once(
        due: float, what: Callable[[trio.SocketStream], Awaitable[bool]], times: list[float]
    ) -> None:
        with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                if await what(stream):
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


def suffer(pool: Pool, server: Server, name: str, callers: int, seconds: float) -> bool:
    """Measure the good streams beside so many callers of one kind; print the row."""
    options = {"conns": STREAMS, "seconds": seconds, "check": 1, "server_pid": server.pid}
    with (
        abuse.beside(pool.cores.generator, server.port, {name: callers}) as crowd,
        pool.generator.start(
            "streams",
            server.port,
            server.kind.path,
            warmup=2 * LEAD_SECONDS,
            patience=PATIENCE,
            **options,
        ) as streams,
    ):
        time.sleep(LEAD_SECONDS)
        began = time.monotonic()
        crowd.begin()
        time.sleep(LEAD_SECONDS)
        probes = trio.run(probe, server.port, seconds)
        good = report_of(streams)
        lasted = time.monotonic() - began
    health, call = probes.worst(probes.health), probes.worst(probes.calls)
    promises = {
        f"p99 under {P99_MS:g} ms": good["p99_us"] < P99_MS * 1000,
        "no frame lost": not good["faults"],
        f"/health within {HEALTH_MS:g} ms": health is not None and health <= HEALTH_MS,
        "all new calls in": call is not None,
    }
    broken = [promise for promise, kept in promises.items() if not kept]
    row(
        name,
        callers,
        f"{good['p50_us'] / 1000:.2f}",
        f"{good['p99_us'] / 1000:.2f}",
        f"{good['max_us'] / 1000:.1f}",
        f"{good['faults']:.0f}",
        "none" if health is None else f"{health:.1f}",
        f"{len(probes.calls)} of {probes.asked}",
        "none" if call is None else f"{call:.1f}",
        f"{good['server_core']:.0%}",
        f"{crowd.counts[name].sent / lasted / abuse.MIB:.1f}",
        f"{good['late_p99_us'] / 1000:.2f} / {max(good['late_max_us'] / 1000, probes.late):.1f}",
        ", ".join(broken),
    )
    return not broken


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
    kept = []
    for name in floods:
        for number in numbers:
            with pool.use(kind) as server:
                kept.append(suffer(pool, server, name, number, seconds))
    promises = f"p99 under {P99_MS:g} ms, none lost, /health within {HEALTH_MS:g} ms, all calls in"
    print()
    return verdict(all(kept), f"beside every flood: {promises}")


def memory(pool: Pool, kind: Kind, quick: bool) -> bool:
    """Print the table of the memory that each kind of hoarding caller costs."""
    print(
        "\nMemory for each caller: how far the service's resident memory grew at its peak.\n\n"
        "| what the caller does | callers | KiB for each | at most | cut off by the service |\n"
        "|---|--:|--:|--:|--:|"
    )
    kept = []
    for name, hoard in abuse.HOARDS.items():
        number = hoard.callers // 5 if quick else hoard.callers
        with pool.use(kind, fresh=True) as server:
            warm_up(pool, server)
            before = server.rss_kib()
            with abuse.beside(pool.cores.generator, server.port, {name: number}) as crowd:
                crowd.begin()
                crowd.wait_until_begun()
                grown = (peak(server) - before) / number
        kept.append(grown <= hoard.most_kib)
        ended = crowd.counts[name].ended
        row(name, f"{number:,}", f"{grown:,.1f}", f"{hoard.most_kib:,}", f"{ended:,}")
    print()
    return verdict(all(kept), "each caller takes as much memory as is stated, at most")


def warm_up(pool: Pool, server: Server) -> None:
    """Make a few calls: what is loaded or cached once must not look like growth."""
    pool.generator.run("echo", server.port, server.kind.path, conns=10, seconds=0.5)
    server.settled(patience=3)


def peak(server: Server) -> float:
    """Return the service's most resident memory in KiB, once it has not grown for some seconds."""
    most, since = 0.0, time.monotonic()
    while time.monotonic() < since + QUIET_SECONDS:
        time.sleep(0.1)
        if (now := server.peak_rss_kib()) > most:
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
        """Read the process's figures, and the gauge from /metrics."""
        return cls(
            time.monotonic() - began,
            server.rss_kib() / 1024,
            server.process.num_fds(),
            server.metrics()["rt_audio_sessions_active"],
        )

    def rested(self, before: "Sample") -> bool:
        """Return whether sessions and files are back where they were, but for two files."""
        return self.sessions == 0 and self.files <= before.files + 2

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
    options = {"conns": streams, "seconds": seconds, "check": 1, "warmup": LEAD_SECONDS}
    samples: list[Sample] = []
    with pool.use(kind, fresh=True) as server:
        warm_up(pool, server)
        began = time.monotonic()
        before = Sample.take(server, began)
        with (
            pool.generator.start("soak", server.port, kind.path, **options) as load,
            abuse.beside(pool.cores.generator, server.port, callers) as crowd,
        ):
            crowd.begin()
            while not ended_within(load, every):
                samples.append(Sample.take(server, began))
                print(samples[-1], flush=True)
            good = report_of(load)
        after = wait_for_rest(server, before)
    tell_soak(crowd, before, after)
    wrong = [f"{good[f]:.0f} {f}" for f in FAULTS if good.get(f)]
    promises = {
        f"p50 {good['p50_us'] / 1000:.2f} ms, p99 {good['p99_us'] / 1000:.2f} ms, "
        f"{SOAK_P99_MS:g} allowed": good["p99_us"] < SOAK_P99_MS * 1000,
        f"{good['opened']:,.0f} good connections, {good['measured']:,.0f} frames: "
        f"{', '.join(wrong) or 'none refused, closed, broken or lost'}": not wrong,
        **at_rest(samples, before, after),
    }
    kept = [verdict(holds, promise) for promise, holds in promises.items()]
    return all(kept)


def handlers(pool: Pool, kind: Kind, seconds: float, each: int, every: float) -> bool:
    """Have a handler talk with callers that come, go, interrupt and vanish; print the memory."""
    print(f"\nA handler, for {seconds:g} s, and {each} of each: {', '.join(abuse.TALKERS)}\n")
    samples: list[Sample] = []
    with pool.use(dataclasses.replace(kind, handler="bots:moody"), fresh=True) as server:
        began = time.monotonic()
        before = Sample.take(server, began)
        callers = dict.fromkeys(abuse.TALKERS, each)
        with abuse.beside(pool.cores.generator, server.port, callers) as crowd:
            crowd.begin()
            while time.monotonic() < began + seconds:
                time.sleep(every)
                samples.append(Sample.take(server, began))
                print(samples[-1], flush=True)
        after, told = wait_for_rest(server, before), server.metrics()
    tell_soak(crowd, before, after)
    print(f"{told['rt_audio_handler_errors_total']:7,.0f} bugs of the handler")
    kept = [verdict(holds, promise) for promise, holds in at_rest(samples, before, after).items()]
    return all(kept)


def tell_soak(crowd: abuse.Crowd, before: Sample, after: Sample) -> None:
    """Print the service's state before and after, and what the callers did."""
    print(f"before: {before}\nafter:  {after}")
    for name, count in crowd.counts.items():
        print(f"{count.calls:7,} calls, {count.sent / abuse.MIB:10,.1f} MiB: {name}")


def at_rest(samples: list[Sample], before: Sample, after: Sample) -> dict[str, bool]:
    """Return what every soak promises of memory, files and sessions, and whether it holds."""
    grown = growth(samples)
    return {
        f"memory grew {grown:+.1f} MiB after the first minute, {GROWTH_MIB:g} allowed": (
            grown <= GROWTH_MIB
        ),
        f"open files: {before.files} before, {after.files} after": after.rested(before),
        f"sessions gauge: {after.sessions:.0f}": after.sessions == 0,
    }


def ended_within(process: "subprocess.Popen[str]", seconds: float) -> bool:
    """Wait for the end of a process; return whether it came in time."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def wait_for_rest(server: Server, before: Sample) -> Sample:
    """Wait until the service has worked off the callers' last bytes; return its state then."""
    began = time.monotonic()
    while True:
        after = Sample.take(server, began)
        if after.rested(before) or after.seconds > REST_SECONDS:
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


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, not for quoting")
    parser.add_argument(
        "--only", type=names("flood", "memory", "soak", "handlers"), help="by comma"
    )
    parser.add_argument("--floods", type=names(*abuse.FLOODS), help="kinds, by comma")
    parser.add_argument("--minutes", type=float, help="of a soak; 5, or 0.5 with --quick")
    parser.add_argument("--streams", type=int, default=STREAMS, help="good ones of the soak")
    parser.add_argument("--bad", type=int, default=1, help="flooders of each kind in the soak")
    parser.add_argument("--service", type=checkout, default=ROOT, metavar="DIR", help="a checkout")
    arguments = parser.parse_args()
    quick = arguments.quick
    parts = arguments.only or (["flood"] if quick else ["flood", "memory", "soak", "handlers"])
    kind = dataclasses.replace(OURS, root=arguments.service)
    cores = Cores.choose()
    kept = []
    try:
        with Pool(Generator.build(cores.generator), cores) as pool:
            print(f"{kind.root}; {cores.busy():.0%} of both cores was in use before")
            os.sched_setaffinity(0, {cores.generator})
            if "flood" in parts:
                numbers, seconds = ((1, 20), 1.0) if quick else ((1, 3, 20), 5.0)
                floods = arguments.floods or list(abuse.FLOODS)
                kept.append(flood(pool, kind, floods, numbers, seconds))
            if "memory" in parts:
                kept.append(memory(pool, kind, quick))
            seconds = 60 * (arguments.minutes or (0.5 if quick else 5))
            every = min(10, seconds / 12)
            if "handlers" in parts:
                kept.append(handlers(pool, kind, seconds, 30, every))
            if "soak" in parts:
                kept.append(soak(pool, kind, seconds, arguments.streams, arguments.bad, every))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
