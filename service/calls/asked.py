"""What an upgrade asks for: a dialect, and what the query of its URL says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from service import codec
from service.calls.terms import Terms
from service.conversation import Limits
from service.dialects import raw
from service.dialects.events import Format, Start
from service.dialects.half import Dialect, Half

#: A provider's message is larger than this only by mistake, in bytes.
_MESSAGE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Asked:
    """A dialect, and the query without a token.

    `terms` are those of the query, in the service's own dialect. In another one they follow from
    the peer's start.
    """

    dialect: Dialect
    query: Mapping[str, str]
    codec_order: Sequence[str]
    terms: Terms | None = None

    @classmethod
    def raw(cls, query: Mapping[str, str], codec_order: Sequence[str]) -> Self:
        """Return what an upgrade at /ws/audio asks for; raise BadParameter."""
        return cls(raw.DIALECT, query, codec_order, Terms.parse(query, codec_order))

    def half(self) -> Half:
        """Return the service's half of the dialect, for one call."""
        return self.dialect.service(self.query)

    def start(self) -> Start:
        """Return the start of a call whose terms are known."""
        assert self.terms is not None
        return Start(
            heard=Format(self.terms.encoding, self.terms.sample_rate),
            played=Format(self.terms.reply, self.terms.reply_rate),
        )

    def agree(self, start: Start) -> Terms:
        """Return the terms for a peer's start."""
        return Terms(
            codec=codec.resolve("", self.codec_order),
            encoding=start.heard.encoding,
            reply=start.played.encoding,
            sample_rate=start.heard.rate,
            reply_rate=start.played.rate,
            live=True,
            lead=self.dialect.lead_seconds,
            frame_seconds=self.dialect.frame_seconds,
            places=True,
        )

    def limits(self, limits: Limits) -> Limits:
        """Return the limits for a call in this dialect."""
        if self.terms is not None:
            return limits
        return replace(
            limits,
            message_bytes=min(limits.message_bytes, _MESSAGE_BYTES),
            pings=self.dialect.pings,
            hangup_causes=self.dialect.hangup_causes,
        )
