"""What the stack under us does, as far as we rely on it or work around it.

When an upgrade of a package fails one of these, the code that it names can go, or must change.
"""

import select
import socket

import pytest
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from quart import Response, Websocket, websocket
from quart_trio import QuartTrio
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tests.peers.callers import AsgiCaller


async def test_a_cancelled_receive_loses_nothing() -> None:
    """net.links: StreamLink stops waiting for a read when a deadline is due, and reads on."""
    ours, theirs = trio.testing.memory_stream_pair()
    for _ in range(3):
        with trio.move_on_after(0):
            await ours.receive_some()
    await theirs.send_all(b"kept")
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.receive_some()
    assert await ours.receive_some() == b"kept"


async def test_an_epoll_can_be_waited_for() -> None:
    """net.pump: one wake-up for many sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs, select.epoll() as epoll:
        epoll.register(ours.fileno(), select.EPOLLIN)
        with trio.move_on_after(0.05) as nothing:
            await trio.lowlevel.wait_readable(epoll.fileno())
        assert nothing.cancelled_caught
        theirs.send(b"x")
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(epoll.fileno())
        assert epoll.poll(0) == [(ours.fileno(), select.EPOLLIN)]


async def test_hypercorn_would_turn_to_http2() -> None:
    """net.http1 keeps it from that."""

    async def send(event: Event) -> None:
        pass

    async def app(*_: object) -> None:
        pass

    async with TaskGroup() as group:
        http = H11Protocol(
            ASGIWrapper(app),
            Config(),
            WorkerContext(None),
            group,
            ConnectionState({}),
            False,
            None,
            None,
            send,
        )
        with pytest.raises(H2ProtocolAssumedError):
            await http.handle(RawData(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))


async def test_hypercorns_own_connection_writes_without_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Why net.connection stands in its place: this write cannot even be cancelled."""

    class Stuck(trio.abc.SendStream):
        async def send_all(self, data: object) -> None:
            await trio.sleep(80_000)

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None: ...

    server = TCPServer(None, Config(), WorkerContext(None), {}, Stuck())  # type: ignore[arg-type]
    with trio.move_on_after(1):
        await server.protocol_send(RawData(b"x"))
    assert trio.current_time() >= 80_000


async def test_quart_says_1000_whatever_happened_and_hides_empty_messages() -> None:
    """web.upgrade reads the events itself, and only the link closes."""
    app = QuartTrio(__name__)
    received: list[object] = []

    @app.websocket("/")
    async def handler() -> None:
        received.append(await websocket.receive())

    caller = AsgiCaller()
    scope = {
        "type": "websocket", "asgi": {"spec_version": "2.3"}, "path": "/", "query_string": b"",
        "scheme": "ws", "headers": [], "subprotocols": [], "extensions": {}, "state": {},
    }  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, scope, caller.app_receive.receive, caller.app_send.send)  # type: ignore[arg-type]
        assert (await caller.connect())["type"] == "websocket.accept"
        event = {"type": "websocket.receive", "bytes": b"", "text": None}
        await caller.put(event)
        assert (await caller.event())["code"] == 1000
    assert received == [None]


async def test_quart_leaves_an_upgrade_to_one_method_and_sends_its_response() -> None:
    """web.upgrade overrides that method, to answer an upgrade whose view has raised."""
    seen: list[str] = []

    class App(QuartTrio):
        async def handle_websocket(self, websocket: Websocket) -> Response:
            seen.append(websocket.path)
            return Response("no", 418)

    caller = AsgiCaller()
    scope = {
        "type": "websocket", "asgi": {"spec_version": "2.3"}, "path": "/here", "query_string": b"",
        "scheme": "ws", "headers": [], "subprotocols": [], "state": {},
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(App(__name__), scope, caller.app_receive.receive, caller.app_send.send)  # type: ignore[arg-type]
        start = await caller.connect()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 418)
        assert (await caller.event())["body"] == b"no"
        nursery.cancel_scope.cancel()
    assert seen == ["/here"]


def test_websockets_refuses_a_close_between_fragments() -> None:
    """websocket.wire: RFC 6455 allows it, and Autobahn's case 7.1.5 asks for it."""
    protocol = ServerProtocol(state=OPEN)
    protocol.receive_data(Frame(Opcode.TEXT, b"x", False).serialize(mask=True))
    protocol.receive_data(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
    assert protocol.close_sent is not None
    assert protocol.close_sent.code == 1002
    assert protocol.current_size == 1
