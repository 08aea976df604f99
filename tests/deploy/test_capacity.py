"""A full instance behind a real HAProxy that cuts the calls of an instance that is not ready."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.deploy.instances import Instance, balancing
from tests.peers.reach import Service

pytestmark = pytest.mark.integration("haproxy", "haproxy")

#: HAProxy cuts the connections of an instance that it marks down.
CUTS = "on-marked-down shutdown-sessions"


async def test_a_full_instance_keeps_its_calls(tmp_path: Path) -> None:
    with ExitStack() as stack:
        instance = Instance("a", {"RT_AUDIO_MAX_SESSIONS": "4"}, stack)
        instance.start()
        balancer = stack.enter_context(balancing([instance], tmp_path, 100, 100, server=CUTS))
        await trio.to_thread.run_sync(balancer.wait_until_it_has_room, instance, True)
        service = Service(balancer.port)
        first, *others = [await service.call() for _ in range(4)]
        await trio.to_thread.run_sync(balancer.wait_until_it_has_room, instance, False)
        for call in (first, *others):
            assert await call.ask(b"live") == b"live"
        await first.leave()
        await trio.to_thread.run_sync(balancer.wait_until_it_has_room, instance, True)
        for call in others:
            assert await call.ask(b"live") == b"live"
        await service.hang_up()
