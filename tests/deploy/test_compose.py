"""compose.yaml, without an engine: right by Compose, and each part agrees with what it starts."""

import re
import subprocess
from pathlib import PurePosixPath
from typing import Any

import pytest

from service.config import PREFIX, Settings
from tests.deploy.shipped import DEPLOY, ROOT, read

COMPOSE = read(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONTAINERFILE = (ROOT / "Containerfile").read_text()

every_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> dict[str, str]:
    """Return what is where in a service's container: the source of each path."""
    triples = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {inside: source for source, inside, *_ in triples}


def ports(name: str) -> tuple[str, int, int]:
    """Return a service's one port: the host's address and port, and the container's."""
    [published] = SERVICES[name]["ports"]
    address, outside, inside = published.split(":")
    return address, int(outside), int(inside)


@pytest.mark.integration("docker-compose", "docker-compose")
def test_compose_takes_it() -> None:
    command = ["docker-compose", "--file", "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@every_service
def test_what_is_mounted_is_there_and_read_only_or_a_volume(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, *mode = volume.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


@every_service
def test_nothing_listens_beyond_this_machine_and_every_image_has_its_version(name: str) -> None:
    assert ports(name)[0] == "127.0.0.1"
    image = SERVICES[name]["image"]
    assert "build" in SERVICES[name] or re.search(r":v?\d+\.\d+\.\d+$", image), image


def test_the_service_is_built_from_the_containerfile_and_hardened() -> None:
    service = SERVICES["rt-audio"]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(ROOT / "Containerfile")
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_its_port_is_that_of_the_settings_and_of_the_image() -> None:
    assert ports("rt-audio")[2] == Settings().port
    assert f"\nEXPOSE {Settings().port}\n" in CONTAINERFILE


def test_it_is_not_killed_before_its_drain_is_over() -> None:
    environment = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in SERVICES["rt-audio"].get("environment", {}).items()
    }
    settings = Settings(**environment)
    grace = int(SERVICES["rt-audio"]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.drain_notice_seconds + settings.drain_seconds + 5


def test_prometheus_finds_its_files_where_its_configuration_says_and_the_service_by_name() -> None:
    inside = mounts("prometheus")
    home = PurePosixPath("/etc/prometheus")
    configuration = read(DEPLOY / inside[str(home / "prometheus.yml")])
    assert [str(PurePosixPath(rules).parent) for rules in configuration["rule_files"]] == ["rules"]
    assert (DEPLOY / inside[str(home / "rules")]).is_dir()
    [[targets]] = [
        files["files"] for files in configuration["scrape_configs"][0]["file_sd_configs"]
    ]
    [group] = read(DEPLOY / inside[str(home / targets)])
    assert group["targets"] == [f"rt-audio:{ports('rt-audio')[2]}"]


def test_grafana_finds_prometheus_by_name_and_the_dashboard_where_it_is_mounted() -> None:
    inside = mounts("grafana")
    provisioning = DEPLOY / inside["/etc/grafana/provisioning"]
    [source] = read(provisioning / "datasources/prometheus.yml")["datasources"]
    assert source["url"] == f"http://prometheus:{ports('prometheus')[2]}"
    [provider] = read(provisioning / "dashboards/rt-audio.yml")["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(PurePosixPath(home).parent) == provider["options"]["path"]
    assert (DEPLOY / inside[provider["options"]["path"]] / PurePosixPath(home).name).exists()
