"""The Quart-Trio app: the console's pages · /health · /ready · /metrics · /ws/audio · /ws/echo.

It admits and refuses, answers the upgrade, and hands the connection to a call. Under our own
server the connection itself is taken over, and Quart and Hypercorn see nothing of the audio;
under any other ASGI server, and Quart's test client, the call runs over ASGI events.
"""

from typing import Any

import trio
from quart import Response, Websocket, jsonify, request, websocket
from quart.asgi import ASGIWebsocketConnection
from quart.ctx import WebsocketContext
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, WebsocketMismatch

from service import logs
from service.calls import call
from service.calls.roster import Roster
from service.calls.session import Session
from service.calls.terms import BadParameter, Parameters
from service.config import Settings
from service.conversation import Link
from service.net.links import AsgiLink, AsgiReceive, AsgiSend, Takeable
from service.tally import Tally
from service.web import pages
from service.web.access import Access, agreed_subprotocol
from service.web.metrics import Metrics

_log = logs.get(__name__)

#: When a refused caller may try again, in seconds: a full or leaving pod is not full for long.
RETRY_AFTER_SECONDS = 1


def create_app(
    settings: Settings, roster: Roster, tally: Tally, access: Access, metrics: Metrics
) -> QuartTrio:
    """Return the app over the given state, all of which may be shared with a server."""
    app = _App(__name__, static_folder=None)
    app.asgi_websocket_class = _WebsocketConnection
    if settings.console:
        app.register_blueprint(pages.console(settings, roster, access))

    @app.get("/health")
    async def health() -> Response:
        return jsonify(status="ok")

    @app.get("/ready")
    async def ready() -> Response:
        reason = roster.unready()
        if reason is None:
            return jsonify(status="ready")
        return _error(503, reason, "no further session is taken now")

    @app.get("/metrics")
    async def scrape() -> Response:
        page, content_type = metrics.render(request.headers.get("Accept", ""))
        return Response(page, content_type=content_type)

    @app.get("/ws/audio")
    async def not_upgraded() -> Response:
        response = _error(426, "upgrade_required", "connect with a WebSocket (RFC 6455)")
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"
        return response

    @app.websocket("/ws/audio")
    async def audio() -> None:
        upgrade = websocket._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's name
        query = upgrade.args.to_dict()
        _check(access, roster, upgrade, query)
        parameters = Parameters.parse(query, settings.codec_order)
        call_id = call.new_id()
        asked_for = query.get("codec", parameters.codec).lower()
        if asked_for != parameters.codec:
            tally.codec_fallbacks[parameters.codec] += 1
            _log.warning(
                "codec_fallback", session=call_id, asked_for=asked_for[:40], codec=parameters.codec
            )
        headers = {"RT-Audio-Codec": parameters.codec, "RT-Audio-Session": call_id}
        session = Session(parameters, tally, settings.max_frame_bytes)
        with roster.call() as scope:
            link = await _accept(upgrade, headers, settings.send_timeout_seconds)
            await call.audio(
                link,
                session,
                tally,
                call_id=call_id,
                peer=_peer(upgrade),
                parameters=parameters,
                idle_seconds=settings.idle_seconds,
                scope=scope,
            )

    if settings.conformance_echo:

        @app.websocket("/ws/echo")
        async def echo() -> None:
            upgrade = websocket._get_current_object()  # type: ignore[attr-defined]
            _check(access, roster, upgrade, upgrade.args.to_dict())
            with roster.call() as scope:
                link = await _accept(upgrade, {}, settings.send_timeout_seconds)
                await call.hold(link, call.Echo(), settings.idle_seconds, scope)

    @app.errorhandler(BadParameter)
    async def bad_parameter(bad: BadParameter) -> Response:
        tally.refused["bad_parameter"] += 1
        return _error(
            400,
            "bad_parameter",
            str(bad),
            parameter=bad.parameter,
            value=bad.value,
            allowed=bad.allowed,
        )

    @app.errorhandler(_Refused)
    async def refused(refusal: _Refused) -> Response:
        tally.refused[refusal.reason] += 1
        response = _error(refusal.status, refusal.reason, str(refusal))
        response.headers.update(refusal.headers)
        return response

    @app.errorhandler(WebsocketMismatch)
    async def no_websocket(error: WebsocketMismatch) -> Response:
        return _error(400, "no_websocket", "there is no WebSocket at this path; try /ws/audio")

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        name = error.name.lower().replace(" ", "_")
        response = _error(error.code or 500, name, error.description or error.name)
        for key, value in error.get_headers():
            if key == "Allow":
                response.headers[key] = value
        return response

    return app


class _App(QuartTrio):
    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Return what finds a request's route, without Quart's work on its host.

        No route here depends on host or subdomain, and an upgrade has a storm behind it.
        """
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind(
            "",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.query_string.decode(),
        )

    async def preprocess_websocket(self, websocket_context: WebsocketContext | None = None) -> None:
        """Do nothing: Quart looks for hooks that are to come before an upgrade; here are none."""


class _Refused(Exception):  # noqa: N818
    """An upgrade is not granted, for one of the tally's reasons."""

    def __init__(self, status: int, reason: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def _check(access: Access, roster: Roster, upgrade: Websocket, query: dict[str, str]) -> None:
    """Raise _Refused unless the caller may connect, and there is room."""
    headers = dict(iter(upgrade.headers))
    if not access.welcomes(headers.get("Origin"), headers.get("Host")):
        raise _Refused(403, "origin", "pages of this origin may not connect")
    if not access.admits(
        headers.get("Authorization"),
        query.get("access_token"),
        upgrade.requested_subprotocols,
    ):
        raise _Refused(401, "unauthorized", "a known bearer token is needed",
                       WWW_Authenticate="Bearer")  # fmt: skip
    reason = roster.refusal()
    if reason is not None:
        raise _Refused(503, reason, "no further session is taken now",
                       Retry_After=str(RETRY_AFTER_SECONDS))  # fmt: skip


def _error(status: int, error: str, message: str, **details: str) -> Response:
    response = jsonify(error=error, message=message, **details)
    response.status_code = status
    return response


def _peer(upgrade: Websocket) -> str:
    client = upgrade.scope.get("client")
    return "unknown" if client is None else f"{client[0]}:{client[1]}"


async def _accept(upgrade: Websocket, headers: dict[str, str], send_seconds: float) -> Link:
    """Answer the upgrade with these headers, and return the link for the call."""
    connection: Takeable | None = upgrade.scope.get("state", {}).get("connection")
    if connection is None:
        receive, send = upgrade.asgi  # type: ignore[attr-defined]
        link: Link | None = AsgiLink(receive, send, send_seconds)
    else:
        link = connection.link()
    if link is None:
        raise _Refused(400, "abandoned", "data was sent ahead of the answer")
    await upgrade.accept(headers, agreed_subprotocol(upgrade.requested_subprotocols))
    return link


#: Stands for the queue that Quart's `websocket.receive` would read; the call's link reads instead.
_NO_CHANNEL = trio.open_memory_channel[Any](0)[1]


class _WebsocketConnection(TrioASGIWebsocketConnection):
    """Quart's WebSocket connection without its reader task and its queue.

    A call reads ASGI's events itself, if at all: so it sees the peer's close code and empty
    messages, both of which Quart loses, and is not cancelled when the peer leaves.
    """

    def __init__(self, app: QuartTrio, scope: Any) -> None:
        # Not the base class's, which opens a queue.
        self.app, self.scope = app, scope
        self._accepted = self._closed = False
        self.receive_channel = _NO_CHANNEL

    async def __call__(self, receive: AsgiReceive, send: AsgiSend) -> None:
        async def answer(event: Any) -> None:
            # Once accepted, only the link closes; Quart would say 1000 whatever happened.
            if not (self._accepted and event["type"] == "websocket.close"):
                await send(event)

        accepted_websocket = self._create_websocket_from_scope(answer)
        accepted_websocket.asgi = (receive, send)  # type: ignore[attr-defined]
        await ASGIWebsocketConnection.handle_websocket(self, accepted_websocket, answer)
