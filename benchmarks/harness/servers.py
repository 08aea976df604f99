"""The servers under comparison: how each is started, waited for, kept still and ended."""

import argparse
import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import psutil

from harness.generator import BENCHMARKS, BenchmarkError, Cores, Generator

ROOT = BENCHMARKS.parent
START_SECONDS = 20.0
#: A proxy from the environment cannot reach this machine's loopback.
_http = build_opener(ProxyHandler({}))


class ServerError(BenchmarkError):
    """A server did not start, or did not live as long as its measurement."""


@dataclass(frozen=True)
class Kind:
    """One row of the tables: a server, its path, and the sizes of a frame and of its reply."""

    name: str
    title: str
    path: str = "/ws/audio"
    size: int = 320
    reply: int = 320
    tls: bool = False
    root: Path = ROOT  # the checkout that the service runs from
    handler: str = "echo"  # of this service
    twilio: bool = False  # whether Twilio calls, so that both sizes are those of the audio

    @property
    def process(self) -> tuple[str, bool, Path, str]:
        """The key of the process: rows that differ only in their path share one."""
        return self.name, self.tls, self.root, self.handler


OURS = Kind("rt-audio", "rt-audio-pipeline", "/ws/audio?codec=numpy")
CEILING = Kind("ceiling", "C, epoll, minimal (ceiling)")
FASTAPI = Kind("fastapi", "FastAPI + uvicorn (sans-I/O, uvloop)")
#: Answers as `bots.parrot` does: it hears into a queue, and speaks by a clock.
FASTAPI_PARROT = Kind("fastapi-parrot", "FastAPI + uvicorn, a handler with a clock")
FASTAPI_TWILIO = Kind("fastapi-twilio", FASTAPI.title, "/ws/twilio", 160, 160, twilio=True)
ALL = [
    CEILING,
    Kind("picows", "picows + uvloop"),
    OURS,
    Kind("aiohttp", "aiohttp + uvloop"),
    Kind("websockets", "websockets + uvloop"),
    FASTAPI,
    Kind("trio-websocket", "trio-websocket"),
    Kind("quart-trio", "Quart-Trio + Hypercorn"),
]
#: The names of those that are worth a closer look.
MAIN = ["ceiling", "picows", "rt-audio", "aiohttp", "fastapi"]


def checkout(text: str) -> Path:
    """Return the folder of a checkout of the service, from the command line."""
    root = Path(text).resolve()
    if not (root / "service" / "__main__.py").exists():
        raise argparse.ArgumentTypeError(f"{root} has no service/__main__.py")
    return root


def free_port() -> int:
    """Return a port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process on the server's core. `pem` is its certificate and key, for TLS."""

    def __init__(self, kind: Kind, generator: Generator, core: int, pem: Path | None) -> None:
        self.kind = kind
        self.port = free_port()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, open for as long as the server runs
        environment = os.environ | {
            "RT_AUDIO_LOG_LEVEL": "warning",
            "RT_AUDIO_MAX_SESSIONS": "20000",
            "RT_AUDIO_HANDLER": kind.handler,
            "RT_AUDIO_DIALECTS": "twilio",
            "PYTHONPATH": str(BENCHMARKS),
        }
        if pem:
            environment |= {"RT_AUDIO_TLS_CERT_FILE": str(pem), "RT_AUDIO_TLS_KEY_FILE": str(pem)}
        self.process = psutil.Popen(
            self._command(generator, pem),
            cwd=kind.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def _command(self, generator: Generator, pem: Path | None) -> list[str]:
        port = str(self.port)
        if self.kind.name == CEILING.name:
            return [str(generator.binary), "serve", port]
        if self.kind.name == OURS.name:
            serve = ["-m", "service", "serve", "--host", "127.0.0.1", "--port", port]
            return [sys.executable, *serve]
        command = [sys.executable, str(BENCHMARKS / "peers.py"), self.kind.name, port]
        return [*command, str(pem)] if pem else command

    @property
    def pid(self) -> int:
        """The server's process id."""
        return int(self.process.pid)

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

    def pss_kib(self) -> float:
        """Return the process's memory, with its share of the pages that others use too."""
        return float(self.process.memory_full_info().pss) / 1024

    def rss_kib(self) -> float:
        """Return the process's resident memory."""
        return float(self.process.memory_info().rss) / 1024

    def peak_rss_kib(self) -> float:
        """Return the most resident memory that the process ever had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0])

    def settled(self, patience: float) -> bool:
        """Wait until the server has worked off what a run left behind; False if it does not."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.cpu_percent(interval=0.1) <= 15:
                return True
        return False

    def metrics(self) -> dict[str, float]:
        """Return the value of each series on the service's own /metrics."""
        try:
            with _http.open(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                lines: list[str] = answer.read().decode().splitlines()
        except (URLError, TimeoutError) as error:
            raise ServerError(f"/metrics does not answer: {error}") from None
        series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in series}


@dataclass
class Pool:
    """Starts each server once, and keeps all but the one in use stopped (SIGSTOP).

    A stopped server cannot take a cycle from the measured one, so rounds can be interleaved without
    paying each server's start again in every round.
    """

    generator: Generator
    cores: Cores
    pem: Path | None = None
    running: dict[tuple[str, bool, Path, str], Server] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise this process's limit of open files, and so the servers' and the generator's."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *failure: object) -> None:
        """End every server."""
        while self.running:
            self.running.popitem()[1].stop()

    @contextlib.contextmanager
    def use(self, kind: Kind, *, fresh: bool = False) -> Iterator[Server]:
        """Lend the server of this kind, alone on its core; a fresh one is ended afterwards."""
        server = None if fresh else self.running.pop(kind.process, None)
        if server is None or server.process.poll() is not None:
            pem = self.pem if kind.tls else None
            server = Server(kind, self.generator, self.cores.server, pem)
        keep = False
        try:
            server.process.resume()
            server.wait_until_up()
            yield server
            keep = not fresh and server.process.poll() is None and server.settled(patience=3)
        finally:
            if keep:
                server.process.suspend()
                self.running[kind.process] = server
            else:
                server.stop()
