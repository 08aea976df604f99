"""Run well-behaved real-time streams beside callers that misbehave, and see who suffers.

    python benchmarks/misbehave.py                        # everything
    python benchmarks/misbehave.py --quick                # the flood table in about a minute
    python benchmarks/misbehave.py --service ../before    # the same, of another checkout

benchmarks/README.md says what each table means. Exit status: 0 if every promise holds, 1 if not.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio
from harness import abuse
from harness.generator import Cores, Generator, GeneratorError, Report
from harness.servers import OURS, ROOT, Kind, Pool, Server, ServerError

#: The good streams: so many, a frame of 320 bytes each 20 ms.
STREAMS = 50
#: How long a reply, an answer or a new call may take before it counts as lost, in seconds.
PATIENCE = 10.0
#: How often /health is asked and a new caller comes, in seconds; each on a connection of its own.
EVERY = 0.1
#: The streams are on the line for so long before the flood begins, and it before they are measured.
LEAD_SECONDS = 0.4
P99_MS = 20.0
HEALTH_MS = 100.0

UPGRADE = (
    b"GET /ws/audio HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Probes:
    """How long the probes' answers took, in ms from the time when each was due."""

    asked: int = 0
    health: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    late: float = 0.0  # the most that a probe itself began too late


async def receive(stream: trio.SocketStream, size: int, ending: bytes = b"") -> bytes:
    """Return what comes until there are `size` bytes or the ending; less if the stream ends."""
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
        await stream.send_all(UPGRADE)
        head = await receive(stream, 65536, b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            return False
        await stream.send_all(abuse.AUDIO)
        return len(await receive(stream, len(abuse.AUDIO) - 4)) == len(abuse.AUDIO) - 4


async def probe(port: int, seconds: float) -> Probes:
    """Ask for /health and make new calls, each when it is due, whatever became of those before."""
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
    """What the good streams, /health and new callers saw beside some callers that misbehave."""

    good: Report
    probes: Probes
    bad: abuse.Count
    seconds: float  # how long the callers were there

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
    server: Server, generator: Generator, callers: dict[str, int], seconds: float
) -> Suffering:
    """Measure the good streams beside so many callers of each kind."""
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
        with abuse.beside(generator.core, server.port, callers) as counts:
            began = time.monotonic()
            time.sleep(LEAD_SECONDS)
            probes = trio.run(probe, server.port, seconds)
            text, _ = streams.communicate(timeout=60)
            lasted = time.monotonic() - began
    finally:
        streams.kill()
        streams.wait()
    total = abuse.Count(*map(sum, zip(*map(dataclasses.astuple, counts.values()), strict=True)))
    return Suffering(Generator.parse(text), probes, total, lasted)


def flood(pool: Pool, kind: Kind, numbers: tuple[int, ...], seconds: float) -> bool:
    """Print a table of what the good streams suffer beside each kind of flood."""
    print(
        f"\n{STREAMS} real-time streams beside callers that flood and read. Times in ms, from the"
        " time when each frame was due.\n\n"
        "| flood | callers | p50 | p99 | max | lost | /health, worst | new calls in | worst "
        "| service's core | flood, MiB/s | sent late by, p99 / max | broken |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    )
    kept = True
    for name in abuse.FLOODS:
        for number in numbers:
            with pool.use(kind) as server:
                seen = suffer(server, pool.generator, {name: number}, seconds)
            good, probes, broken = seen.good, seen.probes, seen.broken()
            print(
                f"| {name} | {number} | {good['p50_us'] / 1000:.2f} | {good['p99_us'] / 1000:.2f} "
                f"| {good['max_us'] / 1000:.1f} | {good['faults']:.0f} "
                f"| {worst(probes.health, probes.asked)} "
                f"| {len(probes.calls)} of {probes.asked} | {worst(probes.calls, probes.asked)} "
                f"| {good['server_core']:.0%} | {seen.bad.sent / seen.seconds / abuse.MIB:.1f} "
                f"| {good['late_p99_us'] / 1000:.2f} / {good['late_max_us'] / 1000:.1f} "
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


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs; not for quoting")
    parser.add_argument(
        "--service", type=Path, default=ROOT, metavar="DIR", help="the checkout to run"
    )
    arguments = parser.parse_args()
    kind = dataclasses.replace(OURS, root=arguments.service.resolve())
    cores = Cores.choose()
    try:
        pool = Pool(Generator.build(cores.generator), cores)
        os.sched_setaffinity(0, {cores.generator})
        try:
            numbers, seconds = ((1, 20), 1.0) if arguments.quick else ((1, 3, 20), 5.0)
            kept = flood(pool, kind, numbers, seconds)
        finally:
            pool.close()
    except (GeneratorError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
