"""What others notice of a flood: /health is asked for, and new callers come, at fixed times."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket

#: How often, in seconds.
EVERY = 0.1
#: How long an answer or a new call may take before it counts as missing, in seconds.
PATIENCE = 10.0
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
WRONG = (OSError, trio.BrokenResourceError, HandshakeError, ConnectionClosed)


@asynccontextmanager
async def health(port: int) -> AsyncIterator[None]:
    """Ask for /health on a connection of its own."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(REQUEST)
        if not (await stream.receive_some()).startswith(b"HTTP/1.1 200 "):
            raise ConnectionError
        yield


@asynccontextmanager
async def new_call(port: int) -> AsyncIterator[None]:
    """Call, send one frame, and leave after the block."""
    async with open_websocket("127.0.0.1", port, "/ws/audio", use_ssl=False) as call:
        await call.send_message(bytes(320))
        await call.get_message()
        yield


PROBES = {"/health": health, "call": new_call}


async def probe(port: int, seconds: float) -> dict[str, list[float]]:
    """Ask for /health and make new calls at fixed times; a late answer delays no later probe.

    Returns the times of both, and how late the probes began: all in ms from the moment when each
    was due, and infinite without an answer.
    """
    number = round(seconds / EVERY)
    times = {what: [math.inf] * number for what in ("began", *PROBES)}
    start = trio.current_time()

    def note(what: str, n: int) -> None:
        times[what][n] = (trio.current_time() - start - n * EVERY) * 1000

    async def once(what: str, n: int) -> None:
        with trio.move_on_after(PATIENCE), suppress(*WRONG):
            async with PROBES[what](port):
                note(what, n)

    async with trio.open_nursery() as nursery:
        for n in range(number):
            await trio.sleep_until(start + n * EVERY)
            note("began", n)
            for what in PROBES:
                nursery.start_soon(once, what, n)
    return times
