"""The image, without an engine: what is pinned, what it says of itself, how its health is asked.

`deploy/container.sh` builds and runs it.
"""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
import trio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.config import Settings
from tests.deploy.shipped import DEPLOY, ROOT, readme
from tests.peers.certificates import certificate
from tests.peers.processes import serving as serving_process
from tests.peers.serving import serving

CONTAINERFILE = (ROOT / "Containerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: The oldest Python that we run on, Debian's, and that of the default base.
PYTHONS = ("3.11", "3.13")
HEALTHCHECK = DEPLOY / "healthcheck.py"


def pins(file: str, python: str) -> dict[str, str]:
    """Return the versions that a lock file has for a Python; each has at least one hash."""
    found: dict[str, str] = {}
    text = (DEPLOY / file).read_text().replace("\\\n", "")
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        assert hashes, line
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), line
        pin = Requirement(requirement)
        environment = {"python_version": python, "python_full_version": f"{python}.0"}
        if pin.marker is None or pin.marker.evaluate(environment):
            [exactly] = pin.specifier
            assert exactly.operator == "==", line
            assert pin.name not in found
            found[canonicalize_name(pin.name)] = exactly.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_the_image_has_what_serves_pinned_and_nothing_of_the_client(python: str) -> None:
    pinned = pins("requirements.txt", python)
    for line in PROJECT["project"]["dependencies"]:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"python_version": python}):
            assert needed.specifier.contains(pinned[canonicalize_name(needed.name)]), line
    client = PROJECT["project"]["optional-dependencies"]["client"]
    assert not {canonicalize_name(Requirement(line).name) for line in client} & set(pinned)
    assert "pygments" not in pinned


@pytest.mark.parametrize("python", PYTHONS)
def test_what_builds_the_image_is_pinned_too(python: str) -> None:
    pinned = pins("requirements-build.txt", python)
    for line in PROJECT["build-system"]["requires"]:
        needed = Requirement(line)
        assert needed.specifier.contains(pinned[canonicalize_name(needed.name)])
    assert "cyclonedx-bom" in pinned


def test_no_lock_file_names_a_place() -> None:
    for file in DEPLOY.glob("requirements*.txt"):
        assert "://" not in file.read_text()


def test_whatever_serves_imports_without_the_clients_packages() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(['rich', 'pygments']);"
        "import service.cli, service.server, service.client.stream"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_build_writes_its_revision_where_the_metrics_read_it(tmp_path: Path) -> None:
    [command] = re.findall(r"^RUN (sed .*__revision__.*) \\$", CONTAINERFILE, re.M)
    (tmp_path / "service").mkdir()
    copy = Path(shutil.copy(ROOT / "service" / "__init__.py", tmp_path / "service"))
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env={"REVISION": "0a1b2c"}, check=True)
    said: dict[str, str] = {}
    exec(copy.read_text(), said)
    assert said["__revision__"] == "0a1b2c"
    assert said["__version__"] == re.findall(r'__version__ = "(.*)"', copy.read_text())[0]


def test_podman_is_told_to_wait_for_the_drain() -> None:
    drain = Settings().drain_notice_seconds + Settings().drain_seconds
    for text in (readme(), CONTAINERFILE):
        given = re.findall(r"podman run .*?--stop-timeout (\d+)", text)
        assert given
        assert all(int(seconds) >= drain + 5 for seconds in given)
    assert readme().count("podman run ") == 1


def test_the_healthcheck_is_in_the_image_and_answers_in_time() -> None:
    [home] = re.findall(r"^COPY deploy/healthcheck.py (\S+)$", CONTAINERFILE, re.M)
    [timeout, command] = re.findall(
        r"^HEALTHCHECK .*--timeout=(\d+)s.*\n *CMD (.*)$", CONTAINERFILE, re.M
    )[0]
    assert f'"{home}{HEALTHCHECK.name}"' in command
    assert int(timeout) > runpy.run_path(str(HEALTHCHECK))["ANSWER_SECONDS"]


async def check(pid: int, **variables: str) -> tuple[int, str]:
    """Run the health check against a process; return its exit status and what it says."""
    done = await trio.run_process(
        [sys.executable, "-IS", HEALTHCHECK, str(pid)],
        env=os.environ | variables,
        capture_stdout=True,
        check=False,
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_the_healthcheck_finds_the_service_at_any_host_and_port(host: str) -> None:
    async with serving(host=host):
        assert await check(os.getpid()) == (0, "")


async def test_the_healthcheck_asks_a_service_with_tls_by_tls() -> None:
    with certificate().private_key_and_cert_chain_pem.tempfile() as pem:
        async with serving(tls_cert_file=pem, tls_key_file=pem):
            assert await check(os.getpid(), RT_AUDIO_TLS_CERT_FILE=pem) == (0, "")


async def test_the_healthcheck_asks_the_admin_listener_without_tls() -> None:
    async with serving() as service:
        listener = {"RT_AUDIO_ADMIN_PORT": str(service.port), "RT_AUDIO_TLS_CERT_FILE": "some.pem"}
        assert await check(os.getpid(), **listener) == (0, "")


async def test_the_healthcheck_finds_a_service_behind_an_init() -> None:
    with serving_process(within=["sh", "-c", '"$@"; exit', "init"]) as service:
        init = service.process.pid
        [child] = (await trio.Path(f"/proc/{init}/task/{init}/children").read_text()).split()
        try:
            assert await check(init) == (0, "")
        finally:
            os.kill(int(child), signal.SIGKILL)


async def test_the_healthcheck_says_what_is_wrong() -> None:
    assert await check(os.getpid()) == (1, "nothing listens\n")
    answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    async with trio.open_nursery() as nursery:

        async def broken(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.send_all(answer)

        [listener] = await nursery.start(partial(trio.serve_tcp, broken, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        assert await check(os.getpid()) == (1, f"127.0.0.1 port {port}: HTTP 500\n")
        nursery.cancel_scope.cancel()
