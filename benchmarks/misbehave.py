"""Run well-behaved real-time streams beside callers that misbehave, and see who suffers.

    python benchmarks/misbehave.py --sessions 500 --seconds 20

Of the sessions a tenth stop reading while they go on sending, a tenth vanish without a word, and a
tenth send frames that are against RFC 6455; those that were cut off come again after a while. The
rest are real-time streams of the C generator, a frame each 20 ms: none may be lost, and their p99
round trip has to stay under 50 ms. Afterwards the session gauge is 0, and the open files are back.
The event loop's lag is read from /metrics. Exit status: 0 if all of that holds, 1 if not.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import trio
from harness.generator import Cores, Generator, GeneratorError, Report
from harness.scrape import LAG_MS, Lag, metrics
from harness.servers import OURS, Pool, Server, ServerError
from rich.console import Console
from soak import FILES_TOLERANCE, Sample, wait_for_rest
from websockets.frames import Frame, Opcode

P99_MS = 50.0
UPGRADE = (
    b"GET /ws/audio HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AUDIO = Frame(Opcode.BINARY, bytes(320)).serialize(mask=True)
UNMASKED = Frame(Opcode.BINARY, bytes(320)).serialize(mask=False)
#: How long a caller stays before it misbehaves, and stays away after it, at most, in seconds.
PATIENCE = 2.0


@dataclass(frozen=True)
class Outcome:
    """What the good streams saw, how often bad callers came, and the event loop's lag."""

    good: Report
    calls: Counter[str]
    lag: Lag


async def call(port: int) -> trio.SocketStream:
    """Return a connection on which a session was begun with one frame."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(UPGRADE)
    await stream.receive_some()
    await stream.send_all(AUDIO)
    await trio.sleep(random.uniform(0, PATIENCE))
    return stream


async def stop_reading(port: int) -> None:
    """Send on and on, and never read a reply."""
    stream = await call(port)
    async with stream:
        while True:
            await stream.send_all(AUDIO * 50)
            await trio.sleep(0.1)


async def vanish(port: int) -> None:
    """Leave without a word."""
    await trio.aclose_forcefully(await call(port))


async def break_frames(port: int) -> None:
    """Send what no client may: a frame without a mask; then read until the service hangs up."""
    stream = await call(port)
    async with stream:
        await stream.send_all(UNMASKED)
        while await stream.receive_some():
            pass


async def misbehave(port: int, each: int, seconds: float) -> Counter[str]:
    """Have so many callers of each kind for so long; return how often each was on the line."""
    calls: Counter[str] = Counter()

    async def again_and_again(kind: Callable[[int], Awaitable[None]]) -> None:
        while True:
            calls[kind.__name__] += 1
            with suppress(trio.BrokenResourceError, OSError):  # cut off, as it deserves
                await kind(port)
            await trio.sleep(random.uniform(0, PATIENCE))

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for kind in (stop_reading, vanish, break_frames):
                for _ in range(each):
                    nursery.start_soon(again_and_again, kind)
    return calls


def measure(server: Server, generator: Generator, sessions: int, seconds: float) -> Outcome:
    """Run good and bad callers together; return what the good ones saw."""
    bad = sessions // 10
    before = metrics(server.port)
    good = generator.start(
        "streams", server.port, OURS.path, conns=sessions - 3 * bad, seconds=seconds, check=1
    )
    os.sched_setaffinity(0, {generator.core})
    try:
        calls = trio.run(misbehave, server.port, bad, seconds + 2)
        text, _ = good.communicate(timeout=60)
    finally:
        good.kill()
        good.wait()
    return Outcome(Generator.parse(text), calls, Lag.between(before, metrics(server.port)))


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    console = Console(highlight=False)
    cores = Cores.choose()
    try:
        generator = Generator.build(cores.generator)
        with Pool(generator, cores).use(OURS, fresh=True) as server:
            generator.run("echo", server.port, OURS.path, conns=10, seconds=0.5)
            before = Sample.take(server, time.monotonic())
            outcome = measure(server, generator, arguments.sessions, arguments.seconds)
            after = wait_for_rest(server, before)
            ended = {k: v for k, v in metrics(server.port).items() if "sessions_total" in k and v}
    except (GeneratorError, ServerError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    good = outcome.good
    console.print("misbehaving calls:", dict(outcome.calls))
    console.print("ended:", {name.split('"')[1]: int(count) for name, count in ended.items()})
    console.print(f"before:   {before}\nafter:    {after}")
    kept = {
        f"{good['streams']:.0f} good streams, {good['measured']:,.0f} frames: "
        f"{good['faults']:.0f} lost or at fault": not good["faults"],
        f"round trip p50 {good['p50_us'] / 1000:.2f} ms, p99 {good['p99_us'] / 1000:.2f} ms, "
        f"{P99_MS:g} allowed": good["p99_us"] < P99_MS * 1000,
        f"event loop lag p99 within {outcome.lag.p99_ms:g} ms, {LAG_MS:g} allowed, "
        f"{outcome.lag.over(LAG_MS):.1%} beyond": outcome.lag.p99_ms <= LAG_MS,
        f"sessions gauge: {after.sessions:.0f}": after.sessions == 0,
        f"open files: {before.files} before, {after.files} after": (
            after.files <= before.files + FILES_TOLERANCE
        ),
    }
    for promise, holds in kept.items():
        console.print("ok  " if holds else "FAIL", promise, style=None if holds else "red")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
