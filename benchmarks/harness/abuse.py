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

MIB = 1 << 20
#: The most bytes of one read or write. A longer one would keep the good streams' process waiting.
CHUNK = 65536
#: A caller that the service has cut off comes again after this time, in seconds.
AWAY_SECONDS = 0.1
#: The good streams' process shares the core, and must never wait for this one (see nice(2)).
BEHIND = 10


def masked(opcode: Opcode, size: int, fin: bool = True) -> bytes:
    """Return one client's frame."""
    return Frame(opcode, bytes(size), fin).serialize(mask=True)


def fragments(size: int, each: int, last: bool = True) -> bytes:
    """Return a binary message in fragments; without its last one it stays in the making."""
    more = masked(Opcode.CONT, each, fin=False) * (size // each - 1)
    end = masked(Opcode.CONT, 0) if last else b""
    return masked(Opcode.BINARY, each, fin=False) + more + end


def speech(*moods: int) -> bytes:
    """Return frames of 100 ms; the first byte of each says what `bots.moody` does on hearing it."""
    return b"".join(
        Frame(Opcode.BINARY, bytes([mood]) + bytes(1599)).serialize(mask=True) for mood in moods
    )


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


AUDIO = masked(Opcode.BINARY, 320)
TEXT = masked(Opcode.TEXT, 320)
#: Callers that keep the service's core busy, and read all that comes back.
FLOODS = {
    "65000-byte frames": Kind(again=masked(Opcode.BINARY, 65000)),
    "320-byte frames": Kind(again=AUDIO * 500),
    "2-byte frames": Kind(again=masked(Opcode.BINARY, 2) * 20000),
    "empty frames": Kind(again=masked(Opcode.BINARY, 0) * 20000),
    "empty pings": Kind(again=masked(Opcode.PING, 0) * 20000),
    "125-byte pings": Kind(again=masked(Opcode.PING, 125) * 2000),
    "empty pongs": Kind(again=masked(Opcode.PONG, 0) * 20000),
    "empty continuations": Kind(
        first=masked(Opcode.BINARY, 0, fin=False),
        again=masked(Opcode.CONT, 0, fin=False) * 20000,
    ),
    "1-byte fragments of 1 MiB": Kind(again=fragments(MIB, 1)),
    "1 MiB frames by pure_python": Kind(
        again=masked(Opcode.BINARY, MIB), query="encoding=pcm16&codec=pure_python"
    ),
    "1 MiB frames A-law to mu-law by pure_python": Kind(
        again=masked(Opcode.BINARY, MIB), query="encoding=alaw&reply=ulaw&codec=pure_python"
    ),
    "text after the service's close frame": Kind(again=TEXT * 200),
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


@dataclass(frozen=True)
class Hoard:
    """Callers that cost the service memory; it promises at most `most_kib` for each."""

    callers: int
    most_kib: int
    kind: Kind


HOARDS = {
    "1 MiB message in the making, its last 1,000 bytes in 1-byte fragments": Hoard(
        500,
        1536,
        Kind(
            first=fragments(MIB - 1024, 1023 * 64, last=False)
            + masked(Opcode.CONT, 1, fin=False) * 1000
        ),
    ),
    "message of 50,000 1-byte fragments in the making": Hoard(
        50, 512, Kind(first=fragments(50000, 1, last=False))
    ),
    "125-byte pings, reading nothing": Hoard(
        500, 512, Kind(again=masked(Opcode.PING, 125) * 2000, reads=False)
    ),
    "1 MiB frames, reading nothing": Hoard(
        500, 3072, Kind(again=masked(Opcode.BINARY, MIB), reads=False)
    ),
    "a connection without a request": Hoard(5000, 16, Kind(upgrades=False)),
}
KINDS = FLOODS | RUDE | TALKERS | {name: hoard.kind for name, hoard in HOARDS.items()}


def upgrade(query: str = "") -> bytes:
    """Return the request that begins a call."""
    return (
        f"GET /ws/audio?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


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
                await socket.send(upgrade(self.kind.query))
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


async def run(port: int, numbers: Mapping[str, int], pipe: Connection) -> None:
    """Run so many callers of each kind until a word comes through the pipe; answer with counts."""
    counts = {name: Count() for name in numbers}
    callers = [
        Caller(KINDS[name], port, counts[name])
        for name, number in numbers.items()
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


def process(core: int, port: int, numbers: Mapping[str, int], pipe: Connection) -> None:
    """Be the process of the callers."""
    os.sched_setaffinity(0, {core})
    os.nice(BEHIND)
    trio.run(run, port, numbers, pipe)


@contextlib.contextmanager
def beside(core: int, port: int, numbers: Mapping[str, int]) -> Iterator[dict[str, Count]]:
    """Run so many callers of each kind for the time of the block, which fills in what they did.

    The block begins when every caller has upgraded and has sent all of its `first`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    callers = context.Process(target=process, args=(core, port, numbers, theirs), daemon=True)
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
