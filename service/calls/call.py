"""One call, from its first log line to its last.

This is the boundary of a call's faults. Whatever happens inside: the peer is told, the outcome is
counted once, and nobody else notices.
"""

import json
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

import structlog
import trio

from service import logs
from service.calls.asked import Asked
from service.calls.caller import Caller
from service.calls.dialogue import Dialogue
from service.calls.roster import Place
from service.calls.session import Session, session_for
from service.calls.slips import Slips
from service.calls.telephone import Telephone
from service.calls.terms import Terms
from service.conversation import CLOSE_SECONDS, Conversation, Limits, Link, Message, Mouth
from service.dialects.events import Start
from service.dialects.half import Half
from service.ending import DRAINED, FAULT, Ending, close_code
from service.plain import plain
from service.tally import Tally

if TYPE_CHECKING:
    from service.tracing import CallSpan, Tracing

_log = logs.get(__name__)


class Call:
    """A caller, the conversation with it, and what the logs say of both.

    `id`, 48 random bits, is the call's name in the logs. `terms` are known from the upgrade on in
    the service's own dialect, else from the peer's start.
    """

    #: Whether a handler answers. Otherwise each frame has its reply.
    handled = False

    def __init__(
        self,
        asked: Asked,
        caller: Caller,
        tally: Tally,
        limits: Limits,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.id = secrets.token_hex(6)
        self._since, self._began = time(), trio.current_time()
        self.asked, self.caller, self._tracing = asked, caller, tracing
        self.terms: Terms | None = None
        self._tally, self._limits = tally, asked.limits(limits)
        self._keep_alive_seconds = limits.ping_seconds
        self._link: Link | None = None
        # The pump's task logs frames without this task's context, so each line names the session.
        self._about = {"session": self.id, "dialect": asked.dialect.name, **caller.ids()}
        if asked.terms is not None:
            self._agree_on(asked.terms)
        self._conversation = self._new_conversation()

    async def run(self, link: Link, place: Place) -> None:
        """Carry the call to its end, log its first and last line, and count its outcome.

        `place` can end it early.
        """
        self._link = link
        # Nothing else runs in this task after the call, so nothing unbinds it.
        structlog.contextvars.bind_contextvars(session=self.id)
        about = self._about
        span = None if self._tracing is None else self._begin_span(self._tracing)
        self._trace_frames()
        self._tally.sessions_started[self.asked.dialect.name] += 1
        first = self.caller.known() | about
        _log.info("session_started", **self._rates(), **first)
        ending = DRAINED
        try:
            ending = await self._converse(link, place)
        finally:
            seconds = trio.current_time() - self._began
            self._count(ending, seconds)
            code = ending.code if ending.peer_code is None else ending.peer_code
            ear = self._ear
            _log.info(
                "session_ended",
                **about,
                outcome=ending.outcome,
                code=code,
                reason=ending.reason,
                frames=ear.frames if ear else 0,
                bytes=ear.bytes if ear else 0,
                smallest=ear.smallest if ear else None,
                largest=ear.largest if ear else None,
                seconds=round(seconds, 3),
            )
            if span is not None:
                self._end_span(span, ending, code)

    def _new_conversation(self) -> Session | Dialogue:
        """Return the conversation that hears the caller."""
        terms = self.terms
        if terms is None:
            return Telephone(*self._dialogue_parts())
        greeting = self._started(terms) if terms.events else None
        return session_for(terms)(terms, self._tally, self._limits.message_bytes, greeting)

    def _dialogue_parts(self) -> tuple[Half, Slips, Callable[[Start], Terms], Tally, int]:
        """Return what makes a dialogue of this call."""
        slips = Slips(self._tally.dialect_errors[self.asked.dialect.name], self._about)
        most = self._limits.message_bytes
        return self.asked.half(), slips, self._agree, self._tally, most

    async def _converse(self, link: Link, place: Place) -> Ending:
        conversation = self._conversation
        if isinstance(conversation, Session):
            return await hold(link, conversation, self._limits, place)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tend, conversation)
            ending = await hold(link, conversation, self._limits, place, conversation.over)
            nursery.cancel_scope.cancel()
        return ending

    async def _tend(self, dialogue: Dialogue) -> None:
        """Have the peer begin in time, and keep it alive."""
        await dialogue.begun()
        self._trace_frames()
        if not self.asked.dialect.pings:
            await dialogue.keep_alive(self._keep_alive_seconds)

    def _agree(self, start: Start) -> Terms:
        """Return the terms for a peer's start."""
        terms = self.asked.agree(start)
        self._about |= {"call_id": plain(start.call_id), "stream_id": plain(start.stream_id)}
        self._agree_on(terms)
        who = {"from": plain(start.from_), "to": plain(start.to)}
        _log.info("stream_started", **self._rates(), **self._about, **who)
        return terms

    def _agree_on(self, terms: Terms) -> None:
        self.terms = terms
        self._about |= {"codec": terms.codec, "encoding": terms.encoding, "reply": terms.reply}

    @property
    def _ear(self) -> Session | None:
        """What hears the caller's audio, once there is something that can."""
        conversation = self._conversation
        return conversation if isinstance(conversation, Session) else conversation.ear

    def _trace_frames(self) -> None:
        if self._ear is not None and _log.is_enabled_for(logging.DEBUG):
            about = self._about
            self._ear.trace = lambda size: _log.debug("frame", bytes=size, **about)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the call by now; the numbers are of inbound frames."""
        ear = self._ear
        since = datetime.fromtimestamp(self._since, UTC).isoformat(timespec="milliseconds")
        return {
            "id": self.id,
            "dialect": self.asked.dialect.name,
            "call_id": self._about.get("call_id") or None,
            "since": since.replace("+00:00", "Z"),
            "seconds": round(trio.current_time() - self._began, 3),
            "caller": self.caller.known(),
            "terms": self.terms.facts() if self.terms else None,
            "frames": ear.frames if ear else 0,
            "bytes": ear.bytes if ear else 0,
            "unsent_bytes": 0 if self._link is None else self._link.unsent_bytes,
        }

    def _rates(self) -> dict[str, int]:
        terms = self.terms
        if terms is None:
            return {}
        return {"sample_rate": terms.sample_rate, "reply_rate": terms.reply_rate}

    def _started(self, terms: Terms) -> str:
        """Return the event that tells a caller its session's id and terms."""
        known = {"id": self.id, "handler": self.handled, **terms.facts()}
        return json.dumps({"type": "started", **known})

    def _begin_span(self, tracing: "Tracing") -> "CallSpan":
        """Begin the call's span; from now on the log lines have its trace id."""
        caller = self.caller
        known = {"session.id": self.id, "rt_audio.dialect": self.asked.dialect.name}
        attributes = {**caller.attributes(), **known, **self._span_terms()}
        span = tracing.begin(caller.traceparent, attributes)
        self._about["trace_id"] = span.trace_id
        return span

    def _span_terms(self) -> dict[str, str | int]:
        facts = self.terms.facts() if self.terms else {}
        return {f"rt_audio.{name}": value for name, value in facts.items()}

    def _end_span(self, span: "CallSpan", ending: Ending, code: int | None) -> None:
        ear = self._ear
        known = self._span_terms() | {
            "rt_audio.call_id": self._about.get("call_id") or None,
            "rt_audio.outcome": ending.outcome,
            "rt_audio.close_code": code,
            "rt_audio.reason": ending.reason or None,
            "rt_audio.frames": ear.frames if ear else 0,
            "rt_audio.bytes": ear.bytes if ear else 0,
        }
        attributes = {name: value for name, value in known.items() if value is not None}
        span.end(attributes, fault=ending is FAULT)

    def _count(self, ending: Ending, seconds: float) -> None:
        tally = self._tally
        tally.sessions[self.asked.dialect.name, ending.outcome] += 1
        tally.session_seconds.add(seconds)
        if ending.peer_code is not None:
            tally.peer_closes[close_code(ending.peer_code)] += 1
        if ending.rejection is not None:
            tally.frames_rejected[ending.rejection] += 1


class Echo:
    """The conversation that returns every message as it is, for conformance tools."""

    def begin(self, mouth: Mouth) -> None:
        """Say nothing."""

    def receive(self, message: Message) -> Message:
        """Return the message."""
        return message

    def replied(self, message: Message, seconds: float) -> None:
        """Count nothing."""


async def hold(
    link: Link,
    conversation: Conversation,
    limits: Limits,
    place: Place,
    over: Callable[[], None] = lambda: None,
) -> Ending:
    """Carry the conversation to its end, tell the peer, and return how it ended.

    `place` can end it early. `over` is called before the peer is told. A cancellation from outside
    ends it as drained, and goes on after the peer has been told.
    """
    ending = DRAINED
    try:
        with place.scope as scope:
            ending = await link.carry(conversation, limits)
        if scope.cancelled_caught:
            ending = place.ending
    except Exception:
        _log.exception("call_failed")
        ending = FAULT
    finally:
        over()
        # The link itself keeps to CLOSE_SECONDS; twice that stops a link that does not.
        with trio.move_on_after(2 * CLOSE_SECONDS, shield=True):
            await link.close(ending)
    return ending
