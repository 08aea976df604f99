"""The synthetic caller against a real service, and against odd ones on a virtual clock."""

import os
import re
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection

from service.client import textfile
from service.client.dial import ClientError
from service.client.probe import Probe, Result
from service.codec import available
from tests.peers.certificates import certificate_authority
from tests.peers.series import series_of
from tests.peers.services import Use, answering, closing, talking
from tests.peers.serving import start

README = Path(__file__).parent.parent.parent / "README.md"
URL = "ws://service.test/ws/audio"
#: The two seconds of noise take a twelfth of a second at this rate, in five frames.
QUICK = "sample_rate=192000"
Clock = trio.testing.MockClock
Conversation = Callable[[WebSocketConnection], Coroutine[Any, Any, None]]


async def probed(url: str = URL, **options: Any) -> Result:
    return await Probe(url, **options).run()


# Against a real service


async def test_a_call_that_is_right_has_every_figure(nursery: trio.Nursery) -> None:
    service = await start(nursery)
    result = await probed(service.url.replace("127.0.0.1", "localhost") + f"?{QUICK}")
    assert result.failure is None
    assert result.target == f"ws://localhost:{service.port}/ws/audio"
    assert list(result.steps_seconds) == ["dns", "connect", "upgrade"]
    assert (result.frames_sent, result.frames_received, result.frames_lost) == (5, 5, 0)
    assert result.session is not None
    times = (result.round_trip_p50_seconds, result.round_trip_p99_seconds,
             result.round_trip_max_seconds)  # fmt: skip
    assert sorted(filter(None, times)) == list(times)
    assert sum(result.steps_seconds.values()) < result.duration_seconds


@pytest.mark.parametrize("tier", available())
@pytest.mark.parametrize(("encoding", "reply"), [("pcm16", "ulaw"), ("alaw", "ulaw"),
                                                 ("ulaw", "alaw"), ("alaw", "pcm16")])  # fmt: skip
async def test_every_tier_gives_the_audio_that_is_due(
    nursery: trio.Nursery, tier: str, encoding: str, reply: str
) -> None:
    url = f"{(await start(nursery)).url}?{QUICK}&encoding={encoding}&codec={tier}"
    result = await probed(url, reply=reply)
    assert (result.failure, result.codec) == (None, tier)


async def test_tls_and_a_token(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, tokens = tmp_path / "authority.pem", tmp_path / "tokens"
    certificate_authority().cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    tokens.write_text("letmein\n")
    service = await start(nursery, tls=True, tokens_file=tokens)
    url = service.url.replace("127.0.0.1", "localhost") + f"?{QUICK}"
    result = await probed(url, token="letmein")
    assert result.failure is None
    assert list(result.steps_seconds) == ["dns", "connect", "tls", "upgrade"]
    result = await probed(url)
    assert result.failure is not None
    assert "HTTP 401: a known bearer token is needed" in result.failure
    assert list(result.steps_seconds) == ["dns", "connect", "tls"]


async def test_a_name_that_does_not_resolve_leaves_no_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_such_name(*arguments: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    result = await probed()
    assert result.failure == f"cannot connect to {URL}: Name or service not known"
    assert result.steps_seconds == {}


# Against services of every kind, in virtual time


async def echo(ws: WebSocketConnection) -> None:
    while True:
        await ws.send_message(await ws.get_message())


async def test_the_call_lasts_two_seconds_in_frames_of_20_ms(
    use: Use, autojump_clock: Clock
) -> None:
    use(talking(echo))
    result = await probed()
    assert (result.failure, result.frames_received) == (None, 100)
    assert result.duration_seconds == pytest.approx(99 * 0.02)
    assert (result.session, result.codec) == (None, None)


async def one_bit_off(ws: WebSocketConnection) -> None:
    for number in range(100):
        frame = await ws.get_message()
        assert isinstance(frame, bytes)
        await ws.send_message(frame if number != 6 else frame[:-1] + bytes([frame[-1] ^ 1]))
    await ws.get_message()


async def one_too_short(ws: WebSocketConnection) -> None:
    for number in range(100):
        frame = await ws.get_message()
        await ws.send_message(frame[:-2] if number == 99 else frame)
    await ws.get_message()


@pytest.mark.parametrize(
    ("conversation", "reply", "frame"),
    [(one_bit_off, None, 7), (one_too_short, None, 100), (echo, "ulaw", 1)],
)
async def test_audio_that_is_not_right_to_the_bit(
    use: Use, autojump_clock: Clock, conversation: Conversation, reply: str | None, frame: int
) -> None:
    use(talking(conversation))
    result = await probed(reply=reply)
    assert result.failure == f"{URL} sent other audio than was due, from frame {frame} on"
    assert result.frames_lost == 0


async def test_a_call_that_is_closed_early(use: Use, autojump_clock: Clock) -> None:
    use(closing(1011, 3))
    result = await probed()
    assert result.failure == f"the call to {URL} was closed with 1011 after 3 of 100 replies"
    assert result.frames_received == 3


async def deaf(ws: WebSocketConnection) -> None:
    await ws.send_message(await ws.get_message())
    while True:
        await ws.get_message()


@pytest.mark.parametrize(
    ("service", "missing", "lost"),
    [(talking(deaf), "reply 2", 49), (answering(b""), "the answer to the upgrade", 0)],
)
async def test_the_timeout_is_for_everything_and_says_what_did_not_come(
    use: Use, autojump_clock: Clock, service: Any, missing: str, lost: int
) -> None:
    use(service)
    result = await probed(timeout=0.99)
    assert result.failure == f"{URL}: the timeout of 0.99 s was over before {missing} came"
    assert result.frames_lost == lost
    assert result.duration_seconds < 2


async def test_the_timeout_holds_where_no_name_server_answers(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(*arguments: object, **options: object) -> object:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(trio.to_thread, "run_sync", silence)
    result = await probed(timeout=3)
    assert (
        result.failure == f"{URL}: the timeout of 3 s was over before the address of that name came"
    )


@pytest.mark.parametrize(
    ("url", "options"),
    [("http://service.test/", {}), (URL, {"token": "a b"}), (f"{URL}?reply=opus", {}),
     (f"{URL}?reply=alaw", {"reply": "ulaw"}), (f"{URL}?reply_rate=16000", {})],
)  # fmt: skip
def test_what_no_call_can_be_made_of_is_told_at_once(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ClientError):
        Probe(url, **options)  # type: ignore[arg-type]


# The metrics


async def test_the_metrics_of_a_call_that_is_right(
    use: Use, autojump_clock: Clock, tmp_path: Path
) -> None:
    use(talking(echo))
    file = tmp_path / "rt-audio.prom"
    file.write_text("of the probe before")
    textfile.write(file, await probed(), now=1e9)
    assert os.listdir(tmp_path) == ["rt-audio.prom"]
    target = f'{{target="{URL}"}}'
    series = series_of(file.read_text())
    assert series[f"rt_audio_probe_success{target}"] == 1
    assert series[f"rt_audio_probe_timestamp_seconds{target}"] == 1e9
    assert series[f"rt_audio_probe_frames_sent{target}"] == 100
    assert series[f"rt_audio_probe_frames_lost{target}"] == 0
    assert series[f"rt_audio_probe_round_trip_max_seconds{target}"] == 0
    assert series[f'rt_audio_probe_step_seconds{{step="upgrade",target="{URL}"}}'] == 0


async def test_the_metrics_are_those_of_the_readmes_table(
    use: Use, autojump_clock: Clock, tmp_path: Path
) -> None:
    use(talking(echo))
    textfile.write(tmp_path / "x.prom", await probed(), now=1e9)
    written = {name.partition("{")[0] for name in series_of((tmp_path / "x.prom").read_text())}
    table = re.findall(r"^\| `(rt_audio_probe_\w+)` \|", README.read_text(), re.MULTILINE)
    assert sorted(written) == sorted(table)


async def test_what_a_probe_did_not_come_to_has_no_series(
    use: Use, autojump_clock: Clock, tmp_path: Path
) -> None:
    use(answering(b""))
    textfile.write(tmp_path / "x.prom", await probed(timeout=1), now=1e9)
    series = series_of((tmp_path / "x.prom").read_text())
    assert series[f'rt_audio_probe_success{{target="{URL}"}}'] == 0
    assert not [name for name in series if "round_trip" in name or "upgrade" in name]
