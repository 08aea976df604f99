"""How a call ends: the outcomes, and the close codes of RFC 6455 section 7.4.1 that go with them.

An ending is a value: a finished call has one. The peer sees it as a close frame, the log as a
line, the totals as a count. Exceptions are for bugs.
"""

from typing import Literal, NamedTuple, final, get_args

Outcome = Literal[
    "completed", "aborted", "rejected", "idle", "drained", "dismissed", "stuck", "error"
]
#: Why a message was refused; each ends its call as `rejected`.
Rejection = Literal[
    "odd_length", "text", "binary", "too_large", "protocol", "invalid_text", "wav_header"
]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
REJECTIONS: tuple[Rejection, ...] = get_args(Rejection)

#: What a peer may close with: assigned, registered by applications, private (RFC 6455, 7.4.2).
CLOSE_CODES = (
    "1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009", "1010", "1011", "1012", "1013",
    "1014", "3xxx", "4xxx", "other",
)  # fmt: skip

NORMAL_CLOSURE = 1000
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
    """The outcome of a call, and the close frame that tells the peer.

    `told` is False where nobody is left to tell. `code` and `reason` go into our close frame; a
    call that the peer closed has no code of ours, because our frame repeats the peer's.
    `rejection` names the rule that a refused message broke; `peer_code` is the code that the peer
    closed with.
    """

    outcome: Outcome
    code: int | None = None
    reason: str = ""
    rejection: Rejection | None = None
    peer_code: int | None = None
    told: bool = True


ABORTED = Ending("aborted", told=False)
STUCK = Ending("stuck", told=False)
DRAINED = Ending("drained", GOING_AWAY, "the service is restarting; please reconnect")
DISMISSED = Ending("dismissed", POLICY_VIOLATION, "an operator ended the call")
REVOKED = Ending("dismissed", POLICY_VIOLATION, "the token was revoked")
FINISHED = Ending("completed", NORMAL_CLOSURE)  # by us: the handler has returned
FAULT = Ending("error", INTERNAL_ERROR, "internal error")


def completed(peer_code: int) -> Ending:
    """Return the ending of a call that the peer closed, with that code."""
    return Ending("completed", peer_code=peer_code)


def close_code(code: int) -> str:
    """Return the entry of CLOSE_CODES under which a peer's code is counted."""
    name = f"{code // 1000}xxx" if code >= 3000 else str(code)
    return (
        name if name in CLOSE_CODES else "other"
    )  # an ASGI server may let unassigned codes through


def idle(seconds: float) -> Ending:
    """Return the ending of a call without audio for so many seconds."""
    return Ending("idle", POLICY_VIOLATION, f"no audio for {seconds:g} seconds")


def rejected(rejection: Rejection, code: int, reason: str) -> Ending:
    """Return the ending of a call whose peer broke a rule."""
    return Ending("rejected", code, reason, rejection)


def text_refused() -> Ending:
    """Return the ending for a text message where audio was due."""
    return rejected("text", UNSUPPORTED_DATA, "audio is binary; a text message is not")


def too_large(limit: int) -> Ending:
    """Return the ending for a message beyond the limit, in bytes."""
    return rejected("too_large", MESSAGE_TOO_BIG, f"a message may have at most {limit} bytes")
