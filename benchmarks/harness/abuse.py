"""Callers that misbehave, all in one process of their own.

All frames are masked beforehand, so a caller costs this process little and the service much.
"""

import contextlib
import math
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

import trio
from websockets.frames import Frame, Opcode

from harness.generator import GENERATOR_CORE
from harness.servers import Server
from harness.talk import masked, upgrade

MIB = 1 << 20
#: The most bytes of one read or write. A longer one would keep the good streams' process waiting.
CHUNK = 65536
#: A caller that the service has cut off comes again after this time, in seconds.
AWAY_SECONDS = 0.1
#: The good streams' process shares the core, and must never wait for this one (see nice(2)).
BEHIND = 10


def frame(opcode: Opcode, size: int = 0, fin: bool = True) -> bytes:
    """Return a client's frame of zeros."""
    return masked(opcode, bytes(size), fin)


def fragments(size: int, each: int) -> bytes:
    """Return the beginning of a binary message that stays in the making."""
    more = frame(Opcode.CONT, each, fin=False) * (size // each - 1)
    return frame(Opcode.BINARY, each, fin=False) + more


def speech(*moods: int) -> bytes:
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


AUDIO = frame(Opcode.BINARY, 320)
MEBIBYTE = frame(Opcode.BINARY, MIB)
PINGS = frame(Opcode.PING, 125) * 2000
#: Callers that keep the service's core busy, and read all that comes back.
FLOODS = {
    "65000-byte frames": Kind(again=frame(Opcode.BINARY, 65000)),
    "320-byte frames": Kind(again=AUDIO * 500),
    "2-byte frames": Kind(again=frame(Opcode.BINARY, 2) * 20000),
    "empty frames": Kind(again=frame(Opcode.BINARY) * 20000),
    "empty pings": Kind(again=frame(Opcode.PING) * 20000),
    "125-byte pings": Kind(again=PINGS),
    "empty pongs": Kind(again=frame(Opcode.PONG) * 20000),
    "empty continuations": Kind(
        first=frame(Opcode.BINARY, fin=False), again=frame(Opcode.CONT, fin=False) * 20000
    ),
    "1-byte fragments of 1 MiB": Kind(again=fragments(MIB, 1) + frame(Opcode.CONT)),
    "1 MiB frames by pure_python": Kind(again=MEBIBYTE, query="encoding=pcm16&codec=pure_python"),
    "1 MiB frames A-law to mu-law by pure_python": Kind(
        again=MEBIBYTE, query="encoding=alaw&reply=ulaw&codec=pure_python"
    ),
    "text after the service's close frame": Kind(again=frame(Opcode.TEXT, 320) * 200),
}
#: Callers that misbehave without haste.
RUDE = {
    "stop reading": Kind(again=AUDIO * 50, reads=False),
    "vanish": Kind(first=AUDIO, stays=1),
    "unmasked frames": Kind(first=Frame(Opcode.BINARY, bytes(320)).serialize(mask=False)),
}
#: Callers of `bots.moody`.
TALKERS = {
    "talk, and leave": Kind(again=speech(5, 5, 0, 0, 0), every=0.5, stays=5),
    "interrupt, and vanish": Kind(again=speech(5, 5, 1, 5, 1), every=0.5, stays=3),
    "take events, and answer none": Kind(
        again=speech(5, 4, 0, 1, 0), every=0.5, stays=7, query="events=json"
    ),
    "are hung up": Kind(first=speech(5, 0, 3)),
    "meet a bug": Kind(first=speech(5, 0, 2), stays=2),
    "stop reading": Kind(again=speech(5, 5), every=0.2, reads=False),
    "send faster than real time": Kind(again=speech(5, 0, 0, 0, 1) * 10, stays=4),
}
#: Callers that cost the service memory: so many of them, and the most KiB that each may cost.
HOARDS = {
    "1 MiB message in the making, its last 1,000 bytes in 1-byte fragments": (
        500,
        1536,
        Kind(first=fragments(MIB - 1024, 1023 * 64) + frame(Opcode.CONT, 1, fin=False) * 1000),
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
                await socket.send(upgrade(f"/ws/audio?{self.kind.query}"))
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


async def run(port: int, who: Callers, pipe: Connection) -> None:
    """Run the callers until a word comes through the pipe; answer with counts."""
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
        pipe.send("begun")
        await trio.lowlevel.wait_readable(pipe.fileno())
        nursery.cancel_scope.cancel()
    pipe.send(counts)


def process(core: int, port: int, who: Callers, pipe: Connection) -> None:
    """Be the process of the callers."""
    os.sched_setaffinity(0, {core})
    os.nice(BEHIND)
    trio.run(run, port, who, pipe)


@contextlib.contextmanager
def beside(server: Server, who: Callers) -> Iterator[dict[str, Count]]:
    """Run the callers for the time of the block, which fills in what they did.

    The block begins when every caller has upgraded and has sent all of its `first`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (GENERATOR_CORE, server.port, who, theirs)
    callers = context.Process(target=process, args=arguments, daemon=True)
    callers.start()
    counts: dict[str, Count] = {}
    try:
        ours.recv()
        yield counts
        ours.send("end")
        counts |= ours.recv()
    finally:
        callers.kill()
        callers.join()
