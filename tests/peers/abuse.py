"""Callers that misbehave: what each kind of them sends, and the caller who sends it.

The suite counts what they cost other callers in turns of the event loop, `benchmarks/misbehave.py`
in milliseconds and bytes. All frames are masked beforehand: sending them costs little.
"""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from websockets.frames import Frame, Opcode

from tests.peers.frames import fragments, masked
from tests.peers.reach import upgrade_request

MIB = 1 << 20
#: The most bytes of one read or write. A longer one would keep the good streams' process waiting.
CHUNK = 65536
#: A caller that the service has cut off comes again after this time, in seconds.
AWAY_SECONDS = 0.1


def spoken(*moods: int) -> bytes:
    """Return frames of 100 ms; the first byte of each says what `bots.moody` does on hearing it."""
    return b"".join(masked(Opcode.BINARY, bytes([mood]) + bytes(1599)) for mood in moods)


@dataclass(frozen=True)
class Kind:
    """What a caller sends after its upgrade: `first` once, then `again` without end."""

    first: bytes = b""
    again: bytes = b""
    every: float = 0  # seconds between two of `again`
    query: str = ""
    reads: bool = True
    stays: float = math.inf  # then it closes the connection without a word
    upgrades: bool = True


AUDIO = masked(Opcode.BINARY, bytes(320))
MEBIBYTE = masked(Opcode.BINARY, bytes(MIB))
PINGS = masked(Opcode.PING, bytes(125)) * 2000
#: Callers that keep the service's core busy, and read all that comes back.
FLOODS = {
    "65000-byte frames": Kind(again=masked(Opcode.BINARY, bytes(65000))),
    "320-byte frames": Kind(again=AUDIO * 500),
    "2-byte frames": Kind(again=masked(Opcode.BINARY, bytes(2)) * 20000),
    "empty frames": Kind(again=masked(Opcode.BINARY) * 20000),
    "empty pings": Kind(again=masked(Opcode.PING) * 20000),
    "125-byte pings": Kind(again=PINGS),
    "empty pongs": Kind(again=masked(Opcode.PONG) * 20000),
    "empty continuations": Kind(
        first=masked(Opcode.BINARY, fin=False), again=masked(Opcode.CONT, fin=False) * 20000
    ),
    "1-byte fragments of 1 MiB": Kind(again=fragments(MIB, 1) + masked(Opcode.CONT)),
    "1 MiB frames by pure_python": Kind(again=MEBIBYTE, query="encoding=pcm16&codec=pure_python"),
    "1 MiB frames A-law to mu-law by pure_python": Kind(
        again=MEBIBYTE, query="encoding=alaw&reply=ulaw&codec=pure_python"
    ),
    "text after the service's close frame": Kind(again=masked(Opcode.TEXT, bytes(320)) * 200),
}
#: Callers that misbehave without haste.
RUDE = {
    "stop reading": Kind(again=AUDIO * 50, reads=False),
    "vanish": Kind(first=AUDIO, stays=1),
    "unmasked frames": Kind(first=Frame(Opcode.BINARY, bytes(320)).serialize(mask=False)),
}
#: Callers of `bots.moody`.
TALKERS = {
    "talk, and leave": Kind(again=spoken(5, 5, 0, 0, 0), every=0.5, stays=5),
    "interrupt, and vanish": Kind(again=spoken(5, 5, 1, 5, 1), every=0.5, stays=3),
    "take events, and answer none": Kind(
        again=spoken(5, 4, 0, 1, 0), every=0.5, stays=7, query="events=json"
    ),
    "are hung up": Kind(first=spoken(5, 0, 3)),
    "meet a bug": Kind(first=spoken(5, 0, 2), stays=2),
    "stop reading": Kind(again=spoken(5, 5), every=0.2, reads=False),
    "send faster than real time": Kind(again=spoken(5, 0, 0, 0, 1) * 10, stays=4),
}
#: Callers that cost the service memory: so many of them, and the most KiB that each may cost.
HOARDS = {
    "1 MiB message in the making, its last 1,000 bytes in 1-byte fragments": (
        500,
        1536,
        Kind(
            first=fragments(MIB - 1024, 1023 * 64) + masked(Opcode.CONT, bytes(1), fin=False) * 1000
        ),
    ),
    "message of 50,000 1-byte fragments in the making": (50, 512, Kind(first=fragments(50000, 1))),
    "125-byte pings, reading nothing": (500, 512, Kind(again=PINGS, reads=False)),
    "1 MiB frames, reading nothing": (500, 3072, Kind(again=MEBIBYTE, reads=False)),
    "a connection without a request": (5000, 16, Kind(upgrades=False)),
}
#: By name, so many callers of a kind.
Callers = Mapping[str, tuple[Kind, int]]


@dataclass
class Count:
    """Counts for one kind: calls, calls that the service ended, and bytes sent."""

    calls: int = 0
    ended: int = 0
    sent: int = 0


class Caller:
    """One connection at a time; whenever the service ends it, the caller comes again."""

    def __init__(self, kind: Kind, port: int, count: Count) -> None:
        self.kind, self.port, self.count = kind, port, count
        self.begun = trio.Event()  # whether all of `first` was sent once

    async def run(self) -> None:
        """Call again and again, until cancelled."""
        while True:
            self.count.calls += 1
            try:
                with trio.move_on_after(self.kind.stays):
                    await self._call()
            except* OSError:
                self.count.ended += 1
            await trio.sleep(AWAY_SECONDS)

    async def _call(self) -> None:
        with trio.socket.socket() as socket:
            if not self.kind.reads:  # a small buffer here, so that the service keeps the replies
                socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, CHUNK)
            await socket.connect(("127.0.0.1", self.port))
            if self.kind.upgrades:
                await socket.send(upgrade_request(f"/ws/audio?{self.kind.query}"))
                if not (await socket.recv(CHUNK)).startswith(b"HTTP/1.1 101 "):
                    raise ConnectionError
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, socket)
                if self.kind.reads:
                    nursery.start_soon(self._read, socket)

    async def _send(self, socket: trio.socket.SocketType) -> None:
        await self._send_all(socket, self.kind.first)
        self.begun.set()
        while self.kind.again:
            await self._send_all(socket, self.kind.again)
            await trio.sleep(self.kind.every)

    async def _send_all(self, socket: trio.socket.SocketType, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            sent = await socket.send(rest[:CHUNK])
            self.count.sent += sent
            rest = rest[sent:]

    async def _read(self, socket: trio.socket.SocketType) -> None:
        buffer = bytearray(CHUNK)
        while await socket.recv_into(buffer):
            pass
        raise ConnectionError


@asynccontextmanager
async def calling(port: int, who: Callers) -> AsyncIterator[dict[str, Count]]:
    """Run the callers for the time of the block, which begins when each has sent its `first`."""
    counts = {name: Count() for name in who}
    callers = [
        Caller(kind, port, counts[name])
        for name, (kind, number) in who.items()
        for _ in range(number)
    ]
    async with trio.open_nursery() as nursery:
        for caller in callers:
            nursery.start_soon(caller.run)
        for caller in callers:
            await caller.begun.wait()
        yield counts
        nursery.cancel_scope.cancel()
