"""Quart's way to an upgraded connection, without what an upgrade does not need.

Under our own server the connection itself is taken over, and Quart and Hypercorn see nothing of
the audio. Under any other ASGI server, and Quart's test client, the call runs over ASGI events.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from quart import Request, Response, Websocket
from quart.asgi import ASGIWebsocketConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.wrappers import Response as WerkzeugResponse

from service.calls.caller import Caller, valid_traceparent
from service.conversation import Link
from service.net.connection import Connection
from service.net.message_link import AsgiLink, AsgiReceive, AsgiSend
from service.networks import Networks
from service.plain import plain
from service.tally import Refusal
from service.web import forwarded
from service.web.access import agreed_subprotocol
from service.web.admission import Refused
from service.web.vouching import Claim

#: A view of `App.upgrades`.
Upgrade = Callable[[Websocket], Awaitable[None]]
#: The headers that say something about who calls.
_SAY_WHO = frozenset(
    (b"user-agent", b"x-request-id", b"traceparent", b"x-forwarded-for", b"forwarded")
)


class App(QuartTrio):
    """Quart whose upgrades do without its contexts, signals and hooks.

    Quart spends 0.1 ms on them for each upgrade, and a storm of upgrades pays for it. A view of
    `upgrades` gets Quart's Websocket as its argument, where `quart.websocket` would need a context.
    An exception has the context, because its handler builds a response.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.asgi_websocket_class = WebsocketConnection
        self.upgrades: dict[str, Upgrade] = {}

    async def handle_websocket(self, websocket: Websocket) -> Response | WerkzeugResponse | None:
        view = self.upgrades.get(websocket.path, _no_websocket)
        try:
            await view(websocket)
        except Exception as error:
            async with self.websocket_context(websocket):
                try:
                    return await self.make_response(await self.handle_user_exception(error))
                except Exception as bug:
                    return await self.handle_websocket_exception(bug)
        return None


async def _no_websocket(upgrade: Websocket) -> None:
    raise Refused(
        404,
        Refusal.NOT_FOUND,
        f"there is no WebSocket at {plain(upgrade.path)}; audio is at /ws/audio",
    )


class WebsocketConnection(TrioASGIWebsocketConnection):
    """Quart's WebSocket connection without its reader task and its queue.

    A call reads ASGI's events itself, if at all. So it sees the peer's close code and empty
    messages, both of which Quart loses, and is not cancelled when the peer leaves.
    """

    def __init__(self, app: QuartTrio, scope: Any) -> None:
        # The base class would open a queue.
        self.app, self.scope = app, scope
        self._accepted = self._closed = False
        self.receive_channel = _NO_CHANNEL

    async def __call__(self, receive: AsgiReceive, send: AsgiSend) -> None:
        async def answer(event: Any) -> None:
            # After the upgrade only the link closes; Quart would say 1000 whatever happened.
            if not (self._accepted and event["type"] == "websocket.close"):
                await send(event)

        accepted_websocket = self._create_websocket_from_scope(answer)
        accepted_websocket.asgi = (receive, send)  # type: ignore[attr-defined]
        await ASGIWebsocketConnection.handle_websocket(self, accepted_websocket, answer)


#: Stands for the queue that Quart's `websocket.receive` would read; the call's link reads instead.
_NO_CHANNEL = trio.open_memory_channel[Any](0)[1]


def caller_of(request: Request | Websocket, trusted: Networks) -> Caller:
    """Return who asks, for an upgrade or for a page, where these proxies are trusted."""
    said: dict[bytes, list[str]] = {}
    for name, value in request.scope["headers"]:
        if name in _SAY_WHO:
            said.setdefault(name, []).append(value.decode(errors="replace"))
    client = request.scope.get("client")
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


def claim_of(upgrade: Websocket, dialect: str) -> Claim:
    """Return the upgrade's claim to come from the provider of this dialect."""
    return Claim(dialect, upgrade.path, upgrade.query_string, tuple(upgrade.scope["headers"]))


def _plain(values: list[str] | None) -> str | None:
    return None if values is None else plain(", ".join(values)) or None


async def accept(
    upgrade: Websocket, headers: dict[str, str], subprotocols: Sequence[str] = ()
) -> Link:
    """Answer the upgrade with these headers, and return the link for the call; raise Refused.

    Of the subprotocols that are offered, one of these is agreed on, or one that carries a token.
    """
    connection: Connection | None = upgrade.scope.get("state", {}).get("connection")
    if connection is None:
        receive, send = upgrade.asgi  # type: ignore[attr-defined]
        link: Link | None = AsgiLink(receive, send)
    else:
        link = connection.link()
    if link is None:
        raise Refused(400, Refusal.ABANDONED, "data was sent ahead of the answer")
    offered = upgrade.requested_subprotocols
    ours = next((name for name in offered if name in subprotocols), None)
    await upgrade.accept(headers, ours or agreed_subprotocol(offered))
    return link
