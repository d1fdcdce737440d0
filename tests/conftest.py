"""Ray in the tests: its environment, one cluster for tests that leave it whole, clusters of their own for the rest.

Nothing here touches a run without tests marked `ray`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openclaw_ray.cluster import LocalRay
from tests.support.leftovers import MARK, Leftovers
from tests.support.rays import Rays

#: Read by Ray when it starts, so set before. A lost node is noticed within two seconds instead of a minute.
RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
#: Would join a test to somebody's real cluster.
FOREIGN = ("RAY_ADDRESS", "OPENCLAW_ADDRESS", "OPENCLAW_HOME", "OPENCLAW_NAMESPACE")

_KEPT = pytest.StashKey[dict[str, str | None]]()
_FOLDER = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the shared cluster stand together, before those that need it gone: it starts and stops once."""
    items.sort(key=lambda item: {"shared": 1, "no_cluster": 2, "own_cluster": 2}.get(_ray_need(item), 0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Set Ray's environment if a test will start it."""
    if not any(item.get_closest_marker("ray") for item in session.items) or session.config.option.collectonly:
        return
    # Short and ours: a socket's path may have 107 bytes, and what Ray writes must be gone afterwards.
    folder = tempfile.mkdtemp(prefix="oc", dir="/tmp")
    wanted = {**RAY_ENVIRONMENT, "RAY_TMPDIR": folder, MARK: uuid.uuid4().hex}
    session.config.stash[_FOLDER] = folder
    session.config.stash[_KEPT] = {name: os.environ.get(name) for name in (*wanted, *FOREIGN)}
    os.environ.update(wanted)
    for name in FOREIGN:
        os.environ.pop(name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the environment back and remove what Ray wrote."""
    for name, value in config.stash.get(_KEPT, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if _FOLDER in config.stash:
        shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


def _ray_need(item: pytest.Item) -> str:
    used = getattr(item, "fixturenames", ())
    return next((name for name in ("own_cluster", "no_cluster", "shared") if name in used), "")


@pytest.fixture(scope="session")
def _rays() -> Iterator[Rays]:
    rays = Rays()
    yield rays
    rays.stop()


@pytest.fixture
def shared(_rays: Rays) -> LocalRay:
    """The cluster of three nodes that tests share; a test leaves it with every node online and nothing running."""
    return _rays.shared()


@pytest.fixture
def no_cluster(_rays: Rays) -> None:
    """This process is in no Ray cluster: for tests that start programs which start their own."""
    _rays.stop()


@pytest.fixture
def own_cluster(_rays: Rays) -> Iterator[Callable[..., LocalRay]]:
    """Makes a cluster that the test may break: ``own_cluster({"node-1": {"slots": 2}}, lease_ttl_s=3)``."""
    _rays.stop()
    yield _rays.start
    _rays.stop()


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves an actor, a process or an open port behind fails, and what it left is ended."""
    if request.node.get_closest_marker("ray") is None:
        yield
        return
    rays: Rays = request.getfixturevalue("_rays")
    if _ray_need(request.node) == "shared":
        rays.shared()
    else:
        rays.stop()
    before = Leftovers.look(rays)
    yield
    Leftovers.check(rays, before)


def pytest_report_header(config: pytest.Config) -> Any:
    """Say where Ray writes."""
    return f"ray: {config.stash[_FOLDER]}" if _FOLDER in config.stash else None
