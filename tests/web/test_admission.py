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
from service.reload import Files
from service.web.access import Access
from service.web.admission import Admission, Refused
from service.web.vouching import Claim, Vouching


class Door:
    """An admission with the tokens of a file, and who comes to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        file = folder / "tokens"
        file.write_text("acme:old\nacme:new\nbare\n")
        checked = Settings(tokens_file=file, **settings)
        self.roster = Roster(
            checked.max_sessions, checked.max_sessions_per_token, checked.max_sessions_per_address
        )
        self._admission = Admission(checked, Files(checked).access(checked), self.roster)

    def check(self, token: str, address: str = "192.0.2.1", **more: Any) -> Token | None:
        return self._admission.check(
            Caller(address),
            **{"origin": None, "host": None, "query_token": token, "subprotocols": ()} | more,
            authorization=None,
        )

    def claim(self, dialect: str, secret: bytes, **more: Any) -> Token | None:
        """Return the token of an upgrade at a dialect's endpoint, which has no other proof."""
        headers = [(b"x-telnyx-streaming-auth-token", secret)]
        claim = Claim(dialect, f"/ws/{dialect}", b"", headers)
        return self.check(more.pop("token", "none"), claim=claim, **more)

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


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "telnyx").write_text("sesame\n")
    return folder


async def test_a_dialects_secret_counts_in_the_place_of_tokens(
    tmp_path: Path, secrets: Path
) -> None:
    door = Door(tmp_path, secrets_dir=secrets)
    assert door.claim("telnyx", b"sesame") is None
    for token in ("none", "old"):
        why = refused("telnyx", b"simsalabim", token=token, by=door.claim)
        assert why == (401, "unauthorized", None)


async def test_a_dialect_without_a_secret_needs_a_token(tmp_path: Path, secrets: Path) -> None:
    door = Door(tmp_path, secrets_dir=secrets)
    assert refused("vonage", b"sesame", by=door.claim)[:2] == (401, "unauthorized")
    token = door.claim("vonage", b"sesame", token="old")
    assert token is not None
    assert token.called == "acme"


async def test_address_and_origin_are_checked_before_a_secret(
    tmp_path: Path, secrets: Path, autojump_clock: trio.testing.MockClock
) -> None:
    door = Door(tmp_path, secrets_dir=secrets, max_upgrades_per_address=2)
    arguments: Any = {"by": door.claim, "origin": "https://elsewhere.example", "host": "here"}
    assert refused("telnyx", b"sesame", **arguments)[:2] == (403, "origin")
    assert refused("telnyx", b"guess", by=door.claim)[:2] == (401, "unauthorized")
    assert refused("telnyx", b"sesame", by=door.claim)[:2] == (429, "too_many_upgrades")
    await trio.sleep(1)
    door.claim("telnyx", b"sesame")


@pytest.mark.parametrize(
    ("dialect", "challenge", "needed"),
    [
        ("twilio", "X-Twilio-Signature", "X-Twilio-Signature is needed, of the public URL"),
        ("telnyx", "X-Telnyx-Streaming-Auth-Token", "x-telnyx-streaming-auth-token is needed"),
        ("plivo", "X-Plivo-Signature-V3", "X-Plivo-Signature-V3 is needed, of the public URL"),
        ("vonage", "Bearer", "a JWT is needed as bearer token"),
        ("asterisk", 'Basic realm="rt-audio"', "a known user and password are needed"),
        ("jambonz", 'Basic realm="rt-audio"', "a known user and password are needed"),
        ("freeswitch", 'Basic realm="rt-audio"', "a known user and password are needed"),
        ("exotel", 'Basic realm="rt-audio"', "a known user and password are needed"),
    ],
)
async def test_a_refusal_says_what_is_needed(dialect: str, challenge: str, needed: str) -> None:
    vouching = Vouching({dialect: [b"sesame:sesame"]}, "wss://voice.example")
    admission = Admission(Settings(), Access([], None, vouching), Roster(1))
    with pytest.raises(Refused, match=needed) as caught:
        admission.check(
            Caller("192.0.2.1"), origin=None, host=None, authorization=None, query_token=None,
            subprotocols=(), claim=Claim(dialect, f"/ws/{dialect}", b"", []),
        )  # fmt: skip
    assert caught.value.headers == {"WWW-Authenticate": challenge}
    assert "sesame" not in str(caught.value)
