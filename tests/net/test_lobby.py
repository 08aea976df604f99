"""Connections that are no calls: how many there may be, and whose place a newcomer takes."""

import pytest
import trio

from service.net.lobby import Lobby
from tests.peers import processes
from tests.peers.calling import calling
from tests.peers.reach import Service, read_head, upgrade_request
from tests.peers.serving import serving


class Guest:
    """A connection that is idle, or not."""

    def __init__(self, idle: bool) -> None:
        self.idle, self.evicted = idle, False

    def evict(self) -> None:
        self.evicted = True

    def retire(self) -> None:
        self.evicted = True


def evicted_from(lobby: Lobby, guests: list[Guest]) -> list[bool]:
    """Make room for a newcomer, and return who had to go."""
    lobby.make_room()
    return [guest.evicted for guest in guests]


def test_a_newcomer_takes_the_place_of_the_guest_that_is_idle_for_longest() -> None:
    lobby = Lobby(3)
    guests = [Guest(idle=False), Guest(idle=True), Guest(idle=True)]
    for guest in guests:
        lobby.make_room()
        lobby.enter(guest, "192.0.2.1")
    lobby.renew(guests[1])  # which has just ended a request
    assert evicted_from(lobby, guests) == [False, False, True]


def test_where_nobody_is_idle_the_oldest_request_has_to_go() -> None:
    lobby, guests = Lobby(2), [Guest(idle=False), Guest(idle=False)]
    for guest in guests:
        lobby.enter(guest, "192.0.2.1")
    assert evicted_from(lobby, guests) == [True, False]


def test_a_guest_that_has_left_makes_room() -> None:
    lobby, guest = Lobby(1), Guest(idle=True)
    lobby.enter(guest, "192.0.2.1")
    lobby.leave(guest)
    assert evicted_from(lobby, [guest]) == [False]


@pytest.mark.parametrize("crowd", [["192.0.2.9"], ["2001:db8::1", "2001:db8::2"]])
def test_the_address_that_holds_most_gives_up_a_place_though_others_are_idle_for_longer(
    crowd: list[str],
) -> None:
    lobby = Lobby(5)
    origins = ["192.0.2.1", "2001:db8:1::1", crowd[0], crowd[-1], "::ffff:192.0.2.2"]
    guests = [Guest(idle=True) for _ in origins]
    for guest, address in zip(guests, origins, strict=True):
        lobby.enter(guest, address)
    assert evicted_from(lobby, guests) == [False, False, True, False, False]
    lobby.enter(Guest(idle=True), crowd[0])
    assert evicted_from(lobby, guests) == [False, False, True, True, False]


async def test_one_address_cannot_take_the_places_of_others() -> None:
    async with serving(max_sessions=1) as service:
        quiet = await service.connect()
        await quiet.send_all(b"GET /health HTTP/1.1\r\n")
        crowd = []
        for _ in range(150):  # there are 100 places
            stream = await trio.open_tcp_stream(
                "127.0.0.1", service.port, local_address="127.0.0.2"
            )
            await stream.send_all(b"GET /")
            crowd.append(stream)
        for stream in crowd[:51]:
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        await quiet.send_all(b"Host: x\r\n\r\n")
        assert (await read_head(quiet)).startswith(b"HTTP/1.1 200 ")
        for stream in crowd:
            await stream.aclose()


async def test_clients_that_do_not_read_their_answers_do_not_keep_others_out() -> None:
    # Far more than the kernel keeps for a client that reads nothing.
    requests = b"GET /console/audio/speech.wav HTTP/1.1\r\nHost: x\r\n\r\n" * 50
    async with calling("server", max_sessions=1) as (caller, service):
        for _ in range(110):  # there are 100 places
            await (await service.connect()).send_all(requests)
        with trio.fail_after(8):
            assert (await service.get("/health"))[0] == 200
        assert await caller.ask(b"live") == b"live"


async def test_idle_connections_by_the_hundred_cost_the_oldest_of_them_their_place() -> None:
    """With one session allowed there are 100 places for connections that are no calls."""
    async with calling("server", max_sessions=1) as (caller, service):
        idle = []
        for _ in range(150):
            stream = await service.connect()
            await stream.send_all(b"GET /")  # the kernel keeps a connection that says nothing
            idle.append(stream)
        assert (await service.get("/health"))[0] == 200
        assert (await service.get("/capacity"))[0] == 503
        for stream in idle[:50]:
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        assert await caller.ask(b"live") == b"live"


async def test_at_the_descriptor_limit_calls_and_probes_go_on() -> None:
    """64 descriptors, 24 calls and 200 connections that only wait."""
    with processes.serving(within=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")) as served:
        service = Service(served.port)
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
            assert (await service.get("/capacity"))[0] == 503
            for call in calls:
                assert await call.ask(b"live") == b"live"
        await service.hang_up()
    events = [entry["event"] for entry in served.entries]
    assert "few_descriptors" in events
    assert events.count("cannot_accept") <= 1
