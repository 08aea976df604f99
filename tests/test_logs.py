"""Log lines: JSON for machines, and nothing in them that must not be."""

import io
import json
import logging
from collections.abc import Callable

import pytest

from service import logs
from tests.peers.calling import calling
from tests.peers.reach import read_head, upgrade_request
from tests.peers.serving import serving

#: The fixture that sets up the logs for one test.
SetUp = Callable[[str, str], None]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_ours_and_other_packages_lines_are_json_alike(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "auto")
    logs.get("service.test").info("hello", session="abc")
    logging.getLogger("hypercorn.error").warning("watch %s", "out")
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["session"], ours["level"]) == ("hello", "abc", "info")
    assert (theirs["event"], theirs["level"]) == ("watch out", "warning")
    assert str(ours["timestamp"]).endswith("Z")


def test_the_level_is_ours_and_other_packages_stay_quiet(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("debug", "json")
    logs.get("service.test").debug("detail")
    logging.getLogger("websockets.server").debug("< BINARY 00 00 00 00")
    assert [line["event"] for line in lines(capsys)] == ["detail"]


def test_an_exception_is_one_line(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get("service.test").exception("failed")
    [line] = lines(capsys)
    assert "broken" in json.dumps(line["exception"])


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_shows_no_values(
    capsys: pytest.CaptureFixture[str],
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
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "s3cret" not in shown


def test_columns_for_people(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "console")
    logs.get("service.test").info("hello", bytes=320)
    shown = capsys.readouterr().err
    assert "hello" in shown
    assert not shown.startswith("{")


def test_a_line_that_cannot_be_written_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
    set_up_logs: SetUp,
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    monkeypatch.setattr(closed, "isatty", lambda: False, raising=False)
    set_up_logs("info", "json")
    logs.get("service.test").info("lost")


async def test_a_call_has_a_first_and_a_last_line_and_debug_a_line_a_frame(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("debug", "json")
    async with calling("server", "reply=ulaw&codec=numpy") as (caller, service):
        for size in (320, 160):
            await caller.ask(b"\x5a" * size)
        await caller.leave(1001)
        await service.metric_becomes("rt_audio_sessions_active", 0)
    said = [line for line in lines(capsys) if "session" in line]
    assert [line["event"] for line in said] == [
        "session_started",
        "frame",
        "frame",
        "session_ended",
    ]
    started, *frames, ended = said
    assert len({line["session"] for line in said}) == 1
    assert (started["codec"], started["encoding"], started["reply"]) == ("numpy", "pcm16", "ulaw")
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
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    async with serving(trusted_proxies="127.0.0.1") as service:
        call = await service.call(extra=SAYING_WHO)
        await call.leave()
        refused = await service.connect()
        await refused.send_all(upgrade_request("/ws/audio?encoding=opus", SAYING_WHO))
        assert (await read_head(refused)).startswith(b"HTTP/1.1 400 ")
    said = {str(line["event"]): line for line in lines(capsys) if "peer" in line}
    for line in said.values():
        assert (line["peer"], line["request_id"], line["trace_id"]) == ("192.0.2.1", "r-1", TRACE)
    for event in ("session_started", "upgrade_refused"):
        assert str(said[event]["via"]).startswith("127.0.0.1:")
        agent = str(said[event]["user_agent"])
        assert agent.startswith("Chr 0mome xxx")
        assert len(agent) == 300
    assert "user_agent" not in said["session_ended"]


async def test_where_no_proxy_is_trusted_nobody_is_believed_and_nothing_is_made_up(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("info", "json")
    async with serving() as service:
        for extra in ("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n",
                      "User-Agent: \x9b\r\ntraceparent: 00-no\r\n"):  # fmt: skip
            await (await service.call(extra=extra)).leave()
    for line in lines(capsys):
        if "session" in line:
            assert str(line["peer"]).startswith("127.0.0.1:")
            assert line.keys().isdisjoint({"via", "user_agent", "request_id", "trace_id"})


async def test_a_codec_that_is_not_here_is_warned_about_and_counted(
    capsys: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
) -> None:
    set_up_logs("warning", "json")
    for codec in ("opus", "numpy"):
        async with calling("server", f"codec={codec}") as (caller, service):
            await caller.ask(b"hi")
            for got in ("audioop", "numpy"):
                counted = await service.metric(f'rt_audio_codec_fallbacks_total{{codec="{got}"}}')
                assert counted == (codec == "opus" and got == "audioop")
    [line] = lines(capsys)
    assert (line["event"], line["asked_for"], line["codec"]) == (
        "codec_fallback",
        "opus",
        "audioop",
    )


async def test_neither_audio_nor_tokens_are_logged(
    capsys: pytest.CaptureFixture[str],
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
    shown = capsys.readouterr().err
    assert "session_ended" in shown
    for secret in ("sesame", "ZZZZ", "5a 5a", "YYYY"):
        assert secret not in shown
