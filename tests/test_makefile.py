"""`make install`: which Python it takes, and what a try leaves behind."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: A Python that says it is 3.10; it runs what follows -c, and no module.
OLD = f"""#!/bin/sh
test "$1" = -c || exit 99
exec {sys.executable} -c 'import sys; sys.version_info = (3, 10, 13); exec(sys.argv[1])' "$2"
"""
#: A Python that runs what follows -c; as the module venv it makes a .venv with itself and a pip
#: that works once the file `network` is there. An existing .venv keeps its python, as with venv.
NEW = f"""#!/bin/sh
test "$1" = -m || exec {sys.executable} "$@"
mkdir -p "$3/bin"
test -e "$3/bin/python" || cp "$0" "$3/bin/python"
printf '#!/bin/sh\\ntest -e network && touch .venv/installed\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what `make install` needs, and these two Pythons."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name, script in (("old-python", OLD), ("new-python", NEW)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make(clone: Path, python: str) -> "subprocess.CompletedProcess[str]":
    """Run `make install` with that Python."""
    return subprocess.run(
        ["make", "install", f"PYTHON=./{python}"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_is_too_old_is_told_and_leaves_nothing(clone: Path) -> None:
    ran = make(clone, "old-python")
    assert ran.returncode != 0
    assert ran.stderr.startswith(
        "./old-python is Python 3.10.13, but 3.11 or later is needed. "
        "Name one: make install PYTHON=python3.12\n"
    )
    assert not (clone / ".venv").exists()


def test_an_interrupted_try_does_not_spoil_the_next(clone: Path) -> None:
    assert make(clone, "new-python").returncode != 0
    (clone / ".venv" / "half").touch()
    (clone / "network").touch()
    assert make(clone, "new-python").returncode == 0
    venv = sorted(path.name for path in (clone / ".venv").iterdir())
    assert venv == ["bin", "installed", "run.stamp"]


def test_a_venv_of_an_older_python_is_made_anew(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(clone / "old-python", python)
    (clone / "network").touch()
    assert make(clone, "new-python").returncode == 0
    assert python.read_text() == NEW


def test_a_finished_venv_stays(clone: Path) -> None:
    (clone / "network").touch()
    assert make(clone, "new-python").returncode == 0
    (clone / ".venv" / "kept").touch()
    (clone / "pyproject.toml").touch()
    assert make(clone, "new-python").returncode == 0
    assert (clone / ".venv" / "kept").exists()
