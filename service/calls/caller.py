"""Who calls, as far as the request to upgrade tells, and what the logs say of it."""

import re
from dataclasses import dataclass

from service.networks import endpoint

#: Version, trace id, parent id, flags, and what a later version may add (W3C Trace Context, 3.2).
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; None for what is not known.

    `address` and `port` are the caller's own, as far as trusted proxies tell; then `via` is the
    proxy that told. `user_agent` and `request_id` are strangers' texts, made plain. `traceparent`
    is valid by W3C Trace Context. `token` is the name of the caller's token.
    """

    address: str
    port: int | None = None
    via: tuple[str, int | None] | None = None
    user_agent: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    token: str | None = None

    @property
    def peer(self) -> str:
        """The address, and the port if it is known."""
        return endpoint(self.address, self.port)

    def known(self) -> dict[str, str]:
        """Return what is known, by name, for the first log line of a call and for a refusal."""
        known = self.ids()
        if self.via is not None:
            known["via"] = endpoint(*self.via)
        if self.user_agent is not None:
            known["user_agent"] = self.user_agent
        return known

    def ids(self) -> dict[str, str]:
        """Return by what else than its session a call is searched for: each log line has it."""
        ids = {"peer": self.peer}
        if self.token is not None:
            ids["token"] = self.token
        if self.request_id is not None:
            ids["request_id"] = self.request_id
        if self.traceparent is not None:
            ids["trace_id"] = self.traceparent[3:35]
        return ids

    def attributes(self) -> dict[str, str | int]:
        """Return what is known, by OpenTelemetry's names, for the call's span."""
        host, port = self.via or (self.address, self.port)
        known = {
            "client.address": self.address,
            "client.port": self.port,
            "network.peer.address": host,
            "network.peer.port": port,
            "user_agent.original": self.user_agent,
            "rt_audio.request_id": self.request_id,
        }
        return {name: value for name, value in known.items() if value is not None}


def valid_traceparent(text: str) -> str | None:
    """Return the text if it is a `traceparent` of W3C Trace Context, of any version; else None."""
    parts = _TRACEPARENT.fullmatch(text)
    return None if parts is None or (parts[1] == "00" and parts[5]) else text
