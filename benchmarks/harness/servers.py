"""The servers under comparison: how each is started, waited for, loaded and ended."""

import argparse
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
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
import trustme

from harness.generator import BENCHMARKS, GENERATOR_CORE, SERVER_CORE, compiled
from harness.talk import PCM, Talk
from tests.peers.series import series_of

ROOT = BENCHMARKS.parent
START_SECONDS = 20.0
FAULTS = ("refused", "closed", "errors", "bad", "mismatched", "lost", "unsent")

Report = dict[str, float]


def completed(report: Report) -> Report:
    """Return a generator's report with all faults in one, and what an answer cost the server."""
    each = report["server_core"] / report["rate"] if report["rate"] else 0
    cost = {"per_core": 1 / each, "cost": 1e6 * each} if each else {}
    return report | cost | {"faults": sum(report[fault] for fault in FAULTS)}


class ServerError(Exception):
    """A server did not start; its other faults are in the reports instead."""


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


OURS = Kind("rt-audio", "rt-audio-pipeline", "/ws/audio?codec=numpy")
FASTAPI = Kind("fastapi", "FastAPI + uvicorn (sans-I/O, uvloop)")
ALL = [
    Kind("picows", "picows + uvloop"),
    OURS,
    Kind("aiohttp", "aiohttp + uvloop"),
    Kind("websockets", "websockets + uvloop"),
    FASTAPI,
    Kind("trio-websocket", "trio-websocket"),
    Kind("quart-trio", "Quart-Trio + Hypercorn"),
]
#: The names of those that are worth a closer look.
MAIN = ["picows", "rt-audio", "aiohttp", "fastapi"]


def checkout(text: str) -> Path:
    """Return the folder of a checkout; without one Python would run the installed service."""
    root = Path(text).resolve()
    if not (root / "service" / "__main__.py").exists():
        raise argparse.ArgumentTypeError(f"{root} has no service/__main__.py")
    return root


def on(core: int) -> Callable[[], None]:
    """Return what a new process does first, so that it stays on this core."""
    return lambda: os.sched_setaffinity(0, {core})


class Server:
    """One server process on the server's core, with the certificate and key in `folder` for TLS."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        port, pem = str(self.port), folder / "server.pem"
        environment = {
            "RT_AUDIO_HOST": "127.0.0.1",
            "RT_AUDIO_PORT": port,
            "RT_AUDIO_LOG_LEVEL": "warning",
            "RT_AUDIO_MAX_SESSIONS": "20000",
            "RT_AUDIO_HANDLER": kind.handler,
            "RT_AUDIO_DIALECTS": "twilio",
            "PYTHONPATH": str(BENCHMARKS),
        }
        tls = []
        if kind.tls:
            issued = trustme.CA().issue_cert("127.0.0.1")
            issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
            environment |= {"RT_AUDIO_TLS_CERT_FILE": str(pem), "RT_AUDIO_TLS_KEY_FILE": str(pem)}
            tls = [str(pem)]
        if kind.name == OURS.name:
            command = [sys.executable, "-m", "service", "serve"]
        else:
            command = [sys.executable, str(BENCHMARKS / "peers.py"), kind.name, port, *tls]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                command,
                cwd=kind.root,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=on(SERVER_CORE),
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
        last = self.log.read_text(errors="replace").splitlines()[-1:]
        raise ServerError(f"{self.kind.title} did not start: {last}")

    @contextlib.contextmanager
    def loaded(self, mode: str, **options: float) -> Iterator[Callable[[], Report]]:
        """Run a mode of the generator beside the block; what this yields waits for its report."""
        options = {"seconds": 1, "warmup": 0.3, "patience": 1} | options
        command = [str(compiled()), mode, f"--port={self.port}", f"--tls={int(self.kind.tls)}"]
        command.append(f"--server-pid={self.process.pid}")
        command += [f"--{name}={value}" for name, value in options.items()]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=on(GENERATOR_CORE),
        ) as generator:
            said, report = generator.stdin, generator.stdout
            assert said
            assert report
            with said:
                said.write(self.kind.talk.written(self.kind.path))
            try:
                yield lambda: completed(json.loads(report.readline()))
            finally:
                generator.kill()

    def load(self, mode: str, **options: float) -> Report:
        """Run a mode of the generator to its end; return its report."""
        with self.loaded(mode, **options) as report:
            return report()

    def rss_kib(self) -> float:
        """Return the process's resident memory."""
        return float(self.process.memory_info().rss) / 1024

    def settle(self) -> None:
        """Wait, for three seconds at most, until what a run left behind is worked off."""
        deadline = time.monotonic() + 3
        while self.process.cpu_percent(interval=0.1) > 15 and time.monotonic() < deadline:
            pass

    def metrics(self) -> dict[str, float]:
        """Return the value of each series on the service's own /metrics."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as page:
            return series_of(page.read().decode())


@contextlib.contextmanager
def serving(kind: Kind) -> Iterator[Server]:
    """Run a server of this kind, alone on its core, for the time of the block."""
    # This process's limit of open files becomes that of the servers and of the generator.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        server = Server(kind, Path(folder))
        try:
            server.wait_until_up()
            # What is loaded or cached at the first call is measured nowhere.
            server.load("echo", conns=10, seconds=0.1, warmup=0)
            server.settle()
            yield server
        finally:
            server.process.kill()
            server.process.wait()
