"""Connections that are no calls: how many there may be, and whose place a newcomer takes."""

import sys
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from service.net.lobby import Lobby
from tests.deploy.running import found, process
from tests.peers.callers import Service, calling, upgrade_request


class Guest:
    """A connection that is idle, or not."""

    def __init__(self, idle: bool) -> None:
        self.idle, self.retired = idle, False

    def retire_if_idle(self) -> bool:
        if self.idle:
            self.retire()
        return self.idle

    def retire(self) -> None:
        self.retired = True


async def test_a_newcomer_takes_the_place_of_the_guest_that_is_idle_for_longest() -> None:
    lobby = Lobby(3)
    guests = [Guest(idle=False), Guest(idle=True), Guest(idle=True)]
    for guest in guests:
        await lobby.has_room()
        lobby.enter(guest)
    await lobby.has_room()
    assert [guest.retired for guest in guests] == [False, True, False]


async def test_where_nobody_is_idle_a_newcomer_waits_for_one_to_leave() -> None:
    lobby, busy = Lobby(1), Guest(idle=False)
    lobby.enter(busy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lobby.has_room)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        lobby.leave(busy)
    assert not busy.retired


async def test_idle_connections_by_the_hundred_cost_the_oldest_of_them_their_place() -> None:
    """With one session allowed there are 100 places for connections that are no calls."""
    async with calling("server", max_sessions=1) as (caller, service):
        idle = []
        for _ in range(150):
            stream = await service.connect()
            await stream.send_all(b"GET /")  # the kernel keeps a connection that says nothing
            idle.append(stream)
        assert (await service.get("/health"))[0] == 200
        assert (await service.get("/ready"))[0] == 503
        for stream in idle[:50]:
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        assert await caller.ask(b"live") == b"live"


async def test_at_the_descriptor_limit_calls_and_probes_go_on(tmp_path: Path) -> None:
    """64 descriptors, 24 calls and 200 connections that only wait."""
    log = tmp_path / "log"
    serve = f"exec {sys.executable} -m service serve --host 127.0.0.1 --port 0"
    with process(log, "sh", "-c", f"ulimit -n 64; {serve}", RT_AUDIO_LOG_FORMAT="json"):
        service = Service(int(found(log, r'"port": (\d+)')), None, lambda: None)
        calls = [await service.call() for _ in range(24)]
        refused = await service.connect()
        await refused.send_all(upgrade_request("/ws/audio"))
        assert (await refused.receive_some()).startswith(b"HTTP/1.1 503 ")
        for _ in range(200):
            stream = await service.connect()
            await stream.send_all(b"GET /")
        with trio.fail_after(10):
            for path in ("/health", "/metrics", "/health"):
                assert (await service.get(path))[0] == 200
            assert (await service.get("/ready"))[0] == 503
            for call in calls:
                assert await call.ask(b"live") == b"live"
        await service.hang_up()
    lines = log.read_text()
    assert "few_descriptors" in lines
    assert lines.count("cannot_accept") <= 1
