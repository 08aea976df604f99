"""The layering rule: a file imports from rows below its own, a package lives where it is named."""

import ast
from pathlib import Path

import pytest

SERVICE = Path(__file__).parent.parent / "service"

ROWS = [
    {"__main__"},
    {"cli"},
    {"server", "client"},
    {"wav", "backoff"},
    {"connection", "app", "dial"},
    {"call", "metrics", "pages"},
    {"accept", "pump", "access", "roster"},
    {"exchange"},
    {"link", "session"},
    {"handshake", "wire", "tally", "tls", "config"},
    {"ending", "logs", "codec"},
]
HOMES = {
    "quart": {"app", "pages"},
    "quart_trio": {"app"},
    "hypercorn": {"server", "connection"},
    "h11": {"connection", "dial"},
    "prometheus_client": {"metrics"},
    "numpy": {"codec.vector"},
    "audioop": {"codec.native"},
    "websockets": {"wire", "handshake"},
    "trio_websocket": {"client", "dial"},
    "click": {"cli"},
    "rich": {"cli"},
    "structlog": {"logs", "call"},
    "pydantic": {"config"},
    "pydantic_settings": {"config"},
}
#: What cannot do I/O must not even be able to ask for it.
WITHOUT_IO = {"session", "wire", "handshake", "ending", "tally", "codec", "access"}
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


def row(name: str) -> int:
    [number] = [number for number, names in enumerate(ROWS) if name in names]
    return number


@pytest.mark.parametrize("module", sorted(set(FILES) - {"__init__"}))
def test_a_file_imports_from_rows_below_its_own(module: str) -> None:
    top = module.split(".")[0]
    for name in imports(module):
        package, _, inner = name.partition(".")
        if package == "service" and inner not in ("", "__version__"):
            other = inner.split(".")[0]
            assert other == top == "codec" or row(other) > row(top), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_package_lives_in_the_files_named_for_it(module: str) -> None:
    packages = {name.split(".")[0] for name in imports(module)}
    assert not {each for each in packages if module not in HOMES.get(each, {module})}


@pytest.mark.parametrize("module", sorted(FILES))
def test_the_core_cannot_do_io(module: str) -> None:
    if module.split(".")[0] in WITHOUT_IO:
        assert not imports(module) & {"trio", "socket", "select", "ssl", "logging"}


def test_no_file_is_longer_than_an_afternoon_allows() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > 320} == {}
