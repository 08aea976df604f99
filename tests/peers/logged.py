"""What this process has logged, by the fixtures `set_up_logs` and `capfd`."""

import json
from typing import Any

import pytest

from service import logs


def shown(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what was logged since the last look."""
    logs.flush()
    return capfd.readouterr().err


def entries(capfd: pytest.CaptureFixture[str], event: str = "") -> list[dict[str, Any]]:
    """Return the JSON lines that were logged since the last look; of one event, if it is named."""
    found = [json.loads(line) for line in shown(capfd).splitlines()]
    return [entry for entry in found if event in ("", entry["event"])]
