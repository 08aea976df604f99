"""The limits of each token and each address, and their place in the order of checks."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from service.bearer import Token
from service.calls.caller import Caller
from service.calls.roster import Place, Roster
from service.config import Settings
from service.web.access import Access, read_tokens
from service.web.admission import Admission, Refused


class Door:
    """An admission with the tokens of a file, and who comes to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        file = folder / "tokens"
        file.write_text("acme:old\nacme:new\nbare\n")
        checked = Settings(tokens_file=file, **settings)
        self.roster = Roster(
            checked.max_sessions, checked.max_sessions_per_token, checked.max_sessions_per_address
        )
        self._admission = Admission(checked, Access([], read_tokens(file)), self.roster)

    def check(self, token: str, address: str = "192.0.2.1", **more: Any) -> Token | None:
        return self._admission.check(
            Caller(address),
            **{"origin": None, "host": None, "query_token": token, "subprotocols": ()} | more,
            authorization=None,
        )

    def call(self, token: str, address: str = "192.0.2.1") -> Place:
        """Return the place of a call, which is on the line until it is left."""
        return self._admission.place(Caller(address), self.check(token, address))


def refused(*arguments: Any, by: Any, **more: Any) -> tuple[int, str, str | None]:
    """Return the status, the reason and the token's name of a refusal."""
    with pytest.raises(Refused) as caught:
        by(*arguments, **more)
    return caught.value.status, caught.value.reason.value, caught.value.token


async def test_a_name_has_so_many_sessions_and_a_bare_token_as_many(tmp_path: Path) -> None:
    door = Door(tmp_path, max_sessions_per_token=2)
    with door.call("old"), door.call("new"):
        assert refused("new", by=door.call) == (429, "too_many_sessions", "acme")
        with door.call("bare"), door.call("bare"):
            assert refused("bare", by=door.call) == (429, "too_many_sessions", "line 3")
    assert door.roster.active == 0
    with door.call("old"):
        assert door.roster.active == 1


async def test_an_address_has_so_many_sessions_and_an_ipv6_network_as_many(tmp_path: Path) -> None:
    door = Door(tmp_path, max_sessions_per_address=1)
    with door.call("old"), door.call("bare", "2001:db8::1"):
        assert refused("bare", by=door.call)[:2] == (429, "too_many_sessions")
        assert refused("bare", "2001:db8::ff", by=door.call)[:2] == (429, "too_many_sessions")
        with door.call("bare", "192.0.2.2"), door.call("old", "2001:db8:0:1::1"):
            assert door.roster.active == 4


async def test_a_name_begins_so_many_upgrades_a_second(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    door = Door(tmp_path, max_upgrades_per_token=2)
    for _ in range(2):
        door.check("old")
        door.check("new")
        assert refused("new", by=door.check) == (429, "too_many_upgrades", "acme")
        door.check("bare")
        await trio.sleep(1)


async def test_an_address_begins_so_many_upgrades_a_second_and_guesses_count(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    door = Door(tmp_path, max_upgrades_per_address=2)
    for _ in range(2):
        assert refused("guess", by=door.check)[:2] == (401, "unauthorized")
        door.check("old")
        assert refused("old", by=door.check) == (429, "too_many_upgrades", None)
        assert refused("guess", by=door.check)[1] == "too_many_upgrades"
        door.check("old", "192.0.2.2")
        await trio.sleep(1)


async def test_who_only_asks_is_told_of_a_limit_and_not_counted(tmp_path: Path) -> None:
    door = Door(tmp_path, max_upgrades_per_address=1, max_upgrades_per_token=1)
    for _ in range(3):
        door.check("old", upgrades=0)
    door.check("old")
    assert refused("old", by=door.check, upgrades=0)[1] == "too_many_upgrades"


async def test_without_limits_a_crowd_may_come(tmp_path: Path) -> None:
    door = Door(tmp_path)
    places = [door.call("old") for _ in range(500)]
    assert door.roster.active == len(places)


async def test_a_full_service_sends_elsewhere_before_it_speaks_of_a_share(tmp_path: Path) -> None:
    door = Door(tmp_path, max_sessions=1, max_sessions_per_token=1)
    with door.call("old"):
        assert refused("old", by=door.call)[:2] == (503, "at_capacity")
        door.roster.drain()
        assert refused("old", by=door.call)[:2] == (503, "draining")
