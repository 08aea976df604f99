"""The rules: right by promtool, tested, and each alert explained in the runbook."""

import re
from typing import Any

import pytest

from service.config import PREFIX, Settings
from tests.deploy.shipped import (
    DEPLOY,
    PROMETHEUS,
    ROOT,
    metrics,
    needs_prometheus,
    promtool,
    read,
    readme,
    rules,
)

ALERTS = {rule["alert"]: rule for rule in rules("alert")}
TESTS = sorted(file.name for file in PROMETHEUS.glob("tests/*.yml"))

every_alert = pytest.mark.parametrize("name", ALERTS)


@needs_prometheus
def test_the_configuration_and_its_rules_are_right() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_prometheus
@pytest.mark.parametrize("file", TESTS)
def test_the_alerts_fire_when_they_should_and_not_when_they_should_not(file: str) -> None:
    promtool("test", "rules", f"tests/{file}")


@every_alert
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    fires, does_not = 0, 0
    for file in TESTS:
        for case in read(PROMETHEUS / "tests" / file)["tests"]:
            for check in case.get("promql_expr_test", []):
                if f'alertname="{name}"' in check["expr"]:
                    fires += bool(check.get("exp_samples"))
                    does_not += not check.get("exp_samples")
            for check in case.get("alert_rule_test", []):
                if check["alertname"] == name:
                    fires += bool(check.get("exp_alerts"))
                    does_not += not check.get("exp_alerts")
    assert fires
    assert does_not


@every_alert
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(rule["annotations"]["description"].split()) > 20


@every_alert
def test_an_alert_has_its_section_in_the_runbook_to_which_its_link_leads(name: str) -> None:
    page, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text()
    # GitHub's anchors: lower case, without punctuation, hyphens for spaces.
    anchors = [
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    assert anchor == name.lower()
    assert anchors.count(anchor) == 1
    section = text.split(f"### {name}\n")[1].split("\n#")[0]
    assert len(section.split()) > 40


def test_the_runbook_has_no_section_of_an_alert_that_is_no_more() -> None:
    sections = re.findall(r"^### (RtAudio\w+)$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)


def test_the_rules_use_only_metrics_of_the_readme_and_settings_that_exist() -> None:
    text = "".join(file.read_text() for file in PROMETHEUS.glob("rules/*.yml"))
    used = {re.sub("_bucket$", "", name) for name in re.findall(r"\brt_audio_\w+", text)}
    assert used <= {metric.name for metric in metrics()}
    settings = {name.lower() for name in re.findall(r"RT_AUDIO_(\w+)", text)}
    assert settings <= set(Settings.model_fields)


def kubernetes_settings() -> Settings:
    """Return the settings of the manifests' base."""
    lines = (DEPLOY / "kubernetes/base/settings.env").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): value for name, value in pairs}
    return Settings(**values)


def test_what_the_autoscaler_lets_pass_is_no_alert() -> None:
    """It does nothing within a tenth of its aim."""
    autoscaler = read(DEPLOY / "kubernetes/components/hpa/horizontalpodautoscaler.yaml")
    aim = int(autoscaler["spec"]["metrics"][0]["pods"]["target"]["averageValue"])
    limit = kubernetes_settings().max_sessions
    threshold = float(ALERTS["RtAudioSessionsNearLimit"]["expr"].split(">")[1])
    assert 1.1 * aim / limit < threshold < 1


def test_the_autoscalers_measure_has_its_name() -> None:
    assert "rt_audio:sessions_active:serving" in [rule["record"] for rule in rules("record")]


def test_the_top_readme_leads_here() -> None:
    assert "(deploy/README.md)" in readme()
