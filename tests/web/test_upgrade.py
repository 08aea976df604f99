"""What an upgrade asks for, however its request is written, and what happens if its view raises."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from service.calls.call import Call
from tests.peers.callers import AsgiCaller
from tests.peers.house import House, run_asgi


async def first_event(query: bytes = b"", path: str = "/ws/audio", **more: Any) -> Any:
    """Return the app's first event for an upgrade, whose call leaves then."""
    caller = AsgiCaller()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            await run_asgi(House(), caller, path=path, query_string=query, **more)

        event = await caller.connect()
        nursery.cancel_scope.cancel()
    return event


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/ws/audio", ""),
        ("/mounted/ws/audio", "/mounted"),
        ("http://localhost:8001/ws/audio", ""),
    ],
)
async def test_a_call_is_found_at_its_path(
    path: str, root_path: str, autojump_clock: MockClock
) -> None:
    event = await first_event(path=path, root_path=root_path)
    assert event["type"] == "websocket.accept"


async def test_the_first_value_of_a_parameter_counts(autojump_clock: MockClock) -> None:
    event = await first_event(b"codec=pure_python&codec=numpy")
    assert dict(event["headers"])[b"rt-audio-codec"] == b"pure_python"


async def test_a_value_that_is_no_utf_8_is_refused_as_any_wrong_one() -> None:
    assert (await first_event(b"encoding=%FF"))["status"] == 400


async def test_a_bug_after_the_answer_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Call, "run", broken)
    caller, house = AsgiCaller(), House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_asgi, house, caller)
        assert (await caller.connect())["type"] == "websocket.accept"
        assert await caller.event() == {"type": "end"}
    assert house.roster.active == 0
