"""Compile the C load generator, and run it pinned to a core of its own."""

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

BENCHMARKS = Path(__file__).resolve().parent.parent
SOURCES = [BENCHMARKS / "load.c", *sorted((BENCHMARKS / "load").glob("*.h"))]
FAULTS = ("refused", "closed", "errors", "bad", "mismatched", "lost", "unsent")

Report = dict[str, float]


class BenchmarkError(Exception):
    """The run cannot go on; faults of a server are in the reports instead."""


@dataclass(frozen=True)
class Cores:
    """The core that servers run on and the one that the generator has to itself."""

    server: int
    generator: int

    @classmethod
    def choose(cls) -> "Cores":
        """Take the first two cores that this process may use; with one core, both share it."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[min(1, len(usable) - 1)])

    def busy(self) -> float:
        """Return the share of both cores that others use now; figures of a busy machine are low."""
        # psutil takes a shorter interval for a second, and so an idle core for a busy one.
        times = psutil.cpu_times_percent(interval=1, percpu=True)
        idle = [times[core].idle + times[core].iowait for core in (self.server, self.generator)]
        return 1 - float(sum(idle)) / 200


@dataclass(frozen=True)
class Generator:
    """The compiled generator, and the core that it runs on."""

    binary: Path
    core: int

    @classmethod
    def build(cls, core: int) -> "Generator":
        """Compile the sources unless this very version of them is compiled already."""
        digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()
        binary = BENCHMARKS / ".build" / f"load-{digest[:12]}"
        if not binary.exists():
            binary.parent.mkdir(exist_ok=True)
            partial = binary.with_suffix(f".{os.getpid()}")
            command = ["cc", "-O2", str(SOURCES[0]), "-o", str(partial), "-lssl", "-lcrypto", "-lm"]
            try:
                subprocess.run(command, check=True)
            except (FileNotFoundError, subprocess.CalledProcessError):
                raise BenchmarkError("apt-get install gcc libc6-dev libssl-dev") from None
            partial.rename(binary)
        return cls(binary, core)

    @contextlib.contextmanager
    def start(
        self, mode: str, port: int, path: str, **options: float
    ) -> "Iterator[subprocess.Popen[str]]":
        """Run one mode beside the block, at whose end it is killed; options become --name value."""
        command = [str(self.binary), mode, "--port", str(port), "--path", path]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, mode: str, port: int, path: str, **options: float) -> Report:
        """Run one mode to its end and return its report."""
        with self.start(mode, port, path, **options) as process:
            return report_of(process)


def report_of(process: "subprocess.Popen[str]") -> Report:
    """Return what a generator reports, with all that went wrong as `faults`."""
    assert process.stdout is not None
    line = process.stdout.readline()  # the generator's own patience bounds this wait
    if not line:
        raise BenchmarkError(f"the generator exited with {process.wait()}")
    report: Report = json.loads(line)
    report["faults"] = sum(report.get(fault, 0) for fault in FAULTS)
    return report
