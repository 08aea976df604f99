"""The services on which faults are caused, and the Prometheus that looks at them."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import trio

from service.client import textfile
from service.client.probe import Probe
from tests.deploy.prometheus import Prometheus, Targets, load
from tests.peers.certificates import certificate_authority
from tests.peers.processes import SERVE, Served, serving, spawn

#: The jobs, named as the operator would name them, which the rules must know. One is well.
WELL, ABUSED, KILLED, FROZEN, DRAINING, UNREAD, MOVED, ANSWERING = (
    "rt-audio", "abused/rt-audio", "killed/rt-audio", "frozen/rt-audio", "draining/rt-audio",
    "unread/rt-audio", "moved/rt-audio", "answering/rt-audio",
)  # fmt: skip
#: Who has the files of the probes.
NODE = "node"
#: How long a drain may take: in a hurry, and where a scrape is every 15 seconds.
DRAIN_SECONDS = {True: 5, False: 60}


class Scene:
    """The services, and the Prometheus that looks at them."""

    well: Served
    abused: Served
    frozen: Served
    frozen_admin_port: int
    draining: Served
    answering: Served
    unread_port: int
    tokens: Path
    probes: Path
    targets: Targets
    prometheus: Prometheus

    def __init__(self, folder: Path, hurry: bool) -> None:
        self.folder, self.hurry = folder, hurry
        self.over = Event()
        self.killed = Killed()
        self.lines = ExitStack()

    @property
    def authority(self) -> Path:
        """The file of the certificate authority that issued the abused service's certificate."""
        return self.folder / "authority.pem"

    def wait(self, seconds: float) -> None:
        """Let a fault last for so long, unless the scene is over before."""
        self.over.wait(seconds)

    def again(self, seconds: float) -> bool:
        """Return after so many seconds whether to do it again; in a hurry once is enough."""
        return not (self.hurry or self.over.wait(seconds))


class Killed:
    """A service that is killed, and begins anew on its port."""

    def __init__(self) -> None:
        self._life = ExitStack()
        self.port = 0

    def live(self) -> None:
        # Its callers only hold the line: they answer no ping.
        self.port = self._life.enter_context(serving(self.port, RT_AUDIO_PING_SECONDS="0")).port

    def die(self) -> None:
        """Be killed, with SIGKILL."""
        self._life.close()


@contextmanager
def scene(folder: Path, *, hurry: bool = True) -> Iterator[Scene]:
    """Have the services for the block, a load on the one that is well, and a Prometheus."""
    it = Scene(folder, hurry)
    pem, it.tokens, it.probes = folder / "abused.pem", folder / "tokens", folder / "probes"
    certificate_authority().cert_pem.write_to_path(str(it.authority))
    soon = datetime.now(UTC) + timedelta(days=3)
    certificate = certificate_authority().issue_cert("localhost", "127.0.0.1", not_after=soon)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    it.tokens.write_text("ops:letmein\n")
    it.probes.mkdir()
    with ExitStack() as stack:
        it.well = stack.enter_context(serving())
        it.abused = stack.enter_context(
            serving(
                RT_AUDIO_TLS_CERT_FILE=str(pem),
                RT_AUDIO_TLS_KEY_FILE=str(pem),
                RT_AUDIO_TOKENS_FILE=str(it.tokens),
                RT_AUDIO_SEND_TIMEOUT_SECONDS="0.1",
            )
        )
        it.frozen = stack.enter_context(serving(RT_AUDIO_ADMIN_PORT="0"))
        it.frozen_admin_port = it.frozen.logged("admin_listening")["port"]
        it.draining = stack.enter_context(
            serving(RT_AUDIO_DRAIN_SECONDS=str(DRAIN_SECONDS[hurry]), RT_AUDIO_PING_SECONDS="0")
        )
        it.answering = stack.enter_context(
            serving(RT_AUDIO_HANDLER="tests.deploy.answering:answer")
        )
        it.killed.live()
        stack.callback(it.killed.die)
        it.unread_port = stack.enter_context(_unread())
        ports = {WELL: it.well.port, ABUSED: it.abused.port, KILLED: it.killed.port,
                 FROZEN: it.frozen_admin_port, DRAINING: it.draining.port, UNREAD: it.unread_port,
                 MOVED: it.well.port, ANSWERING: it.answering.port,
                 NODE: stack.enter_context(_files(it.probes))}  # fmt: skip
        it.targets = {job: f"127.0.0.1:{port}" for job, port in ports.items()}
        stack.enter_context(load(it.well.port, it.answering.port))
        _probe(it)
        it.prometheus = stack.enter_context(
            Prometheus.running(
                folder,
                it.targets,
                secure=frozenset({ABUSED}),
                authority=it.authority,
                history=_busy_until_lately(it.targets[FROZEN]) if hurry else None,
                hurry=hurry,
            )
        )
        stack.enter_context(it.lines)
        stack.callback(it.over.set)
        yield it


@contextmanager
def _unread() -> Iterator[int]:
    """Have a service whose standard error nobody reads once it listens; yields its port."""
    with spawn(
        *SERVE,
        0,
        RT_AUDIO_LOG_LEVEL="debug",
        RT_AUDIO_LOG_FORMAT="json",
        RT_AUDIO_MAX_SESSIONS="1",
        RT_AUDIO_IDLE_SECONDS="86400",
        RT_AUDIO_PING_SECONDS="0",
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "listening" in line:
                    break
            yield int(json.loads(line)["port"])
        finally:
            process.kill()


@contextmanager
def _files(folder: Path) -> Iterator[int]:
    """Have a server that gives all files of a folder as one, as node_exporter's collector does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"".join(file.read_bytes() for file in sorted(folder.glob("*.prom")))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _busy_until_lately(target: str) -> str:
    """Return a history of two hours in which calls began, until sixteen minutes ago."""
    series = f'rt_audio_sessions_started_total{{job="{FROZEN}",instance="{target}"}}'
    now = int(time.time())
    samples = [f"{series} {number * 3} {now - 60 * (136 - number)}" for number in range(121)]
    head = "# TYPE rt_audio_sessions_started counter"
    return "\n".join([head, *samples, "# EOF", ""])


def _probe(scene: Scene) -> None:
    """Make three probes: one is right, one fails, and one is ten minutes old."""

    async def write(name: str, url: str, ago: float) -> None:
        result = await Probe(f"{url}?sample_rate=192000").run()
        textfile.write(scene.probes / f"{name}.prom", result, time.time() - ago)

    async def all_of_them() -> None:
        await write("right", scene.well.url, 0)
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            await write("fails", f"ws://127.0.0.1:{deaf.getsockname()[1]}/fails", 0)
        await write("old", scene.well.url.replace("127.0.0.1", "localhost"), 600)

    trio.run(all_of_them)
