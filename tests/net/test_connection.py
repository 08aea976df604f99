"""One connection's HTTP: what it may do, and that it never takes the others with it."""

import gc
import json
import os
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.server import ServerProtocol

from service.calls.duplex import Duplex
from service.calls.handled import HandledCall
from service.calls.session import Session
from service.net.accept import accept
from service.net.links import PumpedLink
from service.net.lobby import Lobby
from service.websocket.handshake import Handshake
from tests.peers.callers import StreamCaller
from tests.peers.calling import calling
from tests.peers.logged import entries, shown
from tests.peers.reach import read_head, upgrade_request
from tests.peers.serving import serving

SetUp = Callable[[str, str], None]

BAD_HANDSHAKES = 'rt_audio_connections_refused_total{dialect="none",reason="bad_handshake"}'


async def test_a_connection_is_kept_alive_and_closed_when_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hypercorn.config.Config.keep_alive_timeout", 0.3)
    async with serving() as service:
        stream = await service.connect()
        # Both requests at once: a pause of a busy machine between them could be taken for idleness.
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answers = b""
        with trio.fail_after(5):
            while data := await stream.receive_some():
                answers += data
    assert answers.count(b'{"status":"ok"}\n') == 2


async def test_compression_is_declined() -> None:
    async with serving() as service:
        stream = await service.connect()
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        await stream.send_all(upgrade_request("/ws/audio", offer))
        head = (await read_head(stream)).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"sec-websocket-extensions" not in head
        assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    ],
)
async def test_http2_is_not_spoken(request_bytes: bytes) -> None:
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(request_bytes)
        head = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 ")
        assert not head.startswith(b"HTTP/1.1 101")


async def test_frames_sent_right_behind_the_answer_are_not_lost() -> None:
    async with serving() as service:
        for number in range(50):
            call = await service.call()
            frame = number.to_bytes(2)
            assert await call.ask(frame) == frame


async def test_data_ahead_of_the_answer_is_refused() -> None:
    """RFC 6455, 4.1: a client waits for it."""
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(upgrade_request("/ws/audio") + b"\x82\x80\x00\x00\x00\x00")
        assert (await read_head(stream)).startswith(b"HTTP/1.1 400 ")
        name = 'rt_audio_connections_refused_total{dialect="raw",reason="abandoned"}'
        await service.metric_becomes(name, 1)
        assert await service.metric("rt_audio_sessions_active") == 0


@pytest.mark.parametrize(
    "headers",
    ["Sec-WebSocket-Version: 12\r\n", "Upgrade: nothing\r\n", "Connection: close\r\n"],
)
async def test_no_websocket_upgrade_is_refused_politely(headers: str) -> None:
    request = b"GET /ws/audio HTTP/1.1\r\nHost: x\r\n" + headers.encode() + b"\r\n"
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(request)
        assert (await read_head(stream)).startswith(b"HTTP/1.1 426 ")


async def test_any_bytes_at_or_after_the_upgrade_never_kill_the_server() -> None:
    async with calling("server") as (healthy, service):
        examples: list[tuple[bool, bytes]] = []
        mutated = st.tuples(st.integers(0, 150), st.binary(max_size=8)).map(
            lambda edit: (
                upgrade_request("/ws/audio")[: edit[0]]
                + edit[1]
                + upgrade_request("/ws/audio")[edit[0] + len(edit[1]) :]
            )
        )

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(st.booleans(), st.binary(max_size=200) | mutated)
        def collect(upgraded: bool, noise: bytes) -> None:
            examples.append((upgraded, noise))

        collect()
        for upgraded, noise in examples:
            stream = await (service.upgraded() if upgraded else service.connect())
            async with stream:
                await stream.send_all(noise)
                with trio.move_on_after(0.01):
                    await stream.receive_some()
        assert await healthy.ask(b"live") == b"live"
        await service.metric_becomes("rt_audio_sessions_active", 1)


async def test_a_connections_bug_ends_that_connection_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with calling("server") as (healthy, service):

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("service.net.http1.Http1.receive", broken)
            stream = await service.connect()
            await stream.send_all(b"GET /health HTTP/1.1\r\n\r\n")
            assert await stream.receive_some() == b""
        assert await healthy.ask(b"live") == b"live"


async def test_a_client_that_never_shakes_hands_for_tls_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.net.connection._TLS_HANDSHAKE_SECONDS", 0.1)
    async with serving(tls=True) as service:
        for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            stream = await trio.open_tcp_stream("127.0.0.1", service.port)
            async with stream:
                if greeting:
                    await stream.send_all(greeting)
                # Unread bytes make the end a reset.
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
        call = await service.call()
        assert await call.ask(os.urandom(320))
        name = 'rt_audio_tls_handshake_failures_total{reason="timeout"}'
        assert await service.metric(name) == 1


def hello(context: ssl.SSLContext, name: str = "localhost") -> bytes:
    """Return the first bytes of a TLS client."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def old_client() -> ssl.SSLContext:
    """Return the context of a client that knows no modern cipher."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("reason", "first", "message"),
    [
        ("lost", b"", "the peer hung up"),
        ("lost", hello(ssl.create_default_context())[:50], "the peer hung up"),
        ("not_tls", b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n", "http request"),
        ("not_tls", b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", "wrong version number"),
        ("incompatible", hello(old_client()), "no shared cipher"),
        ("protocol", b"\x16\x03\x01\x00\x05hello", "unexpected message"),
    ],
    # xdist wants the same names in each process, and a hello is random.
    ids=["nothing", "half a hello", "HTTP", "PROXY", "an old client", "no hello"],
)
async def test_a_failed_tls_handshake_is_counted_and_logged(
    reason: str,
    first: bytes,
    message: str,
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("warning", "json")
    async with serving(tls=True) as service:
        for _ in range(2):
            stream = await trio.open_tcp_stream("127.0.0.1", service.port)
            async with stream:
                await stream.send_all(first)
                # The service may have hung up already.
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
        series = f'rt_audio_tls_handshake_failures_total{{reason="{reason}"}}'
        await service.metric_becomes(series, 2)
    [line] = entries(capfd, "tls_handshake_failed")
    assert (line["reason"], line["message"]) == (reason, message)
    assert line["peer"].startswith("127.0.0.1:")


async def test_a_client_that_rejects_our_certificate_is_counted() -> None:
    async with serving(tls=True) as service:

        def reject() -> None:
            with socket.create_connection(("127.0.0.1", service.port)) as client:
                context = ssl.create_default_context()
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(client, server_hostname="localhost")

        # In a thread, because Trio's streams do not send the alert.
        await trio.to_thread.run_sync(reject)
        series = 'rt_audio_tls_handshake_failures_total{reason="certificate"}'
        await service.metric_becomes(series, 1)


async def test_a_broken_frame_gets_its_close_code_from_the_server() -> None:
    async with serving() as service:
        for noise, code in ((b"\xc2\x80\0\0\0\0", 1002), (b"\x82\x00", 1002)):
            call = StreamCaller(await service.upgraded())
            await call.stream.send_all(noise)
            assert (await call.hung_up())[0] == code
        name = 'rt_audio_frames_rejected_total{reason="protocol"}'
        await service.metric_becomes(name, 2)


def parts_of_calls() -> set[int]:
    """Return the identities of what calls are made of, as far as it still exists."""
    kinds = Handshake, Session, Duplex, HandledCall, PumpedLink, ServerProtocol
    return {id(each) for each in gc.get_objects() if isinstance(each, kinds)}


@pytest.mark.parametrize("handler", ["echo", "tests.peers.bots:echo"])
async def test_an_ended_call_leaves_nothing_to_the_garbage_collector(
    handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seldom looks at what has lived for a while, so what it had to find would pile up."""
    monkeypatch.setattr("service.net.pump.SWEEP_SECONDS", 0)  # so that each call meets a sweep
    async with serving(handler=handler) as service:
        gc.collect()
        before = parts_of_calls()
        gc.disable()
        try:
            for _ in range(5):
                call = await service.call()
                await call.ask(bytes(320))
                await call.leave()
            await service.metric_becomes("rt_audio_sessions_active", 0)
            with trio.fail_after(10):
                while parts_of_calls() - before:
                    await trio.lowlevel.checkpoint()
        finally:
            gc.enable()


async def test_a_head_may_come_in_pieces() -> None:
    async with serving() as service:
        for request, status in (
            (upgrade_request("/ws/audio"), b"HTTP/1.1 101 "),
            (b"GET /health HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 200 "),
        ):
            stream = await service.connect()
            for byte in range(len(request)):
                await stream.send_all(request[byte : byte + 1])
                await trio.lowlevel.checkpoint()
            assert (await read_head(stream)).startswith(status)


async def test_an_upgrade_may_follow_a_request_on_the_same_connection() -> None:
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_head(stream)
        assert await stream.receive_some() == b'{"status":"ok"}\n'
        await stream.send_all(upgrade_request("/ws/audio"))
        assert (await read_head(stream)).startswith(b"HTTP/1.1 101 ")
        assert await StreamCaller(stream).ask(b"hi") == b"hi"


async def test_an_upgrade_sent_before_the_answer_to_another_request_is_refused(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("warning", "json")
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade_request("/ws/audio")
        )
        answers = b""
        with trio.fail_after(5):
            while b"HTTP/1.1 403 " not in answers:
                data = await stream.receive_some()
                assert data, answers
                answers += data
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert await service.metric("rt_audio_sessions_active") == 0
        assert await service.metric(BAD_HANDSHAKES) == 1
    [line] = entries(capfd, "upgrade_refused")
    assert "before the answer to another request" in line["message"]


async def test_a_head_without_an_end_is_refused() -> None:
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert (await read_head(stream)).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


async def test_a_half_closed_client_has_its_answer() -> None:
    async with serving() as service:
        stream = await service.connect()
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.send_eof()
        assert (await read_head(stream)).startswith(b"HTTP/1.1 200 ")


async def test_an_upgrade_against_the_rfc_is_told_so_in_json_counted_and_logged(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("warning", "json")
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(upgrade_request("/ws/audio").replace(b"Version: 13", b"Version: 8"))
        head = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in head
        body = json.loads(await stream.receive_some())
        assert body["error"] == "bad_handshake"
        assert await stream.receive_some() == b""
        assert await service.metric(BAD_HANDSHAKES) == 1
    [line] = entries(capfd, "upgrade_refused")
    assert (line["reason"], line["message"]) == ("bad_handshake", body["message"])
    assert line["peer"].startswith("127.0.0.1:")


async def test_without_room_for_a_connection_it_waits_for_some(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("warning", "json")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with calling("server") as (healthy, service):
        stream = await service.connect()
        taken = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
        try:
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            said = ""
            with trio.fail_after(5):
                while "cannot_accept" not in (said := said + shown(capfd)):
                    assert await healthy.ask(b"live") == b"live"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await read_head(stream)).startswith(b"HTTP/1.1 200 ")


async def test_a_request_whose_body_never_comes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.net.connection._REQUEST_SECONDS", 0.2)
    async with serving() as service:
        stream = await service.connect()
        await stream.send_all(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        answer = b""
        with trio.fail_after(5):
            while data := await stream.receive_some():
                answer += data
        assert answer.startswith(b"HTTP/1.1 405 ")


async def test_connections_beyond_those_of_one_wake_up_are_accepted_on_the_next() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    taken: list[socket.socket] = []
    async with trio.open_nursery() as nursery:
        clients = [await trio.open_tcp_stream(*listener.socket.getsockname()) for _ in range(10)]
        nursery.start_soon(accept, listener, Lobby(100), lambda one, _: taken.append(one))
        with trio.fail_after(5):
            while len(taken) < len(clients):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    for client, accepted in zip(clients, taken, strict=True):
        accepted.close()
        await client.aclose()


async def test_a_broken_listener_ends_the_service_instead_of_spinning() -> None:
    """Only errors that concern one connection, or want for room, may be passed over."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        lobby = Lobby(10)

        async def listen() -> None:
            with pytest.raises(OSError, match="Invalid argument"):
                await accept(listener, lobby, lambda transport, _: transport.close())

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        listener.socket.shutdown(2)
