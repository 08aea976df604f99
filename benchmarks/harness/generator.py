"""The two cores of a run, and the C load generator, compiled."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

BENCHMARKS = Path(__file__).resolve().parent.parent
SOURCES = [BENCHMARKS / "load.c", *sorted((BENCHMARKS / "load").glob("*.h"))]
#: Servers have the first core that this process may use, the generator the second, if any.
SERVER_CORE, GENERATOR_CORE = (sorted(os.sched_getaffinity(0)) * 2)[:2]


def busy() -> float:
    """Return the share of both cores that others use now; figures of a busy machine are low."""
    # psutil takes a shorter interval for a second, and so an idle core for a busy one.
    times = psutil.cpu_times_percent(interval=1, percpu=True)
    idle = [times[core].idle + times[core].iowait for core in (SERVER_CORE, GENERATOR_CORE)]
    return 1 - float(sum(idle)) / 200


def compiled() -> Path:
    """Compile the generator, unless this very version of it is compiled already."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()
    binary = BENCHMARKS / ".build" / f"load-{digest[:12]}"
    if not binary.exists():
        binary.parent.mkdir(exist_ok=True)
        partial = binary.with_suffix(f".{os.getpid()}")
        command = ["cc", "-O2", str(SOURCES[0]), "-o", str(partial), "-lssl", "-lcrypto", "-lm"]
        try:
            subprocess.run(command, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            sys.exit("apt-get install gcc libc6-dev libssl-dev")
        partial.rename(binary)
    return binary
