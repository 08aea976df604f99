"""What an operator does with a running service, on the admin listener alone.

Whoever reaches that listener may do all of it. A browser reaches it for any page that it shows, so
requests of pages from elsewhere are refused: by their Origin, and, where such a page has given a
name of its own to this address (DNS rebinding), by their Host.
"""

import json
from ipaddress import ip_address
from urllib.parse import urlsplit

import trio
from quart import Response, jsonify, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import Forbidden, HTTPException

from service import logs
from service.calls.roster import Place, Roster
from service.config import Settings
from service.ending import DISMISSED
from service.plain import plain
from service.web.errors import bad_parameter, error
from service.web.openapi import (
    COUNT,
    FLAG,
    TEXT,
    Answer,
    described,
    failed,
    nullable,
    one_of,
    record,
)
from service.web.upgrade import App, Upgrade, View

_log = logs.get(__name__)

#: A page of calls takes the loop 1 ms; the calls on the line have their turn between two pages.
MOST_ON_A_PAGE = 100
_MOST_BODY_BYTES = 1024

_CALL = record(
    id=TEXT,
    dialect=TEXT,
    call_id=nullable(TEXT),
    since={"type": "string", "format": "date-time"},
    seconds={"type": "number", "minimum": 0},
    caller={
        "type": "object",
        "properties": dict.fromkeys(
            ("peer", "token", "via", "user_agent", "request_id", "trace_id"), TEXT
        ),
        "required": ["peer"],
        "additionalProperties": False,
    },
    terms=nullable(
        record(
            codec=TEXT,
            encoding=TEXT,
            reply=TEXT,
            sample_rate={"type": "integer"},
            reply_rate={"type": "integer"},
        )
    ),
    frames=COUNT,
    bytes=COUNT,
    unsent_bytes=COUNT,
    outcome=nullable({"type": "string"}),
)
_PAGE = record(calls={"type": "array", "items": _CALL}, next=nullable(TEXT), sessions=COUNT)
_DRAIN = record(draining=FLAG, admitting=FLAG, stopping=FLAG, sessions=COUNT)
_LEVEL = record(level=one_of(*logs.LEVELS))
_NO_CALL = failed("no such call is on the line", "no_call")

#: What any request to the admin listener may get.
REFUSALS = {
    403: failed("a page from elsewhere asks", "forbidden"),
    421: failed("asked by a name that is not the listener's", "misdirected_request"),
}


class Admin:
    """The calls on the line, the drain and the log level."""

    def __init__(self, settings: Settings, roster: Roster) -> None:
        self._roster = roster
        self._host, self._notice_seconds = settings.admin_host, settings.drain_notice_seconds
        self._turn = trio.Semaphore(1)

    def register(self, app: App) -> None:
        """Add the routes to the app, and keep pages from elsewhere away from all its routes."""
        app.config["MAX_CONTENT_LENGTH"] = _MOST_BODY_BYTES
        app.get("/calls")(self.calls)
        app.get("/calls/<call_id>")(self.call)
        app.delete("/calls/<call_id>")(self.dismiss)
        app.get("/drain")(self.drain)
        app.post("/drain")(self.begin_drain)
        app.delete("/drain")(self.take_back_drain)
        app.get("/log-level")(self.log_level)
        app.put("/log-level")(self.set_log_level)
        app.before_request(self._only_ours)
        app.after_request(_noted)
        for path, view in app.upgrades.items():
            app.upgrades[path] = self._guarded(view)

    @described(
        "The calls on the line, the longest first",
        {200: Answer("a page; `next` is the cursor of the following one", _PAGE),
         400: failed("a wrong limit or cursor", "bad_parameter")},
        query={"limit": {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE},
               "cursor": {"type": "string", "pattern": "^[0-9]{1,15}$"}},
    )  # fmt: skip
    async def calls(self) -> Response:
        """Return a page of the calls."""
        limit = request.args.get("limit", str(MOST_ON_A_PAGE))
        if not (_is_number(limit) and 1 <= int(limit) <= MOST_ON_A_PAGE):
            return _wrong("limit", limit, f"a whole number from 1 to {MOST_ON_A_PAGE}")
        cursor = request.args.get("cursor", "0")
        if not _is_number(cursor):
            return _wrong("cursor", cursor, "what the page before has as `next`")
        async with self._turn:
            await trio.lowlevel.checkpoint()
            places = self._roster.page(int(cursor), int(limit) + 1)
            page = places[: int(limit)]
            return jsonify(
                calls=[_facts(place) for place in page],
                next=str(page[-1].number) if len(places) > len(page) else None,
                sessions=self._roster.active,
            )

    @described("One call", {200: Answer("the call", _CALL), 404: _NO_CALL})
    async def call(self, call_id: str) -> Response:
        """Return what is known of a call."""
        place = self._roster.find(call_id)
        return _no_call() if place is None else jsonify(_facts(place))

    @described(
        "End one call",
        {202: Answer("the call; its peer is told 1008 and has a second to answer", _CALL),
         404: _NO_CALL},
    )  # fmt: skip
    async def dismiss(self, call_id: str) -> Response:
        """End a call, unless it is about to end already."""
        place = self._roster.find(call_id)
        if place is None:
            return _no_call()
        place.end(DISMISSED)
        response = jsonify(_facts(place))
        response.status_code = 202
        return response

    @described("The drain", {200: Answer("whether there is one", _DRAIN)})
    async def drain(self) -> Response:
        """Return the state of the drain."""
        roster = self._roster
        return jsonify(
            draining=roster.draining,
            admitting=roster.refusal() is None,
            stopping=roster.stopping,
            sessions=roster.active,
        )

    @described(
        "Drain: be not ready, and after the notice refuse newcomers; calls go on for ever",
        {200: Answer("the drain", _DRAIN)},
    )
    async def begin_drain(self) -> Response:
        """Begin a drain that has no end and stops no process."""
        self._roster.drain(self._notice_seconds)
        return await self.drain()

    @described(
        "Take the drain back",
        {200: Answer("no drain", _DRAIN), 409: failed("the process is stopping", "stopping")},
    )
    async def take_back_drain(self) -> Response:
        """Be ready again, unless the process has been told to stop."""
        if self._roster.stopping:
            return error(409, "stopping", "the process was told to stop; nothing takes that back")
        self._roster.take_back_the_drain()
        return await self.drain()

    @described("The log level", {200: Answer("the level", _LEVEL)})
    async def log_level(self) -> Response:
        """Return the log level."""
        return jsonify(level=logs.level())

    @described(
        "Set the log level, until the process ends",
        {200: Answer("the level", _LEVEL), 400: failed("a wrong level", "bad_parameter"),
         413: failed("a body that is too long", "request_entity_too_large")},
        body=_LEVEL,
    )  # fmt: skip
    async def set_log_level(self) -> Response:
        """Set the log level."""
        try:
            body = json.loads(await request.get_data())  # curl calls JSON a form
        except (ValueError, RecursionError):
            body = None
        level = body.get("level") if isinstance(body, dict) else None
        if level not in logs.LEVELS:
            given = "" if level is None else str(level)
            return _wrong("level", given, f"one of {', '.join(logs.LEVELS)}; the body is JSON")
        logs.set_level(level)
        return await self.log_level()

    async def _only_ours(self) -> None:
        _check(request.headers, self._host)

    def _guarded(self, view: View) -> View:
        async def guarded(upgrade: Upgrade) -> None:
            _check(upgrade.headers, self._host)
            await view(upgrade)

        return guarded


class _Misdirected(HTTPException):
    code = 421  # RFC 9110, 15.5.20
    description = "ask by an IP address, by localhost, or by the name in RT_AUDIO_ADMIN_HOST"


def _check(headers: Headers | dict[str, str], name: str) -> None:
    """Raise HTTPException for a request that a page from elsewhere has a browser send."""
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if not _is_ours(host, name):
        raise _Misdirected
    if origin is not None and urlsplit(origin.lower()).netloc != host.lower():
        raise Forbidden("pages from elsewhere may not use the admin listener")


def _is_ours(host: str, name: str) -> bool:
    """Return whether nobody else can have given this Host to our address."""
    try:
        hostname = urlsplit(f"//{host}").hostname or ""
        if hostname in ("localhost", name.lower()):
            return True
        ip_address(hostname)
    except ValueError:
        return False
    return True


async def _noted(response: Response) -> Response:
    """Log who changed what, and have browsers keep answers to themselves."""
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _log.warning(
            "admin_request",
            method=request.method,
            path=plain(request.path),
            peer=request.remote_addr,
            status=response.status_code,
        )
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _facts(place: Place) -> dict[str, object]:
    assert place.call is not None
    ending = place.ending.outcome if place.scope.cancel_called else None
    return place.call.facts() | {"outcome": ending}


def _no_call() -> Response:
    return error(404, "no_call", "no such call is on the line")


def _is_number(text: str) -> bool:
    # int() would take signs, spaces, underscores and other scripts' digits, and any length.
    return text.isascii() and text.isdigit() and len(text) <= 15


def _wrong(parameter: str, value: str, allowed: str) -> Response:
    return bad_parameter(
        f"{parameter}={plain(value)}: must be {allowed}", parameter, plain(value), allowed
    )
