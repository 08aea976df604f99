"""Routes, refusals and errors, through Quart's own test client and plain ASGI."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from service.calls.session import Session
from tests.peers import stand_in
from tests.peers.callers import AsgiCaller
from tests.peers.house import House, run_asgi
from tests.peers.logged import entries

SetUp = Callable[[str, str], None]


async def refused(
    house: House, query: str = "", path: str = "/ws/audio", **headers: str
) -> tuple[int, Any, Any]:
    """Return the status, the body and the headers with which an upgrade is refused."""
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    caller = AsgiCaller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_asgi, house, caller, query, path, headers=named))
        start = await caller.connect()
        assert start["type"] == "websocket.http.response.start", start
        body = b""
        while (event := await caller.event())["type"] == "websocket.http.response.body":
            body += event["body"]
    return start["status"], json.loads(body), dict(start["headers"])


async def test_a_frame_comes_back_through_quarts_own_test_client() -> None:
    house = House()
    async with house.app.test_client().websocket("/ws/audio?reply=ulaw&codec=numpy") as websocket:
        await websocket.send(bytes(320))
        assert await websocket.receive() == b"\xff" * 160
    assert house.outcomes == {"completed": 1}


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/health", 200, {"status": "ok"}),
        ("/ready", 200, {"status": "ready"}),
        ("/nothing", 404, {"error": "not_found"}),
        ("/ws/audio", 426, {"error": "upgrade_required"}),
        ("/ws/echo", 404, {"error": "not_found"}),
    ],
)
async def test_gets_answer_in_json(path: str, status: int, body: dict[str, str]) -> None:
    response = await House().app.test_client().get(path)
    assert response.status_code == status
    answer = await response.get_json()
    assert body.items() <= answer.items()
    assert status < 400 or answer["message"]


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/capacity", "/metrics", "/ws/audio"])
async def test_other_methods_are_405_in_json(path: str) -> None:
    response = await House().app.test_client().post(path)
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert (await response.get_json())["error"] == "method_not_allowed"


async def test_the_first_page_says_how_to_connect() -> None:
    response = await House().app.test_client().get("/")
    assert response.content_type.startswith("text/html")
    assert "/ws/audio" in await response.get_data(as_text=True)


async def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    client = House().app.test_client()
    plain = await client.get("/metrics")
    assert plain.content_type.startswith("text/plain; version=")
    assert "rt_audio_sessions_active 0.0" in await plain.get_data(as_text=True)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    assert (await client.get("/metrics", headers=accept)).content_type.startswith(
        "application/openmetrics-text"
    )


async def test_a_full_service_is_ready_and_a_draining_one_is_not() -> None:
    house = House(max_sessions=1)

    async def asked(path: str) -> tuple[int, str]:
        response = await house.app.test_client().get(path)
        answer = await response.get_json()
        return response.status_code, answer.get("error") or answer["status"]

    assert await asked("/capacity") == (200, "accepting")
    assert await house.metric("rt_audio_accepting") == 1
    with house.place():
        assert await asked("/ready") == (200, "ready")
        assert await asked("/capacity") == (503, "at_capacity")
        assert await house.metric("rt_audio_accepting") == 0
    house.roster.drain(60)  # newcomers are admitted still, but balancers should not send any
    assert await asked("/ready") == (503, "draining")
    assert await asked("/capacity") == (503, "draining")
    assert await house.metric("rt_audio_accepting") == 0
    assert await asked("/health") == (200, "ok")


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("encoding", "opus", "pcm16"),
        ("reply", "opus", "alaw"),
        ("sample_rate", "0", "192000"),
        ("reply_rate", "9600", "16000"),
        ("channels", "2", "mono"),
        ("events", "xml", "json"),
    ],
)
async def test_a_bad_parameter_is_400_before_the_upgrade(
    parameter: str, value: str, allowed: str
) -> None:
    house = House()
    status, body, _ = await refused(house, f"{parameter}={value}")
    assert status == 400
    assert (body["parameter"], body["value"]) == (parameter, value)
    assert allowed in body["allowed"]
    assert house.tally.refused["raw", "bad_parameter"] == 1


@pytest.mark.parametrize("reason", ["draining", "at_capacity"])
async def test_no_room_is_503_with_retry_after(reason: str) -> None:
    house = House(max_sessions=1)
    with house.place():
        if reason == "draining":
            house.roster.drain()
        status, body, headers = await refused(house)
    assert (status, body["error"], headers[b"retry-after"]) == (503, reason, b"1")
    assert house.tally.refused["raw", reason] == 1


async def test_a_page_from_elsewhere_is_403() -> None:
    house = House(allowed_origins="https://app.example")
    status, body, _ = await refused(house, Origin="https://evil.example")
    assert (status, body["error"]) == (403, "origin")
    assert "https://evil.example" in body["message"]
    assert "RT_AUDIO_ALLOWED_ORIGINS" in body["message"]
    assert house.tally.refused["raw", "origin"] == 1
    async with house.app.test_client().websocket(
        "/ws/audio", headers={"Origin": "https://app.example"}
    ) as websocket:
        await websocket.send(b"hi")
        assert await websocket.receive() == b"hi"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("acme:sesame\n")
    return file


async def test_an_unknown_token_is_401(tokens: Path) -> None:
    house = House(tokens_file=tokens)
    for wrong in ({}, {"query": "access_token=x"}, {"Authorization": "Bearer x"}):
        status, body, headers = await refused(house, **wrong)
        assert (status, body["error"]) == (401, "unauthorized")
        assert headers[b"www-authenticate"] == b"Bearer"
        assert "sesame" not in str(body)
    assert house.tally.refused["raw", "unauthorized"] == 3


@pytest.mark.parametrize(
    "known",
    [{"query": "access_token=sesame"}, {"headers": [(b"authorization", b"Bearer sesame")]},
     {"subprotocols": ["chat", "bearer.sesame"]}],
)  # fmt: skip
async def test_a_known_token_is_admitted(tokens: Path, known: dict[str, Any]) -> None:
    subprotocols = known.get("subprotocols")
    accepted = await accept(House(tokens_file=tokens), **known)
    assert accepted["type"] == "websocket.accept"
    assert accepted["subprotocol"] == (subprotocols and subprotocols[1])


async def test_a_share_that_is_used_up_is_429_with_retry_after_and_the_log_names_the_token(
    tokens: Path, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    house = House(tokens_file=tokens, max_sessions_per_token=1, max_upgrades_per_address=2)
    caller, query = AsgiCaller(), "access_token=sesame"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_asgi, house, caller, query)
        assert (await caller.connect())["type"] == "websocket.accept"
        assert await house.metric('rt_audio_token_sessions_active{token="acme"}') == 1
        for reason in ("too_many_sessions", "too_many_upgrades"):
            status, body, headers = await refused(house, query)
            assert (status, body["error"], headers[b"retry-after"]) == (429, reason, b"1")
            assert "acme" not in str(body)
            assert house.tally.refused["raw", reason] == 1
        await caller.leave()
    assert await house.metric('rt_audio_token_sessions_active{token="acme"}') == 0
    assert [(entry["event"], entry.get("token")) for entry in entries(capfd)] == [
        ("session_started", "acme"), ("upgrade_refused", "acme"), ("upgrade_refused", None),
        ("session_ended", "acme"),
    ]  # fmt: skip


async def accept(house: House, query: str = "", path: str = "/ws/audio", **scope: Any) -> Any:
    """Return the event with which the app answers an upgrade, and leave."""
    caller = AsgiCaller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_asgi, house, caller, query, path, **scope))
        event = await caller.connect()
        await caller.vanish()
    return event


async def test_the_answer_names_the_codec_in_use_and_the_session() -> None:
    event = await accept(House(codec_order="pure_python"), "codec=opus")
    headers = dict(event["headers"])
    assert headers[b"rt-audio-codec"] == b"pure_python"
    assert len(headers[b"rt-audio-session"]) == 12


async def test_an_upgrade_at_a_wrong_path_is_told_the_right_one_counted_and_logged(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    house = House()
    for path in ("/", "/health", "/ws"):
        status, body, _ = await refused(house, path=path)
        assert (status, body["error"]) == (404, "not_found")
        assert "/ws/audio" in body["message"]
    assert house.tally.refused["none", "not_found"] == 3
    [line] = entries(capfd, "upgrade_refused")
    assert (line["reason"], line["peer"]) == ("not_found", "127.0.0.1:1")
    assert line["dialect"] == "none"
    assert line["message"] == "there is no WebSocket at /; audio is at /ws/audio"


@pytest.mark.parametrize(
    ("dialects", "path", "told"),
    [
        ("none", "/ws/twilio", "/ws/twilio is off; RT_AUDIO_DIALECTS switches it on"),
        ("vonage", "/ws/twilio", "/ws/twilio is off; RT_AUDIO_DIALECTS switches it on"),
        ("vonage,twilio", "/ws/nobody",
         "there is {}; audio is at /ws/audio, telephony at /ws/twilio, /ws/vonage"),
        ("twilio", "/ws/twilio/", "there is {}; audio is at /ws/audio, telephony at /ws/twilio"),
        ("none", "/ws/echo", "there is {}; audio is at /ws/audio"),
    ],
)  # fmt: skip
async def test_who_asks_at_a_wrong_path_is_told_of_the_dialects(
    dialects: str, path: str, told: str
) -> None:
    house = House(dialects=dialects)
    status, body, _ = await refused(house, path=path)
    assert (status, body["message"]) == (404, told.format(f"no WebSocket at {path}"))
    response = await house.app.test_client().get(path)
    assert response.status_code == 404
    assert (await response.get_json())["message"] == told.format("nothing at this path")
    assert house.tally.refused["none", "not_found"] == 1


async def test_a_page_that_is_not_there_is_no_refused_upgrade() -> None:
    house = House()
    assert (await house.app.test_client().get("/nothing")).status_code == 404
    assert not any(house.tally.refused.values())


async def test_echo_is_there_for_conformance_tools_alone() -> None:
    caller = AsgiCaller()
    house = House(conformance_echo=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_asgi, house, caller, "", "/ws/echo")
        await caller.connect()
        for message in (b"odd", "text"):
            assert await caller.ask(message) == message
        await caller.leave()
    assert house.roster.active == 0
    assert house.outcomes == {}


async def test_a_bug_before_the_upgrade_is_a_500_in_json_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Session, "__init__", broken)
    house = House()
    status, body, _ = await refused(house)
    assert status == 500
    assert body["error"] == "internal_server_error"
    assert "secret" not in str(body)
    assert house.roster.active == 0


async def test_a_refused_upgrade_leaves_a_log_line_and_a_storm_of_them_one_a_second(
    capfd: pytest.CaptureFixture[str],
    set_up_logs: SetUp,
    autojump_clock: trio.testing.MockClock,
) -> None:
    set_up_logs("info", "json")
    house = House()
    for _ in range(3):
        await refused(house, Origin="https://evil.example")
    await refused(house, "encoding=opus")
    await trio.sleep(1)
    await refused(house, Origin="https://evil.example")
    lines = entries(capfd, "upgrade_refused")
    assert [(entry["reason"], entry["left_out"]) for entry in lines] == [
        ("origin", 0), ("bad_parameter", 0), ("origin", 2),
    ]  # fmt: skip
    assert "https://evil.example" in lines[0]["message"]
    assert lines[0]["dialect"] == "raw"
    assert lines[0]["peer"] == "127.0.0.1:1"


async def test_a_misspelt_parameter_is_told_in_the_log_and_in_the_answer(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    query = "samplerate=16000&Encoding=ulaw&x=1&bad%0D%0Aname=1&encoding=alaw"
    headers = dict((await accept(House(), query))["headers"])
    told = "samplerate is not a parameter; sample_rate?, Encoding is not a parameter; encoding?"
    assert headers[b"rt-audio-warning"].decode() == f"{told}, x is not a parameter"
    assert [entry["message"] for entry in entries(capfd, "unknown_parameter")] == [
        f"{told}, x is not a parameter"
    ]
    assert b"rt-audio-warning" not in dict((await accept(House(), "reply=ulaw"))["headers"])


async def test_a_parameter_of_a_handlers_own_is_no_slip_unless_it_looks_like_one() -> None:
    house = House(handler=stand_in.NAME)
    headers = dict((await accept(house, "customer=7&samplerate=16000"))["headers"])
    told = headers[b"rt-audio-warning"].decode()
    assert told == "samplerate is not a parameter; sample_rate?"
