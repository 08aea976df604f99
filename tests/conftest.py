"""The fixture that more than one file of tests needs."""

import pytest
import trio
from trio.testing import memory_stream_pair

from service import dial
from tests.strangers import Service, Use


@pytest.fixture
def use(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have every connection end at this service, in memory."""

    def install(service: Service) -> None:
        async def reach(address: dial.Address) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(service, theirs)
            return ours

        monkeypatch.setattr(dial, "_dial", reach)

    return install
