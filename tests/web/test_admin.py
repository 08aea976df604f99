"""What an operator does by the admin app; tests/test_server.py has the listener."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from service import codec, logs
from service.calls.asked import Asked
from service.calls.call import Call
from service.calls.caller import Caller
from service.calls.roster import Place
from service.web.app import limits_of
from tests.peers.callers import AsgiCaller
from tests.peers.house import House, run_asgi
from tests.peers.logged import entries

CHANGES = [
    ("DELETE", "/calls/x"), ("POST", "/drain"), ("DELETE", "/drain"), ("PUT", "/log-level"),
]  # fmt: skip
ADMIN_PATHS = ["/calls", "/calls/x", "/drain", "/log-level"]


@pytest.fixture
def house() -> House:
    return House(admin_port=0)


async def ask(house: House, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Return the status and the body with which the admin app answers."""
    client: Any = house.admin_app.test_client()
    response = await client.open(path, method=method, **options)
    return response.status_code, await response.get_json()


def listed(house: House) -> Place:
    """Return the place of a call that is not answered yet."""
    place = house.place()
    call = Call(
        Asked.raw({}, codec.ORDER), Caller("192.0.2.1", 5), house.tally, limits_of(house.settings)
    )
    house.roster.enlist(place, call)
    return place


@pytest.mark.parametrize("path", [*ADMIN_PATHS, "/metrics", "/", "/console/main.js"])
async def test_with_an_admin_port_the_public_app_has_calls_and_probes_only(
    house: House, path: str
) -> None:
    for method in ("get", "post", "put", "delete"):
        response = await getattr(house.app.test_client(), method)(path)
        assert response.status_code == 404
    for probe in ("/health", "/ready", "/capacity"):
        assert (await house.app.test_client().get(probe)).status_code == 200
    alone = House().app.test_client()
    assert (await alone.get(path)).status_code == (404 if path in ADMIN_PATHS else 200)


@pytest.mark.parametrize("path", ["/metrics", "/", "/console/main.js", "/health", "/capacity"])
async def test_the_admin_app_has_what_the_public_one_lacks_and_the_probes(
    house: House, path: str
) -> None:
    assert (await house.admin_app.test_client().get(path)).status_code == 200


async def test_a_call_is_listed_with_what_is_known_of_it(house: House) -> None:
    caller = AsgiCaller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_asgi, house, caller, "encoding=ulaw&reply=alaw&reply_rate=16000")
        await caller.connect()
        for _ in range(3):
            await caller.ask(bytes(160))
        status, page = await ask(house, "GET", "/calls")
        [call] = page["calls"]
        assert (status, page["next"], page["sessions"]) == (200, None, 1)
        assert await ask(house, "GET", f"/calls/{call['id']}") == (200, call | {
            "seconds": pytest.approx(call["seconds"], abs=5)})  # fmt: skip
        await caller.leave()
    assert datetime.fromisoformat(call.pop("since")).utcoffset() is not None
    assert call.pop("seconds") >= 0
    assert len(call.pop("id")) == 12
    assert call["terms"].pop("codec") in codec.ORDER
    assert call.pop("terms") == {
        "encoding": "ulaw", "reply": "alaw", "sample_rate": 8000, "reply_rate": 16000,
    }  # fmt: skip
    assert call == {
        "caller": {"peer": "127.0.0.1:1"},
        "dialect": "raw", "call_id": None,
        "frames": 3, "bytes": 480, "unsent_bytes": 0, "outcome": None,
    }  # fmt: skip
    assert await ask(house, "GET", "/calls") == (200, {"calls": [], "next": None, "sessions": 0})


async def test_many_calls_come_in_pages_and_a_call_that_ends_costs_no_other_its_line(
    house: House,
) -> None:
    places = [listed(house) for _ in range(250)]
    ids = [place.call.id for place in places if place.call is not None]
    seen: list[str] = []
    cursor, sizes = "0", []
    while cursor is not None:
        _, page = await ask(house, "GET", f"/calls?limit=100&cursor={cursor}")
        sizes.append(len(page["calls"]))
        seen += [call["id"] for call in page["calls"]]
        if len(seen) == 100:
            house.roster.release(places[99])  # the one that the cursor is from
            house.roster.release(places[120])
        cursor = page["next"]
    assert sizes == [100, 100, 49]
    assert seen == [each for each in ids if each != ids[120]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=-1", "limit"),
     ("cursor=-1", "cursor"), ("cursor=", "cursor"), ("cursor=" + "9" * 5000, "cursor")],
)  # fmt: skip
async def test_a_wrong_page_is_400(house: House, query: str, parameter: str) -> None:
    status, body = await ask(house, "GET", f"/calls?{query}")
    assert (status, body["error"], body["parameter"]) == (400, "bad_parameter", parameter)
    assert body["allowed"]


async def test_an_operator_ends_one_call_and_its_peer_is_told(house: House) -> None:
    one, other = AsgiCaller(), AsgiCaller()
    async with trio.open_nursery() as nursery:
        for caller in (one, other):
            nursery.start_soon(run_asgi, house, caller)
            await caller.connect()
            await caller.ask(b"hi")
        [name, _] = [call["id"] for call in (await ask(house, "GET", "/calls"))[1]["calls"]]
        status, call = await ask(house, "DELETE", f"/calls/{name}")
        assert (status, call["id"], call["outcome"]) == (202, name, "dismissed")
        assert await one.hung_up() == (1008, "an operator ended the call")
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask(house, "DELETE", f"/calls/{name}"))[1]["error"] == "no_call"
        assert await other.ask(b"still here") == b"still here"
        await other.leave()
    assert house.outcomes == {"dismissed": 1, "completed": 1}


async def test_no_such_call_is_404(house: House) -> None:
    for method in ("GET", "DELETE"):
        status, body = await ask(house, method, "/calls/0123456789ab")
        assert (status, body["error"]) == (404, "no_call")


async def test_a_drain_begins_with_the_notice_and_is_taken_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    house = House(admin_port=0, drain_notice_seconds=10)
    with house.place():
        status, drain = await ask(house, "POST", "/drain")
        assert (status, drain) == (
            200, {"draining": True, "admitting": True, "stopping": False, "sessions": 1}
        )  # fmt: skip
        await trio.sleep(10)
        assert await ask(house, "GET", "/drain") == (200, drain | {"admitting": False})
        assert (await house.app.test_client().get("/ready")).status_code == 503
        assert house.roster.refusal() == "draining"
        await trio.sleep(86400)  # it has no end
        assert house.roster.active == 1
        _, drain = await ask(house, "DELETE", "/drain")
        assert (drain["draining"], drain["admitting"]) == (False, True)
        assert (await house.app.test_client().get("/ready")).status_code == 200


async def test_no_drain_is_taken_back_once_the_process_stops(house: House) -> None:
    house.roster.stopping = True
    house.roster.drain()
    status, body = await ask(house, "DELETE", "/drain")
    assert (status, body["error"]) == (409, "stopping")
    assert house.roster.draining


SetUp = Callable[[str, str], None]


async def test_the_log_level_changes_at_once_for_loggers_in_use(
    house: House, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    log = logs.get("a")
    log.debug("before")
    assert await ask(house, "GET", "/log-level") == (200, {"level": "info"})
    answer = await ask(house, "PUT", "/log-level", json={"level": "debug"})
    assert answer == (200, {"level": "debug"})
    log.debug("after")
    assert [entry["event"] for entry in entries(capfd)] == ["admin_request", "after"]


async def test_the_log_level_is_taken_as_curl_sends_it(house: House, set_up_logs: SetUp) -> None:
    set_up_logs("info", "json")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await ask(house, "PUT", "/log-level", data=b'{"level": "debug"}', headers=form)
    assert answer == (200, {"level": "debug"})


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": b'"\xff"', "headers": JSON}, 400), ({"data": b"[" * 1020, "headers": JSON}, 400),
        ({"json": {"level": "loud"}}, 400), ({"json": ["debug"]}, 400), ({"json": {}}, 400),
        ({"data": b"debug"}, 400), ({}, 400), ({"form": {"level": "debug"}}, 400),
        ({"json": {"level": ["debug"]}}, 400), ({"json": {"level": "x" * 2000}}, 413),
    ],
)  # fmt: skip
async def test_a_wrong_log_level_changes_nothing(
    house: House, sent: dict[str, Any], status: int, set_up_logs: SetUp
) -> None:
    set_up_logs("error", "json")
    assert (await ask(house, "PUT", "/log-level", **sent))[0] == status
    assert logs.level() == "error"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:81"])
@pytest.mark.parametrize(("method", "path"), [*CHANGES, ("GET", "/calls"), ("GET", "/metrics")])
async def test_a_page_from_elsewhere_may_do_nothing(
    house: House, method: str, path: str, origin: str
) -> None:
    status, body = await ask(house, method, path, headers={"Origin": origin})
    assert (status, body["error"]) == (403, "forbidden")
    assert not house.roster.draining


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9001", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize(("method", "path"), [*CHANGES, ("GET", "/calls"), ("GET", "/metrics")])
async def test_a_name_that_somebody_else_gave_to_the_address_is_421(
    house: House, method: str, path: str, host: str
) -> None:
    """DNS rebinding: then a page is of the same origin, and only the Host tells."""
    headers = {"Host": host, "Origin": f"http://{host}"}
    status, body = await ask(house, method, path, headers=headers)
    assert (status, body["error"]) == (421, "misdirected_request")
    assert not house.roster.draining


@pytest.mark.parametrize(
    "host",
    ["localhost:9001", "127.0.0.1:9001", "[::1]:9001", "10.1.2.3:9001", "VOICE-1:9001", "voice-1"],
)
async def test_an_address_localhost_and_the_name_that_is_set_are_ours(host: str) -> None:
    house = House(admin_port=0, admin_host="voice-1")
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host.lower()}"}):
        assert (await ask(house, "POST", "/drain", headers=headers))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Host": "[::1"}, 421),
     ({"Host": "localhost", "Origin": "https://evil.example"}, 403)],
)  # fmt: skip
async def test_a_page_from_elsewhere_may_not_call_there_even_if_it_may_call(
    headers: dict[str, str], status: int
) -> None:
    house = House(admin_port=0, allowed_origins="*")
    house.app = house.admin_app
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    caller = AsgiCaller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_asgi, house, caller, headers=named))
        answer = await caller.connect()
        assert answer["type"] == "websocket.http.response.start"
        assert answer["status"] == status
        while (await caller.event())["type"] == "websocket.http.response.body":
            pass


async def test_what_is_changed_is_logged_with_who_did_it(
    house: House, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    await ask(house, "GET", "/drain")
    await ask(house, "POST", "/drain", scope_base={"client": ("192.0.2.7", 5)})
    await ask(house, "DELETE", "/calls/%1b[2J", headers={"Origin": "https://evil.example"})
    lines = entries(capfd)
    assert [(each["method"], each["path"], each["status"]) for each in lines] == [
        ("POST", "/drain", 200), ("DELETE", "/calls/ [2J", 403),
    ]  # fmt: skip
    assert lines[0]["peer"] == "192.0.2.7"


async def test_no_cache_and_no_other_origin_keeps_what_an_operator_sees(house: House) -> None:
    headers = (await house.admin_app.test_client().get("/calls")).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
