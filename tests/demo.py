"""Show the service without a second terminal.

    python -m tests.demo        (make demo)

Starts the service on a free port and streams the speech sample through it in real time. Prints the
round trips and the lines of /metrics that changed. Stops the service with SIGTERM. The exit status
is 0 only if every step succeeded.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tests" / "data" / "speech.wav"
START_SECONDS = 30.0
STOP_SECONDS = 10.0

#: A proxy from the environment cannot reach this machine's loopback.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demonstration failed; the text names the step."""


def free_port() -> int:
    """Return a TCP port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environment() -> dict[str, str]:
    """Return the environment without the user's own settings of the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RT_AUDIO_")}
    return kept | {"RT_AUDIO_LOG_LEVEL": "warning"}


def get(url: str) -> str:
    """Return the body of an HTTP answer; raise OSError unless it is a success."""
    with _http.open(url, timeout=5) as answer:
        return str(answer.read(), "utf-8")


def wait_until_healthy(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Return once /health answers; raise DemoError if it never does."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if server.poll() is not None:
            raise DemoError(f"the service ended with {server.returncode} instead of starting")
        try:
            get(f"{url}/health")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise DemoError(f"the service was not healthy within {START_SECONDS:g} seconds")


def series(page: str) -> dict[str, float]:
    """Return the service's own series of a /metrics page, without the buckets of histograms."""
    values = {}
    for line in page.splitlines():
        name, _, value = line.rpartition(" ")
        foreign = name.startswith(("#", "process_", "python_"))
        if name and not foreign and not name.partition("{")[0].endswith(("_bucket", "_created")):
            values[name] = float(value)
    return values


def show_moved(before: dict[str, float], after: dict[str, float]) -> None:
    """Print each series whose value has changed, before and after."""
    moved = {name: value for name, value in after.items() if value != before.get(name)}
    if not moved:
        raise DemoError("nothing on /metrics has moved")
    width = max(map(len, moved))
    for name, value in moved.items():
        print(f"{name:{width}}  {before.get(name, 0):.10g} -> {value:.10g}")


def stop(server: "subprocess.Popen[bytes]") -> None:
    """End the service as an orchestrator does; raise DemoError if it fails or takes too long."""
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    try:
        status = server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the service ignored SIGTERM for {STOP_SECONDS:g} seconds") from None
    print(f"\nSIGTERM: exit status {status} after {time.monotonic() - began:.2f} s")
    if status != 0:
        raise DemoError(f"the service ended with {status}")


def demonstrate(server: "subprocess.Popen[bytes]", port: int, variables: dict[str, str]) -> None:
    """Stream the sample through the running service, and print the metrics that changed."""
    url = f"http://127.0.0.1:{port}"
    wait_until_healthy(server, url)
    before = series(get(f"{url}/metrics"))
    command = ["stream", os.path.relpath(SAMPLE), "--reply", "ulaw"]
    command += ["--url", f"ws://127.0.0.1:{port}/ws/audio"]
    print(f"$ rt-audio {' '.join(command)}\n", flush=True)
    client = subprocess.run(service(*command), env=variables, check=False)
    if client.returncode != 0:
        raise DemoError(f"rt-audio stream ended with {client.returncode}")
    print("\n/metrics, the lines that moved:\n")
    show_moved(before, series(get(f"{url}/metrics")))
    stop(server)


def service(*arguments: str) -> list[str]:
    """Return the command that runs the service's command line with this interpreter."""
    return [sys.executable, "-m", "service", *arguments]


def main() -> int:
    """Run the demonstration and return its exit status."""
    port, variables = free_port(), environment()
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))
    server = subprocess.Popen(
        service("serve", "--host", "127.0.0.1", "--port", str(port)), env=variables
    )
    try:
        demonstrate(server, port, variables)
    except (DemoError, OSError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
