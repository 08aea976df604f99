"""The descriptors of the process: who gets how many."""

import resource
from typing import NamedTuple

from service import logs

_log = logs.get(__name__)

#: For listeners, event loops, logs and what a scrape of /metrics reads.
_OWN = 32
#: There may be as many connections that are no calls as there may be sessions, or so many.
_LOBBY = 100


class Descriptors(NamedTuple):
    """How many sessions and how many other connections have a descriptor each."""

    sessions: int
    lobby: int


def share_out(max_sessions: int, operators: int) -> Descriptors:
    """Raise the soft limit of descriptors as far as needed; share out the descriptors there are.

    So many connections of operators come first. Sessions leave a quarter of the rest to the lobby,
    so that probes and newcomers are always answered.
    """
    own = _OWN + operators
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(max_sessions, _LOBBY)
    needed = max_sessions + wanted + own
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    spare = max(soft - own, 4)
    lobby = min(wanted, max(spare // 4, spare - max_sessions))
    sessions = min(max_sessions, spare - lobby)
    if sessions < max_sessions:
        _log.warning(
            "few_descriptors",
            message=f"RT_AUDIO_MAX_SESSIONS={max_sessions} needs {needed} file descriptors; "
            f"this process may have {soft}, so it takes {sessions} sessions",
        )
    return Descriptors(sessions, lobby)
