"""Run the Autobahn|Testsuite fuzzing client against the WebSocket echo endpoint.

    python -m tests.websocket.autobahn

The suite is a Python 2.7 program: it is installed once, fully pinned, into a cache folder.
Its cases 12 and 13 are about compression, which the service declines, so they are left out.
Exit code: 0 no case failed, 1 a case failed or the run was incomplete, 2 nothing could be run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.peers.processes import ROOT, serving

GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
BAD = {"FAILED", "WRONG CODE", "UNCLEAN"}
PINS = """
autobahntestsuite==25.10.1 autobahn==0.10.9 txaio==2.1.0 Twisted==19.10.0 zope.interface==4.6.0
incremental==16.10.1 constantly==15.1.0 Automat==22.10.0 attrs==21.4.0 hyperlink==21.0.0 idna==2.10
typing==3.10.0.0 PyHamcrest==1.10.1 six==1.16.0 setuptools==44.0.0 klein==17.10.0 Werkzeug==1.0.1
jinja2==2.11.3 markupsafe==1.1.1 pyOpenSSL==19.1.0 cryptography==3.3.2 cffi==1.15.1 pycparser==2.21
enum34==1.1.10 ipaddress==1.0.23 service-identity==18.1.0 pyasn1==0.5.1 pyasn1-modules==0.3.0
unittest2==1.1.0 traceback2==1.4.0 linecache2==1.0.0"""
ACCELERATOR = "wsaccel==0.6.2"  # optional: needs a C compiler, makes the whole run 3 times faster


def give_up(reason: str, log: Path | None = None) -> NoReturn:
    """Print the reason and the last lines of the log, and exit with code 2."""
    lines = [f"{log}:", *log.read_text(errors="replace").splitlines()[-8:]] if log else []
    print("\n".join([f"cannot run the Autobahn test suite: {reason}", *lines]), file=sys.stderr)
    sys.exit(2)


def find_python2() -> str:
    """Return the path of a Python 2.7 with pip, from PATH or pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(map(str, pyenv.glob("versions/2.7*/bin/python2.7")), reverse=True)
    probe = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"
    for path in [shutil.which("python2.7"), shutil.which("python2"), *installed]:
        if path and subprocess.run([path, "-c", probe], capture_output=True).returncode == 0:
            return path
    give_up("no Python 2.7 with pip on PATH or in pyenv (try: pyenv install 2.7.18)")


def prepare(cache: Path) -> tuple[list[str], dict[str, str]]:
    """Install the pinned test suite into the cache folder and return wstest's command and env."""
    python2, base, log = find_python2(), cache / "suite", cache / "install.log"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["PYTHONUSERBASE"] = str(base)
    stamp, wanted = base / "installed.txt", f"{python2} {PINS} {ACCELERATOR}"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(base, ignore_errors=True)
        print(f"installing the test suite into {base}", flush=True)
        pip = [python2, "-m", "pip", "install", "--user", "--ignore-installed", "--no-deps"]
        with log.open("wb") as out:
            if subprocess.run([*pip, *PINS.split()], env=env, stdout=out, stderr=out).returncode:
                give_up("it could not be installed", log)
            if subprocess.run([*pip, ACCELERATOR], env=env, stdout=out, stderr=out).returncode:
                print("the accelerator could not be built: the run takes longer", flush=True)
        stamp.write_text(wanted)
    return [python2, "-u", str(base / "bin" / "wstest"), "-m", "fuzzingclient"], env


@contextmanager
def running_service(log: Path) -> Iterator[str]:
    """Start the service with its echo endpoint on a free port and yield the endpoint's URL."""
    with serving(
        RT_AUDIO_CONFORMANCE_ECHO="true",
        RT_AUDIO_MAX_FRAME_BYTES=str(16 * 2**20),  # group 9 sends messages of 16 MiB
    ) as served:
        yield f"ws://127.0.0.1:{served.port}/ws/echo"
    log.write_text("".join(served.log))


def summarize(results: dict[str, dict[str, Any]]) -> int:
    """Print each case that is not OK and the verdicts by group, and return how many failed."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for case, result in sorted(results.items(), key=lambda item: [*map(int, item[0].split("."))]):
        verdicts = (result["behavior"], result["behaviorClose"])
        verdict = "FAILED" if BAD & {*verdicts} else next((v for v in verdicts if v != "OK"), "OK")
        groups[case.split(".")[0]][verdict] += 1
        if verdict != "OK":
            print(f"{case:8} {verdict:14} {verdicts} close code {result['remoteCloseCode']}")
    total = sum(groups.values(), Counter[str]())
    for group, counts in [*groups.items(), ("all", total)]:
        details = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
        print(f"group {group:>3}: {counts.total():3} cases: {details}")
    return total["FAILED"]


def main() -> int:
    """Prepare the suite, run the cases against the endpoint and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="echo endpoint on loopback (default: start the service)")
    parser.add_argument("--cases", nargs="+", default=GROUPS, help="patterns such as 6.* 9.3.1")
    parser.add_argument("--cache", type=Path, default=ROOT / "tests" / ".autobahn")
    parser.add_argument("--limit", type=float, default=900.0, help="limit of the run in seconds")
    args = parser.parse_args()
    if args.url and not re.match(r"ws://(127\.0\.0\.1|localhost)[:/]", args.url):
        parser.error("--url must be ws:// on loopback")
    start, cache = time.monotonic(), args.cache.resolve()
    command, env = prepare(cache)
    ready, reports, log = time.monotonic(), cache / "reports", cache / "wstest.log"
    shutil.rmtree(reports, ignore_errors=True)
    with nullcontext(args.url) if args.url else running_service(cache / "service.log") as url:
        plan = {"outdir": "reports", "servers": [{"agent": "ws", "url": url}], "cases": args.cases}
        (cache / "fuzzingclient.json").write_text(json.dumps(plan))  # where wstest looks for it
        with log.open("wb") as out, suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=env, cwd=cache, stdout=out, stderr=out, timeout=args.limit)
    planned = re.search(r"Ok, will run (\d+) test cases", log.read_text(errors="replace"))
    if planned is None:
        give_up("the fuzzing client did not start", log)
    index = reports / "index.json"
    results = json.loads(index.read_text()).get("ws", {}) if index.is_file() else {}
    failed, missing = summarize(results), int(planned[1]) - len(results)
    print(f"{len(results)} cases run, {missing} not run, {failed} failed: logs, reports in {cache}")
    print(f"setup {ready - start:.1f} s, run {time.monotonic() - ready:.1f} of {args.limit:g} s")
    return 1 if failed or missing or not results else 0


if __name__ == "__main__":
    sys.exit(main())
