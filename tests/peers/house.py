"""A service's parts in this process, without a server: the app, and calls over any link."""

from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import trio
from quart_trio import QuartTrio

from service import codec
from service.calls.asked import Asked
from service.calls.call import Call
from service.calls.caller import Caller
from service.calls.clock import Clock
from service.calls.handled import HandledCall, Handling
from service.calls.roster import Place, Roster
from service.config import Settings
from service.conversation import Link
from service.dialects.book import DIALECTS
from service.handlers.load import load
from service.reload import Files
from service.tally import Tally
from service.web.app import create_app, limits_of
from service.web.metrics import Metrics
from tests.peers.callers import AsgiCaller
from tests.peers.series import series_of


def admitted(roster: Roster) -> Place:
    """Return a place that the roster has for a call."""
    place = roster.admit()
    assert isinstance(place, Place), place
    return place


class House:
    """The state that a service's parts share, and the app over it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(host="127.0.0.1", port=0, **settings)
        limits = self.settings.max_sessions_per_token, self.settings.max_sessions_per_address
        self.roster = Roster(self.settings.max_sessions, *limits)
        dialects = ("raw", *(dialect.name for dialect in self.settings.providers))
        self.tally = Tally(codec.available(), codec.LAWS, dialects)
        access = Files(self.settings).access(self.settings)
        codecs = dict.fromkeys(codec.ORDER, True)
        self.metrics = Metrics(self.roster, self.tally, codecs, access)
        name = self.settings.handler
        self.handling = None if name == "echo" else Handling(name, load(name), Clock())
        self._shared = (
            self.settings, self.roster, self.tally, access, self.metrics, None, self.handling,
        )  # fmt: skip
        self.call_ended = trio.Event()

    # Most tests need one app or none, and to make one costs more than a call.
    @cached_property
    def app(self) -> QuartTrio:
        return create_app(*self._shared)

    @cached_property
    def admin_app(self) -> QuartTrio:
        return create_app(*self._shared, for_operators=True)

    @property
    def outcomes(self) -> dict[str, int]:
        """The outcomes that were counted, without the zeros."""
        return {name: count for (_, name), count in self.tally.sessions.items() if count}

    def place(self) -> Place:
        """Return a place on the line, as a call has."""
        return admitted(self.roster)

    async def scrape(self) -> dict[str, float]:
        """Return the value of each series on /metrics."""
        response = await self.app.test_client().get("/metrics")
        return series_of(await response.get_data(as_text=True))

    async def metric(self, series: str) -> float:
        """Return the value of one series on /metrics."""
        return (await self.scrape())[series]


async def run_call(house: House, link: Link, query: str = "", dialect: str = "raw") -> None:
    """Hold a call as the app's handler does."""
    settings = house.settings
    parameters, codecs = dict(parse_qsl(query)), settings.codec_order
    if dialect == "raw":
        asked = Asked.raw(parameters, codecs)
    else:
        asked = Asked(DIALECTS[dialect], parameters, codecs)
    parts = asked, Caller("test"), house.tally, limits_of(settings)
    with house.place() as place:
        if house.handling is None:
            call = Call(*parts)
        else:
            draining = house.roster.drain_begun
            call = HandledCall(*parts, handling=house.handling, draining=draining)
        house.roster.enlist(place, call)
        await call.run(link, place)
    house.call_ended.set()


async def run_asgi(
    house: House,
    caller: AsgiCaller,
    query: str = "",
    path: str = "/ws/audio",
    **more: Any,
) -> None:
    """Have the app serve one WebSocket by ASGI events; `more` goes into its scope."""
    scope = {
        "type": "websocket", "asgi": {"spec_version": "2.3", "version": "3.0"}, "scheme": "ws",
        "http_version": "1.1", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "subprotocols": [],
        "extensions": {"websocket.http.response": {}}, "state": {}, **more,
    }  # fmt: skip
    async with caller.app_send, caller.app_receive:
        await house.app(scope, caller.app_receive.receive, caller.app_send.send)  # type: ignore[arg-type]
    house.call_ended.set()
