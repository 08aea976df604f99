"""Watch what a long call does to the console's page: its memory, its pictures, its pace.

    apt-get install chromium-headless-shell
    python -m tests.console.long_call --minutes 10

Holds one call in a headless Chromium and prints a line for each sample. The exit status is 0 only
if the page's memory did not grow. Without a graphics card the browser draws on the processor, so
the number of pictures a second says little.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import CDPSession, Page

from tests.console.browsing import CHROMIUM, address, browsing, chromium, connect
from tests.peers.processes import serving

FRAME_SECONDS = 0.02
HEAP_TOLERANCE_MIB = 1.0
RESIDENT_TOLERANCE_MIB = 12.0
#: The page makes and compiles once what a call needs; these frames of a call are no growth.
FIRST_FRAMES = 250

#: Counts the page's pictures and the time that its thread takes to draw them.
COUNT = """() => {
  const pictures = { count: 0, busy: 0 };
  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => request((now) => {
    const began = performance.now();
    draw(now);
    pictures.count++;
    pictures.busy += performance.now() - began;
  });
  window.sample = () => {
    const frames = Number(document.querySelector("#readouts").dataset.frames);
    const taken = { ...pictures, frames, at: performance.now() / 1000 };
    Object.assign(pictures, { count: 0, busy: 0 });
    return taken;
  };
}"""

HEADINGS = "minute  heap MiB  resident MiB  pictures/s  drawing ms  frames  off ms"


@dataclass(frozen=True)
class Sample:
    """The page at one moment; `off_ms` is the frames' audio time less the time that passed."""

    minutes: float
    heap_mib: float
    resident_mib: float
    pictures: float
    drawing_ms: float
    frames: int
    off_ms: float

    def __str__(self) -> str:
        return (
            f"{self.minutes:6.1f}  {self.heap_mib:8.2f}  {self.resident_mib:12.1f}"
            f"  {self.pictures:10.1f}  {self.drawing_ms:10.2f}"
            f"  {self.frames:6}  {self.off_ms:+6.0f}"
        )


def used_heap(session: CDPSession) -> int:
    """Return the bytes of JavaScript objects that are left after a full collection."""
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


def renderer(page: Page) -> int:
    """Return the process id of the page's renderer: the one with the most CPU time."""
    assert page.context.browser is not None
    session = page.context.browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    candidates = [each for each in processes if each["type"] == "renderer"]
    return int(max(candidates, key=lambda each: each["cpuTime"])["id"])


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def watch(page: Page, minutes: float, every: float) -> list[Sample]:
    """Take samples of a page in a call for that long; print and return them."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    process = renderer(page)
    first = before = page.evaluate("sample()")
    samples: list[Sample] = []
    print(HEADINGS)
    while not samples or samples[-1].minutes < minutes:
        page.wait_for_timeout(1000 * every)
        now = page.evaluate("sample()")
        passed, frames = now["at"] - first["at"], now["frames"] - first["frames"]
        samples.append(
            Sample(
                minutes=passed / 60,
                heap_mib=used_heap(session) / 2**20,
                resident_mib=resident_bytes(process) / 2**20,
                pictures=now["count"] / (now["at"] - before["at"]),
                drawing_ms=now["busy"] / max(1, now["count"]),
                frames=frames,
                off_ms=1000 * (frames * FRAME_SECONDS - passed),
            )
        )
        before = now
        print(samples[-1], flush=True)
    return samples


def growth(values: list[float]) -> float:
    """Return the last third's median less the first third's."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=30, help="seconds between samples")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        print("Chromium is needed: apt-get install chromium-headless-shell", file=sys.stderr)
        return 2
    view = {"width": 1440, "height": 1300}
    with (
        serving() as served,
        chromium() as browser,
        browsing(browser, address(served), viewport=view, reduced_motion="no-preference") as (
            page,
            _,
        ),
    ):
        page.evaluate(COUNT)
        connect(page, FIRST_FRAMES)
        samples = watch(page, arguments.minutes, arguments.every)
    heap = growth([sample.heap_mib for sample in samples])
    resident = growth([sample.resident_mib for sample in samples])
    print(f"growth: heap {heap:+.2f} MiB, resident {resident:+.1f} MiB")
    return 0 if heap < HEAP_TOLERANCE_MIB and resident < RESIDENT_TOLERANCE_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
