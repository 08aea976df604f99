"""The OpenAPI documents: valid, whole, and true of the running server."""

import re
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart_trio import QuartTrio

from service.dialects.book import DIALECTS
from service.web.openapi import publish
from service.web.providers import PROVIDERS
from service.web.vouching import PROOFS
from tests.peers.house import House
from tests.peers.reach import Service
from tests.peers.serving import serving

#: An upgrade is no request that Schemathesis can make, so it cannot get its 101.
NOT_CHECKED = dict.fromkeys(("/ws/audio", "/ws/asterisk"), ("positive_data_acceptance",))


def apps() -> dict[str, QuartTrio]:
    house = House(admin_port=0)
    telephony = House(dialects=",".join(DIALECTS))
    return {"alone": House().app, "public": house.app, "admin": house.admin_app,
            "telephony": telephony.app}  # fmt: skip


async def document_of(app: QuartTrio) -> Any:
    response = await app.test_client().get("/openapi.json")
    assert response.content_type == "application/json"
    return await response.get_json()


@pytest.mark.parametrize("name", ["alone", "public", "admin", "telephony"])
async def test_each_listener_describes_all_its_routes_and_no_other(name: str) -> None:
    app = apps()[name]
    document = await document_of(app)
    OpenAPIV31SpecValidator(document).validate()
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    routes = {
        (rule.rule.replace("<path:", "<").translate({60: "{", 62: "}"}), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == routes
    operations = [each for item in document["paths"].values() for each in item.values()]
    assert all(("421" in each["responses"]) == (name == "admin") for each in operations)


@pytest.mark.parametrize("names", [(), ("asterisk",), tuple(DIALECTS)])
async def test_the_endpoints_of_dialects_that_are_on_are_described(names: tuple[str, ...]) -> None:
    paths = (await document_of(House(dialects=",".join(names) or "none").app))["paths"]
    calls = {path: item["get"] for path, item in paths.items() if path.startswith("/ws/")}
    assert calls.keys() == {"/ws/audio", *(f"/ws/{name}" for name in names)}
    raw = calls.pop("/ws/audio")
    for path, call in calls.items():
        assert PROVIDERS[path.removeprefix("/ws/")].calls in call["summary"]
        assert call["responses"].keys() == raw["responses"].keys()


async def test_an_upgrade_without_a_proof_is_answered_as_described(tmp_path: Path) -> None:
    for name in DIALECTS:
        (tmp_path / name).write_text("user:password\n")
    async with serving(
        dialects=",".join(DIALECTS), secrets_dir=tmp_path, public_url="wss://example.com"
    ) as service:
        paths = (await service.json("/openapi.json"))["paths"]
        for name in DIALECTS:
            status, head = await service.answer(f"/ws/{name}")
            described = paths[f"/ws/{name}"]["get"]["responses"][str(status)]
            assert status == 401
            assert PROOFS[name].needed in described["description"]
            [header] = described["headers"]
            assert f"\n{header}: {PROOFS[name].challenge}\r".lower() in head.lower()


async def test_the_readme_has_a_row_for_each_route() -> None:
    document = await document_of(apps()["admin"])
    described = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if not path.startswith(("/console/", "/ws/"))
    }
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", readme, re.MULTILINE)) == described


def test_a_route_that_is_not_described_cannot_start() -> None:
    app = QuartTrio("app", static_folder=None)

    @app.get("/secret")
    async def secret() -> str:
        return ""

    with pytest.raises(AttributeError, match="operation"):
        publish(app, "", "")


def ask_all(service: Service, call_id: str | None) -> set[str]:
    """Send each operation requests that its description allows, and judge each answer by it."""
    import schemathesis  # which takes a second

    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    with requests.Session() as session:
        for operation in operations:
            ask(session, operation, schemathesis.checks.CHECKS)
            if "{call_id}" in operation.path:
                case = operation.Case(path_parameters={"call_id": call_id})
                response = case.call(session=session)
                case.validate_response(response)
                assert response.status_code in (200, 202)
    return {operation.label for operation in operations}


def ask(session: requests.Session, operation: Any, checks: Any) -> None:
    excluded = checks.get_by_names(NOT_CHECKED.get(operation.path, ()))

    @hypothesis.settings(max_examples=5, database=None, derandomize=True)
    @hypothesis.given(case=operation.as_strategy())
    def each(case: Any) -> None:
        case.validate_response(case.call(session=session), excluded_checks=excluded)

    each()


async def test_the_running_server_answers_as_it_describes() -> None:
    async with serving(admin_port=0, dialects="asterisk") as service:
        call = await service.call()
        await call.ask(b"hi")
        assert service.admin is not None
        [listed] = (await service.admin.json("/calls"))["calls"]
        asked = await trio.to_thread.run_sync(ask_all, service.admin, listed["id"])
        assert {"GET /calls", "DELETE /calls/{call_id}", "PUT /log-level", "GET /metrics"} <= asked
        asked = await trio.to_thread.run_sync(ask_all, service, None)
        assert {"GET /ready", "GET /capacity", "GET /ws/audio", "GET /ws/asterisk"} <= asked
