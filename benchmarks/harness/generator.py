"""Compile the C load generator, and run it pinned to a core of its own."""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
SOURCES = [BENCHMARKS / "load.c", *sorted((BENCHMARKS / "load").glob("*.h"))]
FAULTS = ("refused", "closed", "errors", "bad", "mismatched", "lost", "unsent")

Report = dict[str, float]


class GeneratorError(Exception):
    """The generator could not be built, or failed as a program; servers' faults are in reports."""


class Names:
    """A comma-separated list of some of these names."""

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = allowed

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in self.allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(self.allowed)}")
        return names


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

    def busy(self, seconds: float = 0.5) -> float:
        """Return the share of both cores that others use now; figures of a busy machine are low."""
        idle_before, all_before = self._times()
        time.sleep(seconds)
        idle, everything = self._times()
        return 1 - (idle - idle_before) / max(everything - all_before, 1)

    def _times(self) -> tuple[int, int]:
        idle = everything = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name in {f"cpu{self.server}", f"cpu{self.generator}"}:
                idle += int(ticks[3]) + int(ticks[4])
                everything += sum(map(int, ticks[:8]))
        return idle, everything


@dataclass(frozen=True)
class Generator:
    """The compiled generator: `tls` says whether OpenSSL's headers were there to build it with."""

    binary: Path
    core: int
    tls: bool

    @classmethod
    def build(cls, core: int) -> "Generator":
        """Compile the sources unless this very version of them is compiled already."""
        digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()
        folder = BENCHMARKS / ".build"
        folder.mkdir(exist_ok=True)
        for tls, flags in ((True, ["-DWITH_TLS", "-lssl", "-lcrypto"]), (False, [])):
            binary = folder / f"load-{digest[:12]}{'-tls' if tls else ''}"
            if binary.exists():
                return cls(binary, core, tls)
            partial = binary.with_suffix(f".{os.getpid()}")
            command = ["cc", "-O2", str(SOURCES[0]), "-o", str(partial), *flags, "-lm"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            except FileNotFoundError:
                raise GeneratorError("no C compiler: apt-get install gcc libc6-dev") from None
            if done.returncode == 0:
                partial.rename(binary)
                return cls(binary, core, tls)
        raise GeneratorError(f"{' '.join(command)} failed:\n{done.stderr}")

    def start(self, mode: str, port: int, path: str, **options: float) -> "subprocess.Popen[str]":
        """Start one mode of the generator on its core; options become --name value."""
        command = [str(self.binary), mode, "--port", str(port), "--path", path]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
        )

    def run(self, mode: str, port: int, path: str, **options: float) -> Report:
        """Run one mode to its end and return its report."""
        process = self.start(mode, port, path, **options)
        try:
            text, _ = process.communicate(timeout=options.get("seconds", 0) + 60)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise GeneratorError(f"load {mode} exited with {process.returncode}")
        return self.parse(text)

    @staticmethod
    def parse(text: str) -> Report:
        """Return a report that the generator printed, with all that went wrong as `faults`."""
        report: Report = json.loads(text)
        report["faults"] = sum(report.get(fault, 0) for fault in FAULTS)
        return report

    @contextlib.contextmanager
    def holding(self, port: int, path: str, **options: float) -> Iterator["Hold"]:
        """Hold sessions open for as long as the block runs."""
        process = self.start("hold", port, path, **options)
        try:
            yield Hold(process)
            process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Hold:
    """A generator that holds sessions open and opens more on request."""

    process: "subprocess.Popen[str]"

    def grow(self, sessions: int) -> Report:
        """Open sessions up to this number, each echoing a few frames, and return the report."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{sessions}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()  # the generator's own patience bounds this wait
        if not line:
            raise GeneratorError("load hold ended early")
        report: Report = json.loads(line)
        return report
