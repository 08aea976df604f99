"""The bots that README.md prints, as files.

Only the standard library is imported here, so that `make demo` needs no test packages.
"""

import re
from pathlib import Path

from tests.peers.processes import ROOT


def write_bots(folder: Path) -> None:
    """Write each Python block of the README that begins with a file's name to that file."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for name, code in blocks:
        (folder / name).write_text(code)
