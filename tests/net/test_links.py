"""What single links promise beyond what every link does."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from websockets.frames import Opcode

from service.calls.session import Session
from service.ending import ABORTED, DRAINED, completed
from service.net.message_link import AsgiLink
from tests.peers.callers import AsgiCaller, StreamCaller
from tests.peers.calling import calling
from tests.peers.serving import terminate

over_streams = pytest.mark.parametrize("kind", ["stream", "pump", "tls"])
Calling = Callable[..., AbstractAsyncContextManager[object]]


@over_streams
async def test_pings_are_answered_between_the_fragments_of_a_message(kind: str) -> None:
    async with calling(kind) as (caller, _):
        assert isinstance(caller, StreamCaller)
        protocol = caller.protocol
        protocol.send_binary(b"ab", fin=False)
        protocol.send_ping(b"beat")
        protocol.send_continuation(b"cd", fin=True)
        await caller.flush()
        assert await caller.receive() == b"abcd"
        assert caller.frames == [Opcode.PONG, Opcode.BINARY]


@over_streams
async def test_a_silent_peer_is_pinged_and_if_it_answers_kept(kind: str) -> None:
    async with calling(kind, ping_seconds=0.2, pong_seconds=0.5, idle_seconds=1.5) as (caller, _):
        assert isinstance(caller, StreamCaller)
        assert (await caller.hung_up())[0] == 1008
        assert Opcode.PING in caller.frames


@over_streams
async def test_a_peer_that_answers_no_ping_is_gone(kind: str) -> None:
    async with calling(kind, ping_seconds=0.2, pong_seconds=0.2) as (caller, _):
        assert isinstance(caller, StreamCaller)
        await caller.ask(b"hi")
        caller.protocol.send_frame = lambda frame: None  # type: ignore[method-assign]
        assert await caller.hung_up() == (None, "")


@over_streams
async def test_the_peers_close_code_is_echoed(kind: str) -> None:
    async with calling(kind) as (caller, _):
        assert isinstance(caller, StreamCaller)
        caller.protocol.send_close(3999, "bye")
        await caller.flush()
        assert await caller.hung_up() == (3999, "bye")


@pytest.mark.parametrize("kind", ["stream", "pump"])
async def test_a_reset_ends_its_own_call_as_aborted(kind: str) -> None:
    async with calling(kind) as (caller, house):
        assert isinstance(caller, StreamCaller)
        await caller.ask(b"hi")
        await caller.reset()
        with trio.fail_after(5):
            await house.call_ended.wait()
        assert house.outcomes == {"aborted": 1}


@over_streams
async def test_many_frames_in_one_write_have_their_replies_in_order(kind: str) -> None:
    frames = [bytes([n, n]) * (n + 1) * 20 for n in range(200)]
    async with calling(kind, "reply=ulaw&encoding=alaw") as (caller, _):
        assert isinstance(caller, StreamCaller)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                for frame in frames:
                    caller.protocol.send_binary(frame)
                caller.protocol.send_close(1000)
                await caller.flush()

            replies = [await caller.receive() for _ in frames]
        assert [len(reply) for reply in replies] == [len(frame) for frame in frames]
        assert (await caller.hung_up())[0] == 1000


@over_streams
async def test_a_drain_during_a_reply_comes_behind_the_whole_reply(kind: str) -> None:
    async with calling(kind, drain_seconds=0) as (caller, house):
        assert isinstance(caller, StreamCaller)
        frame = bytes(1 << 20)
        await caller.send(frame)
        caller.protocol.receive_data(await caller.stream.receive_some(10))  # the reply has begun
        if kind == "tls":
            terminate()
        else:
            await house.roster.dismiss()
        assert await caller.receive() == frame
        assert (await caller.hung_up())[0] == 1001


@over_streams
async def test_turnaround_is_from_the_read_to_the_write_of_each_reply(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four frames of one read whose replies are written together took equally long."""
    counted = []

    def replied(self: Session, message: object, seconds: float) -> None:
        counted.append(seconds)

    monkeypatch.setattr(Session, "replied", replied)
    async with calling(kind) as (caller, _):
        assert isinstance(caller, StreamCaller)
        for _ in range(4):
            caller.protocol.send_binary(b"hi")
        await caller.flush()
        for _ in range(4):
            await caller.receive()
        assert len(counted) == 4
        assert len(set(counted)) == 1


async def test_a_close_that_the_peer_never_answers_is_given_up() -> None:
    async with calling("stream") as (caller, house):
        assert isinstance(caller, StreamCaller)
        await caller.ask(b"hi")
        await house.roster.dismiss()
        with trio.fail_after(5):
            await house.call_ended.wait()
        assert (await caller.stream.receive_some())[:4] == b"\x88\x2d\x03\xe9"


@pytest.mark.parametrize(
    ("event", "ending"),
    [({"code": 1000}, completed(1000)), ({"code": 1006}, ABORTED), ({}, completed(1005))],
)
async def test_asgis_disconnect_code_tells_a_close_from_a_loss(
    event: dict[str, int], ending: object
) -> None:
    caller = AsgiCaller()
    link = AsgiLink(caller.app_receive.receive, caller.app_send.send)
    await caller.put({"type": "websocket.disconnect", **event})
    assert await link.receive() == ending


async def test_an_asgi_server_that_reports_a_gone_peer_by_oserror_is_understood() -> None:
    async def broken(event: object) -> None:
        raise OSError

    async def silent() -> None: ...

    link = AsgiLink(silent, broken)
    with pytest.raises(trio.BrokenResourceError):
        await link.send(b"x")
    await link.close(DRAINED)
