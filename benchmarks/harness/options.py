"""Types of argparse that more than one program needs: a typing error costs no ten minutes."""

import argparse
from collections.abc import Callable
from pathlib import Path


def names(*allowed: str) -> Callable[[str], list[str]]:
    """Return the type of a list of some of these names, by comma."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return chosen

    return parse


def checkout(text: str) -> Path:
    """Return the folder of a checkout of the service."""
    root = Path(text).resolve()
    if not (root / "service" / "__main__.py").exists():
        raise argparse.ArgumentTypeError(f"{root} has no service/__main__.py")
    return root
