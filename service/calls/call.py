"""One call from its first log line to its last: carried by a link until something ends it.

This is the boundary of a call's faults. Whatever happens inside, the peer is told, the outcome is
counted once, and nobody else notices.
"""

import logging
import secrets

import structlog
import trio

from service import logs
from service.calls.session import Session
from service.calls.terms import Parameters
from service.conversation import CLOSE_SECONDS, Conversation, Link, Message
from service.ending import DRAINED, FAULT, Ending, close_code
from service.tally import Tally

_log = logs.get(__name__)


def new_id() -> str:
    """Return an id for a call, 48 random bits, to find it in the logs."""
    return secrets.token_hex(6)


class Echo:
    """The conversation that returns every message as it is, for conformance tools."""

    def receive(self, message: Message) -> Message:
        """Return the message."""
        return message

    def replied(self, message: Message, reply: Message, seconds: float) -> None:
        """Count nothing."""


async def audio(
    link: Link,
    session: Session,
    tally: Tally,
    *,
    call_id: str,
    peer: str,
    parameters: Parameters,
    idle_seconds: float,
    scope: trio.CancelScope,
) -> None:
    """Carry a session to its end, log its first and last line, and count its outcome.

    `idle_seconds` and `scope` are as for `hold`.
    """
    began = trio.current_time()
    # For good, as the task carries nothing after this call.
    structlog.contextvars.bind_contextvars(session=call_id)
    # The id besides, because frames are traced from the pump's task, not from this one.
    about = {
        "session": call_id,
        "peer": peer,
        "codec": parameters.codec,
        "encoding": parameters.encoding,
        "reply": parameters.reply,
    }
    if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        session.trace = lambda size: _log.debug("frame", bytes=size, **about)
    _log.info("session_started", sample_rate=parameters.sample_rate, **about)
    ending = DRAINED
    try:
        ending = await hold(link, session, idle_seconds, scope)
    finally:
        seconds = trio.current_time() - began
        tally.sessions[ending.outcome] += 1
        tally.session_seconds.add(seconds)
        if ending.peer_code is not None:
            tally.peer_closes[close_code(ending.peer_code)] += 1
        if ending.rejection is not None:
            tally.frames_rejected[ending.rejection] += 1
        _log.info(
            "session_ended",
            **about,
            outcome=ending.outcome,
            code=ending.code if ending.peer_code is None else ending.peer_code,
            reason=ending.reason,
            frames=session.frames,
            bytes=session.bytes,
            smallest=session.smallest,
            largest=session.largest,
            seconds=round(seconds, 3),
        )


async def hold(
    link: Link, conversation: Conversation, idle_seconds: float, scope: trio.CancelScope
) -> Ending:
    """Carry the conversation to its end, tell the peer, and return how it ended.

    Cancelling `scope` ends it as drained. A cancellation from outside does too, and goes on
    once the peer has been told.
    """
    ending = DRAINED
    try:
        with scope:
            ending = await link.carry(conversation, idle_seconds)
    except Exception:
        _log.exception("call_failed")
        ending = FAULT
    finally:
        # Bounded by the link itself; this is for the case that one forgets.
        with trio.move_on_after(2 * CLOSE_SECONDS, shield=True):
            await link.close(ending)
    return ending
