"""One call over any kind of link, so that one suite can run over all of them.

memory   a MemoryLink
asgi     the app, by ASGI events, as under any server
stream   a StreamLink over TCP on loopback
pump     a PumpedLink over TCP on loopback
server   the whole server over TCP
tls      the whole server over TLS
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from service.conversation import Link
from service.net.links import PumpedLink, StreamLink
from service.net.pump import Pump
from service.net.stream import Stream
from tests.peers import stand_in
from tests.peers.callers import (
    AsgiCaller,
    Caller,
    MemoryCaller,
    MemoryLink,
    StreamCaller,
    tcp_pair,
)
from tests.peers.house import House, run_asgi, run_call
from tests.peers.serving import serving
from tests.peers.stand_in import Bot

#: One suite runs over these. `server` is what `tls` has, with the line of `pump`.
KINDS = ("memory", "asgi", "stream", "pump", "tls")


def jumping(main: Any, clock: trio.abc.Clock | None, instruments: Any) -> Any:
    """Run a test whose time jumps."""
    clock = MockClock(autojump_threshold=0) if clock is None else clock
    return trio.run(main, clock=clock, instruments=instruments)


def over(kind: str, *more: object) -> Any:
    """Return the parameters of a test over this kind of link; without a socket its time jumps."""
    marks = [pytest.mark.trio(run=jumping)] if kind in ("memory", "asgi") else []
    return pytest.param(kind, *more, marks=marks)


@asynccontextmanager
async def calling(
    kind: str, query: str = "", bot: Bot | None = None, dialect: str = "raw", **settings: Any
) -> AsyncIterator[tuple[Caller, Any]]:
    """Have a call over this kind of link; its service runs until the block ends.

    A bot answers it, or else the echo.
    """
    path = "/ws/audio"
    if dialect != "raw":
        path, settings["dialects"] = f"/ws/{dialect}", dialect
    if bot is not None:
        settings["handler"] = stand_in.put(bot)
    if kind in ("server", "tls"):
        async with serving(tls=kind == "tls", **settings) as service:
            yield await service.call(query, path), service
        return
    house = House(**settings)
    with trio.fail_after(100):  # only a failure reaches it
        async with trio.open_nursery() as nursery:
            if house.handling is not None:
                nursery.start_soon(house.handling.clock.run)
            if kind == "asgi":
                caller = AsgiCaller()
                nursery.start_soon(run_asgi, house, caller, query, path)
                accepted = await caller.connect()
                assert accepted["type"] == "websocket.accept", accepted
                yield caller, house
                await caller.vanish()
            else:
                link, other_end = await _link(kind, nursery)
                nursery.start_soon(run_call, house, link, query, dialect)
                yield other_end, house
                await other_end.vanish()
            # Whoever is still on the line has just been left, and need not be told.
            with trio.move_on_after(1):
                await house.call_ended.wait()
            nursery.cancel_scope.cancel()


async def _link(kind: str, nursery: trio.Nursery) -> tuple[Link, Caller]:
    if kind == "memory":
        memory = MemoryLink()
        return memory, MemoryCaller(memory)
    accepted, connected = await tcp_pair()
    if kind == "stream":
        return StreamLink(Stream(accepted)), StreamCaller(connected)
    pump = Pump()
    nursery.start_soon(pump.run)
    return PumpedLink(pump, Stream(accepted)), StreamCaller(connected)
