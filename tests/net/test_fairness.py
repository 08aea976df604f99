"""No caller can starve another: a flood that reads its replies, beside a call in real time.

A test measures no time. It counts turns of the event loop: each gives the pump TURN_SECONDS.
`benchmarks/misbehave.py` measures the milliseconds.
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from websockets.frames import Opcode

from service.handlers import Call, Message
from service.web.metrics import Metrics
from tests.peers import abuse
from tests.peers.abuse import MEBIBYTE, Kind, calling
from tests.peers.frames import fragments, masked
from tests.peers.reach import Service
from tests.peers.serving import serving
from tests.peers.stand_in import put

FRAME = bytes(320)


#: Fragments make a message of 10,000 bytes, so that the service has whole ones within a test.
FLOODS = {
    "large frames": abuse.FLOODS["65000-byte frames"],
    "frames": abuse.FLOODS["320-byte frames"],
    "empty frames": abuse.FLOODS["empty frames"],
    "pings": abuse.FLOODS["empty pings"],
    "pongs": abuse.FLOODS["empty pongs"],
    "empty fragments": abuse.FLOODS["empty continuations"],
    "fragments of a byte": Kind(again=fragments(10_000, 1) + masked(Opcode.CONT)),
    "frames of a MiB": Kind(again=MEBIBYTE),
}
#: Those whose bytes are converted where the reply's encoding is another.
CONVERTED = ["large frames", "frames", "fragments of a byte", "frames of a MiB"]

#: Those that no handler hears of.
NEVER_HEARD = ["pings", "pongs", "empty fragments"]

#: The same for calls with a handler, which take text messages too.
EVENT_FLOODS = FLOODS | {
    name: Kind(again=masked(Opcode.TEXT, json.dumps(event).encode()) * times)
    for name, event, times in (
        ("digits", {"type": "digits", "digits": "1"}, 5_000),
        ("marks", {"type": "mark", "name": "heard-1"}, 5_000),
        ("answers to no clear", {"type": "cleared", "milliseconds": 1}, 5_000),
        ("long lists", {"type": "message", "message": [1.5] * 13_000}, 10),
        ("deep lists", {"type": "message", "message": json.loads("[" * 900 + "]" * 900)}, 100),
    )
}


async def bots(call: Call) -> None:
    """Answer as the caller's parameters say."""
    if "deaf" in call.parameters:
        await trio.sleep_forever()
    async for event in call.events():
        if isinstance(event, Message) and "answers" in call.parameters:
            await call.send(event.data)
        if isinstance(event, bytes) and "plays" in call.parameters:
            await call.play(event)


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.fixture
def untraced() -> Iterator[None]:
    """Take coverage's tracer away, which makes a flood of events three times as long.

    pytest-cov's mark `no_cover` would leave the tracer of another Coverage in each worker.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@asynccontextmanager
async def flooding(service: Service, flood: Kind, query: str) -> AsyncIterator[None]:
    """Have three flooders send without end, and read, for the time of the block."""
    async with calling(service.port, {"flood": (replace(flood, query=query), 3)}) as counts:
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        yield
    assert counts["flood"].ended == 0


@pytest.mark.parametrize(
    ("kind", "query"),
    [(kind, "codec=pure_python") for kind in FLOODS]
    + [(kind, "encoding=alaw&reply=ulaw") for kind in CONVERTED],
)
async def test_a_flood_costs_another_call_a_few_turns(kind: str, query: str) -> None:
    turns = Turns()
    async with serving() as service:
        call = await service.call("codec=numpy")
        async with flooding(service, FLOODS[kind], query):
            trio.lowlevel.add_instrument(turns)
            waits = []
            with trio.fail_after(30):
                for _ in range(15):
                    before = turns.count
                    assert await call.ask(FRAME) == FRAME
                    waits.append(turns.count - before)
                newcomer = await service.call()
                assert await newcomer.ask(FRAME) == FRAME
                assert (await service.get("/health"))[0] == 200
            trio.lowlevel.remove_instrument(turns)
    assert sorted(waits)[-2] <= 6, waits


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("kind", "query"),
    [
        *((kind, "hears=1") for kind in EVENT_FLOODS if kind not in NEVER_HEARD),
        *((kind, "deaf=1") for kind in EVENT_FLOODS if kind not in FLOODS),
        ("frames", "plays=1"), ("frames", "live=true"), ("empty frames", "deaf=1&live=true"),
    ],
)  # fmt: skip
async def test_a_flood_to_a_handler_costs_another_call_a_few_turns(kind: str, query: str) -> None:
    turns, question = Turns(), json.dumps({"type": "message", "message": 1})
    async with serving(handler=put(bots)) as service:
        call = await service.call("answers=1&events=json")
        await call.receive()
        async with flooding(service, EVENT_FLOODS[kind], f"{query}&encoding=alaw"):
            trio.lowlevel.add_instrument(turns)
            waits = []
            with trio.fail_after(30):
                for _ in range(10):
                    before = turns.count
                    assert json.loads(str(await call.ask(question))) == json.loads(question)
                    waits.append(turns.count - before)
                newcomer = await service.call("answers=1&events=json")
                await newcomer.receive()
                assert (await service.get("/health"))[0] == 200
            trio.lowlevel.remove_instrument(turns)
    assert sorted(waits)[-2] <= 8, waits


async def test_a_flood_of_pings_after_the_close_costs_nobody() -> None:
    """The service reads on for the peer's close frame, and must not read for too long."""
    async with serving() as service:
        call = await service.call("codec=numpy")
        turns = Turns()
        for _ in range(3):
            flooder = await service.upgraded()
            await flooder.send_all(masked(Opcode.BINARY, b"odd") + masked(Opcode.PING) * 20_000)
        trio.lowlevel.add_instrument(turns)
        for _ in range(30):
            before = turns.count
            assert await call.ask(FRAME) == FRAME
            assert turns.count - before <= 20
        trio.lowlevel.remove_instrument(turns)


async def test_of_many_scrapes_at_once_each_turn_of_the_loop_does_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered, render = [0], Metrics.render

    def counted(self: Metrics, accept: str) -> tuple[bytes, str]:
        rendered[-1] += 1
        return render(self, accept)

    class PerTurn(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            rendered.append(0)

    monkeypatch.setattr(Metrics, "render", counted)
    async with serving() as service:
        streams = [await service.connect() for _ in range(20)]
        trio.lowlevel.add_instrument(turns := PerTurn())
        for stream in streams:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for stream in streams:
            while await stream.receive_some():
                pass
        trio.lowlevel.remove_instrument(turns)
    assert sum(rendered) == 20
    assert max(rendered) == 1
