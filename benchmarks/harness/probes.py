"""What others notice of a flood: /health is asked for, and new callers come, at fixed times."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket

#: How often, in seconds.
EVERY = 0.1
#: How long an answer or a new call may take before it counts as missing, in seconds.
PATIENCE = 10.0
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


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


async def health(port: int, answered: Callable[[], None]) -> None:
    """Ask for /health on a connection of its own."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(REQUEST)
        if (await stream.receive_some()).startswith(b"HTTP/1.1 200 "):
            answered()


async def new_call(port: int, answered: Callable[[], None]) -> None:
    """Call, send one frame and leave."""
    async with open_websocket("127.0.0.1", port, "/ws/audio", use_ssl=False) as call:
        await call.send_message(bytes(320))
        await call.get_message()
        answered()


async def probe(port: int, seconds: float) -> Probes:
    """Ask for /health and make new calls at fixed times; a late answer delays no later probe."""
    probes = Probes()

    async def once(
        due: float, ask: Callable[[int, Callable[[], None]], Awaitable[None]], times: list[float]
    ) -> None:
        wrong = (OSError, trio.BrokenResourceError, HandshakeError, ConnectionClosed)
        with trio.move_on_after(PATIENCE), suppress(*wrong):
            await ask(port, lambda: times.append((trio.current_time() - due) * 1000))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        while (due := began + probes.asked * EVERY) < began + seconds:
            await trio.sleep_until(due)
            probes.late = max(probes.late, (trio.current_time() - due) * 1000)
            probes.asked += 1
            nursery.start_soon(once, due, health, probes.health)
            nursery.start_soon(once, due, new_call, probes.calls)
    return probes
