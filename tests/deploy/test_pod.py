"""The pod of the manifests against the service: settings, probes, time to leave, user, memory."""

import base64
import re
from pathlib import Path

import pytest

from service import __version__
from service.config import Settings
from tests.deploy import manifests
from tests.deploy.manifests import (
    CLUSTERS,
    ROOT,
    SCALED,
    TELEPHONY,
    Object,
    container,
    pod,
    the,
)
from tests.peers.serving import serving

ALL = (*CLUSTERS, "podman")
MIB = 1 << 20
#: Measured: resident memory of an idle service, and what each further session adds.
IDLE_BYTES, SESSION_BYTES = 70 * MIB, 23 << 10
#: Beside what is waited for by itself: saying goodbye to the calls that are left.
CLOSE_SECONDS = 5


@pytest.mark.parametrize("overlay", ALL)
def test_every_variable_is_a_setting_and_every_value_is_accepted(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = manifests.settings(overlay, monkeypatch).model_fields_set
    assert {f"RT_AUDIO_{name.upper()}" for name in given} == set(manifests.environment(overlay))


@pytest.mark.parametrize("overlay", ALL)
def test_the_grace_period_covers_the_notice_the_drain_and_the_goodbyes(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = manifests.settings(overlay, monkeypatch)
    least = settings.drain_notice_seconds + settings.drain_seconds + CLOSE_SECONDS
    assert pod(overlay)["spec"]["terminationGracePeriodSeconds"] >= least


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_a_leaving_pod_is_out_of_the_endpoints_before_it_refuses_newcomers(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = container(overlay)["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert manifests.settings(overlay, monkeypatch).drain_notice_seconds > noticed


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_a_pod_whose_loop_stands_still_is_not_given_the_time_for_a_drain(overlay: str) -> None:
    probe = container(overlay)["livenessProbe"]
    assert probe["terminationGracePeriodSeconds"] <= CLOSE_SECONDS


@pytest.mark.parametrize("overlay", CLUSTERS)
@pytest.mark.parametrize("probe", ["startup", "liveness", "readiness"])
def test_every_probe_forgives_one_lost_answer(overlay: str, probe: str) -> None:
    assert container(overlay)[f"{probe}Probe"]["failureThreshold"] >= 2


@pytest.mark.parametrize("overlay", CLUSTERS)
async def test_what_the_manifests_ask_of_the_service_it_answers(
    overlay: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = manifests.settings(overlay, monkeypatch)
    ports = {each["name"]: each["containerPort"] for each in container(overlay)["ports"]}
    assert ports == {"http": settings.port}
    tokens = tmp_path / "tokens"
    tokens.write_text(secret(overlay)["tokens"])
    values = settings.model_dump(exclude={"host", "port", "tokens_file", "secrets_dir"})
    if overlay in TELEPHONY:
        (tmp_path / "providers").mkdir()
        (tmp_path / "providers" / "twilio").write_text("auth-token\n")
        values["secrets_dir"] = tmp_path / "providers"
    tls = values.pop("tls_cert_file") is not None
    assert (values.pop("tls_key_file") is not None) is tls
    asked = [container(overlay)[f"{probe}Probe"]["httpGet"]
             for probe in ("startup", "liveness", "readiness")]  # fmt: skip
    for monitor in manifests.every(overlay, "PodMonitor"):
        asked += monitor["spec"]["podMetricsEndpoints"]
    async with serving(tls, **values, tokens_file=tokens) as service:
        for each in asked:
            assert each["port"] in ports
            assert each.get("scheme", "http").lower() == ("https" if tls else "http")
            assert (await service.get(each["path"]))[0] == 200
        for path in routed(overlay):
            call = await service.call(f"access_token={tokens.read_text().strip()}", path)
            assert await call.ask(b"hear") == b"hear"
        for provider in settings.providers:
            # It is there, and asks for a proof.
            assert (await service.answer(f"/ws/{provider.name}"))[0] == 401


def secret(overlay: str) -> dict[str, str]:
    """Return what the Secret of tokens holds; in production the operator makes it."""
    if overlay == "laptop":
        data: dict[str, str] = the(overlay, "Secret")["data"]
        return {name: base64.b64decode(value).decode() for name, value in data.items()}
    return {"tokens": "of-the-operator\n"}


def routed(overlay: str) -> list[str]:
    """Return the paths of calls that the Ingress or the HTTPRoute routes, but the providers'."""
    paths = [
        (path["pathType"], path["path"])
        for ingress in manifests.every(overlay, "Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    for route in manifests.every(overlay, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            matches = [match["path"] for match in rule["matches"]]
            paths += [(each["type"].removeprefix("Path"), each["value"]) for each in matches]
    if overlay not in SCALED:
        assert paths == []
        return []
    assert paths == [("Prefix", "/ws") if overlay in TELEPHONY else ("Exact", "/ws/audio")]
    return ["/ws/audio"]


def mounted(overlay: str, name: str) -> tuple[Object, Object]:
    """Return the volume of this name, and where the container has it."""
    [volume] = [each for each in pod(overlay)["spec"]["volumes"] if each["name"] == name]
    [mount] = [each for each in container(overlay)["volumeMounts"] if each["name"] == name]
    assert mount["readOnly"] is True
    return volume, mount


def test_the_certificate_is_mounted_where_the_service_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, mount = mounted("tls", "tls")
    settings = manifests.settings("tls", monkeypatch)
    # The names that a Secret of type kubernetes.io/tls has.
    assert settings.tls_cert_file == Path(mount["mountPath"]) / "tls.crt"
    assert settings.tls_key_file == Path(mount["mountPath"]) / "tls.key"
    readme = (ROOT / "deploy" / "README.md").read_text()
    assert f"create secret tls {volume['secret']['secretName']} " in readme


@pytest.mark.parametrize("overlay", TELEPHONY)
def test_the_providers_secrets_are_mounted_where_the_service_looks_for_them(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, mount = mounted(overlay, "providers")
    assert "subPath" not in mount, "it would never be renewed"
    settings = manifests.settings(overlay, monkeypatch)
    assert settings.secrets_dir == Path(mount["mountPath"])
    readme = (ROOT / "deploy" / "README.md").read_text()
    command = f"create secret generic {volume['secret']['secretName']} "
    for provider in settings.providers:
        assert re.search(f"{command}.*--from-file={provider.name}=", readme)


@pytest.mark.parametrize("overlay", ALL)
def test_the_tokens_are_mounted_where_the_service_looks_for_them(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, mount = mounted(overlay, "tokens")
    tokens_file = manifests.settings(overlay, monkeypatch).tokens_file
    assert tokens_file == Path(mount["mountPath"]) / "tokens"
    if overlay in SCALED:
        name = volume["secret"]["secretName"]
        readme = (ROOT / "deploy" / "README.md").read_text()
        assert f"create secret generic {name} --from-file=tokens=" in readme
        return
    source = volume.get("secret") or volume["configMap"]
    name = source.get("secretName") or source["name"]
    [holder] = [each for each in manifests.rendered(overlay) if each["metadata"]["name"] == name]
    assert set(holder["data"]) == {"tokens"}


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_memory_is_enough_for_every_session_with_the_largest_message(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = manifests.settings(overlay, monkeypatch)
    # A read, a message in the making, and its reply, which from G.711 to PCM16 is twice as long.
    worst = SESSION_BYTES + (64 << 10) + 3 * settings.max_frame_bytes
    resources = container(overlay)["resources"]
    memory = manifests.bytes_of(resources["limits"]["memory"])
    assert memory >= IDLE_BYTES + settings.max_sessions * worst
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"]


@pytest.mark.parametrize("overlay", ALL)
def test_the_images_user_and_the_manifests_agree(overlay: str) -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Containerfile").read_text(), re.M)
    security = pod(overlay)["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == tuple(map(int, user))


@pytest.mark.parametrize("overlay", ALL)
def test_the_image_is_this_version_of_the_one_that_is_built(overlay: str) -> None:
    name, _, tag = container(overlay)["image"].rpartition(":")
    [built] = re.findall(r"^image=(\S+)$", (ROOT / "deploy" / "container.sh").read_text(), re.M)
    assert tag == __version__
    assert name.split("/")[-1] == built.split("/")[-1]
    if overlay in ("laptop", "podman"):
        assert name == built


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_the_service_of_that_name_does_not_reach_into_the_settings(overlay: str) -> None:
    injected = the(overlay, "Service")["metadata"]["name"].upper().replace("-", "_") + "_PORT"
    assert injected.removeprefix("RT_AUDIO_").lower() in Settings.model_fields
    assert pod(overlay)["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_the_pod_is_restricted_as_the_namespace_demands(overlay: str) -> None:
    labels = the(overlay, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod(overlay)["spec"]
    assert baseline_violations(spec) == []
    assert restricted_violations(spec) == []
    # Beyond the standard.
    assert spec["automountServiceAccountToken"] is False
    assert container(overlay)["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("overlay", ["podman"])
def test_podman_is_given_what_it_knows_and_the_same_confinement(overlay: str) -> None:
    assert {each["kind"] for each in manifests.rendered(overlay)} == {"ConfigMap", "Deployment"}
    assert restricted_violations(pod(overlay)["spec"]) == []
    for part in ("securityContext", "image", "envFrom", "resources", "volumeMounts"):
        assert container(overlay)[part] == container("laptop")[part]


def baseline_violations(spec: Object) -> list[str]:
    """Return which rules of the Pod Security Standards' baseline profile are broken."""
    [main] = spec["containers"]
    security, own = spec["securityContext"], main["securityContext"]
    handlers = [main[key] for key in main if key.endswith("Probe") or key == "lifecycle"]
    rules = {
        "host namespaces": not any(spec.get(f"host{kind}") for kind in ("Network", "PID", "IPC")),
        "host process": "windowsOptions" not in security | own,
        "privileged": not own.get("privileged", False),
        "added capabilities": "add" not in own["capabilities"],
        "host path": all("hostPath" not in volume for volume in spec["volumes"]),
        "host ports": all("hostPort" not in port for port in main["ports"]),
        "host in probes": all("host" not in each.get("httpGet", {}) for each in handlers),
        "AppArmor": "appArmorProfile" not in security | own,
        "SELinux": "seLinuxOptions" not in security | own,
        "proc mount": own.get("procMount", "Default") == "Default",
        "seccomp": security["seccompProfile"]["type"] != "Unconfined",
        "sysctls": "sysctls" not in security,
        "other containers": not {"initContainers", "ephemeralContainers"} & set(spec),
    }
    return [name for name, kept in rules.items() if not kept]


def restricted_violations(spec: Object) -> list[str]:
    """Return which further rules of the restricted profile are broken."""
    [main] = spec["containers"]
    security, own = spec["securityContext"], main["securityContext"]
    sources = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
               "persistentVolumeClaim", "projected", "secret", "name"}  # fmt: skip
    rules = {
        "volume types": all(set(volume) <= sources for volume in spec["volumes"]),
        "privilege escalation": own["allowPrivilegeEscalation"] is False,
        "non-root": security["runAsNonRoot"] is True and own.get("runAsNonRoot", True),
        "user": security["runAsUser"] != 0 and own.get("runAsUser", 1) != 0,
        "seccomp": "seccompProfile" not in own
        and security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost"),
        "capabilities": own["capabilities"]["drop"] == ["ALL"],
    }
    return [name for name, kept in rules.items() if not kept]
