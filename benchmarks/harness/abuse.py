"""Callers that misbehave, all in one process: `python -m harness.abuse PORT KIND=NUMBER ...`.

One epoll loop drives bare sockets. All frames are masked beforehand, so a caller costs this process
little and the service much. A line on standard input starts the calls, and its end ends them. Then
the process prints one JSON object: the counts of each kind.
"""

import contextlib
import json
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from websockets.frames import Frame, Opcode

from harness.generator import BENCHMARKS, GeneratorError

MIB = 1 << 20
#: The most bytes of one read or write. A longer one would keep the good streams' process waiting.
CHUNK = 65536
#: A caller that the service has cut off comes again after this time, in seconds.
AWAY_SECONDS = 0.1
LOOK_SECONDS = 0.05
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


@dataclass(frozen=True)
class Kind:
    """What a caller sends after its upgrade: `first` once, then `again` without end."""

    first: bytes = b""
    again: bytes = b""
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
KINDS = FLOODS | RUDE | {name: hoard.kind for name, hoard in HOARDS.items()}


def upgrade(query: str = "") -> bytes:
    """Return the request that begins a call."""
    return (
        f"GET /ws/audio?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


@dataclass
class Count:
    """Counts for one kind: calls, calls that the service ended, bytes sent and received."""

    calls: int = 0
    ended: int = 0
    sent: int = 0
    came: int = 0


class Caller:
    """One connection at a time; whenever the service ends it, the caller comes again."""

    def __init__(self, kind: Kind, port: int, epoll: select.epoll, count: Count) -> None:
        self.kind, self.port, self.epoll, self.count = kind, port, epoll, count
        self.request = upgrade(kind.query)
        self.first, self.again = memoryview(kind.first), memoryview(kind.again)
        self.begun = False  # whether all of `first` was sent once
        self.call()

    def call(self) -> None:
        """Connect; the upgrade follows once the connection is there."""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if not self.kind.reads:  # a small buffer here, so that the service keeps the replies
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        self.socket.connect_ex(("127.0.0.1", self.port))
        self.upgraded = not self.kind.upgrades
        self.out = memoryview(self.request if self.kind.upgrades else b"")
        self.until = time.monotonic() + self.kind.stays
        self.on_the_line = True
        self.count.calls += 1
        self.epoll.register(self.socket, select.EPOLLIN | select.EPOLLOUT)

    def leave(self) -> None:
        """Close without a word, and call again later."""
        self.socket.close()
        self.on_the_line = False
        self.until = time.monotonic() + AWAY_SECONDS

    def look(self, now: float) -> None:
        """Leave or come again, if it is time."""
        if now < self.until:
            return
        if self.on_the_line:
            self.leave()
        else:
            self.call()

    def ready(self, events: int, buffer: bytearray) -> None:
        """Read and write what the socket allows, a chunk of each."""
        try:
            if events & ~select.EPOLLOUT:
                self._read(buffer)
            if events & select.EPOLLOUT:
                self._write()
        except BlockingIOError:
            pass
        except OSError:
            self.count.ended += 1
            self.leave()

    def _read(self, buffer: bytearray) -> None:
        size = self.socket.recv_into(buffer)
        if not size:
            raise ConnectionError
        self.count.came += size
        if not self.upgraded:
            if not buffer.startswith(b"HTTP/1.1 101 "):
                raise ConnectionError
            self.upgraded = True
            self.out = self.first
            reading = select.EPOLLIN if self.kind.reads else 0
            self.epoll.modify(self.socket, reading | select.EPOLLOUT)

    def _write(self) -> None:
        if self.out:
            sent = self.socket.send(self.out[:CHUNK])
            self.count.sent += sent
            self.out = self.out[sent:]
        if not self.out and self.upgraded:
            self.out, self.begun = self.again, True
        if not self.out:  # there is no more to send, or not before the upgrade's answer
            reading = select.EPOLLIN if self.kind.reads or not self.upgraded else 0
            self.epoll.modify(self.socket, reading)


def run(port: int, numbers: Mapping[str, int]) -> dict[str, Count]:
    """Run so many callers of each kind until standard input ends; return their counts."""
    counts = {name: Count() for name in numbers}
    buffer = bytearray(CHUNK)
    with select.epoll() as epoll:
        epoll.register(0, select.EPOLLIN)
        callers = [
            Caller(KINDS[name], port, epoll, counts[name])
            for name, number in numbers.items()
            for _ in range(number)
        ]
        looked, told = 0.0, False
        while True:
            now = time.monotonic()
            if now >= looked + LOOK_SECONDS:
                looked = now
                for caller in callers:
                    caller.look(now)
                if not told and all(caller.begun for caller in callers):
                    print("begun", flush=True)
                    told = True
                on_the_line = {c.socket.fileno(): c for c in callers if c.on_the_line}
            for descriptor, events in epoll.poll(LOOK_SECONDS):
                if descriptor == 0:
                    return counts
                on_the_line[descriptor].ready(events, buffer)


class Crowd:
    """The process of callers that misbehave; `counts` is filled in when it has ended."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.counts: dict[str, Count] = {}

    def wait_until(self, word: str) -> None:
        """Return once the process has said this word; it says "ready" and later "begun"."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            raise GeneratorError(f"the callers said {said!r} instead of {word!r}")

    def begin(self) -> None:
        """Have the callers call."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait_until_begun(self) -> None:
        """Return once every caller has upgraded and has sent all of its `first`."""
        self.wait_until("begun")

    def end(self) -> None:
        """End the callers, and take their counts."""
        text, _ = self._process.communicate(timeout=30)
        last = text.splitlines()[-1]
        self.counts = {name: Count(**fields) for name, fields in json.loads(last).items()}


@contextlib.contextmanager
def beside(core: int, port: int, numbers: Mapping[str, int]) -> Iterator[Crowd]:
    """Have a process ready for so many callers of each kind; it ends with the block."""
    command = [sys.executable, "-m", "harness.abuse", str(port)]
    process = subprocess.Popen(
        command + [f"{name}={number}" for name, number in numbers.items()],
        cwd=BENCHMARKS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        crowd = Crowd(process)
        crowd.wait_until("ready")
        yield crowd
        crowd.end()
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run the callers that the command line names, once a line comes; print their counts."""
    port, *named = sys.argv[1:]
    numbers = {name: int(number) for name, _, number in (word.rpartition("=") for word in named)}
    os.nice(BEHIND)
    print("ready", flush=True)
    sys.stdin.readline()
    counts = run(int(port), numbers)
    print(json.dumps({name: asdict(count) for name, count in counts.items()}))


if __name__ == "__main__":
    main()
