"""The client against a real service, and against odd ones on a virtual clock."""

import ssl
import struct
from math import isnan
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import trio
import trio.testing
import trustme
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection

from service import codec
from service.audio import wav
from service.audio.wav import Audio
from service.client import dial
from service.client import stream as client
from service.client.dial import ClientError, ConnectError, RefusedError, UnreachableError
from service.client.messages import ClosedError
from service.client.roundtrips import ReplyError, RoundTrips, percentile
from tests.peers.services import Service, Use, answering, closing, talking
from tests.peers.serving import start

SPEECH = Path(__file__).parent.parent / "data" / "speech.wav"
#: One second in fifty frames, each different from the others.
SECOND = Audio(b"".join(struct.pack("<h", 4 * n) for n in range(8000)), 8000)
FAST = 50
URL = "ws://service.test/ws/audio"
Clock = trio.testing.MockClock


# Against a real service


async def test_a_url_may_ask_for_events_itself(nursery: trio.Nursery) -> None:
    url = f"{(await start(nursery)).url}?events=json"
    report = await client.Stream(SECOND, url, speed=FAST).run()
    assert report.audio == SECOND


async def test_the_whole_sample_comes_back_untouched(nursery: trio.Nursery) -> None:
    audio = wav.read(SPEECH)
    seen: list[tuple[int, int]] = []
    report = await client.Stream(
        audio, (await start(nursery)).url, speed=FAST, on_reply=lambda *counts: seen.append(counts)
    ).run()
    frames = -(-len(audio.data) // 320)
    assert report.audio == audio
    assert report.frames_sent == report.frames_received == frames
    assert report.bytes_sent == report.bytes_received == len(audio.data)
    assert report.codec in codec.available()
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms <= report.max_ms < 5000
    assert report.frame_ms == pytest.approx(20 / FAST)
    assert seen == [(n, frames) for n in range(1, frames + 1)]


@pytest.mark.parametrize("law", codec.LAWS)
@pytest.mark.parametrize("tier", codec.available())
async def test_g711_comes_back_at_half_the_bytes_from_the_tier_asked_for(
    nursery: trio.Nursery, tier: str, law: str
) -> None:
    url = (await start(nursery)).url
    report = await client.Stream(SECOND, url, reply=law, codec=tier, speed=FAST).run()
    assert report.codec == tier
    assert report.bytes_received * 2 == report.bytes_sent == len(SECOND.data)
    assert report.audio == Audio(codec.tier(tier, law).encode(SECOND.data), 8000, law)


async def test_an_unknown_tier_gets_the_one_that_the_header_names(nursery: trio.Nursery) -> None:
    report = await client.Stream(SECOND, (await start(nursery)).url, codec="best", speed=FAST).run()
    assert report.codec == codec.resolve()


@pytest.mark.parametrize(
    ("frame_ms", "frames"), [(20, 5), (0.001, 800), (33, 4), (9999, 1), (1e307, 1)]
)
async def test_any_frame_length_goes(nursery: trio.Nursery, frame_ms: float, frames: int) -> None:
    url = (await start(nursery)).url
    audio = Audio(SECOND.data[:1600], 8000)
    report = await client.Stream(audio, url, frame_ms=frame_ms, speed=1000).run()
    assert report.frames_received == frames
    assert report.audio == audio


async def test_a_refusal_has_its_status_and_the_services_words(nursery: trio.Nursery) -> None:
    url = (await start(nursery)).url
    with pytest.raises(RefusedError, match="HTTP 400: sample_rate=192001: must be") as refusal:
        await client.Stream(Audio(SECOND.data, 192_001), url).run()
    assert refusal.value.status == 400
    with pytest.raises(RefusedError, match="HTTP 404: "):
        await client.Stream(SECOND, url.replace("audio", "video")).run()


async def test_a_token_opens_the_door_and_is_in_no_message(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("letmein\n")
    url = (await start(nursery, tokens_file=tokens)).url
    report = await client.Stream(SECOND, url, token="letmein", speed=FAST).run()
    assert report.frames_received == 50
    report = await client.Stream(SECOND, f"{url}?access_token=letmein", speed=FAST).run()
    assert report.frames_received == 50
    with pytest.raises(RefusedError, match="HTTP 401") as refusal:
        await client.Stream(SECOND, f"{url}?access_token=swordfish").run()
    assert "swordfish" not in str(refusal.value)


async def test_a_call_that_the_service_ends_has_code_and_reason(nursery: trio.Nursery) -> None:
    url = (await start(nursery, max_frame_bytes=1000)).url
    with pytest.raises(ClosedError, match=r"closed with 1009 \(.+\) after 0 of 1 rep") as end:
        await client.Stream(SECOND, url, frame_ms=1000).run()
    assert end.value.code == 1009
    assert "1000 bytes" in end.value.reason


async def test_a_call_cut_off_in_the_middle_says_how_far_it_came(nursery: trio.Nursery) -> None:
    service = await start(nursery)

    def cut(done: int, total: int) -> None:
        if done == 5:
            service.stop()

    with pytest.raises(ClosedError, match=r"closed with 1001 \(.+\) after \d+ of 50 replies"):
        await client.Stream(SECOND, service.url, on_reply=cut).run()


# TLS


async def test_wss_trusts_the_systems_authorities(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    pem, trusted = tmp_path / "service.pem", tmp_path / "authority.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(trusted))
    url = (await start(nursery, tls_cert_file=pem, tls_key_file=pem)).url
    with pytest.raises(ConnectError, match=r"TLS failed: .*issuer") as error:
        await client.Stream(SECOND, url).run()
    assert error.value.retry_after is None
    # Where OpenSSL looks for the system's own.
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    report = await client.Stream(SECOND, url, speed=FAST).run()
    assert report.frames_received == 50


async def test_wss_to_a_service_without_tls(nursery: trio.Nursery) -> None:
    url = (await start(nursery)).url
    with pytest.raises(
        ConnectError, match=r"cannot connect to wss://.*: TLS failed: [a-z ]+$"
    ) as error:
        await client.Stream(SECOND, url.replace("ws:", "wss:")).run()
    assert error.value.retry_after is None


async def test_wss_to_one_who_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hung_up(*args: object, **options: object) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        await theirs.aclose()
        return trio.SSLStream(ours, ssl.create_default_context(), server_hostname="a")

    monkeypatch.setattr(trio, "open_ssl_over_tcp_stream", hung_up)
    with pytest.raises(UnreachableError, match="TLS failed: "):
        await client.Stream(SECOND, "wss://service.test/").run()


# Where there is no service


async def test_nobody_listens() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(UnreachableError) as error:
        await client.Stream(SECOND, f"ws://127.0.0.1:{port}/ws/audio?access_token=secret").run()
    expected = f"cannot connect to ws://127.0.0.1:{port}/ws/audio: Connection refused"
    assert str(error.value) == expected


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_name(*address: object) -> trio.SocketStream:
        raise trio.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(trio, "open_tcp_stream", no_such_name)
    with pytest.raises(UnreachableError, match=r"service\.test/: Name or service not known$"):
        await client.Stream(SECOND, "ws://service.test/").run()


async def test_a_name_that_cannot_be_one() -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to ws://a\.\.b/: ") as error:
        await client.Stream(SECOND, "ws://a..b/").run()
    assert error.value.retry_after is None


async def test_a_host_that_does_not_answer(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(*address: object) -> trio.SocketStream:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(trio, "open_tcp_stream", silence)
    with pytest.raises(UnreachableError, match="no answer in 10 seconds"):
        await client.Stream(SECOND, URL).run()


@pytest.mark.parametrize(
    "url",
    ["", "service", "localhost:8001", "http://localhost/", "ws://", "ws:///ws/audio", "ws://h:x/",
     "ws://[::1/", "ws://h:99999/", "ws://h/\u00e9", "ws://h/a b", "ws://h/a\r\nB: c"],
)  # fmt: skip
async def test_a_url_that_is_none_of_ours(url: str) -> None:
    with pytest.raises(ConnectError, match="is not a WebSocket address like ws://") as error:
        await client.Stream(SECOND, url).run()
    assert "\n" not in str(error.value)


def test_an_address_keeps_its_own_query_before_what_is_added() -> None:
    address = dial.Address.parse("wss://user@[::1]/x?codec=a&b=c")
    address = address.asking({"codec": "numpy", "reply": "ulaw"})
    assert (address.host, address.port, address.secure) == ("::1", 443, True)
    assert address.host_header == "[::1]"
    assert address.query == "codec=a&b=c&reply=ulaw"
    assert str(address) == "wss://[::1]/x"


@pytest.mark.parametrize("token", ["", "two words", "a\r\nX: y", "\u00fc", "a=b"])
async def test_a_token_that_no_service_can_know(token: str) -> None:
    with pytest.raises(ConnectError, match="the token cannot be sent") as error:
        await client.Stream(SECOND, URL, token=token).run()
    assert not token or token not in str(error.value)


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
async def test_a_pace_that_is_none(number: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        await client.Stream(SECOND, URL, speed=number).run()
    with pytest.raises(ValueError, match="positive"):
        await client.Stream(SECOND, URL, frame_ms=number).run()


# Against services of every kind, in virtual time


async def test_frames_leave_on_an_absolute_schedule(use: Use, autojump_clock: Clock) -> None:
    """One slow reply, or one slow send, does not make all later frames late."""
    times = []

    async def echo(ws: WebSocketConnection) -> None:
        while True:
            frame = await ws.get_message()
            times.append(trio.current_time())
            await ws.send_message(frame)

    use(talking(echo))
    report = await client.Stream(SECOND, URL, speed=0.5).run()
    assert [time - times[0] for time in times] == pytest.approx([0.04 * n for n in range(50)])
    assert (report.gaps, report.max_ms) == (0, 0)
    assert report.longest_pause_ms == pytest.approx(40)
    assert report.codec is None


async def test_a_stall_is_one_gap_and_the_longest_round_trip(
    use: Use, autojump_clock: Clock
) -> None:
    async def stall_once(ws: WebSocketConnection) -> None:
        for number in range(50):
            frame = await ws.get_message()
            if number == 10:
                await trio.sleep(0.101)
            await ws.send_message(frame)
        await ws.get_message()

    use(talking(stall_once))
    report = await client.Stream(SECOND, URL).run()
    assert report.gaps == 1
    assert report.longest_pause_ms == pytest.approx(121)
    # Frames 10 to 15 wait 101, 81, ... 1 ms: 6 of 50, so p95 is the third longest of them.
    assert report.max_ms == report.p99_ms == pytest.approx(101)
    assert report.p95_ms == pytest.approx(61)
    assert report.p50_ms == 0


async def test_two_frame_times_are_no_gap_yet(use: Use, autojump_clock: Clock) -> None:
    async def in_pairs(ws: WebSocketConnection) -> None:
        while True:
            pair = [await ws.get_message(), await ws.get_message()]
            for frame in pair:
                await ws.send_message(frame)

    use(talking(in_pairs))
    report = await client.Stream(
        SECOND, URL, frame_ms=31.25
    ).run()  # 2 to the -5 s, exact in binary
    assert report.longest_pause_ms == 62.5
    assert report.gaps == 0


async def test_a_service_that_keeps_a_reply(use: Use, autojump_clock: Clock) -> None:
    async def once(ws: WebSocketConnection) -> None:
        await ws.send_message(await ws.get_message())
        while True:
            await ws.get_message()

    use(talking(once))
    with pytest.raises(ReplyError, match="no further reply for 10 seconds after 1 of 50 replies"):
        await client.Stream(SECOND, URL).run()


async def test_a_service_that_says_more_than_it_was_asked(use: Use, autojump_clock: Clock) -> None:
    async def twice(ws: WebSocketConnection) -> None:
        frame = await ws.get_message()
        for _ in range(2):
            await ws.send_message(frame)
        await ws.get_message()

    use(talking(twice))
    with pytest.raises(ReplyError, match="a reply too many"):
        await client.Stream(SECOND, URL).run()


async def test_a_service_that_sends_text(use: Use, autojump_clock: Clock) -> None:
    async def text(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.send_message("hello")
        await ws.get_message()

    use(talking(text))
    with pytest.raises(ReplyError, match="text where audio was due"):
        await client.Stream(SECOND, URL).run()


async def test_replies_on_the_way_count_before_a_close(use: Use, autojump_clock: Clock) -> None:
    async def three(ws: WebSocketConnection) -> None:
        for _ in range(3):
            await ws.send_message(await ws.get_message())
        await ws.aclose(4000, "e\x1bno\n ugh")

    use(talking(three))
    with pytest.raises(ClosedError) as end:
        await client.Stream(SECOND, URL).run()
    assert (
        str(end.value) == f"the call to {URL} was closed with 4000 (e no ugh) after 3 of 50 replies"
    )
    assert (end.value.code, end.value.reason) == (4000, "e no ugh")


async def test_a_close_without_a_reason(use: Use, autojump_clock: Clock) -> None:
    async def close(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.aclose(1001)

    use(talking(close))
    with pytest.raises(ClosedError, match=r"was closed with 1001 after 0 of 50"):
        await client.Stream(SECOND, URL).run()


async def test_a_connection_that_is_lost(use: Use, autojump_clock: Clock) -> None:
    async def vanish(stream: trio.StapledStream[Any, Any]) -> None:
        async def talk(ws: WebSocketConnection) -> None:
            await ws.send_message(await ws.get_message())
            await stream.aclose()

        await talking(talk)(stream)

    use(vanish)
    with pytest.raises(ClosedError, match=f"connection to {URL} was lost after 1 of 50") as end:
        await client.Stream(SECOND, URL).run()
    assert end.value.code == 1006


async def fall_silent(ws: WebSocketConnection) -> None:
    for _ in range(3):
        await ws.send_message(await ws.get_message())
    while True:
        await ws.get_message()


async def send_text(ws: WebSocketConnection) -> None:
    for _ in range(3):
        await ws.send_message(await ws.get_message())
    await ws.send_message("hello")
    await ws.get_message()


@pytest.mark.parametrize(
    ("service", "error"),
    [
        pytest.param(closing(4000, 3), "closed with 4000", id="closed"),
        pytest.param(talking(fall_silent), "no further reply", id="silent"),
        pytest.param(talking(send_text), "sent text", id="text"),
    ],
)
async def test_a_stream_that_ended_early_still_has_its_report(
    use: Use, autojump_clock: Clock, service: Service, error: str
) -> None:
    use(service)
    stream = client.Stream(SECOND, URL, codec="numpy")
    with pytest.raises(ClientError, match=error):
        await stream.run()
    report = stream.report()
    assert (report.frames_received, report.asked_for) == (3, "numpy")
    assert report.audio == Audio(SECOND.data[:960], 8000)
    assert (report.p50_ms, report.max_ms) == (0, 0)


async def test_a_stream_that_was_cancelled_still_has_its_report(
    use: Use, autojump_clock: Clock
) -> None:
    use(talking(fall_silent))
    stream = client.Stream(SECOND, URL)
    with trio.move_on_after(0.5) as scope:
        await stream.run()
    assert scope.cancelled_caught
    assert (stream.report().frames_sent, stream.report().frames_received) == (25, 3)


async def test_a_report_before_any_reply_has_no_times(use: Use, autojump_clock: Clock) -> None:
    stream = client.Stream(SECOND, URL, reply="alaw")
    report = stream.report()
    assert (report.frames_sent, report.frames_received, report.longest_pause_ms) == (0, 0, 0)
    assert report.audio == Audio(b"", 8000, "alaw")
    assert isnan(report.p50_ms)
    assert isnan(report.max_ms)


async def test_the_sender_leaves_it_to_the_receiver_to_say_that_it_is_over(
    autojump_clock: Clock,
) -> None:
    """What was on the way still counts, although nothing can be sent any more."""

    class Broken:
        handshake_headers: ClassVar = ()
        replies: ClassVar = [b"ab"]

        async def send_message(self, message: bytes) -> None:
            if message == b"cd":
                raise ConnectionClosed(None)

        async def get_message(self) -> bytes:
            await trio.sleep(1)
            if self.replies:
                return self.replies.pop()
            raise ConnectionClosed(None)

    trips = RoundTrips([b"ab", b"cd"], 0.02)
    with pytest.raises(ExceptionGroup) as group:
        await trips.run(cast("WebSocketConnection", Broken()), "it")
    assert str(group.value.exceptions[0]) == "the connection to it was lost after 1 of 2 replies"
    assert (trips.all_sent, trips.replies) == (False, 1)


class Mute(trio.abc.SendStream):
    """Sends nothing."""

    async def send_all(self, data: object) -> None: ...

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_a_service_that_ignores_the_close_is_left_behind(
    use: Use, autojump_clock: Clock
) -> None:
    async def stuck(stream: trio.StapledStream[Any, Any]) -> None:
        async def talk(ws: WebSocketConnection) -> None:
            for _ in range(50):
                await ws.send_message(await ws.get_message())
            stream.send_stream = Mute()
            await trio.sleep(60)

        await talking(talk)(stream)

    use(stuck)
    began = trio.current_time()
    report = await client.Stream(SECOND, URL).run()
    assert report.frames_received == 50
    assert trio.current_time() - began < 1 + dial.CLOSE_SECONDS


async def test_cancelling_a_stream_says_goodbye(use: Use, autojump_clock: Clock) -> None:
    codes = []

    async def listen(ws: WebSocketConnection) -> None:
        try:
            while True:
                await ws.send_message(await ws.get_message())
        except ConnectionClosed as closed:
            codes.append(closed.reason and closed.reason.code)

    use(talking(listen))
    with trio.move_on_after(0.5) as scope:
        await client.Stream(SECOND, URL).run()
    assert scope.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert codes == [1000]


async def test_a_bug_comes_out_alone(use: Use, autojump_clock: Clock) -> None:
    async def echo(ws: WebSocketConnection) -> None:
        await ws.send_message(await ws.get_message())

    def buggy(done: int, total: int) -> None:
        raise ZeroDivisionError

    use(talking(echo))
    with pytest.raises(ZeroDivisionError):
        await client.Stream(SECOND, URL, on_reply=buggy).run()


async def test_a_bug_is_not_hidden_by_an_error_of_the_connection(
    use: Use, autojump_clock: Clock
) -> None:
    use(closing(1000, 1))
    with pytest.raises(ZeroDivisionError):
        async with dial.connection(dial.Address.parse(URL)):
            raise ExceptionGroup("", [ReplyError("late"), ZeroDivisionError()])


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"503 x\r\nContent-Length: 19\r\n\r\n{\"message\":\"full\n\"}", "HTTP 503: Service Unav"),
        (b"503 x\r\nContent-Length: 20\r\n\r\n{\"message\":\"full\\n\"}", "HTTP 503: full$"),
        (b"502 x\r\nContent-Length: 5\r\n\r\n<html", "HTTP 502: Bad Gateway$"),
        (b"418 x\r\nContent-Length: 2\r\n\r\n[]", "HTTP 418: I'm a Teapot$"),
        (b"403 x\r\nContent-Length: 0\r\n\r\n", "HTTP 403: Forbidden$"),
        (b"599 x\r\nContent-Length: 2\r\n\r\n{}", "HTTP 599: no reason given$"),
    ],
)  # fmt: skip
async def test_other_servers_refuse_in_other_words(
    use: Use, autojump_clock: Clock, answer: bytes, sentence: str
) -> None:
    use(answering(b"HTTP/1.1 " + answer))
    with pytest.raises(RefusedError, match=f"{URL} refused the upgrade with {sentence}"):
        await client.Stream(SECOND, URL).run()


async def test_an_upgrade_that_is_never_answered(use: Use, autojump_clock: Clock) -> None:
    use(answering(b""))
    with pytest.raises(UnreachableError, match="did not answer the upgrade within 10 seconds"):
        await client.Stream(SECOND, URL).run()


async def test_one_who_hangs_up_on_an_upgrade_is_not_waited_for(
    use: Use, autojump_clock: Clock
) -> None:
    async def hang_up(stream: trio.StapledStream[Any, Any]) -> None:
        await stream.receive_some()
        await stream.aclose()

    use(hang_up)
    began = trio.current_time()
    with pytest.raises(UnreachableError, match=f"{URL} hung up instead of answering the upgrade"):
        await client.Stream(SECOND, URL).run()
    assert trio.current_time() == began


SWITCHING = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        SWITCHING + b"Sec-WebSocket-Accept: no\r\n\r\n",
        SWITCHING + b"\r\n",
        SWITCHING + b"Sec-WebSocket-Protocol: none\r\n\r\n",
        SWITCHING + b"Sec-WebSocket-Accept: \xff\r\n\r\n",
        SWITCHING + b"Sec-WebSocket-Protocol: \xff\r\n\r\n",
        b"HTTP/1.1 101 x\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: \xff\r\nConnection: \xff\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        bytes(100_000),
    ],
    ids=lambda answer: repr(answer[-40:]),
)
async def test_an_upgrade_that_is_answered_wrongly(
    use: Use, autojump_clock: Clock, answer: bytes
) -> None:
    use(answering(answer))
    with pytest.raises(ConnectError, match="answered the upgrade with something"):
        await client.Stream(SECOND, URL).run()


async def test_one_who_hangs_up_before_the_request(use: Use, autojump_clock: Clock) -> None:
    async def hang_up(stream: trio.StapledStream[Any, Any]) -> None:
        await stream.aclose()

    use(hang_up)
    with pytest.raises(UnreachableError, match="hung up instead of answering the upgrade"):
        await client.Stream(SECOND, URL).run()


def test_percentiles_are_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, p) for p in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 50) == 7
    assert percentile([1.0, 2.0], 50) == 1
