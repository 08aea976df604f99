"""Many calls on one wake-up: each its own, whatever the others do."""

import gc
import os
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
import trio
import trio.testing
from websockets.frames import Frame, Opcode

from service.calls.session import Session
from service.conversation import Limits, Message, Mouth
from service.net.links import PumpedLink
from service.net.pump import AT_ONCE, ENDINGS_AT_ONCE, Pump
from service.net.stream import Stream
from service.net.talk import FRAMES_AT_ONCE
from tests.peers.callers import HungUp, StreamCaller, tcp_pair
from tests.peers.calling import calling
from tests.peers.house import House, run_call
from tests.peers.serving import serving, terminate

FRAME = bytes(320)

over_tcp_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


async def echoes(call: StreamCaller, frames: int) -> None:
    """Exchange numbered frames, and leave."""
    for number in range(frames):
        frame = number.to_bytes(2) + FRAME
        assert await call.ask(frame) == frame
    await call.leave()


async def stops_reading(call: StreamCaller) -> None:
    assert isinstance(call.stream, trio.SocketStream)
    with trio.move_on_after(30):
        try:
            while True:
                await call.send(bytes(1 << 16))
        except trio.BrokenResourceError:
            return
    raise AssertionError("was never dropped")


async def sends_a_broken_frame(call: StreamCaller) -> None:
    await call.stream.send_all(b"\xf2\x80\x00\x00\x00\x00")
    assert (await call.hung_up())[0] == 1002


async def test_100_calls_of_which_many_misbehave() -> None:
    async with serving(send_timeout_seconds=1) as service:
        await service.get("/metrics")
        descriptors = len(os.listdir("/proc/self/fd"))
        async with trio.open_nursery() as nursery:
            for number in range(100):
                call = await service.call("codec=numpy")
                match number % 10:
                    case 0:
                        nursery.start_soon(stops_reading, call)
                    case 1:
                        nursery.start_soon(call.vanish)
                    case 2:
                        nursery.start_soon(sends_a_broken_frame, call)
                    case _:
                        nursery.start_soon(echoes, call, 10)
        await service.metric_becomes("rt_audio_sessions_active", 0)
        for outcome, count in {
            "stuck": 10,
            "aborted": 10,
            "rejected": 10,
            "completed": 70,
        }.items():
            assert (
                await service.metric(
                    f'rt_audio_sessions_total{{dialect="raw",outcome="{outcome}"}}'
                )
                == count
            )
        gc.collect()
        await service.hang_up()
        assert len(os.listdir("/proc/self/fd")) <= descriptors


async def test_a_drain_tells_each_of_200_live_calls_1001() -> None:
    async with serving(drain_seconds=0.2) as service:
        calls = [await service.call() for _ in range(200)]
        for call in calls:
            await call.send(FRAME)
        told = []

        async def listen(call: StreamCaller) -> None:
            assert await call.receive() == FRAME
            told.append((await call.hung_up())[0])

        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(listen, call)
            terminate()
        assert told == [1001] * 200
        with trio.fail_after(5):
            await service.stopped.wait()
        assert service.in_full is True


async def test_other_tasks_run_while_one_peer_floods() -> None:
    async with calling("pump") as (caller, _):
        assert isinstance(caller, StreamCaller)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, caller.stream)

            @nursery.start_soon
            async def flood() -> None:
                while True:
                    await caller.send(FRAME)

            for _ in range(100):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


class Slow:
    """A conversation that answers nothing, and for which each message takes half a millisecond."""

    def __init__(self, clock: "Measured") -> None:
        self._clock = clock

    def begin(self, mouth: Mouth) -> None: ...

    def receive(self, message: Message) -> None:
        self._clock.messages += 1

    def replied(self, message: Message, seconds: float) -> None: ...


class Measured:
    """What the pump measures its time by: here each message takes some, and nothing else does."""

    def __init__(self) -> None:
        self.messages = 0

    def __call__(self) -> float:
        return self.messages * 0.0005


async def most_at_once(monkeypatch: pytest.MonkeyPatch, lines: int, messages: int) -> int:
    """Have that many slow conversations on one pump, with so many messages each.

    Return how many messages were heard before another task ran, at most; Trio may run the pump
    twice before it.
    """
    clock, pump = Measured(), Pump()
    monkeypatch.setattr("service.net.pump.perf_counter", clock)
    monkeypatch.setattr("service.net.line.perf_counter", clock)
    limits, sent = Limits(1 << 20, 60, 60, 60, 60), Frame(Opcode.BINARY, FRAME).serialize(mask=True)
    heard = [0]
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for _ in range(lines):
            ours, theirs = await tcp_pair()
            stream = await stack.enter_async_context(Stream(ours))
            nursery.start_soon(PumpedLink(pump, stream).carry, Slow(clock), limits)
            await stack.enter_async_context(theirs)
            await theirs.send_all(sent * messages)
        nursery.start_soon(pump.run)
        while clock.messages < lines * messages:
            await trio.lowlevel.checkpoint()
            heard.append(clock.messages)
        nursery.cancel_scope.cancel()
    return max(after - before for before, after in pairwise(heard))


async def test_other_tasks_run_after_one_group_of_many_sockets_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await most_at_once(monkeypatch, lines=200, messages=1) <= 2 * AT_ONCE


async def test_other_tasks_run_after_one_visit_to_a_backlog_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = await most_at_once(monkeypatch, lines=20, messages=150)
    assert most <= 2 * 3 * FRAMES_AT_ONCE  # two lines were read before the time was over


async def drain(stream: trio.abc.Stream) -> None:
    while await stream.receive_some():
        pass


@over_tcp_and_tls
async def test_replies_that_wait_are_written_in_order_once_the_peer_reads(tls: bool) -> None:
    """The socket is full in the middle of a read's many messages; nothing is lost or doubled."""
    frames = [number.to_bytes(2) * 15_000 for number in range(500)]
    async with serving(tls=tls) as service:
        call = await service.call()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                for frame in frames:
                    await call.send(frame)

            with trio.move_on_after(0.3):  # until neither side can write any more
                await trio.sleep_forever()
            assert [await call.receive() for _ in frames] == frames
        assert await service.metric("rt_audio_frame_turnaround_seconds_count") == len(frames)


@over_tcp_and_tls
async def test_replies_that_wait_are_written_before_the_close_frame(tls: bool) -> None:
    async with serving(tls=tls, drain_seconds=0) as service:
        call = await service.call()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                while call.protocol.close_rcvd is None:
                    await call.send(bytes(1 << 16))

            with trio.move_on_after(0.3):  # until neither side can write any more
                await trio.sleep_forever()
            terminate()
            while call.protocol.close_rcvd is None:  # not `receive`, which would answer it
                call.protocol.receive_data(bytes(await call.stream.receive_some()))
            nursery.cancel_scope.cancel()
        *replies, close = [
            each for each in call.protocol.events_received() if isinstance(each, Frame)
        ]
        assert close.opcode is Opcode.CLOSE
        assert call.protocol.close_rcvd.code == 1001
        assert replies
        assert {(reply.opcode, len(reply.data)) for reply in replies} == {(Opcode.BINARY, 1 << 16)}


async def test_a_cancelled_call_leaves_the_pump_and_its_descriptor() -> None:
    async with calling("pump") as (caller, house):
        await caller.ask(b"hi")
        await house.roster.dismiss()
        assert (await caller.hung_up())[0] == 1001


@pytest.mark.parametrize("messages", [[b"boom"], [b"fine", b"boom"]], ids=["alone", "behind"])
async def test_a_bug_ends_its_own_call_and_the_pump_goes_on(
    monkeypatch: pytest.MonkeyPatch, messages: list[bytes]
) -> None:
    receive = Session.receive

    def broken(self: Session, message: bytes) -> object:
        if message == b"boom":
            raise ZeroDivisionError
        return receive(self, message)

    monkeypatch.setattr(Session, "receive", broken)
    async with serving() as service:
        healthy, doomed = await service.call(), await service.call()
        for message in messages:
            doomed.protocol.send_binary(message)
        await doomed.flush()
        for message in messages[:-1]:  # what was answered in the same visit is not lost
            assert await doomed.receive() == message
        assert (await doomed.hung_up())[0] == 1011
        assert await healthy.ask(b"fine") == b"fine"


async def test_calls_that_are_served_in_one_turn_have_each_their_own_fate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive, replied = Session.receive, Session.replied

    def broken_receive(self: Session, message: bytes) -> object:
        return 1 // (message != b"boom") and receive(self, message)

    def broken_replied(self: Session, message: Message, seconds: float) -> None:
        assert 1 // (message != b"bang")
        replied(self, message, seconds)

    monkeypatch.setattr(Session, "receive", broken_receive)
    monkeypatch.setattr(Session, "replied", broken_replied)
    fates: dict[bytes, Message | int | None] = {
        b"fine": b"fine", b"boom": 1011, b"odd": 1003, b"bang": 1011, b"good": b"good",
    }  # fmt: skip
    seen: dict[bytes, Message | int | None] = {}
    async with serving() as service, trio.open_nursery() as nursery:

        async def meet(call: StreamCaller, message: bytes) -> None:
            await call.send(message)
            try:
                seen[message] = await call.receive()
                if message == b"bang":  # the fault was in counting, after the reply
                    seen[message] = (await call.hung_up())[0]
            except HungUp as end:
                seen[message] = end.code

        for call, message in [(await service.call(), message) for message in fates]:
            nursery.start_soon(meet, call, message)
    assert seen == fates


async def test_of_a_crowd_that_hangs_up_at_once_a_few_at_a_time_leave() -> None:
    house, pump, crowd = House(), Pump(), 30
    left_at_once = []

    class Watch(trio.abc.Instrument):
        def __init__(self) -> None:
            self.before = house.roster.active

        def after_io_wait(self, timeout: float) -> None:
            self.before = house.roster.active

        def before_io_wait(self, timeout: float) -> None:
            left_at_once.append(self.before - house.roster.active)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        callers = []
        for _ in range(crowd):
            ours, theirs = await tcp_pair()
            nursery.start_soon(run_call, house, PumpedLink(pump, Stream(ours)))
            callers.append(theirs)
        for caller in callers:
            assert await StreamCaller(caller).ask(b"hi") == b"hi"
        trio.lowlevel.add_instrument(Watch())
        for caller in callers:
            caller.socket.close()  # at once: to close a stream is to wait
        while sum(left_at_once) < crowd:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert max(left_at_once) <= ENDINGS_AT_ONCE


async def test_a_stalled_loop_does_not_swallow_the_close_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time for the close handshake is over before the close frame could be written."""
    monkeypatch.setattr("service.net.links.CLOSE_SECONDS", 0)
    async with serving() as service:
        call = await service.call()
        await call.send(b"odd")
        assert (await call.hung_up())[0] == 1003
