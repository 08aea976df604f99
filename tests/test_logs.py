"""Log lines: JSON for machines, and nothing in them that must not be."""

import fcntl
import json
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import pytest
import structlog
import trio

from service import logs
from tests.peers.calling import calling
from tests.peers.house import House
from tests.peers.logged import entries, shown
from tests.peers.processes import DEADLINE_SECONDS, SERVE, spawn
from tests.peers.reach import Service, read_head, upgrade_request
from tests.peers.serving import serving

#: The fixture that sets up the logs for one test.
SetUp = Callable[[str, str], None]


def test_ours_and_other_packages_lines_are_json_alike(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "auto")
    logs.get("service.test").info("hello", session="abc")
    logging.getLogger("hypercorn.error").warning("watch %s", "out")
    ours, theirs = entries(capfd)
    assert (ours["event"], ours["session"], ours["level"]) == ("hello", "abc", "info")
    assert (theirs["event"], theirs["level"]) == ("watch out", "warning")
    assert str(ours["timestamp"]).endswith("Z")


def test_the_level_is_ours_and_other_packages_stay_quiet(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("debug", "json")
    logs.get("service.test").debug("detail")
    logging.getLogger("websockets.server").debug("< BINARY 00 00 00 00")
    assert [line["event"] for line in entries(capfd)] == ["detail"]


def test_the_level_changes_under_loggers_that_are_in_use(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    structlog.configure(cache_logger_on_first_use=True)
    log = logs.get("service.test")
    for level in ("info", "debug", "error", "info"):
        logs.set_level(level)
        assert logs.level() == level
        assert log.is_enabled_for(logging.DEBUG) is (level == "debug")
        log.debug("detail", level_now=level)
        log.info("news", level_now=level)
    assert [(line["event"], line["level_now"]) for line in entries(capfd)] == [
        ("news", "info"), ("detail", "debug"), ("news", "debug"), ("news", "info"),
    ]  # fmt: skip


def test_an_exception_is_one_line(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get("service.test").exception("failed")
    [line] = entries(capfd)
    assert "broken" in json.dumps(line["exception"])


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_shows_no_values(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
    form: str,
) -> None:
    """What a function was given may be a token or somebody's audio."""

    def fail(token: str) -> None:
        raise ValueError(len(token))

    set_up_logs("info", form)
    try:
        fail("s3" + "cret")
    except ValueError:
        logs.get("service.test").exception("failed")
    said = shown(capfd)
    assert "ValueError" in said
    assert "s3cret" not in said


def test_columns_for_people(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "console")
    logs.get("service.test").info("hello", bytes=320)
    said = shown(capfd)
    assert "hello" in said
    assert not said.startswith("{")


@contextmanager
def unread() -> Iterator[int]:
    """Have standard error in a small pipe for the block; yields the end where it can be read."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with open(writer, "w") as errors, redirect_stderr(errors):
        yield reader
        # A thread that is still stuck in a write fails now, and so lets go of the descriptor.
        os.close(reader)
        logs.flush()


def read_until(reader: int, event: str) -> list[dict[str, Any]]:
    """Return the log entries that a pipe has, up to the first of this event."""
    data = b""
    while f'"event": "{event}"'.encode() not in data or not data.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], DEADLINE_SECONDS)
        assert ready, "the log has stopped"
        data += os.read(reader, 65536)
    return [json.loads(line) for line in data.splitlines()]


async def test_while_nobody_reads_lines_are_queued_then_dropped_counted_and_told(
    set_up_logs: SetUp,
) -> None:
    most = 10_000
    with unread() as reader:
        set_up_logs("info", "json")
        for number in range(most):
            logs.get("service.test").info("line", number=number)
        lost = logs.dropped()
        assert 0 < lost < most / 2
        assert await House().metric("rt_audio_log_lines_dropped_total") == lost
        *read, told = read_until(reader, "log_lines_dropped")
        assert [entry["number"] for entry in read] == [*range(most - lost)], "it is at the gap"
        assert (told["level"], told["lines"]) == ("warning", lost)
        logs.get("service.test").info("again")
        assert len(read_until(reader, "again")) == 1
        assert logs.dropped() == lost


def test_a_descriptor_that_others_made_non_blocking_loses_nothing(set_up_logs: SetUp) -> None:
    with unread() as reader:
        os.set_blocking(sys.stderr.fileno(), False)
        set_up_logs("info", "json")
        for _ in range(1000):
            logs.get("service.test").info("line")
        logs.get("service.test").info("last")
        assert len(read_until(reader, "last")) == 1001
        assert logs.dropped() == 0


@pytest.mark.parametrize("file", ["a pipe that is closed", "/dev/full"])
def test_a_line_that_cannot_be_written_is_counted_and_disturbs_nobody(
    file: str, set_up_logs: SetUp
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken, open("/dev/full", "w") as full:
        with redirect_stderr(full if file == "/dev/full" else broken):
            set_up_logs("info", "json")
        for expected in (1, 2):
            logs.get("service.test").info("lost")
            logs.flush()
            assert logs.dropped() == expected


def test_what_python_itself_would_print_is_a_line_too() -> None:
    """Python would wait for a reader; and a line of JSON must not stand between lines of text."""
    code = """if True:
        import logging, warnings
        from service import logs
        class Broken:
            def __del__(self):
                raise ValueError("in a finalizer")
        logs.set_up("info", "json")
        warnings.warn("careful")
        Broken()
        raise ZeroDivisionError("at last")
    """
    with spawn(sys.executable, "-c", code) as process:
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    warned, unraisable, crashed = map(json.loads, errors.splitlines())
    assert "careful" in warned["event"]
    assert "in a finalizer" in json.dumps(unraisable["exception"])
    assert (crashed["event"], crashed["level"]) == ("crashed", "critical")
    assert "at last" in json.dumps(crashed["exception"])


async def test_calls_go_on_and_the_service_ends_while_nobody_reads_its_log() -> None:
    with unread() as reader:
        process = spawn(*SERVE, 0, stderr=sys.stderr.fileno(), RT_AUDIO_LOG_LEVEL="debug")
        try:
            service = Service(read_until(reader, "listening")[-1]["port"])
            with trio.fail_after(DEADLINE_SECONDS):
                for _ in range(100):
                    call = await service.call()
                    assert await call.ask(b"live") == b"live"
                    await call.leave()
                assert (await service.get("/health"))[0] == 200
                process.terminate()
                assert await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True) == 0
        finally:
            process.kill()
            process.communicate()


async def test_a_call_has_a_first_and_a_last_line_and_debug_a_line_a_frame(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("debug", "json")
    async with calling("server", "reply=ulaw&codec=numpy&reply_rate=16000") as (caller, service):
        for size in (320, 160):
            await caller.ask(b"\x5a" * size)
        await caller.leave(1001)
        await service.metric_becomes("rt_audio_sessions_active", 0)
    said = [line for line in entries(capfd) if "session" in line]
    assert [line["event"] for line in said] == [
        "session_started",
        "frame",
        "frame",
        "session_ended",
    ]
    started, *frames, ended = said
    assert len({line["session"] for line in said}) == 1
    assert (started["codec"], started["encoding"], started["reply"]) == ("numpy", "pcm16", "ulaw")
    assert (started["sample_rate"], started["reply_rate"]) == (8000, 16000)
    assert str(started["peer"]).startswith("127.0.0.1:")
    assert [frame["bytes"] for frame in frames] == [320, 160]
    assert {name: ended[name] for name in ("outcome", "code", "frames", "bytes")} == {
        "outcome": "completed", "code": 1001, "frames": 2, "bytes": 480,
    }  # fmt: skip
    assert (ended["smallest"], ended["largest"]) == (160, 320)
    assert isinstance(ended["seconds"], float)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAYING_WHO = (
    f"User-Agent: Chr\x9b0mome {'x' * 400}\r\nX-Request-ID: r-1\r\n"
    f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n"
    "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n"
)


async def test_a_calls_lines_say_who_calls_and_the_first_one_says_all(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    async with serving(trusted_proxies="127.0.0.1") as service:
        call = await service.call(extra=SAYING_WHO)
        await call.leave()
        refused = await service.connect()
        await refused.send_all(upgrade_request("/ws/audio?encoding=opus", SAYING_WHO))
        assert (await read_head(refused)).startswith(b"HTTP/1.1 400 ")
    said = {str(line["event"]): line for line in entries(capfd) if "peer" in line}
    for line in said.values():
        assert (line["peer"], line["request_id"], line["trace_id"]) == ("192.0.2.1", "r-1", TRACE)
    for event in ("session_started", "upgrade_refused"):
        assert str(said[event]["via"]).startswith("127.0.0.1:")
        agent = str(said[event]["user_agent"])
        assert agent.startswith("Chr 0mome xxx")
        assert len(agent) == 300
    assert "user_agent" not in said["session_ended"]


async def test_where_no_proxy_is_trusted_nobody_is_believed_and_nothing_is_made_up(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    async with serving() as service:
        for extra in ("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n",
                      "User-Agent: \x9b\r\ntraceparent: 00-no\r\n"):  # fmt: skip
            await (await service.call(extra=extra)).leave()
    for line in entries(capfd):
        if "session" in line:
            assert str(line["peer"]).startswith("127.0.0.1:")
            assert line.keys().isdisjoint({"via", "user_agent", "request_id", "trace_id"})


async def test_a_codec_that_is_not_here_is_warned_about_and_counted(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("warning", "json")
    for codec in ("opus", "numpy"):
        async with calling("server", f"codec={codec}") as (caller, service):
            await caller.ask(b"hi")
            for got in ("audioop", "numpy"):
                counted = await service.metric(f'rt_audio_codec_fallbacks_total{{codec="{got}"}}')
                assert counted == (codec == "opus" and got == "audioop")
    [line] = entries(capfd)
    assert (line["event"], line["asked_for"], line["codec"]) == (
        "codec_fallback",
        "opus",
        "audioop",
    )


async def test_neither_audio_nor_tokens_are_logged(
    capfd: pytest.CaptureFixture[str],
    tmp_path: object,
    set_up_logs: SetUp,
) -> None:
    set_up_logs("debug", "json")
    file = f"{tmp_path}/tokens"
    with open(file, "w") as tokens:  # noqa: ASYNC230
        tokens.write("sesame")
    query = "access_token=sesame"
    async with calling("server", query, tokens_file=file) as (caller, _):
        await caller.ask(b"ZZZZ")
        await caller.send("not audio, YYYY")
        await caller.hung_up()
    said = shown(capfd)
    assert "session_ended" in said
    for secret in ("sesame", "ZZZZ", "5a 5a", "YYYY"):
        assert secret not in said
