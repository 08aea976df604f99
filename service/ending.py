"""How a call ends: the outcomes, and the close codes of RFC 6455 section 7.4.1 that go with them.

An ending is a value. It is what a call *is* when it is over; it goes to the peer as a close
frame, to the log and to the totals. Exceptions are kept for bugs.
"""

from typing import NamedTuple, final

OUTCOMES = ("completed", "aborted", "rejected", "idle", "drained", "stuck", "error")
#: Why a message was refused; each ends its call as `rejected`.
REJECTIONS = ("odd_length", "text", "too_large", "protocol", "invalid_text")

#: What a peer may close with: assigned, registered by applications, private (RFC 6455, 7.4.2).
CLOSE_CODES = (
    "1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009", "1010", "1011", "1012", "1013",
    "1014", "3xxx", "4xxx", "other",
)  # fmt: skip

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS_RECEIVED = 1005
ABNORMAL_CLOSURE = 1006
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011


@final
class Ending(NamedTuple):
    """The outcome of a call, and what the peer is told.

    `code` and `reason` are sent in our close frame; no code means there is nobody to tell.
    `rejection` says which rule a refused message broke; `peer_code` is the code that the peer
    closed with.
    """

    outcome: str
    code: int | None = None
    reason: str = ""
    rejection: str | None = None
    peer_code: int | None = None


ABORTED = Ending("aborted")
STUCK = Ending("stuck")
DRAINED = Ending("drained", GOING_AWAY, "the service is restarting; please reconnect")
FAULT = Ending("error", INTERNAL_ERROR, "internal error")


def completed(peer_code: int) -> Ending:
    """Return the ending of a call that the peer closed, with that code."""
    return Ending("completed", peer_code=peer_code)


def close_code(code: int) -> str:
    """Return which of CLOSE_CODES a code that a peer closed with is."""
    name = f"{code // 1000}xxx" if code >= 3000 else str(code)
    return name if name in CLOSE_CODES else "other"  # other servers let unassigned codes through


def idle(seconds: float) -> Ending:
    """Return the ending of a call on which nothing was heard for so many seconds."""
    return Ending("idle", POLICY_VIOLATION, f"no audio for {seconds:g} seconds")


def rejected(rejection: str, code: int, reason: str) -> Ending:
    """Return the ending of a call whose peer broke a rule."""
    return Ending("rejected", code, reason, rejection)


def text_refused() -> Ending:
    """Return the ending for a text message where audio was due."""
    return rejected("text", UNSUPPORTED_DATA, "audio is binary; a text message is not")


def too_large(limit: int) -> Ending:
    """Return the ending for a message beyond the limit, in bytes."""
    return rejected("too_large", MESSAGE_TOO_BIG, f"a message may have at most {limit} bytes")
