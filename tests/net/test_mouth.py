"""How a conversation speaks unasked, holds back its peer and ends, where the socket is not ready.

`calls/test_handled.py` has what every link does.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from service.calls.call import hold
from service.calls.roster import Roster
from service.conversation import Limits, Message, Mouth
from service.ending import FINISHED, Ending
from service.net.line import GREEDY_BYTES
from service.net.links import PumpedLink, StreamLink
from service.net.pump import Pump
from service.net.stream import Stream
from tests.peers.callers import HungUp, StreamCaller, tcp_pair
from tests.peers.house import admitted

LIMITS = Limits(
    message_bytes=1 << 20, idle_seconds=300, send_seconds=0.5, ping_seconds=0, pong_seconds=5
)
LONG = bytes(1 << 16)

on_both = pytest.mark.parametrize("kind", ["stream", "pump"])


class Listener:
    """Keeps what it hears; `after` so many messages it wants to hear no more."""

    mouth: Mouth

    def __init__(self, after: int = 1 << 30) -> None:
        self.heard: list[Message] = []
        self.after = after

    def begin(self, mouth: Mouth) -> None:
        self.mouth = mouth

    def receive(self, message: Message) -> None:
        self.heard.append(message)
        if len(self.heard) == self.after:
            self.mouth.hold(True)

    def replied(self, message: Message, seconds: float) -> None:
        raise AssertionError

    async def has_heard(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.heard) < count:
                await trio.lowlevel.checkpoint()


class Talk:
    """A conversation that is going on; `ending` once it is over."""

    ending: Ending | None = None

    def __init__(self, caller: StreamCaller) -> None:
        self.caller, self.over = caller, trio.Event()

    async def ends(self) -> Ending:
        with trio.fail_after(5):
            await self.over.wait()
        assert self.ending is not None
        return self.ending


@asynccontextmanager
async def carried(kind: str, listener: Listener) -> AsyncIterator[Talk]:
    accepted, connected = await tcp_pair()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    talk = Talk(StreamCaller(connected))
    async with trio.open_nursery() as nursery:
        pump = Pump()
        nursery.start_soon(pump.run)
        stream = Stream(accepted)

        @nursery.start_soon
        async def carry() -> None:
            link = StreamLink(stream) if kind == "stream" else PumpedLink(pump, stream)
            talk.ending = await hold(link, listener, LIMITS, admitted(Roster(1)))
            talk.over.set()

        await trio.testing.wait_all_tasks_blocked()
        yield talk
        await talk.caller.vanish()
        nursery.cancel_scope.cancel()


def fill(mouth: Mouth) -> int:
    """Say more than the sockets take; return how many long messages that were."""
    count = 0
    while mouth.unwritten < 4 * len(LONG):
        mouth.say(LONG)
        count += 1
        assert count < 500
    return count


@on_both
async def test_what_is_said_behind_a_full_socket_comes_whole_and_in_order(kind: str) -> None:
    listener = Listener()
    async with carried(kind, listener) as talk:
        count = 0
        while count < 30 or listener.mouth.unwritten == 0:
            listener.mouth.say(count.to_bytes(2) * 30_000)
            count += 1
            await trio.lowlevel.checkpoint()
        listener.mouth.say("text")
        listener.mouth.end(FINISHED)
        listener.mouth.end(Ending("error", 1011))  # it is over already
        for number in range(count):
            assert await talk.caller.receive() == number.to_bytes(2) * 30_000
        assert await talk.caller.receive() == "text"
        assert (await talk.caller.hung_up())[0] == 1000
        assert await talk.ends() == FINISHED


@on_both
async def test_a_peer_that_does_not_read_ends_as_stuck_even_at_the_end(kind: str) -> None:
    listener = Listener()
    async with carried(kind, listener) as talk:
        fill(listener.mouth)
        listener.mouth.end(FINISHED)
        assert (await talk.ends()).outcome == "stuck"


@on_both
async def test_a_peer_that_does_not_read_after_it_was_held_ends_as_stuck_too(kind: str) -> None:
    """To be held no more, the line waits for room, which it has had; then it has none."""
    listener = Listener()
    async with carried(kind, listener) as talk:
        listener.mouth.hold(True)
        await trio.testing.wait_all_tasks_blocked()
        listener.mouth.hold(False)
        fill(listener.mouth)
        listener.mouth.end(FINISHED)
        assert (await talk.ends()).outcome == "stuck"


@on_both
@pytest.mark.parametrize("size", [320, GREEDY_BYTES + 100, 3 * GREEDY_BYTES])
async def test_one_that_is_held_is_not_read_and_loses_nothing(kind: str, size: int) -> None:
    """A large read has its next turn in the backlog, where the hold finds it."""
    listener = Listener(after=3)
    frames = [number.to_bytes(2) * (size // 2) for number in range(100)]
    async with carried(kind, listener) as talk, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for frame in frames:
                await talk.caller.send(frame)

        await listener.has_heard(3)
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        held = len(listener.heard)
        assert held <= 3 + 32
        listener.mouth.say("held")
        assert await talk.caller.receive() == "held"
        assert len(listener.heard) == held
        listener.mouth.hold(False)
        await listener.has_heard(100)
        assert listener.heard == frames


@on_both
async def test_hold_and_release_at_once_change_nothing(kind: str) -> None:
    listener = Listener()
    async with carried(kind, listener) as talk:
        for number in range(20):
            listener.mouth.hold(True)
            if number % 2:
                await trio.lowlevel.checkpoint()
            listener.mouth.hold(False)
            await talk.caller.send(b"hi")
            await listener.has_heard(number + 1)


@on_both
async def test_one_that_is_held_can_be_told_the_end(kind: str) -> None:
    listener = Listener(after=1)
    async with carried(kind, listener) as talk:
        for _ in range(50):
            talk.caller.protocol.send_binary(b"hi")
        await talk.caller.flush()
        await listener.has_heard(1)
        listener.mouth.say("bye")
        listener.mouth.end(FINISHED)
        assert await talk.caller.receive() == "bye"
        assert (await talk.caller.hung_up())[0] == 1000
        assert await talk.ends() == FINISHED


async def test_one_that_is_held_and_resets_the_connection_is_gone() -> None:
    listener = Listener(after=1)
    async with carried("pump", listener) as talk:
        await talk.caller.send(b"hi")
        await listener.has_heard(1)
        await talk.caller.send(b"unheard")
        await talk.caller.reset()
        assert (await talk.ends()).outcome == "aborted"
        listener.mouth.hold(False)
        listener.mouth.say(b"to nobody")
        listener.mouth.end(FINISHED)
        assert listener.heard == [b"hi"]


@on_both
async def test_one_that_is_held_and_closes_is_gone_once_it_is_read_again(kind: str) -> None:
    listener = Listener(after=1)
    async with carried(kind, listener) as talk:
        await talk.caller.send(b"hi")
        await listener.has_heard(1)
        await talk.caller.send(b"unheard")
        talk.caller.protocol.send_close(1000)
        await talk.caller.flush()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert not talk.over.is_set()
        listener.mouth.hold(False)
        assert (await talk.ends()).outcome == "completed"
        assert listener.heard == [b"hi", b"unheard"]


async def test_an_old_event_of_a_line_that_is_held_now_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn of the pump ends in the middle of a round; then a conversation holds its peer."""
    monkeypatch.setattr("service.net.pump.TURN_SECONDS", -1)
    monkeypatch.setattr("service.net.pump.AT_ONCE", 1)
    held = list[Listener]()

    class HoldsTheOther(Listener):
        def receive(self, message: Message) -> None:
            super().receive(message)
            if not held:
                held.extend(other for other in listeners if other is not self)
                held[0].mouth.hold(True)

    pump, callers = Pump(), []
    listeners: list[Listener] = [HoldsTheOther(), HoldsTheOther()]
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            accepted, connected = await tcp_pair()
            link = PumpedLink(pump, Stream(accepted))
            nursery.start_soon(hold, link, listener, LIMITS, admitted(Roster(1)))
            callers.append(StreamCaller(connected))
        await trio.testing.wait_all_tasks_blocked()
        for caller in callers:
            await caller.send(b"hi")
        nursery.start_soon(pump.run)
        with trio.fail_after(10):
            while not held:
                await trio.lowlevel.checkpoint()
        [late] = held
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert not late.heard
        late.mouth.hold(False)
        await late.has_heard(1)
        late.mouth.end(FINISHED)
        with pytest.raises(HungUp):
            await callers[listeners.index(late)].receive()
        for caller in callers:
            await caller.vanish()
        nursery.cancel_scope.cancel()
