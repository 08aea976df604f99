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
from service.calls.caller import Caller
from service.calls.roster import Place
from service.calls.session import Session
from service.calls.terms import Terms
from service.conversation import CLOSE_SECONDS, Conversation, Limits, Link, Message, Mouth
from service.ending import DRAINED, FAULT, Ending, close_code
from service.tally import Tally

if TYPE_CHECKING:
    from service.tracing import CallSpan, Tracing

_log = logs.get(__name__)


class Call:
    """A caller's terms, the session that they make, and what the logs say of both.

    `id`, 48 random bits, is the call's name in the logs.
    """

    #: Whether a handler answers. Otherwise each frame has its reply.
    handled = False

    def __init__(
        self,
        terms: Terms,
        caller: Caller,
        tally: Tally,
        limits: Limits,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.id = secrets.token_hex(6)
        self._since, self._began = time(), trio.current_time()
        self._terms, self._caller, self._tracing = terms, caller, tracing
        self._tally, self._limits = tally, limits
        self._link: Link | None = None
        self._session = self._new_session()
        # The pump's task logs frames without this task's context, so each line names the session.
        self._about = {
            "session": self.id,
            **caller.ids(),
            "codec": terms.codec,
            "encoding": terms.encoding,
            "reply": terms.reply,
        }

    async def run(self, link: Link, place: Place) -> None:
        """Carry the call to its end, log its first and last line, and count its outcome.

        `place` can end it early.
        """
        self._link = link
        # Nothing else runs in this task after the call, so nothing unbinds it.
        structlog.contextvars.bind_contextvars(session=self.id)
        session, about = self._session, self._about
        span = None if self._tracing is None else self._begin_span(self._tracing)
        if _log.is_enabled_for(logging.DEBUG):
            session.trace = lambda size: _log.debug("frame", bytes=size, **about)
        self._tally.sessions_started += 1
        first = self._caller.known() | about
        terms = self._terms
        rates = {"sample_rate": terms.sample_rate, "reply_rate": terms.reply_rate}
        _log.info("session_started", **rates, **first)
        ending = DRAINED
        try:
            ending = await self._converse(link, place)
        finally:
            seconds = trio.current_time() - self._began
            self._count(ending, seconds)
            code = ending.code if ending.peer_code is None else ending.peer_code
            _log.info(
                "session_ended",
                **about,
                outcome=ending.outcome,
                code=code,
                reason=ending.reason,
                frames=session.frames,
                bytes=session.bytes,
                smallest=session.smallest,
                largest=session.largest,
                seconds=round(seconds, 3),
            )
            if span is not None:
                self._end_span(span, ending, code)

    def _new_session(self) -> Session:
        """Return the session that hears the caller's audio."""
        terms = self._terms
        greeting = self._started() if terms.events else None
        return _session(terms)(terms, self._tally, self._limits.message_bytes, greeting)

    async def _converse(self, link: Link, place: Place) -> Ending:
        return await hold(link, self._session, self._limits, place)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the call by now; the numbers are of inbound frames."""
        session = self._session
        since = datetime.fromtimestamp(self._since, UTC).isoformat(timespec="milliseconds")
        return {
            "id": self.id,
            "since": since.replace("+00:00", "Z"),
            "seconds": round(trio.current_time() - self._began, 3),
            "caller": self._caller.known(),
            "terms": self._terms.facts(),
            "frames": session.frames,
            "bytes": session.bytes,
            "unsent_bytes": 0 if self._link is None else self._link.unsent_bytes,
        }

    def _started(self) -> str:
        """Return the event that tells a caller its session's id and terms."""
        known = {"id": self.id, "handler": self.handled, **self._terms.facts()}
        return json.dumps({"type": "started", **known})

    def _begin_span(self, tracing: "Tracing") -> "CallSpan":
        """Begin the call's span; from now on the log lines have its trace id."""
        caller = self._caller
        terms = {f"rt_audio.{name}": value for name, value in self._terms.facts().items()}
        attributes = {**caller.attributes(), "session.id": self.id, **terms}
        span = tracing.begin(caller.traceparent, attributes)
        self._about["trace_id"] = span.trace_id
        return span

    def _end_span(self, span: "CallSpan", ending: Ending, code: int | None) -> None:
        known = {
            "rt_audio.outcome": ending.outcome,
            "rt_audio.close_code": code,
            "rt_audio.reason": ending.reason or None,
            "rt_audio.frames": self._session.frames,
            "rt_audio.bytes": self._session.bytes,
        }
        attributes = {name: value for name, value in known.items() if value is not None}
        span.end(attributes, fault=ending is FAULT)

    def _count(self, ending: Ending, seconds: float) -> None:
        tally = self._tally
        tally.sessions[ending.outcome] += 1
        tally.session_seconds.add(seconds)
        if ending.peer_code is not None:
            tally.peer_closes[close_code(ending.peer_code)] += 1
        if ending.rejection is not None:
            tally.frames_rejected[ending.rejection] += 1


def _session(terms: Terms) -> type[Session]:
    if terms.reply_rate == terms.sample_rate:
        return Session
    # An interpreter without NumPy carries all other calls.
    from service.calls.resampling import ResamplingSession

    return ResamplingSession


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
