"""The servers under comparison: how each is started, waited for, loaded, kept still and ended."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import psutil

from harness.generator import BENCHMARKS, BenchmarkError, Cores, compiled
from harness.talk import PCM, Talk

ROOT = BENCHMARKS.parent
START_SECONDS = 20.0
FAULTS = ("refused", "closed", "errors", "bad", "mismatched", "lost", "unsent")

Report = dict[str, float]


class ServerError(BenchmarkError):
    """A server did not start, or did not live as long as its measurement."""


@dataclass(frozen=True)
class Kind:
    """One row of the tables: a server, its path, and what its callers say."""

    name: str
    title: str
    path: str = "/ws/audio"
    talk: Talk = PCM
    tls: bool = False
    root: Path = ROOT  # the checkout that the service runs from
    handler: str = "echo"  # of this service

    @property
    def process(self) -> tuple[str, bool, Path, str]:
        """The key of the process: rows that differ only in their path share one."""
        return self.name, self.tls, self.root, self.handler


OURS = Kind("rt-audio", "rt-audio-pipeline", "/ws/audio?codec=numpy")
CEILING = Kind("ceiling", "C, epoll, minimal (ceiling)")
FASTAPI = Kind("fastapi", "FastAPI + uvicorn (sans-I/O, uvloop)")
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


def on(core: int) -> Callable[[], None]:
    """Return what a new process does first, so that it stays on this core."""
    return lambda: os.sched_setaffinity(0, {core})


class Server:
    """One server process on the server's core. `pem` is its certificate and key, for TLS."""

    def __init__(self, kind: Kind, cores: Cores, pem: str) -> None:
        self.kind, self.cores = kind, cores
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        port, tls = str(self.port), [pem] if kind.tls else []
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, open for as long as the server runs
        environment = {
            "RT_AUDIO_LOG_LEVEL": "warning",
            "RT_AUDIO_MAX_SESSIONS": "20000",
            "RT_AUDIO_HANDLER": kind.handler,
            "RT_AUDIO_DIALECTS": "twilio",
            "PYTHONPATH": str(BENCHMARKS),
        }
        if tls:
            environment |= {"RT_AUDIO_TLS_CERT_FILE": pem, "RT_AUDIO_TLS_KEY_FILE": pem}
        commands = {
            CEILING.name: [str(compiled()), "serve", port],
            OURS.name: [
                sys.executable,
                "-m",
                "service",
                "serve",
                "--host=127.0.0.1",
                "--port",
                port,
            ],
        }
        peer = [sys.executable, str(BENCHMARKS / "peers.py"), kind.name, port, *tls]
        self.process = psutil.Popen(
            commands.get(kind.name, peer),
            cwd=kind.root,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=on(cores.server),
        )

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

    @contextlib.contextmanager
    def loaded(self, mode: str, kind: Kind, **options: float) -> "Iterator[Callable[[], Report]]":
        """Run a mode of the generator beside the block; what this yields waits for its report."""
        options = {"seconds": 1, "warmup": 0.3, "patience": 1} | options
        command = [str(compiled()), mode, f"--port={self.port}", f"--tls={int(kind.tls)}"]
        command.append(f"--server-pid={self.process.pid}")
        command += [f"--{name}={value}" for name, value in options.items()]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=on(self.cores.generator),
        ) as generator:
            said, report = generator.stdin, generator.stdout
            assert said
            assert report
            with said:
                said.write(kind.talk.written(kind.path))
            try:
                yield lambda: report_from(report.readline())
            finally:
                generator.kill()

    def load(self, mode: str, kind: Kind, **options: float) -> Report:
        """Run a mode of the generator to its end; return its report."""
        with self.loaded(mode, kind, **options) as report:
            return report()

    def rss_kib(self) -> float:
        """Return the process's resident memory."""
        return float(self.process.memory_info().rss) / 1024

    def settled(self, patience: float) -> bool:
        """Wait until the server has worked off what a run left behind; False if it does not."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.cpu_percent(interval=0.1) <= 15:
                return True
        return False

    def metrics(self) -> dict[str, float]:
        """Return the value of each series on the service's own /metrics."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in series}


def report_from(line: bytes) -> Report:
    """Return what a generator reports, with all that went wrong as `faults`."""
    if not line:
        raise BenchmarkError("the generator ended without a report")
    report: Report = json.loads(line)
    return report | {"faults": sum(report.get(fault, 0) for fault in FAULTS)}


@dataclass
class Pool:
    """Starts each server once, and keeps all but the one in use stopped (SIGSTOP).

    A stopped server cannot take a cycle from the measured one, so rounds can be interleaved without
    paying each server's start again in every round.
    """

    cores: Cores
    pem: str = ""
    running: dict[tuple[str, bool, Path, str], Server] = field(default_factory=dict)

    def __enter__(self) -> "Pool":
        """Raise this process's limit of open files, and so the servers' and the generator's."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
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
            server = Server(kind, self.cores, self.pem)
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
