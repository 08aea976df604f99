"""THE order of checks before a call: address, origin, token, parameters, room.

    address      has it begun too many upgrades in this second?        429
    origin       may this page connect?                                403
    token        is one given that is known?                           401
                 has its holder begun too many upgrades?               429
                 or, where the dialect has secrets: does one vouch?    401
    parameters   `calls.terms`                                         400
    room         is the service draining or full?                      503
                 has the token's holder, or the address, its share?    429

The address comes first, so that it also limits who guesses tokens. The app asks when an upgrade
comes; the console's page asks what an upgrade would get.
"""

from collections.abc import Hashable, Iterable

import trio

from service.bearer import Token
from service.calls.caller import Caller
from service.calls.roster import Place, Roster
from service.config import Settings
from service.networks import network
from service.tally import Refusal
from service.web.access import Access
from service.web.vouching import PROOFS, Claim

#: When a refused caller may try again, in seconds: sessions end, and balancers look elsewhere.
RETRY_AFTER_SECONDS = 1
#: The refusals that may be over by then, with their statuses.
PASSING = {
    Refusal.DRAINING: 503,
    Refusal.AT_CAPACITY: 503,
    Refusal.TOO_MANY_SESSIONS: 429,
    Refusal.TOO_MANY_UPGRADES: 429,
}


class Refused(Exception):  # noqa: N818
    """An upgrade is not granted; the HTTP status and the headers tell the caller what to do.

    `token` is the name of the token that was given, if a known one was.
    """

    token: str | None = None

    def __init__(self, status: int, reason: Refusal, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Admission:
    """The checks of one service."""

    def __init__(self, settings: Settings, access: Access, roster: Roster) -> None:
        self._access, self._roster = access, roster
        self._of_address = _Pace(settings.max_upgrades_per_address)
        self._of_holder = _Pace(settings.max_upgrades_per_token)
        self._needs_network = bool(
            settings.max_upgrades_per_address or settings.max_sessions_per_address
        )

    def check(
        self,
        caller: Caller,
        *,
        origin: str | None,
        host: str | None,
        authorization: str | None,
        query_token: str | None,
        subprotocols: Iterable[str],
        claim: Claim | None = None,
        upgrades: int = 1,
    ) -> Token | None:
        """Return the caller's token, if one is needed; raise Refused for who may not connect.

        `claim` is for the endpoint of a dialect. The caller begins so many upgrades; 0 is for who
        only asks.
        """
        now = trio.current_time()
        address = self._network(caller)
        if address is not None and not self._of_address.allows(address, upgrades, now):
            raise _passing(Refusal.TOO_MANY_UPGRADES, "this address upgrades too often")
        if not self._access.welcomes(origin, host):
            raise Refused(
                403,
                Refusal.ORIGIN,
                f"pages of {origin} may not connect; "
                "RT_AUDIO_ALLOWED_ORIGINS must list this origin",
            )
        if claim is not None and claim.dialect in self._access.vouching.dialects:
            if not self._access.vouching.vouches(claim):
                proof = PROOFS[claim.dialect]
                raise Refused(
                    401, Refusal.UNAUTHORIZED, proof.needed, WWW_Authenticate=proof.challenge
                )
            return None
        if self._access.tokens is None:
            return None
        token = self._access.token(authorization, query_token, subprotocols)
        if token is None:
            raise Refused(
                401,
                Refusal.UNAUTHORIZED,
                "a known bearer token is needed",
                WWW_Authenticate="Bearer",
            )
        if not self._of_holder.allows(token.holder, upgrades, now):
            raise _passing(Refusal.TOO_MANY_UPGRADES, "this token is used too often", token)
        return token

    def place(self, caller: Caller, token: Token | None) -> Place:
        """Return a place on the line; raise Refused if there is none for this caller."""
        found = self._roster.admit(token, self._network(caller))
        if isinstance(found, Refusal):
            raise _passing(found, _NO_ROOM[found], token)
        return found

    def room(self, caller: Caller, token: Token | None) -> Refusal | None:
        """Return why there is no place on the line for this caller, or None."""
        return self._roster.refusal(token, self._network(caller))

    def _network(self, caller: Caller) -> str | None:
        return network(caller.address) if self._needs_network else None


_NO_ROOM = {
    Refusal.DRAINING: "no further session is taken now",
    Refusal.AT_CAPACITY: "no further session is taken now",
    Refusal.TOO_MANY_SESSIONS: "this token or this address has as many sessions as it may have",
}


def _passing(reason: Refusal, message: str, token: Token | None = None) -> Refused:
    refused = Refused(PASSING[reason], reason, message, Retry_After=str(RETRY_AFTER_SECONDS))
    refused.token = None if token is None else token.called
    return refused


class _Pace:
    """At most so many upgrades of each key in a second of the clock; 0 sets no limit.

    Each second begins with nothing counted. So there are never more keys than upgrades in one
    second, from however many addresses they come.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: dict[Hashable, int] = {}
        self._until = 0.0

    def allows(self, key: Hashable, upgrades: int, now: float) -> bool:
        """Return whether another upgrade may begin now; count it, or none if `upgrades` is 0."""
        if not self._most:
            return True
        if now >= self._until:
            self._begun.clear()
            self._until = now + 1
        begun = self._begun.get(key, 0)
        if begun >= self._most:
            return False
        if upgrades:
            self._begun[key] = begun + upgrades
        return True
