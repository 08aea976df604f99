"""The rule of the house: a file imports from rows below its own, and never beside it.

README.md prints ROWS, so that its reader sees the same house.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "service"

#: From the top: each room, a folder or a file of `service/`, and what it is for.
ROWS = (
    {"__main__": "`python -m service`"},
    {"cli": "options, progress, exit codes"},
    {"server": "composition and lifetimes: the one file that may know every room"},
    {
        "reload": "tokens, secrets and certificate, taken anew as their files change",
        "signals": "what each signal does",
    },
    {
        "web": "the Quart apps: admission, upgrade, pages, metrics, admin",
        "handlers": "what a handler sees of its call, and how it is found",
    },
    {
        "net": "sockets: connections, messages and endings, never audio",
        "calls": "what a call does, without a socket: terms, audio, roster",
    },
    {"refusals": "what never becomes a call: counted, and told in the log"},
    {
        "client": "our own client: dial, stream, probe, try again",
        "websocket": "RFC 6455 without I/O: handshake and frames",
        "conversation": "the hinge between sockets and calls",
        "config": "settings, with unit and reason",
        "tally": "everything that is counted, as plain numbers",
        "tracing": "a span for each call, by OpenTelemetry, where it is set up",
    },
    {"dialects": "how each kind of peer speaks: its messages to events and back"},
    {
        "audio": "encodings, sample rates, WAV files",
        "bearer": "tokens: their alphabet and their names",
        "codec": "G.711 in three tiers",
        "ending": "how calls end",
        "plain": "a stranger's text for logs and terminals",
        "logs": "structlog, and the thread that writes",
        "networks": "IP addresses, and networks of them",
    },
)
HOMES = {
    "quart": {
        "web.admin",
        "web.app",
        "web.asyncapi",
        "web.errors",
        "web.openapi",
        "web.pages",
        "web.probes",
        "web.upgrade",
    },
    "quart_trio": {
        "web.app",
        "web.asyncapi",
        "web.errors",
        "web.openapi",
        "web.probes",
        "web.upgrade",
    },
    "hypercorn": {"server", "net.connection", "net.http1"},
    "h11": {"net.http1", "client.dial"},
    "prometheus_client": {"client.textfile", "web.metrics"},
    "numpy": {"audio.resample", "codec.vector"},
    "audioop": {"codec.native"},
    "websockets": {"websocket.wire", "websocket.handshake"},
    "trio_websocket": {"client.dial", "client.messages", "client.roundtrips", "client.twoway"},
    "click": {
        "cli",
        "cli.options",
        "cli.probe",
        "cli.reload",
        "cli.serve",
        "cli.statuses",
        "cli.stream",
    },
    "rich": {"cli.stream"},
    "structlog": {"logs", "calls.call"},
    "msgspec": {
        "dialects.exotel",
        "dialects.media",
        "dialects.openai",
        "dialects.plivo",
        "dialects.telnyx",
        "dialects.text",
        "dialects.twilio",
    },
    "opentelemetry": {"tracing"},
    "jwt": {"web.vouching"},
    "watchfiles": {"cli.reload"},
    "pydantic": {"config"},
    "pydantic_settings": {"config"},
}
#: What cannot do I/O must not even be able to ask for it.
WITHOUT_IO = (
    "websocket", "dialects", "audio", "bearer", "codec", "ending", "tally", "conversation",
    "calls.caller", "calls.playout", "calls.terms", "calls.session", "calls.resampling", "net.talk",
    "net.proxy", "networks", "web.forwarded", "web.vouching",
)  # fmt: skip
FILES = {
    ".".join(path.relative_to(SERVICE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SERVICE.rglob("*.py")
}


def imports(module: str) -> set[str]:
    """Return the dotted names that a module imports; `service.x.y` for a name out of our own."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "service" else {str(node.module)}
    return found


def row(room: str) -> int:
    [number] = [number for number, rooms in enumerate(ROWS) if room in rooms]
    return number


def test_a_file_imports_from_rows_below_its_own() -> None:
    upward = [
        f"{module} imports {name}"
        for module in sorted(set(FILES) - {"__init__"})
        for name in imports(module)
        if name.startswith("service.") and not name.endswith("__")
        if (room := name.split(".")[1]) != (own := module.split(".")[0])
        if row(room) <= row(own)
    ]
    assert upward == []


def test_a_package_lives_in_the_files_named_for_it() -> None:
    strays = [
        f"{module} imports {name}"
        for module in FILES
        for name in imports(module)
        if module not in HOMES.get(name.split(".")[0], {module})
    ]
    assert strays == []


def test_the_core_cannot_do_io() -> None:
    could = {"trio", "socket", "select", "ssl", "logging"}
    found = {
        module: imports(module) & could
        for module in FILES
        if f"{module}.".startswith(tuple(f"{name}." for name in WITHOUT_IO))
    }
    assert found
    assert {module: names for module, names in found.items() if names} == {}


def test_no_file_is_longer_than_an_afternoon_allows() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > 320} == {}


def printed() -> str:
    """Return the map of the house as README.md has it."""
    rule = " > ".join(" | ".join(rooms) for rooms in ROWS)
    rooms = [f"{room:<14}{purpose}" for rooms in ROWS for room, purpose in rooms.items()]
    return "\n".join(["```", *rooms, "```", "", f"`{rule}`"])


def test_the_readme_prints_this_map() -> None:
    assert printed() in (ROOT / "README.md").read_text(), printed()
