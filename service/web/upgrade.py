"""The way to an upgraded connection, past Quart, which an upgrade does not need.

Under our own server the connection itself is taken over, and Quart and Hypercorn see nothing of
the audio. Under any other ASGI server, and Quart's test client, the call runs over ASGI events.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trio
from quart import Response, Websocket
from quart.asgi import ASGIWebsocketConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.wrappers import Response as WerkzeugResponse

from service.calls.caller import Caller, valid_traceparent
from service.conversation import Link
from service.dialects.book import DIALECTS
from service.net.connection import Connection
from service.net.message_link import AsgiLink, AsgiReceive, AsgiSend
from service.networks import Networks
from service.plain import plain
from service.tally import Refusal
from service.web import forwarded
from service.web.access import agreed_subprotocol
from service.web.admission import Refused
from service.web.vouching import Claim

#: The headers that say something about who calls.
_SAY_WHO = frozenset(
    (b"user-agent", b"x-request-id", b"traceparent", b"x-forwarded-for", b"forwarded")
)


class Upgrade:
    """A request to upgrade, from its ASGI scope; its names are those of Quart's Websocket.

    `headers` has names as `Content-Type`, and of headers with one name the last.
    """

    def __init__(self, scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        self.path: str = path if path.startswith("/") else urlsplit(path).path
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[str, str] = {
            name.decode("latin-1").title(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.requested_subprotocols: Sequence[str] = scope.get("subprotocols", ())
        self.accepted = False

    def query(self) -> dict[str, str]:
        """Return the parameters; where one is given twice, its first value counts."""
        query: dict[str, str] = {}
        for name, value in parse_qsl(self.query_string.decode(), keep_blank_values=True):
            query.setdefault(name, value)
        return query

    async def accept(self, headers: dict[str, str], subprotocols: Sequence[str] = ()) -> Link:
        """Answer with these headers, and return the link for the call; raise Refused.

        Of the subprotocols that are offered, one of these is agreed on, or one that carries a
        token.
        """
        connection: Connection | None = self.scope.get("state", {}).get("connection")
        link: Link | None = (
            AsgiLink(self._receive, self._send) if connection is None else connection.link()
        )
        if link is None:
            raise Refused(400, Refusal.ABANDONED, "data was sent ahead of the answer")
        offered = self.requested_subprotocols
        ours = next((name for name in offered if name in subprotocols), None)
        self.accepted = True
        await self._send({
            "type": "websocket.accept",
            "subprotocol": ours or agreed_subprotocol(offered),
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        })  # fmt: skip
        return link


#: A view of `App.upgrades`.
View = Callable[[Upgrade], Awaitable[None]]


class App(QuartTrio):
    """Quart whose upgrades do without its requests, contexts, signals and hooks.

    Quart spends 0.1 ms on them for each upgrade, and a storm of upgrades pays for it. Only an
    exception gets Quart's Websocket and its context, because its handler builds a response.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.upgrades: dict[str, View] = {}

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await super().asgi_app(scope, receive, send)
            return
        upgrade = Upgrade(scope, receive, send)
        view = self.upgrades.get(upgrade.path, self._no_websocket)
        try:
            await view(upgrade)
        except Exception as error:
            await _Failed(self, upgrade, error)(receive, send)

    async def _no_websocket(self, upgrade: Upgrade) -> None:
        here = f"there is no WebSocket at {plain(upgrade.path)}"
        raise Refused(404, Refusal.NOT_FOUND, self.elsewhere(upgrade.path, here))

    def elsewhere(self, path: str, here: str) -> str:
        """Return what is told of a path that is not there: `here`, and where calls are instead."""
        providers = [f"/ws/{name}" for name in DIALECTS]
        on = [each for each in providers if each in self.upgrades]
        if path in providers and path not in on:
            return f"{path} is off; RT_AUDIO_DIALECTS switches it on"
        telephony = f", telephony at {', '.join(on)}" if on else ""
        return f"{here}; audio is at /ws/audio{telephony}"

    async def handle_websocket(self, websocket: Websocket) -> Response | WerkzeugResponse | None:
        """Return what an upgrade is told whose view has raised."""
        async with self.websocket_context(websocket):
            try:
                error = websocket.error  # type: ignore[attr-defined]
                return await self.make_response(await self.handle_user_exception(error))
            except Exception as bug:
                return await self.handle_websocket_exception(bug)


class _Failed(TrioASGIWebsocketConnection):
    """Quart's WebSocket connection, to answer an upgrade whose view has raised.

    After the answer to an upgrade only the link closes; Quart would say 1000 whatever happened.
    """

    def __init__(self, app: App, upgrade: Upgrade, error: Exception) -> None:
        # The base class would open a queue.
        self.app, self.scope, self._error = app, upgrade.scope, error
        self._accepted = self._closed = upgrade.accepted
        self.receive_channel = _NO_CHANNEL

    async def __call__(self, receive: Any, send: Any) -> None:
        websocket = self._create_websocket_from_scope(send)
        websocket.error = self._error  # type: ignore[attr-defined]
        await ASGIWebsocketConnection.handle_websocket(self, websocket, send)


#: Stands for the queue that Quart's `websocket.receive` would read; nobody reads here.
_NO_CHANNEL = trio.open_memory_channel[Any](0)[1]


def caller_of(scope: Any, trusted: Networks) -> Caller:
    """Return who asks for an upgrade or for a page, by its ASGI scope, behind trusted proxies."""
    said: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        if name in _SAY_WHO:
            said.setdefault(name, []).append(value.decode(errors="replace"))
    client = scope.get("client")
    peer = ("unknown", None) if client is None else (client[0], client[1])
    true = forwarded.client(
        peer, said.get(b"x-forwarded-for", []), said.get(b"forwarded", []), trusted
    )
    return Caller(
        *true,
        via=None if true is peer else peer,
        user_agent=_plain(said.get(b"user-agent")),
        request_id=_plain(said.get(b"x-request-id")),
        traceparent=valid_traceparent(", ".join(said.get(b"traceparent", []))),
    )


def claim_of(upgrade: Upgrade, dialect: str) -> Claim:
    """Return the upgrade's claim to come from the provider of this dialect."""
    return Claim(dialect, upgrade.path, upgrade.query_string, tuple(upgrade.scope["headers"]))


def _plain(values: list[str] | None) -> str | None:
    return None if values is None else plain(", ".join(values)) or None
