"""THE order of checks before a call: origin, token, parameters, room.

The app asks when an upgrade comes; the console's page asks what an upgrade would get.
"""

from collections.abc import Iterable

from service.calls.roster import Place, Roster
from service.tally import Refusal
from service.web.access import Access

#: When a refused caller may try again, in seconds: sessions end, and balancers look elsewhere.
RETRY_AFTER_SECONDS = 1


class Refused(Exception):  # noqa: N818
    """An upgrade is not granted; the HTTP status and the headers tell the caller what to do."""

    def __init__(self, status: int, reason: Refusal, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def check(
    access: Access,
    *,
    origin: str | None,
    host: str | None,
    authorization: str | None,
    query_token: str | None,
    subprotocols: Iterable[str],
) -> None:
    """Raise Refused unless this origin and this token may connect."""
    if not access.welcomes(origin, host):
        raise Refused(
            403,
            Refusal.ORIGIN,
            f"pages of {origin} may not connect; RT_AUDIO_ALLOWED_ORIGINS must list this origin",
        )
    if not access.admits(authorization, query_token, subprotocols):
        raise Refused(
            401, Refusal.UNAUTHORIZED, "a known bearer token is needed", WWW_Authenticate="Bearer"
        )


def place(roster: Roster) -> Place:
    """Return a place on the line; raise Refused if there is none."""
    found = roster.admit()
    if isinstance(found, Refusal):
        raise Refused(
            503, found, "no further session is taken now", Retry_After=str(RETRY_AFTER_SECONDS)
        )
    return found
