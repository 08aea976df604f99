"""The CronJob of the synthetic caller: what it runs, and that it reaches the service's pods."""

from click.testing import CliRunner

from service.cli import main
from tests.deploy.manifests import ROOT, Object, container, every, pod, the
from tests.deploy.test_pod import baseline_violations, restricted_violations

OVERLAY = "production"


def job() -> Object:
    """Return the specification of one of its jobs."""
    spec: Object = the(OVERLAY, "CronJob")["spec"]["jobTemplate"]["spec"]
    return spec


def caller() -> Object:
    """Return its only container."""
    [only] = job()["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_it_calls_the_service_by_its_name_with_the_token_of_its_secret() -> None:
    command, *arguments = caller()["args"]
    assert command == "probe"
    url = arguments[arguments.index("--url") + 1]
    assert url == f"ws://{the(OVERLAY, 'Service')['metadata']['name']}/ws/audio"
    # The command line takes every option, and finds fault with the token alone.
    refused = CliRunner().invoke(main, [command, *arguments], env={"RT_AUDIO_TOKEN": "a b"})
    assert refused.output.startswith("Error: the token cannot be sent")
    [variable] = caller()["env"]
    assert variable["name"] == "RT_AUDIO_TOKEN"
    secret = variable["valueFrom"]["secretKeyRef"]
    made = f"create secret generic {secret['name']} --from-literal={secret['key']}="
    assert made in (ROOT / "deploy" / "README.md").read_text()


def test_it_is_let_in_and_taken_for_no_pod_of_the_service() -> None:
    labels = job()["template"]["metadata"]["labels"]
    doors = [
        source["podSelector"]["matchLabels"]
        for policy in every(OVERLAY, "NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        for source in rule["from"]
        if "podSelector" in source
    ]
    assert any(door.items() <= labels.items() for door in doors)
    selector = the(OVERLAY, "Service")["spec"]["selector"]
    assert not selector.items() <= labels.items()


def test_a_call_that_fails_is_a_job_that_fails_before_the_next_begins() -> None:
    cron = the(OVERLAY, "CronJob")["spec"]
    assert cron["schedule"] == "* * * * *"
    assert cron["concurrencyPolicy"] == "Forbid"
    assert job()["backoffLimit"] == 0
    assert job()["template"]["spec"]["restartPolicy"] == "Never"
    assert 12 < job()["activeDeadlineSeconds"] < 60, "longer than the probe's own timeout"


def test_it_runs_the_services_image_as_confined_as_the_service() -> None:
    spec = job()["template"]["spec"]
    assert caller()["image"] == container(OVERLAY)["image"]
    assert spec["securityContext"] == pod(OVERLAY)["spec"]["securityContext"]
    bare = spec | {"volumes": [], "containers": [caller() | {"ports": []}]}
    assert baseline_violations(bare) == []
    assert restricted_violations(bare) == []
    assert spec["automountServiceAccountToken"] is False
    assert caller()["securityContext"] == container(OVERLAY)["securityContext"]
