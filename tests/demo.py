"""Show the service without a second terminal.

    python -m tests.demo        (make demo)

Starts the service on a free port and streams the speech sample through it in real time. Prints the
round trips and the lines of /metrics that changed. Stops the service with SIGTERM. The exit status
is 0 only if every step succeeded.
"""

import os
import signal
import subprocess
import sys
import time

from tests.peers.processes import ROOT, RT_AUDIO, ProcessError, Served, serving

SAMPLE = ROOT / "tests" / "data" / "speech.wav"


class DemoError(Exception):
    """The demonstration failed; the text names the step."""


def ours(metrics: dict[str, float]) -> dict[str, float]:
    """Return the service's own series, without the buckets of histograms."""
    return {
        name: value
        for name, value in metrics.items()
        if not name.startswith(("process_", "python_"))
        and not name.partition("{")[0].endswith(("_bucket", "_created"))
    }


def show_moved(before: dict[str, float], after: dict[str, float]) -> None:
    """Print each series whose value has changed, before and after."""
    moved = {name: value for name, value in after.items() if value != before.get(name)}
    if not moved:
        raise DemoError("nothing on /metrics has moved")
    width = max(map(len, moved))
    for name, value in moved.items():
        print(f"{name:{width}}  {before.get(name, 0):.10g} -> {value:.10g}")


def stop(served: Served) -> None:
    """End the service as an orchestrator does; raise DemoError if it fails."""
    began = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    status = served.status()
    print(f"\nSIGTERM: exit status {status} after {time.monotonic() - began:.2f} s")
    if status != 0:
        raise DemoError(f"the service ended with {status}")


def demonstrate(served: Served) -> None:
    """Stream the sample through the running service, and print the metrics that changed."""
    before = ours(served.metrics())
    command = ("stream", os.path.relpath(SAMPLE, ROOT), "--reply", "ulaw", "--url", served.url)
    print(f"$ rt-audio {' '.join(command)}\n", flush=True)
    client = subprocess.run((*RT_AUDIO, *command), cwd=ROOT, check=False)
    if client.returncode != 0:
        raise DemoError(f"rt-audio stream ended with {client.returncode}")
    print("\n/metrics, the lines that moved:\n")
    show_moved(before, ours(served.metrics()))
    stop(served)


def main() -> int:
    """Run the demonstration and return its exit status."""
    try:
        with serving() as served:
            demonstrate(served)
    except (DemoError, ProcessError, OSError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
