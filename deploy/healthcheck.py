"""The image's HEALTHCHECK: ask the service of this container for /health.

    python healthcheck.py [PID]

It asks the sockets on which process 1 listens, or a child of it where process 1 is an init
(`--init`). The kernel knows these for every `--port` and `--host`; no variable tells them. The
exit status is 0 once one of them answers with 200, else 1, with a sentence for each.
"""

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

#: The state of a listening socket in /proc/net/tcp (include/net/tcp_states.h).
LISTEN = "0A"
#: Less than the timeout of the HEALTHCHECK.
ANSWER_SECONDS = 2


def listeners(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the address and port of each TCP socket on which the process or its child listens."""
    process = Path(f"/proc/{pid}")
    children = (process / f"task/{pid}/children").read_text().split()
    held = set()
    for each in (process, *(Path(f"/proc/{child}") for child in children)):
        with suppress(FileNotFoundError, PermissionError):  # it has ended, or is another user's
            held |= {os.readlink(descriptor) for descriptor in each.glob("fd/*")}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for row in (process / "net" / table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = row.split()[:10]
            if state == LISTEN and f"socket:[{inode}]" in held:
                words, port = local.split(":")
                yield socket.inet_ntop(family, network_order(bytes.fromhex(words))), int(port, 16)


def network_order(words: bytes) -> bytes:
    """Return an address from /proc, which has it in 32-bit words of the machine's byte order."""
    if sys.byteorder == "big":
        return words
    return b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))


def fault(host: str, port: int) -> str | None:
    """Return None if the service answers there, else what is wrong."""
    connection: http.client.HTTPConnection
    # The admin listener has no TLS.
    plain = str(port) == os.environ.get("RT_AUDIO_ADMIN_PORT")
    if os.environ.get("RT_AUDIO_TLS_CERT_FILE") and not plain:
        # The certificate is for the name that callers use. Nobody else can listen here.
        unverified = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            host, port, timeout=ANSWER_SECONDS, context=unverified
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    with closing(connection):
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{host} port {port}: {error!r}"
    return None if status == http.client.OK else f"{host} port {port}: HTTP {status}"


def main(pid: int) -> int:
    """Ask each listener until one answers; return the exit status."""
    faults = []
    for host, port in listeners(pid):
        found = fault(host, port)
        if found is None:
            return 0
        faults.append(found)
    print("; ".join(faults) or "nothing listens")
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
