"""The servers under comparison: how each is started, waited for, kept still and ended."""

import contextlib
import dataclasses
import importlib.util
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.generator import BENCHMARKS, Cores, Generator

ROOT = BENCHMARKS.parent
START_SECONDS = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server did not start, or did not live as long as its measurement."""


@dataclass(frozen=True)
class Kind:
    """One row of the tables: a server, its path, and the sizes of a frame and of its reply."""

    name: str
    title: str
    modules: tuple[str, ...] = ()
    install: str = ""
    path: str = "/ws/audio"
    size: int = 320
    reply: int = 320
    tls: bool = False
    root: Path = ROOT  # the checkout that the service runs from

    @property
    def process(self) -> tuple[str, bool, Path]:
        """The key of the process: rows that differ only in their path share one."""
        return self.name, self.tls, self.root

    def missing(self) -> str | None:
        """Return why this server cannot run here and what would help; None if it can."""
        if self.name == OURS.name and not (self.root / "service" / "__main__.py").exists():
            return f"{self.title}: skipped, {self.root} has no service/__main__.py"
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"{self.title}: skipped, no module {module!r}; {self.install}"
        return None

    def sized(self, size: int) -> "Kind":
        """Return the same row with frames of another size, echoed."""
        return dataclasses.replace(self, size=size, reply=size)


def _pip(names: str) -> str:
    return f"pip install {names}"


OURS = Kind("rt-audio", "rt-audio-pipeline", path="/ws/audio?codec=numpy")
CEILING = Kind("ceiling", "C, epoll, minimal (ceiling)")
QUART = Kind("quart-trio", "Quart-Trio + Hypercorn", ("quart_trio",), _pip("quart-trio"))
FASTAPI = Kind(
    "fastapi",
    "FastAPI + uvicorn (sans-I/O, uvloop)",
    ("fastapi", "uvicorn", "uvloop", "httptools", "websockets"),
    _pip("fastapi uvicorn uvloop httptools websockets"),
)
WEBSOCKETS = Kind(
    "websockets", "websockets + uvloop", ("websockets", "uvloop"), _pip("websockets uvloop")
)
AIOHTTP = Kind("aiohttp", "aiohttp + uvloop", ("aiohttp", "uvloop"), _pip("aiohttp uvloop"))
TRIO_WEBSOCKET = Kind(
    "trio-websocket", "trio-websocket", ("trio_websocket",), _pip("trio-websocket")
)
PICOWS = Kind("picows", "picows + uvloop", ("picows", "uvloop"), _pip("picows uvloop"))
ALL = [CEILING, PICOWS, OURS, AIOHTTP, WEBSOCKETS, FASTAPI, TRIO_WEBSOCKET, QUART]
MAIN = [CEILING, PICOWS, OURS, AIOHTTP, FASTAPI]


@dataclass(frozen=True)
class Certificate:
    """The files of a self-signed certificate made for one run."""

    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificate":
        """Write a fresh certificate for 127.0.0.1; needs the package trustme."""
        import trustme

        issued = trustme.CA().issue_cert("127.0.0.1")
        made = cls(folder / "cert.pem", folder / "key.pem")
        for i, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(made.cert), append=i > 0)
        issued.private_key_pem.write_to_path(str(made.key))
        return made


def free_port() -> int:
    """Return a port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process on the server's core."""

    def __init__(self, kind: Kind, generator: Generator, core: int, tls: Certificate | None):
        self.kind = kind
        self.port = free_port()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, open for as long as the server runs
        environment = os.environ | {
            "RT_AUDIO_LOG_LEVEL": "warning",
            "RT_AUDIO_MAX_SESSIONS": "20000",
        }
        if kind.tls and tls:
            environment |= {
                "RT_AUDIO_TLS_CERT_FILE": str(tls.cert),
                "RT_AUDIO_TLS_KEY_FILE": str(tls.key),
            }
        self.process = subprocess.Popen(
            self._command(generator, tls if kind.tls else None),
            cwd=kind.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    def _command(self, generator: Generator, tls: Certificate | None) -> list[str]:
        port = str(self.port)
        if self.kind.name == CEILING.name:
            return [str(generator.binary), "serve", port]
        if self.kind.name == OURS.name:
            serve = ["-m", "service", "serve", "--host", "127.0.0.1", "--port", port]
            return [sys.executable, *serve]
        command = [sys.executable, str(BENCHMARKS / "peers.py"), self.kind.name, port]
        return command + (["--cert", str(tls.cert), "--key", str(tls.key)] if tls else [])

    def wait_until_up(self) -> None:
        """Return when the port accepts a connection; raise ServerError when it takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        self.log.seek(0)
        tail = self.log.read().decode(errors="replace")[-800:]
        raise ServerError(f"{self.kind.title} did not start:\n{tail}")

    def stop(self) -> None:
        """End the process, by force: nothing is measured any more."""
        self.process.kill()
        self.process.wait()

    def memory_kib(self, what: str = "Pss") -> float:
        """Return one size of the process in KiB, as smaps_rollup names it: Pss or Rss."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return float(line.split()[1])
        raise ServerError(f"{self.kind.title}: no {what} line")

    def peak_kib(self) -> float:
        """Return the most resident memory that the process ever had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0])

    def processor_seconds(self) -> float:
        """Return the processor time that the process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def settled(self, patience: float) -> bool:
        """Wait until the server has worked off what a run left behind; False if it does not."""
        deadline = time.monotonic() + patience
        used = self.processor_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            before, used = used, self.processor_seconds()
            if used - before <= 1.5 / TICKS:
                return True
        return False


@dataclass
class Pool:
    """Starts each server once, and keeps all but the one in use stopped (SIGSTOP).

    A stopped server cannot take a cycle from the measured one, so rounds can be interleaved without
    paying each server's start again in every round.
    """

    generator: Generator
    cores: Cores
    tls: Certificate | None = None
    running: dict[tuple[str, bool, Path], Server] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise this process's limit of open files, and so the servers' and the generator's."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    @contextlib.contextmanager
    def use(self, kind: Kind, *, fresh: bool = False) -> Iterator[Server]:
        """Lend the server of this kind, alone on its core; a fresh one is ended afterwards."""
        server = None if fresh else self.running.pop(kind.process, None)
        if server is None or server.process.poll() is not None:
            server = Server(kind, self.generator, self.cores.server, self.tls)
        keep = False
        try:
            server.process.send_signal(signal.SIGCONT)
            server.wait_until_up()
            yield server
            keep = not fresh and server.process.poll() is None and server.settled(patience=3)
        finally:
            if keep:
                server.process.send_signal(signal.SIGSTOP)
                self.running[kind.process] = server
            else:
                server.stop()

    def close(self) -> None:
        """End every server."""
        while self.running:
            self.running.popitem()[1].stop()
