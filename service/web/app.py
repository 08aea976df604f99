"""The two Quart-Trio apps, and the WebSockets that both have.

Without an admin listener the public app has all pages. With one it has calls and probes, and the
admin app has those too, with the console, /metrics and what operators do.

For an upgrade an app decides only: check, agree on terms, admit, answer, run the call.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from quart import Response, websocket
from quart_trio import QuartTrio

from service import logs
from service.audio.rates import RATES
from service.bearer import Token
from service.calls.asked import Asked
from service.calls.call import Call, Echo, hold
from service.calls.caller import Caller
from service.calls.handled import HandledCall, Handling
from service.calls.roster import Roster
from service.calls.terms import BadParameter, Terms, unknown_parameters
from service.config import Settings
from service.conversation import Limits
from service.dialects.half import Dialect
from service.networks import Networks
from service.plain import plain
from service.refusals import Refusals
from service.tally import NOWHERE, Refusal, Tally
from service.web import admin, providers
from service.web.access import Access
from service.web.admin import Admin
from service.web.admission import Admission, Refused
from service.web.asyncapi import publish_messages
from service.web.errors import answer_in_json, bad_parameter, error
from service.web.metrics import Metrics
from service.web.openapi import Answer, described, failed, publish
from service.web.pages import console
from service.web.probes import Probes, Scrapes
from service.web.upgrade import App, Upgrade, caller_of, claim_of
from service.web.vouching import Claim

if TYPE_CHECKING:
    from service.tracing import Tracing

_log = logs.get(__name__)

_ANSWERS = {
    101: Answer("the call begins; /asyncapi.json says what is spoken", media_types=(),
                headers=("RT-Audio-Codec", "RT-Audio-Session", "RT-Audio-Warning")),
    400: failed("a wrong parameter, or no upgrade by RFC 6455",
                "bad_parameter", "abandoned", "bad_handshake"),
    401: failed("a token is needed", "unauthorized", headers=("WWW-Authenticate",)),
    403: failed("a page from elsewhere asks", "origin"),
    426: failed("a plain GET, or another version than 13", "upgrade_required",
                "bad_handshake", headers=("Upgrade",)),
    429: failed("a token or an address has its limit", "too_many_sessions",
                "too_many_upgrades", headers=("Retry-After",)),
    503: failed("no room", "at_capacity", "draining", headers=("Retry-After",)),
}  # fmt: skip
_ABOUT = "All that is HTTP. /asyncapi.json describes the calls, which are WebSockets."


def create_app(
    settings: Settings,
    roster: Roster,
    tally: Tally,
    access: Access,
    metrics: Metrics,
    tracing: "Tracing | None" = None,
    handling: Handling | None = None,
    *,
    for_operators: bool = False,
) -> QuartTrio:
    """Return the public app, or that of the admin listener, over state that both may share."""
    # No proxy is in front of operators: what a header tells of another address is not believed.
    trusted = Networks(() if for_operators else settings.trusted_proxies)
    admission = Admission(settings, access, roster)
    app = App(__name__)
    Probes(roster).register(app)
    _Upgrades(settings, roster, tally, admission, tracing, handling, trusted).register(app)
    publish_messages(app, settings.providers)
    answer_in_json(app)
    if for_operators or settings.admin_port is None:
        if settings.console:
            app.register_blueprint(console(settings, admission, trusted))
        Scrapes(metrics).register(app)
    if for_operators:
        Admin(settings, roster).register(app)
        publish(app, "rt-audio, the admin listener", _ABOUT, admin.REFUSALS)
    else:
        publish(app, "rt-audio", _ABOUT)
    return app


def limits_of(settings: Settings) -> Limits:
    """Return the limits that the settings give to each conversation."""
    return Limits(
        message_bytes=settings.max_frame_bytes,
        idle_seconds=settings.idle_seconds,
        send_seconds=settings.send_timeout_seconds,
        ping_seconds=settings.ping_seconds,
        pong_seconds=settings.pong_seconds,
    )


class _Upgrades:
    """The WebSockets, and what an upgrade that is not granted is told."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        tally: Tally,
        admission: Admission,
        tracing: "Tracing | None",
        handling: Handling | None,
        trusted: Networks,
    ) -> None:
        self._settings, self._roster, self._tally = settings, roster, tally
        self._admission, self._tracing = admission, tracing
        self._limits, self._trusted = limits_of(settings), trusted
        self._refusals, self._handling = Refusals(tally), handling
        self._dialects = {f"/ws/{dialect.name}": dialect.name for dialect in settings.providers}
        self._dialects["/ws/audio"] = "raw"

    def register(self, app: App) -> None:
        app.get("/ws/audio")(self.not_upgraded)
        app.upgrades["/ws/audio"] = self.audio
        for dialect in self._settings.providers:
            path = f"/ws/{dialect.name}"
            describe = described(*providers.call_of(dialect, _ANSWERS))
            app.get(path, endpoint=path)(describe(partial(self.not_upgraded)))
            app.upgrades[path] = partial(self.telephone, dialect)
        if self._settings.conformance_echo:
            app.upgrades["/ws/echo"] = self.echo
        app.register_error_handler(BadParameter, self.bad_parameter)
        app.register_error_handler(Refused, self.refused)

    async def audio(self, upgrade: Upgrade) -> None:
        query = upgrade.query()
        caller, token = self._check(upgrade, query)
        slips = unknown_parameters(query, handled=self._handling is not None)
        asked_for = query.get("codec")
        asked = Asked.raw(query, self._settings.codec_order)
        terms = asked.terms
        assert terms is not None
        if self._handling is not None and terms.sample_rate not in RATES:
            allowed = ", ".join(map(str, RATES))
            raise BadParameter("sample_rate", str(terms.sample_rate), f"one of {allowed}")
        with self._admission.place(caller, token) as place:
            call = self._call(asked, caller)
            self._roster.enlist(place, call)
            headers = {"RT-Audio-Codec": terms.codec, "RT-Audio-Session": call.id}
            if slips:
                headers["RT-Audio-Warning"] = ", ".join(slips)
                _log.warning("unknown_parameter", session=call.id, message=", ".join(slips))
            self._note_fallback(asked_for, terms, call)
            link = await upgrade.accept(headers)
            await call.run(link, place)

    async def telephone(self, dialect: Dialect, upgrade: Upgrade) -> None:
        query = upgrade.query()
        caller, token = self._check(upgrade, query, claim_of(upgrade, dialect.name))
        with self._admission.place(caller, token) as place:
            call = self._call(Asked(dialect, query, self._settings.codec_order), caller)
            self._roster.enlist(place, call)
            link = await upgrade.accept({"RT-Audio-Session": call.id}, dialect.subprotocols)
            await call.run(link, place)

    def _call(self, asked: Asked, caller: Caller) -> Call:
        parts = asked, caller, self._tally, self._limits, self._tracing
        if self._handling is None:
            return Call(*parts)
        draining = self._roster.drain_begun
        return HandledCall(*parts, handling=self._handling, draining=draining)

    async def echo(self, upgrade: Upgrade) -> None:
        caller, token = self._check(upgrade, upgrade.query())
        with self._admission.place(caller, token) as place:
            link = await upgrade.accept({})
            await hold(link, Echo(), self._limits, place)

    @described("A call, by upgrade to a WebSocket (RFC 6455)", _ANSWERS)
    async def not_upgraded(self) -> Response:
        response = error(426, "upgrade_required", "connect with a WebSocket (RFC 6455)")
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"
        return response

    async def bad_parameter(self, bad: BadParameter) -> Response:
        self._note(Refusal.BAD_PARAMETER, str(bad))
        return bad_parameter(str(bad), bad.parameter, bad.value, bad.allowed)

    async def refused(self, refusal: Refused) -> Response:
        self._note(refusal.reason, str(refusal), refusal.token)
        response = error(refusal.status, refusal.reason, str(refusal))
        response.headers.update(refusal.headers)
        return response

    def _check(
        self, upgrade: Upgrade, query: dict[str, str], claim: Claim | None = None
    ) -> tuple[Caller, Token | None]:
        """Return who calls, and with which token, taken out of the query; raise Refused."""
        headers = upgrade.headers
        caller = caller_of(upgrade.scope, self._trusted)
        token = self._admission.check(
            caller,
            origin=headers.get("Origin"),
            host=headers.get("Host"),
            authorization=headers.get("Authorization"),
            query_token=query.pop("access_token", None),
            subprotocols=upgrade.requested_subprotocols,
            claim=claim,
        )
        return (caller if token is None else replace(caller, token=token.called)), token

    def _note_fallback(self, asked_for: str | None, terms: Terms, call: Call) -> None:
        if asked_for is not None and asked_for.lower() != terms.codec:
            self._tally.codec_fallbacks[terms.codec] += 1
            _log.warning(
                "codec_fallback",
                session=call.id,
                asked_for=plain(asked_for.lower())[:40],
                codec=terms.codec,
            )

    def _note(self, reason: Refusal, message: str, token: str | None = None) -> None:
        caller = replace(caller_of(websocket.scope, self._trusted), token=token)
        dialect = self._dialects.get(websocket.path, NOWHERE)
        self._refusals.upgrade(reason, message, dialect, **caller.known())
