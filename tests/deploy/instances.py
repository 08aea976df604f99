"""HAProxy, and behind it instances of the service that can be replaced one by one."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.processes import ROOT, Served, serving, until

#: What operators get; `configuration` puts a test's ports, times and limits into it.
SHIPPED = ROOT / "deploy" / "systemd" / "haproxy.cfg"
#: Nobody is sent here. It tells who has room, after more checks than mark an instance down.
ROOM = """
backend room
    option httpchk
    http-check send meth GET uri /capacity ver HTTP/1.1 hdr Host balancer
    http-check expect status 200
    default-server {server} check inter {interval_ms}ms fall 4 rise 2
    {servers}
"""


@dataclass(frozen=True)
class Drain:
    """The end of one instance: seconds from SIGTERM to its exit, and its calls by their outcome."""

    instance: str
    seconds: float
    status: int
    sessions: int
    outcomes: dict[str, int]


class Instance:
    """Processes of the service, one after the other on one port; the stack ends them."""

    def __init__(self, name: str, settings: dict[str, str], stack: ExitStack) -> None:
        self.name = name
        self.port = 0
        self._settings, self._stack = settings, stack
        self._served: Served | None = None

    def start(self) -> None:
        """Start a process that serves."""
        self._served = self._stack.enter_context(serving(self.port, **self._settings))
        self.port = self._served.port

    def logged(self, event: str) -> dict[str, Any]:
        """Return the next log entry about this event, once it is there."""
        assert self._served is not None
        return self._served.logged(event)

    def drain(self) -> Drain:
        """Send SIGTERM, wait for the exit, and return its figures."""
        assert self._served is not None
        began = time.monotonic()
        self._served.process.send_signal(signal.SIGTERM)
        status = self._served.status()
        seconds = time.monotonic() - began
        entries = self._served.entries
        events = [entry["event"] for entry in entries]
        assert "draining" in events, f"{self.name} ended with {status} and did not drain"
        draining, *after = entries[events.index("draining") :]
        outcomes = Counter(e["outcome"] for e in after if e["event"] == "session_ended")
        return Drain(self.name, seconds, status, draining["sessions"], dict(outcomes))


class Balancer:
    """A running HAProxy; it inherited the listening socket of its port."""

    def __init__(self, port: int, stats: Path) -> None:
        self.port = port
        self._stats = stats

    def wait_until_up(self, instance: Instance) -> None:
        """Return once the balancer gives the instance calls."""
        until(lambda: self._asked(instance, "calls")[0] == "UP", f"{instance.name} to be up")

    def wait_until_it_has_room(self, instance: Instance, room: bool) -> None:
        """Return once the balancer has heard that the instance has room, or has none."""
        # It takes an instance for up before it has asked, and then a single check marks it down.
        wanted = ("UP", "L7OK") if room else ("DOWN", "L7STS")
        until(lambda: self._asked(instance, "room") == wanted, f"{instance.name}: room {room}")

    def _asked(self, instance: Instance, proxy: str) -> tuple[str, str]:
        """Return the status of an instance, and that of its last check."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self._stats))
                connection.sendall(b"show stat\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except OSError:
            return "no answer", ""
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        name = (proxy, instance.name)
        [row] = [row for row in rows if (row["pxname"], row["svname"]) == name]
        return row["status"], row["check_status"]


def haproxy() -> str | None:
    """Return where HAProxy is, if it is here."""
    # Debian puts it where an ordinary user's PATH does not look.
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def configuration(*, limits: str, bind: str, check: str, servers: str) -> str:
    """Return the shipped configuration with these lines in the place of its own."""
    text = SHIPPED.read_text()
    for pattern, lines in (
        (r"maxconn .*", limits),
        (r"bind .*", bind),
        (r"default-server check inter \w+", check),
        (r"server .*(?:\n    server .*)*", servers),
    ):
        text, count = re.subn(rf"^    {pattern}", f"    {lines}", text, flags=re.MULTILINE)
        assert count == 1, pattern
    return text


@contextmanager
def balancing(
    instances: Sequence[Instance],
    folder: Path,
    connections: int,
    interval_ms: int,
    line: str = "mode tcp",
    server: str = "",
) -> Iterator[Balancer]:
    """Run HAProxy in front of the instances; it asks each for /ready every `interval_ms`.

    `line` and `server` are more of its configuration: for all calls, and for each instance.
    """
    stats, file = folder / "stats", folder / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        servers = "\n    ".join(f"server {each.name} 127.0.0.1:{each.port}" for each in instances)
        calls = configuration(
            limits=f"maxconn {connections}\n    nbthread 1\n    stats socket {stats}",
            bind=f"bind fd@{listener.fileno()}\n    {line}",
            check=f"default-server {server} check inter {interval_ms}ms",
            servers=servers,
        )
        room = ROOM.format(server=server, interval_ms=interval_ms, servers=servers)
        file.write_text(calls + room)
        with (folder / "haproxy.log").open("wb") as log:
            running = subprocess.Popen(
                [str(haproxy()), "-db", "-f", str(file)],
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
            )
        port: int = listener.getsockname()[1]
    try:
        balancer = Balancer(port, stats)
        for instance in instances:
            balancer.wait_until_up(instance)
        yield balancer
    finally:
        running.kill()
        running.wait()
