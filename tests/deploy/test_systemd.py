"""The unit for several processes on one machine, and HAProxy's configuration before them.

That a restart of one cuts nothing behind it, test_rolling_restart proves.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.config import PREFIX, Settings
from service.conversation import CLOSE_SECONDS
from tests.deploy.instances import SHIPPED
from tests.deploy.shipped import DEPLOY
from tests.peers.processes import DEADLINE_SECONDS, RT_AUDIO, Served, get, spawn

UNIT = DEPLOY / "systemd" / "rt-audio@.service"
#: Where the unit has the command line, and what the tests have in its place.
COMMAND = "/opt/rt-audio/bin/rt-audio"


def directives(name: str) -> list[str]:
    """Return the values that the unit gives to a directive."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def directive(name: str) -> str:
    """Return the one value that the unit gives to a directive."""
    [value] = directives(name)
    return value


def variables() -> dict[str, str]:
    """Return the unit's environment."""
    return dict(each.split("=", 1) for each in directives("Environment"))


def settings() -> Settings:
    """Return the settings of a process of the unit."""
    return Settings(
        **{name.removeprefix(PREFIX).lower(): value for name, value in variables().items()}  # type: ignore[arg-type]
    )


def haproxy(pattern: str) -> int:
    """Return the one number that the pattern finds in HAProxy's configuration."""
    [found] = re.findall(pattern, SHIPPED.read_text())
    return int(found)


def test_it_is_not_killed_before_its_drain_is_over() -> None:
    drain = settings().drain_notice_seconds + settings().drain_seconds
    assert int(directive("TimeoutStopSec")) >= drain + CLOSE_SECONDS + 1
    assert directive("KillMode") == "mixed"
    assert directives("KillSignal") == []  # SIGTERM


def test_it_may_open_as_many_files_as_any_number_of_sessions_needs() -> None:
    most = next(
        meta.le for meta in Settings.model_fields["max_sessions"].metadata if hasattr(meta, "le")
    )
    assert int(directive("LimitNOFILE")) > 2 * most + 100


def test_a_process_that_leaves_is_noticed_before_it_refuses_newcomers() -> None:
    inter, fall, check = (haproxy(rf"{each} (\d+)") for each in ("inter", "fall", "timeout check"))
    assert settings().drain_notice_seconds > fall * (inter + check)


def test_a_restart_is_over_when_the_balancer_has_seen_the_new_process_ready() -> None:
    """So one restart after the other never leaves HAProxy without a process."""
    assert directive("Type") == "notify"
    wait = int(directive("ExecStartPost").removeprefix("/bin/sleep "))
    assert wait > haproxy(r"inter (\d+)") * haproxy(r"rise (\d+)")


def test_haproxy_keeps_the_calls_of_a_process_that_leaves_and_ends_no_silent_call() -> None:
    text = SHIPPED.read_text()
    assert not re.findall(r"^\s*[^#\s].*(on-marked-down|hard-stop-after)", text, re.MULTILINE)
    for side in ("client", "server"):
        assert haproxy(rf"timeout {side} (\d+)h") * 3600 > Settings().idle_seconds


def test_haproxy_has_the_ports_of_the_instances_by_their_names() -> None:
    servers = re.findall(r"^    server (\d+) 127\.0\.0\.1:(\d+)$", SHIPPED.read_text(), re.M)
    assert len(servers) > 1
    assert all(name == port for name, port in servers)
    started = re.findall(r"rt-audio@(\d+)", UNIT.read_text())
    assert set(started) == {name for name, _ in servers}
    assert directive("ExecStart").endswith(" --port %i")


@pytest.mark.parametrize("abstract", [False, True])
def test_what_the_unit_starts_says_to_systemd_when_it_listens(
    abstract: bool, tmp_path: Path
) -> None:
    name = str(tmp_path / "notify")
    command = directive("ExecStart").replace("%i", "0").removeprefix(COMMAND).split()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(DEADLINE_SECONDS)
        systemd.bind("\0" + name if abstract else name)
        told = {
            "NOTIFY_SOCKET": "@" + name if abstract else name,
            "RT_AUDIO_DRAIN_NOTICE_SECONDS": "0",
        }
        with spawn(*RT_AUDIO, *command, stderr=subprocess.PIPE, **(variables() | told)) as process:
            served = Served(process)
            try:
                assert systemd.recv(100) == b"READY=1"
                port = served.logged("listening")["port"]
                assert get(f"http://127.0.0.1:{port}/ready")
                process.send_signal(signal.SIGTERM)
                assert served.status() == 0
            finally:
                served.kill()


needs_systemd = pytest.mark.integration("systemd-analyze", "systemd")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return an instance of the unit whose command is there."""
    copy = tmp_path / "rt-audio@8001.service"
    copy.write_text(UNIT.read_text().replace(COMMAND, sys.executable))
    shutil.copy(copy, tmp_path / UNIT.name)
    return copy


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


@needs_systemd
def test_systemd_takes_every_line_of_it(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_thinks_it_well_confined(unit: Path) -> None:
    """Of 100, 14 are left: it is on the network, and sees /proc."""
    done = analyze("security", "--no-pager", "--offline=yes", "--threshold=15", unit)
    assert done.returncode == 0, done.stdout
