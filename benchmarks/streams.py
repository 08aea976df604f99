"""Compare WebSocket echo servers under audio load, all in one run on one machine.

benchmarks/README.md says how it measures and what each figure means.
"""

import argparse
import os
import platform
import signal
import sys
import time
from dataclasses import replace

from harness.bench import Bench
from harness.generator import busy, compiled
from harness.measure import MEASUREMENTS
from harness.servers import ALL, MAIN, OURS, checkout
from rich.console import Console


def main() -> None:
    """Set the scene, and run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, with fewer peers")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--servers", nargs="+", choices=[kind.name for kind in ALL])
    parser.add_argument("--against", type=checkout, metavar="DIR", help="another checkout, too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then, too
    compiled()
    names = arguments.servers or (MAIN if arguments.quick else [kind.name for kind in ALL])
    kinds = [kind for kind in ALL if kind.name in names]
    if arguments.against:
        title = f"{OURS.title} of {arguments.against}"
        kinds.append(replace(OURS, title=title, root=arguments.against))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"python: {platform.python_version()}",
        f"others: {busy():.0%} of two cores was in use before the run",
        f"pace: {'quick: not for quoting' if arguments.quick else 'full'}",
        sep="\n",
        highlight=False,
    )
    began = time.monotonic()
    bench = Bench(kinds, arguments.quick, console)
    for name in arguments.only:
        MEASUREMENTS[name](bench)
    console.print(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
