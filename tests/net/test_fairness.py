"""No caller can starve another: a flood that reads its replies, beside a call in real time.

A flood that starves others costs each question a second, and a fair service milliseconds; so the
deadline can be wide. `benchmarks/misbehave.py` measures the milliseconds, and test_pump.py proves
what bounds them.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from websockets.frames import Opcode

from service.web.metrics import Metrics
from tests.peers import abuse, processes
from tests.peers.abuse import MEBIBYTE, Kind, calling
from tests.peers.frames import fragments, masked
from tests.peers.reach import Service
from tests.peers.serving import serving

FRAME = bytes(320)
#: So many questions are answered in that time, beside a flood: each takes a few milliseconds.
QUESTIONS, QUICKLY_SECONDS = 30, 5


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


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.fixture(scope="module")
def echo() -> Iterator[Service]:
    """Have a service in a process of its own: what floods it goes on while it is busy."""
    with processes.serving() as served:
        yield Service(served.port)


@pytest.fixture(scope="module")
def handled() -> Iterator[Service]:
    with processes.serving(RT_AUDIO_HANDLER="tests.peers.bots:as_asked") as served:
        yield Service(served.port)


@asynccontextmanager
async def flooding(service: Service, flood: Kind, query: str) -> AsyncIterator[None]:
    """Have three flooders send without end, and read, for the time of the block.

    The block must be over in QUICKLY_SECONDS.
    """
    async with calling(service.port, {"flood": (replace(flood, query=query), 3)}) as counts:
        before = counts["flood"].sent
        with trio.fail_after(QUICKLY_SECONDS):
            yield
        assert counts["flood"].sent > before
    assert counts["flood"].ended == 0
    await service.hang_up()


@pytest.mark.parametrize(
    ("kind", "query"),
    [(kind, "codec=pure_python") for kind in FLOODS]
    + [(kind, "encoding=alaw&reply=ulaw") for kind in CONVERTED],
)
async def test_a_flood_costs_other_calls_little(echo: Service, kind: str, query: str) -> None:
    call = await echo.call("codec=numpy")
    async with flooding(echo, FLOODS[kind], query):
        for _ in range(QUESTIONS):
            assert await call.ask(FRAME) == FRAME
        newcomer = await echo.call()
        assert await newcomer.ask(FRAME) == FRAME
        assert (await echo.get("/health"))[0] == 200


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        *((kind, "hears=1") for kind in EVENT_FLOODS if kind not in NEVER_HEARD),
        *((kind, "deaf=1") for kind in EVENT_FLOODS if kind not in FLOODS),
        ("frames", "plays=1"), ("frames", "live=true"), ("empty frames", "deaf=1&live=true"),
    ],
)  # fmt: skip
async def test_a_flood_to_a_handler_costs_other_calls_little(
    handled: Service, kind: str, query: str
) -> None:
    question = json.dumps({"type": "message", "message": 1})
    call = await handled.call("answers=1&events=json")
    await call.receive()
    async with flooding(handled, EVENT_FLOODS[kind], f"{query}&encoding=alaw"):
        for _ in range(QUESTIONS):
            assert json.loads(str(await call.ask(question))) == json.loads(question)
        newcomer = await handled.call("answers=1&events=json")
        await newcomer.receive()
        assert (await handled.get("/health"))[0] == 200


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
