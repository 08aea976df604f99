"""The browser that the console's tests share; each file has its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.console.browsing import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
