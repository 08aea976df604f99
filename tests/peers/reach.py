"""A running service, reached by its port: calls, requests, metrics."""

import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from tests.peers.callers import StreamCaller
from tests.peers.series import series_of


class Service:
    """A running service, in this process or elsewhere; `context` is for a service with TLS."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.port, self._context = port, context
        self.preamble = b""  # what a proxy says on each connection, before everything else
        self._streams: list[trio.abc.Stream] = []

    @property
    def url(self) -> str:
        """The URL of its calls."""
        return f"{'ws' if self._context is None else 'wss'}://127.0.0.1:{self.port}/ws/audio"

    async def connect(self) -> trio.abc.Stream:
        """Return a new connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams.append(stream)
        if self.preamble:
            await stream.send_all(self.preamble)
        if self._context is None:
            return stream
        return trio.SSLStream(stream, self._context, server_hostname="localhost",
                              https_compatible=True)  # fmt: skip

    async def hang_up(self) -> None:
        """Close every connection that was made."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def upgraded(
        self, query: str = "", path: str = "/ws/audio", extra: str = ""
    ) -> trio.abc.Stream:
        """Return a new connection on which the service has answered 101."""
        stream = await self.connect()
        await stream.send_all(upgrade_request(f"{path}?{query}", extra))
        head = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return stream

    async def answer(self, target: str, extra: str = "") -> tuple[int, str]:
        """Return the status and the whole head with which an upgrade is answered."""
        stream = await self.connect()
        async with stream:
            await stream.send_all(upgrade_request(target, extra))
            head = (await read_head(stream)).decode()
        return int(head.split()[1]), head

    async def call(self, query: str = "", path: str = "/ws/audio", extra: str = "") -> StreamCaller:
        """Return the caller of a new call; `extra` has more lines of its request's head."""
        return StreamCaller(await self.upgraded(query, path, extra))

    async def get(self, target: str, extra: str = "") -> tuple[int, str]:
        """Return the status and the body of a GET on a connection of its own."""
        return await self.ask("GET", target, extra)

    async def ask(self, method: str, target: str, extra: str = "") -> tuple[int, str]:
        """Return the status and the body of a request on a connection of its own."""
        stream = await self.connect()
        async with stream:
            line = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            await stream.send_all(f"{line}{extra}\r\n".encode())
            answer = b""
            while data := await stream.receive_some():
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    async def json(self, target: str) -> Any:
        """Return the JSON that a GET is answered with."""
        return json.loads((await self.get(target))[1])

    async def scrape(self) -> dict[str, float]:
        """Return the value of each series on /metrics."""
        _, page = await self.get("/metrics")
        return series_of(page)

    async def metric(self, series: str) -> float:
        """Return the value of one series on /metrics."""
        return (await self.scrape())[series]

    async def metric_becomes(self, series: str, value: float) -> None:
        """Return once the series has this value."""

        async def has() -> bool:
            return await self.metric(series) == value

        await until(has)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is so; for a page, which cannot notify us."""
    with trio.fail_after(10):
        while not await look():  # noqa: ASYNC110
            await trio.sleep(0.01)


def upgrade_request(target: str, extra: str = "") -> bytes:
    """Return a WebSocket upgrade's request."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    ).encode()


async def read_head(stream: trio.abc.Stream) -> bytes:
    """Return an answer's head, up to its empty line, and leave what is behind it unread."""
    head, end = b"", b"\r\n\r\n"
    while not head.endswith(end):
        # No read takes more than what the end still lacks.
        missing = next(n for n in range(1, 5) if n == 4 or head.endswith(end[:-n]))
        data = await stream.receive_some(missing)
        if not data:
            break
        head += data
    return head
