"""Clusters of our own: `local` for tests, demos and notebooks; the pieces that `up` and `down` share with it.

Floor 3, above client and actors: the only place that starts Ray or our singletons.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field

from openclaw_ray.config import Settings, load_settings
from openclaw_ray.errors import InvalidRequest, NotConnected, OpenClawError
from openclaw_ray.models.door import Document, parse, quoted
from openclaw_ray.models.fields import Tags
from openclaw_ray.models.node import Slots

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster

#: Of a node of `local`: slots, tags, skill_roots, path (PATH of its commands), and resources and labels for Ray.
NodeOptions = Mapping[str, Any]

#: Ray nodes on one machine: each is half a dozen processes.
LOCAL_NODES_MAX = 64
#: How long `local` waits for all its nodes to be online (seconds).
READY_S = 60.0
_RAY_SIDE = (
    "num_cpus", "num_gpus", "memory", "resources", "labels", "include_dashboard", "dashboard_agent_listen_port",
)  # fmt: skip

LOOPBACK = "127.0.0.1"
#: Ray replaces 127.0.0.1 by the machine's outward address wherever one is given, as it takes every cluster for one of
#: several machines. With this variable at 0 it does not, and all its ports are bound on loopback only.
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def loopback_address(port: int | str) -> str:
    """A loopback address of Ray's head that drivers can use without that variable: Ray leaves this form alone."""
    return f"[::ffff:{LOOPBACK}]:{port}"


@contextlib.contextmanager
def local(
    nodes: int | Sequence[NodeOptions] = 1,
    slots: int = 2,
    *,
    home: Path | str | None = None,
    skill_roots: Sequence[Path | str] = (),
    **settings: Any,
) -> Iterator[Cluster]:
    """A throw-away cluster on this machine; everything it started or wrote is gone at the end.

    Args:
        nodes: How many, or one mapping per node: ``slots``, ``tags``, ``skill_roots``, ``path``, ``num_cpus``,
            ``num_gpus``, ``memory``, ``resources``. They are called node-1, node-2 ...; node-1 is Ray's head.
        slots: Tasks at a time per node that does not say otherwise.
        home: Where to keep the database and logs instead of a folder that is removed; kept at the end.
        skill_roots: Folders with command skills, for every node that names none.
        **settings: Any setting of `Settings`.
    """
    wanted = _wanted(nodes)
    folder = Path(home) if home is not None else Path(tempfile.mkdtemp(prefix="openclaw-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = load_settings(
        home=folder,
        slots=slots,
        metrics_port=settings.pop("metrics_port", 0),
        skill_roots=tuple(Path(r) for r in skill_roots),
        **settings,
    )
    options = {f"node-{i}": {"slots": slots, **n} for i, n in enumerate(wanted, 1)}
    started = LocalRay(found, options)
    try:
        started.start()
        with started.connect() as cluster:
            cluster.started = started  # type: ignore[attr-defined]  # for tests and demos that kill parts of it
            yield cluster
    finally:
        started.stop()
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


class _LocalNode(Document):
    """What a node of `local` may be given; the rest is Ray's own words and Ray's to check."""

    model_config = ConfigDict(extra="allow")

    slots: Slots | None = None
    tags: Tags = Field(default_factory=list)


def _wanted(nodes: int | Sequence[NodeOptions]) -> list[dict[str, Any]]:
    """The options of each node.

    Raises:
        InvalidRequest: Naming the node and the option; nothing was started.
    """
    if isinstance(nodes, int) and not isinstance(nodes, bool):
        given: list[NodeOptions] = [{}] * nodes if nodes <= LOCAL_NODES_MAX else []
    else:
        given = list(nodes) if isinstance(nodes, list | tuple) else []
    if not 1 <= len(given) <= LOCAL_NODES_MAX:
        limit = f"1 to {LOCAL_NODES_MAX}, or a list with the options of each"
        raise InvalidRequest(f"{quoted(nodes)} are no nodes", field="nodes", limit=limit)
    for i, node in enumerate(given):
        parse(_LocalNode, node, at=f"nodes[{i}]")
    return [dict(node) for node in given]


class LocalRay:
    """Ray nodes of this process on loopback, and our singletons on them."""

    def __init__(self, settings: Settings, options: dict[str, dict[str, Any]]) -> None:
        self.settings = settings
        self.options = options
        #: `ray.cluster_utils.Cluster`, and its nodes by our node id.
        self.ray_cluster: Any = None
        self.ray_nodes: dict[str, Any] = {}
        self.state_manager: Any = None
        self.scheduler: Any = None
        self._environment: dict[str, str | None] = {}
        #: Where Ray keeps sockets and logs, unless RAY_TMPDIR says so.
        self.scratch: Path | None = None

    def start(self) -> None:
        """Start Ray, then our actors, and wait until every node is online."""
        self._arm_token()
        self._set(LOOPBACK_VARIABLE, "0")
        if not os.environ.get("RAY_TMPDIR"):
            # Short, since a socket's path may have 107 bytes, and ours, so that nothing of Ray stays behind.
            self.scratch = Path(tempfile.mkdtemp(prefix="oc-", dir="/tmp"))
            self._set("RAY_TMPDIR", str(self.scratch))
        import ray
        from ray.cluster_utils import Cluster as RayCluster

        from openclaw_ray.client.joining import tell_ray

        if ray.is_initialized():
            raise NotConnected(
                "this process is connected to a Ray cluster already", hint="leave it first: ray.shutdown()"
            )
        tell_ray()
        for node_id, options in self.options.items():
            arguments = _ray_arguments(node_id, options)
            if self.ray_cluster is None:
                from actors.names import PIN

                arguments["resources"] = {**arguments.get("resources", {}), PIN: 1}
                arguments.setdefault("include_dashboard", False)
                arguments.setdefault("dashboard_port", free_ports(1)[0])  # looked at even without a dashboard
                self.ray_cluster = RayCluster(initialize_head=True, head_node_args=arguments)
                self.ray_nodes[node_id] = self.ray_cluster.head_node
            else:
                self.ray_nodes[node_id] = self.ray_cluster.add_node(wait=False, **arguments)
        ray.init(
            address=self.address,
            namespace=self.settings.namespace,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        node_options = {n: {k: v for k, v in o.items() if k not in _RAY_SIDE} for n, o in self.options.items()}
        self.state_manager, self.scheduler = start_actors(self.settings, node_options)
        wait_online(self.state_manager, set(self.options), READY_S)

    def _arm_token(self) -> None:
        """Token authentication for the cluster that we start, unless the environment says otherwise."""
        if "RAY_AUTH_MODE" in os.environ:
            return
        token = self.settings.home / "token"
        write_token(token)
        self._set("RAY_AUTH_MODE", "token")
        self._set("RAY_AUTH_TOKEN_PATH", str(token))

    def _set(self, name: str, value: str) -> None:
        self._environment.setdefault(name, os.environ.get(name))
        os.environ[name] = value

    @property
    def address(self) -> str:
        """Where Ray's head is, for this and other processes of this machine."""
        return loopback_address(str(self.ray_cluster.address).rpartition(":")[2])

    def connect(self) -> Cluster:
        """A client of this cluster."""
        from openclaw_ray.client import connect

        return connect(self.address, namespace=self.settings.namespace)

    def add_node(self, node_id: str, **options: Any) -> None:
        """One more node, as `local` makes them."""
        self.options[node_id] = options
        self.ray_nodes[node_id] = self.ray_cluster.add_node(wait=False, **_ray_arguments(node_id, options))

    def kill_node(self, node_id: str) -> None:
        """Kill -9 all of a node's processes."""
        self.ray_cluster.remove_node(self.ray_nodes.pop(node_id), allow_graceful=False)

    def stop(self) -> None:
        """End our actors, then Ray, each by its own handle."""
        import ray

        try:
            if ray.is_initialized():
                stop_actors(self.state_manager, self.scheduler)
                ray.shutdown()
            if self.ray_cluster is not None:
                self.ray_cluster.shutdown()
        finally:
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds now; the system gives them from a range above that of Ray's workers (10002-19999)."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _ray_arguments(node_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from actors.names import NODE_LABEL

    given = {k: v for k, v in options.items() if k in _RAY_SIDE}
    given.setdefault("num_cpus", 4)
    given["node_ip_address"] = LOOPBACK
    given["labels"] = {**given.get("labels", {}), NODE_LABEL: node_id}
    return given


def start_actors(
    settings: Settings, node_options: Mapping[str, Mapping[str, Any]], pin: str | None = None
) -> tuple[Any, Any]:
    """Start (or find) the StateManager and the Scheduler of a namespace, and make the database if there is none.

    Raises:
        OpenClawError: why the StateManager refuses to serve.
    """
    import ray

    from actors.names import PIN, SCHEDULER, STATE_MANAGER, singleton_options
    from actors.scheduler import Scheduler
    from actors.state_manager import StateManager

    body = settings.to_json()
    where = pin or PIN
    manager = StateManager.options(**singleton_options(STATE_MANAGER, settings.namespace, where)).remote(body)  # type: ignore[attr-defined]
    try:
        ray.get(manager.initialise.remote(), timeout=60)
    except OpenClawError:
        ray.kill(manager)
        raise
    options = singleton_options(SCHEDULER, settings.namespace, where)
    scheduler = Scheduler.options(**options).remote(body, {n: dict(o) for n, o in node_options.items()})  # type: ignore[attr-defined]
    ray.get(scheduler.status.remote(), timeout=60)
    return manager, scheduler


def wait_online(manager: Any, wanted: set[str], timeout_s: float) -> None:
    """Wait until these nodes are online.

    Raises:
        NotConnected: not within `timeout_s`; naming those that are missing.
    """
    import ray

    end = time.monotonic() + timeout_s
    while True:
        online = {n["node_id"] for n in ray.get(manager.get_online_nodes.remote(), timeout=timeout_s)}
        if wanted <= online:
            return
        if time.monotonic() > end:
            raise NotConnected(f"not online after {timeout_s:g} s: {', '.join(sorted(wanted - online))}")
        time.sleep(0.05)


def stop_actors(manager: Any, scheduler: Any) -> None:
    """End the Scheduler (with the agents) and the StateManager for good, in this order."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    for actor, timeout_s in ((scheduler, 30), (manager, 15)):
        if actor is None:
            continue
        try:
            ray.get(actor.stop.remote(), timeout=timeout_s)
        except (RayError, GetTimeoutError):  # an actor that ended by itself answers with its death
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor)


def write_token(path: Path) -> None:
    """A new token in a file of its owner's, unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(32))
