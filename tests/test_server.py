"""Start and stop: the whole server on loopback, and what a signal does to those on the line.

Signals are sent to this very process; serve() is listening to them in every one of these tests.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from service.audio.wav import Audio
from service.client.stream import Stream
from service.config import ConfigurationError, Settings
from service.handlers import Call
from service.server import serve
from tests.peers import stand_in
from tests.peers.logged import entries
from tests.peers.reach import Service, until, upgrade_request
from tests.peers.serving import Started, serving, terminate

DEADLINE = "rt_audio_drain_deadline_timestamp_seconds"


async def drains(service: Started) -> None:
    """Return once the service says that it is draining."""

    async def unready() -> bool:
        return (await service.get("/ready"))[0] == 503

    await until(unready)


async def stopped(service: Started, within: float = 5) -> None:
    with trio.fail_after(within):
        await service.stopped.wait()


async def test_with_nobody_on_the_line_it_exits_at_once() -> None:
    async with serving() as service:
        terminate()
        await stopped(service, within=3)
        assert service.in_full is True


async def test_a_scrapers_keep_alive_connection_does_not_hold_the_exit() -> None:
    async with serving() as service:
        scraper = await service.connect()
        await scraper.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await scraper.receive_some()).startswith(b"HTTP/1.1 200")
        half_sent = await service.connect()
        await half_sent.send_all(b"GET /health HT")
        await service.get("/health")
        terminate()
        await stopped(service, within=3)


async def test_a_client_that_does_not_read_its_answers_does_not_hold_the_exit() -> None:
    async with serving() as service:
        reader = await service.connect()
        with trio.move_on_after(0.5):  # until neither side can write any more
            while True:
                await reader.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        terminate()
        await stopped(service, within=3)
        assert service.in_full is True


async def test_while_draining_it_answers_refuses_newcomers_and_lets_calls_finish() -> None:
    async with serving() as service:
        call = await service.call()
        await call.ask(b"before")
        terminate()
        await drains(service)
        assert (await service.get("/health"))[0] == 200
        status, body = await service.get("/ready")
        assert (status, "draining" in body) == (503, True)
        assert await service.metric("rt_audio_draining") == 1
        newcomer = await service.connect()
        await newcomer.send_all(upgrade_request("/ws/audio"))
        answer = bytes(await newcomer.receive_some())
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()
        assert await call.ask(b"talk") == b"talk"
        assert not service.stopped.is_set()
        await call.leave()
        await stopped(service)
        assert service.in_full is True


async def test_sigterm_lets_a_stream_finish(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as service:

        def drain(done: int, total: int) -> None:
            if done == 5:
                terminate()

        report = await Stream(Audio(bytes(16000), 8000), service.url, on_reply=drain).run()
        assert report.frames_received == 50
        await stopped(service)
        assert service.in_full is True
    assert '"outcome": "completed"' in capsys.readouterr().out


async def test_during_the_notice_it_is_unready_and_still_accepts() -> None:
    async with serving(drain_notice_seconds=60, drain_seconds=40) as service:
        assert await service.metric(DEADLINE) == 0
        before = time.time()
        terminate()
        await drains(service)
        assert before + 100 <= await service.metric(DEADLINE) <= time.time() + 100
        call = await service.call()
        assert await call.ask(b"we") == b"we"
        terminate()
        assert (await call.hung_up())[0] == 1001
        await stopped(service)


async def test_calls_that_outlast_the_drain_time_are_told_1001() -> None:
    async with serving(drain_seconds=0.2) as service:
        calls = [await service.call() for _ in range(20)]
        for call in calls:
            await call.ask(b"hi")
        terminate()
        for call in calls:
            code, reason = await call.hung_up()
            assert code == 1001
            assert "restarting" in reason
        await stopped(service)
        assert service.in_full is True


async def test_sigint_tells_everybody_1001_at_once() -> None:
    async with serving(drain_seconds=600) as service:
        call = await service.call()
        await call.ask(b"hi")
        terminate(signal.SIGINT)
        assert (await call.hung_up())[0] == 1001
        await stopped(service)
        assert service.in_full is True


async def test_a_second_signal_cuts_the_drain_short_and_it_says_so() -> None:
    async with serving(drain_seconds=600) as service:
        call = await service.call()
        await call.ask(b"hi")
        terminate()
        await drains(service)
        terminate()
        assert (await call.hung_up())[0] == 1001
        await stopped(service)
        assert service.in_full is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_while_the_last_calls_are_closed_is_taken_too(
    number: signal.Signals,
) -> None:
    async with serving(drain_seconds=0) as service:
        stream = await service.upgraded()
        terminate()
        with trio.fail_after(5):
            close_frame = await stream.receive_some()
        assert close_frame[0] & 15 == 8
        terminate(number)  # the service waits for the answer to its close frame
        await stopped(service)
        assert service.in_full is False


async def test_sigquit_drains() -> None:
    async with serving() as service:
        call = await service.call()
        terminate(signal.SIGQUIT)
        await drains(service)
        assert await call.ask(b"talk") == b"talk"
        await call.leave()
        await stopped(service)
        assert service.in_full is True


@pytest.mark.parametrize("tls", [False, True])
async def test_a_stuck_reader_does_not_hold_the_exit(tls: bool) -> None:
    async with serving(tls=tls, drain_seconds=0.2, send_timeout_seconds=600) as service:
        stuck = await service.call()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def flood() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stuck.send(bytes(1 << 16))

            with trio.move_on_after(0.3):  # by then every buffer on the way is full
                await service.stopped.wait()
            other = await service.call()
            assert await other.ask(b"soon") == b"soon"
            terminate()
            assert (await other.hung_up())[0] == 1001
            await stopped(service)


async def test_a_client_that_does_not_read_its_answer_is_dropped() -> None:
    async with serving(send_timeout_seconds=0.3) as service:
        greedy = await service.connect()
        assert isinstance(greedy, trio.SocketStream)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
        with suppress(trio.BrokenResourceError), trio.fail_after(10):
            while True:
                await greedy.send_all(requests)
        assert (await service.get("/health"))[0] == 200


async def test_200_connections_that_vanish_leave_nothing_behind() -> None:
    async with serving() as service:
        descriptors = len(os.listdir("/proc/self/fd"))
        calls = [await service.call() for _ in range(200)]
        assert await service.metric("rt_audio_sessions_active") == 200
        for number, call in enumerate(calls):
            await (call.reset() if number % 2 else call.vanish())
        await service.metric_becomes("rt_audio_sessions_active", 0)
        assert (
            await service.metric('rt_audio_sessions_total{dialect="raw",outcome="aborted"}') == 200
        )
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2


async def test_a_stall_of_the_event_loop_is_seen_in_all_its_length() -> None:
    async with serving() as service:

        async def late() -> float:
            """Return how many wake-ups were more than 0.1 s late."""
            lag = 'rt_audio_event_loop_lag_seconds_bucket{{le="{}"}}'.format
            return await service.metric(lag("+Inf")) - await service.metric(lag("0.1"))

        before = await late()
        time.sleep(0.5)  # noqa: ASYNC251  # nothing is waited for: this is the stall

        async def counted() -> bool:
            return await service.metric("rt_audio_event_loop_stalled_seconds_total") >= 0.4

        await until(counted)
        assert await late() - before >= 15


async def test_a_half_close_ends_its_own_call() -> None:
    async with serving() as service:
        call = await service.call()
        await call.ask(b"hi")
        assert isinstance(call.stream, trio.SocketStream)
        await call.stream.send_eof()
        await service.metric_becomes('rt_audio_sessions_total{dialect="raw",outcome="aborted"}', 1)
        assert await call.hung_up() == (None, "")


async def test_beyond_max_sessions_an_upgrade_is_503_until_a_call_ends() -> None:
    async with serving(max_sessions=1) as service:
        first = await service.call()
        second = await service.connect()
        await second.send_all(upgrade_request("/ws/audio"))
        assert (bytes(await second.receive_some())).startswith(b"HTTP/1.1 503")
        assert (await service.get("/ready"))[0] == 200
        assert (await service.get("/capacity"))[0] == 503
        await first.leave()
        await service.metric_becomes("rt_audio_sessions_active", 0)
        third = await service.call()
        assert await third.ask(b"room") == b"room"


async def test_a_taken_port_is_a_configuration_error() -> None:
    async with serving() as service:
        with pytest.raises(ConfigurationError, match=f"RT_AUDIO_PORT={service.port}: cannot"):
            await serve(Settings(host="127.0.0.1", port=service.port))


async def test_an_unusable_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    for name, content in (("missing", None), ("empty", "")):
        file = tmp_path / name
        if content is not None:
            file.write_text(content)
        with pytest.raises(ConfigurationError, match=f"RT_AUDIO_TLS_CERT_FILE={file}: "):
            await serve(Settings(tls_cert_file=file, tls_key_file=file))


async def test_echo_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(conformance_echo=True) as service:
        call = await service.call(path="/ws/echo")
        assert await call.ask("anything") == "anything"


def admin_of(service: Started) -> Service:
    assert service.admin is not None
    return service.admin


async def test_an_operator_ends_a_call_that_does_not_read() -> None:
    async with serving(admin_port=0, send_timeout_seconds=600) as service:
        admin = admin_of(service)
        stuck, other = await service.call(), await service.call()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def flood() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stuck.send(bytes(1 << 16))

            with trio.fail_after(10):
                while True:
                    call = (await admin.json("/calls"))["calls"][0]
                    if call["unsent_bytes"]:
                        break
            assert (await admin.ask("DELETE", f"/calls/{call['id']}"))[0] == 202
            await admin.metric_becomes(
                'rt_audio_sessions_total{dialect="raw",outcome="dismissed"}', 1
            )
            nursery.cancel_scope.cancel()
        assert await other.ask(b"live") == b"live"


async def test_the_admin_listener_answers_until_the_last_call_is_over() -> None:
    async with serving(admin_port=0, drain_seconds=600) as service:
        admin = admin_of(service)
        call = await service.call()
        await call.ask(b"hi")
        terminate()
        await drains(service)
        drain = {"draining": True, "admitting": False, "stopping": True, "sessions": 1}
        assert await admin.json("/drain") == drain
        assert (await admin.ask("DELETE", "/drain"))[0] == 409
        assert await admin.metric("rt_audio_draining") == 1
        assert await call.ask(b"still here") == b"still here"
        await call.leave()
        await stopped(service)


async def test_an_operators_drain_stops_no_process_and_sigterm_ends_it_at_once() -> None:
    async with serving(admin_port=0, drain_notice_seconds=0.2) as service:
        admin = admin_of(service)
        call = await service.call()
        await call.ask(b"before")
        assert (await admin.ask("POST", "/drain"))[0] == 200

        async def closed() -> bool:
            return not (await admin.json("/drain"))["admitting"]

        await until(closed)
        refused = await service.connect()
        await refused.send_all(upgrade_request("/ws/audio"))
        assert (await refused.receive_some()).startswith(b"HTTP/1.1 503 ")
        await call.leave()
        await admin.metric_becomes("rt_audio_sessions_active", 0)
        assert not service.stopped.is_set()
        terminate()
        await stopped(service)
        assert service.in_full is True


async def test_a_full_lobby_keeps_no_operator_out() -> None:
    async with serving(admin_port=0, max_sessions=1) as service:
        admin = admin_of(service)
        operator = await admin.connect()
        await operator.send_all(b"GET /dr")  # it is not idle, and there are 100 places elsewhere
        for _ in range(120):
            stream = await service.connect()
            await stream.send_all(b"GET /")
        assert (await service.get("/health"))[0] == 200
        await operator.send_all(b"ain HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await operator.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_the_admin_listener_takes_calls_too_so_that_the_console_works_there() -> None:
    async with serving(tls=True, admin_port=0) as service:
        admin = admin_of(service)  # which has no TLS
        call = await admin.call("encoding=ulaw")
        assert await call.ask(b"abc") == b"abc"
        assert "console/main.js" in (await admin.get("/"))[1]
        assert (await admin.json("/console/server.json"))["refusal"] is None
        await call.leave()


async def test_no_word_of_a_proxy_counts_on_the_admin_listener() -> None:
    async with serving(admin_port=0, trusted_proxies="127.0.0.1", proxy_protocol=True) as service:
        admin = admin_of(service)
        call = await admin.call(extra="X-Forwarded-For: 192.0.2.7\r\n")
        assert await call.ask(b"hi") == b"hi"
        [listed] = (await admin.json("/calls"))["calls"]
        assert listed["caller"]["peer"].startswith("127.0.0.1:")
        await call.leave()


async def test_an_admin_listener_that_others_can_reach_is_warned_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for host, exposed in (("127.0.0.1", False), ("0.0.0.0", True)):
        async with serving(admin_port=0, admin_host=host):
            pass
        output = capsys.readouterr().out
        assert '"event": "admin_listening"' in output
        assert ('"event": "admin_exposed"' in output) == exposed


async def test_a_taken_admin_port_is_a_configuration_error() -> None:
    async with serving() as service:
        with pytest.raises(ConfigurationError, match=f"RT_AUDIO_ADMIN_PORT={service.port}: cannot"):
            await serve(Settings(host="127.0.0.1", port=0, admin_port=service.port))


async def test_a_handler_that_does_not_end_cannot_keep_the_process_alive(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    set_up_logs: Callable[[str, str], None],
    autojump_clock: trio.testing.MockClock,
) -> None:
    set_up_logs("info", "json")
    left, status = trio.Event(), list[int]()

    async def bot(call: Call) -> None:
        with trio.CancelScope(shield=True):
            await left.wait()

    def leave(code: int) -> None:
        status.append(code)
        left.set()

    monkeypatch.setattr("os._exit", leave)
    async with serving(handler=stand_in.put(bot), drain_seconds=0) as service:
        call = await service.call()
        terminate()
        assert (await call.hung_up())[0] == 1001
        await stopped(service, within=10)
    assert status == [1]
    lines = {line["event"]: line for line in entries(capfd)}
    assert lines["handler_stuck"]["sessions"] == [lines["session_started"]["session"]]
