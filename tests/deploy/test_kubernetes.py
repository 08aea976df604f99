"""The manifests among themselves: schemas, selectors, names, the autoscalers, the rollout."""

import json
import math
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import CLUSTERS, KUBERNETES, SCALED, container, every, pod, the

#: Kinds of operators and of the Gateway API, for which kubernetes-validate has no schema.
FOREIGN = {"PodMonitor", "ScaledObject", "Gateway", "HTTPRoute"}
#: Kinds that are in no namespace.
GLOBAL = {"Namespace", "PriorityClass"}
#: What the API server allows in an autoscaler's behaviour.
MOST_WINDOW_SECONDS, MOST_PERIOD_SECONDS = 3600, 1800
#: The recording rule of deploy/prometheus: sessions by pod, without those of draining pods.
RECORDED = "rt_audio:sessions_active:serving"


@pytest.mark.parametrize("version", ["1.28", "newest"])
def test_every_object_is_valid_to_the_last_field(version: str) -> None:
    """Most objects are the same in several overlays, and to validate one reads all schemas."""
    number = kubernetes_validate.latest_version() if version == "newest" else version
    objects = [each for overlay in CLUSTERS for each in manifests.rendered(overlay)]
    for each in {json.dumps(each): each for each in objects}.values():
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, number, strict=True)


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_everything_is_in_one_namespace_and_there_once(overlay: str) -> None:
    objects = manifests.rendered(overlay)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    namespace = the(overlay, "Namespace")["metadata"]["name"]
    inside = [each for each in objects if each["kind"] not in GLOBAL]
    assert {each["metadata"]["namespace"] for each in inside} == {namespace}


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_every_selector_finds_the_pods(overlay: str) -> None:
    labels = pod(overlay)["metadata"]["labels"].items()
    for selector in selectors(overlay):
        assert selector
        assert selector.items() <= labels


def selectors(overlay: str) -> list[dict[str, str]]:
    """Return every selector that is meant for the service's pods."""
    kinds = ["Deployment", "PodDisruptionBudget", "PodMonitor"]
    found = [each["spec"]["selector"] for kind in kinds for each in every(overlay, kind)]
    found += [each["spec"]["podSelector"] for each in every(overlay, "NetworkPolicy")]
    found += [each["labelSelector"] for each in pod(overlay)["spec"]["topologySpreadConstraints"]]
    plain: list[dict[str, str]] = [each["matchLabels"] for each in found]
    return [*plain, the(overlay, "Service")["spec"]["selector"]]


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_every_port_that_is_named_is_the_containers(overlay: str) -> None:
    names = {each["name"] for each in container(overlay)["ports"]}
    [port] = the(overlay, "Service")["spec"]["ports"]
    used = [port["targetPort"]]
    for policy in every(overlay, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an empty list would let everybody in"
            used += [each["port"] for each in rule["ports"]]
    for monitor in every(overlay, "PodMonitor"):
        used += [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]]
    assert set(used) == names


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_only_who_is_listed_comes_in_and_nothing_goes_out(overlay: str) -> None:
    policies = [each["spec"] for each in every(overlay, "NetworkPolicy")]
    assert all("Ingress" in each["policyTypes"] for each in policies)
    assert any("Egress" in each["policyTypes"] for each in policies)
    assert not any(each.get("egress") for each in policies)


def seconds(duration: str) -> int:
    """Return a duration of HAProxy in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def haproxy() -> dict[str, str]:
    """Return what HAProxy's controller is told for the whole cluster."""
    file = KUBERNETES / "components" / "ingress" / "haproxy-ingress-values.yaml"
    values: dict[str, str] = yaml.safe_load(file.read_text())["controller"]["config"]
    return values


def test_the_ingress_leads_to_the_service() -> None:
    ingress, service = the("production", "Ingress"), the("production", "Service")
    [rule] = ingress["spec"]["rules"]
    [tls] = ingress["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/ws/audio", "Exact")
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in {each["name"] for each in service["spec"]["ports"]}


@pytest.mark.parametrize("overlay", ["production", "long-drain"])
def test_haproxy_is_more_patient_than_the_service_and_its_drain(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = manifests.settings(overlay, monkeypatch)
    assert seconds(haproxy()["timeout-tunnel"]) > settings.idle_seconds
    assert seconds(haproxy()["hard-stop-after"]) > settings.drain_seconds


def test_haproxy_has_a_place_for_each_pod_of_a_rollout() -> None:
    annotations = the("production", "Ingress")["metadata"]["annotations"]
    most = the("production", "HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    assert int(annotations["haproxy.org/scale-server-slots"]) >= 2 * most


def test_no_annotation_says_what_haproxy_reads_in_its_configmap_only() -> None:
    """By its documentation of July 2026, where these apply to `configmap` alone."""
    names = {name.split("/")[1] for name in the("production", "Ingress")["metadata"]["annotations"]}
    assert not names & {"timeout-tunnel", "timeout-client", "hard-stop-after", "proxy-protocol"}
    assert haproxy().keys() == {"timeout-tunnel", "hard-stop-after"}


def test_the_gateway_leads_to_the_service_and_has_no_time_limit() -> None:
    gateway, route, service = (the("gateway", kind) for kind in ("Gateway", "HTTPRoute", "Service"))
    [listener] = gateway["spec"]["listeners"]
    [parent] = route["spec"]["parentRefs"]
    assert parent == {"name": gateway["metadata"]["name"], "sectionName": listener["name"]}
    assert route["spec"]["hostnames"] == [listener["hostname"]]
    [rule] = route["spec"]["rules"]
    [backend] = rule["backendRefs"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"] in {each["port"] for each in service["spec"]["ports"]}
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert every("gateway", "Ingress") == []


def test_providers_get_to_all_that_is_below_ws_and_sign_the_host_that_is_routed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [rule] = the("telephony", "Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/ws", "Prefix")
    route = the("gateway-telephony", "HTTPRoute")["spec"]
    [match] = route["rules"][0]["matches"]
    assert match["path"] == {"type": "PathPrefix", "value": "/ws"}
    for overlay, host in (("telephony", rule["host"]), ("gateway-telephony", *route["hostnames"])):
        assert manifests.settings(overlay, monkeypatch).public_url == f"wss://{host}"


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_the_balancer_is_told_that_it_is_websocket_and_whether_by_tls(overlay: str) -> None:
    [port] = the(overlay, "Service")["spec"]["ports"]
    annotations = the(overlay, "Service")["metadata"].get("annotations", {})
    tls = overlay == "tls"
    assert port["appProtocol"] == ("kubernetes.io/wss" if tls else "kubernetes.io/ws")
    assert annotations.get("haproxy.org/server-ssl") == ("true" if tls else None)


def test_a_pod_with_calls_goes_after_pods_without_a_class() -> None:
    priority = the("production", "PriorityClass")
    assert pod("production")["spec"]["priorityClassName"] == priority["metadata"]["name"]
    assert 0 < priority["value"] < 1_000_000_000  # above it are the system's own
    assert "globalDefault" not in priority


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_a_rollout_and_an_emptied_node_take_no_pod_that_is_not_replaced(overlay: str) -> None:
    strategy = the(overlay, "Deployment")["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    # Not minAvailable: it would keep a single pod's node from ever being emptied.
    assert the(overlay, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", SCALED)
def test_one_autoscaler_has_the_deployment_to_itself(overlay: str) -> None:
    [scaler] = every(overlay, "HorizontalPodAutoscaler") + every(overlay, "ScaledObject")
    deployment = the(overlay, "Deployment")
    target = scaler["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    assert target.get("apiVersion", "apps/v1") == deployment["apiVersion"]
    assert target.get("kind", "Deployment") == deployment["kind"]
    assert "replicas" not in deployment["spec"]


def test_the_hpa_asks_for_what_the_adapter_makes_of_the_recording_rule() -> None:
    [metric] = the("production", "HorizontalPodAutoscaler")["spec"]["metrics"]
    file = KUBERNETES / "components" / "hpa" / "prometheus-adapter-values.yaml"
    values = yaml.safe_load(file.read_text())
    [rule] = values["rules"]["custom"]
    assert metric["type"] == "Pods"
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    [series] = re.findall(r'__name__="([^"]+)"', rule["seriesQuery"])
    assert series == RECORDED
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_keda_asks_for_the_same_in_its_namespace() -> None:
    [trigger] = the("keda", "ScaledObject")["spec"]["triggers"]
    namespace = the("keda", "Namespace")["metadata"]["name"]
    assert trigger["metadata"]["query"] == f'sum({RECORDED}{{namespace="{namespace}"}})'
    assert trigger["metricType"] == "AverageValue"
    # Otherwise a Prometheus that has lost the series would look like a fleet without calls.
    assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_rule_files_become_the_operators_objects(tmp_path: Path) -> None:
    groups = [{"name": "some", "rules": [{"record": RECORDED, "expr": "a unless b == 1"}]}]
    files = [tmp_path / "recording.yml", tmp_path / "alerts.yml"]
    for file in files:
        file.write_text("# A comment.\n" + yaml.safe_dump({"groups": groups}))
    done = subprocess.run(
        [KUBERNETES / "rules.sh", *files], capture_output=True, text=True, check=True, timeout=10
    )
    made = list(yaml.safe_load_all(done.stdout))
    assert [each["metadata"]["name"] for each in made] == ["rt-audio-recording", "rt-audio-alerts"]
    for each in made:
        assert (each["apiVersion"], each["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
        assert each["metadata"]["namespace"] == "rt-audio"
        assert each["spec"] == {"groups": groups}


@pytest.mark.parametrize("kind", ["", "-long-drain"])
def test_both_autoscalers_decide_alike(kind: str) -> None:
    hpa = the(f"{kind or '-production'}"[1:], "HorizontalPodAutoscaler")
    keda = the(f"keda{kind}", "ScaledObject")
    [metric], [trigger] = hpa["spec"]["metrics"], keda["spec"]["triggers"]
    assert metric["pods"]["target"]["averageValue"] == trigger["metadata"]["threshold"]
    assert hpa["spec"]["minReplicas"] == keda["spec"]["minReplicaCount"]
    assert hpa["spec"]["maxReplicas"] == keda["spec"]["maxReplicaCount"]
    advanced = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    assert hpa["spec"]["behavior"] == advanced["behavior"]


def test_pods_are_added_before_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    target = int(the("keda", "ScaledObject")["spec"]["triggers"][0]["metadata"]["threshold"])
    assert target * 1.25 <= manifests.settings("keda", monkeypatch).max_sessions


@pytest.mark.parametrize("overlay", ["production", "long-drain"])
def test_scaling_down_waits_longer_than_a_rollout_and_takes_one_drain_for_each_step(
    overlay: str,
) -> None:
    """Or as long as the autoscaler can, where a drain takes hours."""
    spec, grace = the(overlay, "Deployment")["spec"], pod(overlay)["spec"]
    down = the(overlay, "HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]
    steps = math.ceil(100 / int(spec["strategy"]["rollingUpdate"]["maxSurge"].rstrip("%")))
    rollout = steps * spec["minReadySeconds"] + grace["terminationGracePeriodSeconds"]
    window = down["stabilizationWindowSeconds"]
    assert rollout < window <= MOST_WINDOW_SECONDS or window == MOST_WINDOW_SECONDS
    for policy in down["policies"]:
        least = min(grace["terminationGracePeriodSeconds"], MOST_PERIOD_SECONDS)
        assert least <= policy["periodSeconds"] <= MOST_PERIOD_SECONDS


def test_no_autoscaler_of_nodes_ends_a_pod_that_may_take_hours() -> None:
    """By default the cluster autoscaler kills a pod ten minutes after it has told it to end."""
    for overlay in CLUSTERS:
        annotations = pod(overlay)["metadata"].get("annotations", {})
        if pod(overlay)["spec"]["terminationGracePeriodSeconds"] > 600:
            assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
            assert annotations["karpenter.sh/do-not-disrupt"] == "true"
        else:
            assert annotations == {}
    assert pod("long-drain")["spec"]["terminationGracePeriodSeconds"] > 3600
