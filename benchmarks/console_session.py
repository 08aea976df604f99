"""Watch what a long call does to the console's page: memory, frame rate, pacing.

    pip install -e '.[test]'; apt-get install chromium
    python benchmarks/console_session.py --minutes 10

Starts the service and a headless Chromium, holds one call with the speech sample, and prints a
line for each sample: the page's JavaScript heap after a collection, the renderer's resident
memory, pictures a second and the time that drawing one takes, frames that came back, and how far
their number is off real time. The exit status is 0 only if neither memory grew.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo import environment, free_port, service, wait_until_healthy
from playwright.sync_api import CDPSession, Page, sync_playwright

FRAME_SECONDS = 0.02
HEAP_TOLERANCE_MIB = 1.0
RESIDENT_TOLERANCE_MIB = 12.0

#: Counts the page's pictures and what each costs its thread, in an array of fixed size.
COUNT = """
const pictures = { count: 0, busy: 0, longest: 0 };
const request = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (draw) => request((now) => {
  const began = performance.now();
  draw(now);
  const took = performance.now() - began;
  pictures.count++;
  pictures.busy += took;
  pictures.longest = Math.max(pictures.longest, took);
});
window.takePictures = () => {
  const taken = { ...pictures, at: performance.now() };
  Object.assign(pictures, { count: 0, busy: 0, longest: 0 });
  return taken;
};
"""

HEADINGS = "minute  heap MiB  resident MiB  pictures/s  drawing ms  longest ms  frames  off ms"


@dataclass(frozen=True)
class Sample:
    """The page at one moment; `off_ms` is the frames' audio time less the time that passed."""

    minutes: float
    heap_mib: float
    resident_mib: float
    pictures: float
    drawing_ms: float
    longest_ms: float
    frames: int
    off_ms: float

    def __str__(self) -> str:
        return (
            f"{self.minutes:6.1f}  {self.heap_mib:8.2f}  {self.resident_mib:12.1f}"
            f"  {self.pictures:10.1f}  {self.drawing_ms:10.2f}  {self.longest_ms:10.1f}"
            f"  {self.frames:6}  {self.off_ms:+6.0f}"
        )


class Watcher:
    """Takes samples of a page in a call."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.session = page.context.new_cdp_session(page)
        self.session.send("HeapProfiler.enable")
        self.renderer = renderer(page)
        self.began, self.frames_before = self._frames()
        self.taken_at = page.evaluate("takePictures().at")

    def _frames(self) -> tuple[float, int]:
        now, frames = self.page.evaluate(
            "[performance.now(), Number(document.querySelector('#readouts').dataset.frames)]"
        )
        return now, frames

    def sample(self) -> Sample:
        pictures = self.page.evaluate("takePictures()")
        seconds = (pictures["at"] - self.taken_at) / 1000
        self.taken_at = pictures["at"]
        now, frames = self._frames()
        heap = used_heap(self.session)
        passed = now - self.began
        return Sample(
            minutes=passed / 60_000,
            heap_mib=heap / 2**20,
            resident_mib=resident_bytes(self.renderer) / 2**20,
            pictures=pictures["count"] / seconds,
            drawing_ms=pictures["busy"] / max(1, pictures["count"]),
            longest_ms=pictures["longest"],
            frames=frames - self.frames_before,
            off_ms=(frames - self.frames_before) * FRAME_SECONDS * 1000 - passed,
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
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def watch(url: str, minutes: float, every: float, browser_path: str) -> list[Sample]:
    """Hold a call for that long and return the samples, which are printed as they come."""
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required",
             "--disable-background-networking", "--disable-component-update",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 1300})
        page.add_init_script(COUNT)
        page.goto(url)
        page.get_by_role("button", name="Connect").click()
        time.sleep(5)  # what is made and compiled once is no growth
        watcher = Watcher(page)
        samples: list[Sample] = []
        print(HEADINGS)
        while not samples or samples[-1].minutes < minutes:
            time.sleep(every)
            samples.append(watcher.sample())
            print(samples[-1], flush=True)
        print(page.locator("#readouts").inner_text().replace("\n", " "))
        browser.close()
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
    browser_path = shutil.which("chromium")
    if browser_path is None:
        print("Chromium is needed: apt-get install chromium", file=sys.stderr)
        return 1
    port = free_port()
    command = service("serve", "--host", "127.0.0.1", "--port", str(port))
    server = subprocess.Popen(command, env=environment())
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(server, url)
        samples = watch(url, arguments.minutes, arguments.every, browser_path)
    finally:
        server.terminate()
        server.wait()
    heap = growth([sample.heap_mib for sample in samples])
    resident = growth([sample.resident_mib for sample in samples])
    print(f"growth: heap {heap:+.2f} MiB, resident {resident:+.1f} MiB")
    return 0 if heap < HEAP_TOLERANCE_MIB and resident < RESIDENT_TOLERANCE_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
