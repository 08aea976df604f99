"""The console's routes without a browser: files, headers, facts, the switch that turns it off."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from service import __version__, codec
from tests.peers.house import House

ROOT = Path(__file__).parent.parent.parent
CONSOLE = ROOT / "service" / "console"
#: What a browser gets; TypeScript's declarations are for `make check`.
NAMES = sorted(
    path.relative_to(CONSOLE).as_posix() for path in CONSOLE.rglob("*.*") if path.suffix != ".ts"
)
TEXTS = [name for name in NAMES if not name.endswith(".wav")]
MODULES = [name for name in NAMES if name.endswith(".js")]


async def facts(house: House, query: str = "", **headers: str) -> Any:
    client = house.app.test_client()
    response = await client.get(f"/console/server.json?{query}", headers=headers)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    return await response.get_json()


async def test_every_file_is_served_as_it_is() -> None:
    client = House().app.test_client()
    for name in NAMES:
        response = await client.get(f"/console/{name}")
        assert response.status_code == 200, name
        assert await response.get_data(as_text=False) == (CONSOLE / name).read_bytes(), name
    first = await client.get("/")
    assert await first.get_data(as_text=False) == (CONSOLE / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["/", "/console/main.js", "/console/audio/speech.wav"])
async def test_a_file_comes_with_a_strict_policy_and_is_asked_for_each_time(path: str) -> None:
    client = House().app.test_client()
    response = await client.get(path)
    headers = response.headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    granted = re.findall(r"(\S+)=\((\S+)\)", headers["Permissions-Policy"])
    assert granted == [("microphone", "self")]
    assert headers["Cache-Control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("main.js", "text/javascript; charset=utf-8"),
        ("console.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("audio/speech.wav", "audio/wav"),
    ],
)
async def test_a_file_has_its_type(name: str, content_type: str) -> None:
    response = await House().app.test_client().get(f"/console/{name}")
    assert response.content_type == content_type


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing.js",
        "types.d.ts",
        "../pages.py",
        "..%2fpages.py",
        "%2e%2e/pages.py",
        ".",
        "a/b",
        "audio",
        "audio/",
        "audio//g711.js",
        "audio/../main.js",
        "audio/../../config.py",
        "jitter.js",
    ],
)
async def test_no_path_leads_out_of_the_folder(name: str) -> None:
    response = await House().app.test_client().get(f"/console/{name}")
    assert response.status_code == 404
    assert (await response.get_json())["error"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/console/main.js", "/console/server.json"])
async def test_the_console_can_be_turned_off(path: str) -> None:
    client = House(console=False).app.test_client()
    assert (await client.get(path)).status_code == 404
    assert (await client.get("/health")).status_code == 200


async def test_the_page_is_told_what_it_can_choose() -> None:
    told = await facts(House(codec_order="numpy,audioop", max_frame_bytes=64))
    assert told == {
        "version": __version__,
        "handler": False,
        "codecs": {name: name in codec.available() for name in codec.ORDER},
        "best_codec": "numpy",
        "max_frame_bytes": 64,
        "token_needed": False,
        "refusal": None,
        "retry_after": None,
    }


async def test_the_page_is_told_why_an_upgrade_would_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("sesame\n")
    house = House(tokens_file=file, max_sessions=1)
    known = {"Authorization": "Bearer sesame"}
    assert (await facts(house))["token_needed"] is True
    assert (await facts(house))["refusal"] == "unauthorized"
    assert (await facts(house, Authorization="Bearer x"))["refusal"] == "unauthorized"
    assert (await facts(house, **known))["refusal"] is None
    assert (await facts(house, "origin=http://elsewhere", **known))["refusal"] == "origin"
    with house.place():
        assert (await facts(house, **known))["refusal"] == "at_capacity"
    house.roster.drain()
    assert (await facts(house, **known))["refusal"] == "draining"
    assert (await facts(house, **known))["retry_after"] == 1
    assert not any(house.tally.refused.values())


def test_the_wheel_is_told_of_every_file() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["service"]
    assert all(any(fnmatch(f"console/{name}", each) for each in patterns) for name in NAMES)


def test_a_file_names_only_files_that_are_there() -> None:
    for name in TEXTS:
        text = (CONSOLE / name).read_text("utf-8")
        beside = re.findall(r'(?:from |new URL\()"([./\w-]+\.\w+)"(?:;|, import)', text)
        named = {(CONSOLE / name).parent / each for each in beside}
        named |= {CONSOLE / each for each in re.findall(r'(?:src|href)="console/([^"]+)"', text)}
        assert {path.resolve() for path in named} <= {CONSOLE / each for each in NAMES}, name
        hosts = set(re.findall(r"https?://[\w.]+", text))
        assert hosts <= {"http://www.w3.org"}, name  # SVG's namespace


def test_a_module_says_what_it_is_for_and_is_short() -> None:
    for name in MODULES:
        text = (CONSOLE / name).read_text("utf-8")
        assert text.startswith("/**"), name
        assert text.count("\n") <= 300, name


def test_no_line_is_longer_than_those_of_the_python_files() -> None:
    for name in TEXTS:
        lines = (CONSOLE / name).read_text("utf-8").splitlines()
        assert [line for line in lines if len(line) > 100] == [], name
