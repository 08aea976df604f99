"""Show the service without a second terminal.

    python -m tests.demo        (make demo)

Starts the service on a free port and streams the speech sample through it in real time. Prints the
round trips and the lines of /metrics that changed. Stops the service with SIGTERM. Then starts it
with the parrot of README.md as its handler, says something to it, and speaks over its answer. The
exit status is 0 only if every step succeeded.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from service.audio import wav
from tests.peers.printed import write_bots
from tests.peers.processes import ROOT, RT_AUDIO, ProcessError, Served, serving

SAMPLE = ROOT / "tests" / "data" / "speech.wav"
FRAME_SECONDS = 0.02
#: What is said to the parrot is the part of the sample between these, in seconds.
SAID = (0.9, 2.9)
SILENCE = bytes(320)


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


class Chat:
    """A call with the parrot, in real time; `heard` has each frame and when it came."""

    def __init__(self, call: WebSocketConnection) -> None:
        self._call = call
        self.heard: list[tuple[float, bytes]] = []

    async def listen(self) -> None:
        """Hear until the call is over."""
        with suppress(ConnectionClosed):
            while True:
                frame = await self._call.get_message()
                assert isinstance(frame, bytes)
                self.heard.append((time.monotonic(), frame))

    async def say(self, *frames: bytes) -> None:
        """Say these frames, each at its time."""
        began = trio.current_time()
        for number, frame in enumerate(frames, 1):
            await self._call.send_message(frame)
            await trio.sleep_until(began + number * FRAME_SECONDS)


async def chat(url: str) -> None:
    """Say something to the parrot, and speak over its answer; raise DemoError if it is wrong."""
    first, last = (round(seconds / FRAME_SECONDS) for seconds in SAID)
    said = wav.read(SAMPLE).frames(160)[first:last]
    async with open_websocket_url(url) as call, trio.open_nursery() as nursery:
        parrot = Chat(call)
        nursery.start_soon(parrot.listen)
        await parrot.say(*said)
        paused = time.monotonic()
        print(f"you       spoke for {len(said) * FRAME_SECONDS:.1f} s, and pause")
        with trio.move_on_after(5):
            while len(parrot.heard) < 50:
                await parrot.say(SILENCE)
        if b"".join(frame for _, frame in parrot.heard) not in b"".join(said):
            raise DemoError("the parrot did not say what it had heard")
        print(f"parrot    says it back {parrot.heard[0][0] - paused:.2f} s later")
        spoke_over = time.monotonic()
        await parrot.say(*said[:20])
        stopped = parrot.heard[-1][0] - spoke_over
        print("you       speak over it after one second")
        print(f"parrot    is silent: its last frame came {max(0.0, stopped) * 1000:.0f} ms later")
        if stopped > 0.2:
            raise DemoError("the parrot went on")
        nursery.cancel_scope.cancel()


def talk_with_the_parrot() -> None:
    """Have README.md's parrot answer a call, and print the metrics that changed."""
    with TemporaryDirectory() as folder:
        write_bots(Path(folder))
        print("\n$ rt-audio serve --handler parrot:answer    # the parrot of README.md\n")
        within = ("env", "-C", folder)
        with serving(0, "--handler", "parrot:answer", within=within) as served:
            before = ours(served.metrics())
            trio.run(chat, served.url)
            print("\n/metrics, the lines that moved:\n")
            show_moved(before, ours(served.metrics()))
            stop(served)


def main() -> int:
    """Run the demonstration and return its exit status."""
    try:
        with serving() as served:
            demonstrate(served)
        talk_with_the_parrot()
    except (DemoError, ProcessError, OSError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
