"""`up` and `down`: a cluster that stays, on a Ray of our own or on somebody else's.

What was started here stands in `run.json`, and only that is ended: the database and the logs stay, and so does every
Ray that was there before us.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_ray.client.joining import join
from openclaw_ray.cluster import (
    LOOPBACK,
    LOOPBACK_VARIABLE,
    READY_S,
    free_ports,
    loopback_address,
    start_actors,
    stop_actors,
    wait_online,
    write_token,
)
from openclaw_ray.cluster_run import Run, forget_run, read_run, session_processes, stop_run, write_run
from openclaw_ray.config import Settings
from openclaw_ray.errors import Conflict, InvalidRequest, NotConnected, OpenClawError
from openclaw_ray.storage.lock import FileLock

#: How long Ray's head may take to start (seconds).
RAY_START_S = 120.0
#: Ray's own resource for "the head", for clusters that nobody prepared for us.
HEAD_PIN = "node:__internal_head__"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller of `up` may say beside the settings."""

    #: CPUs that Ray gives out on this machine; None: all.
    num_cpus: int | None = None
    #: Address by which other machines reach this one; None: loopback only.
    host: str | None = None
    #: Start Ray's dashboard, which takes jobs.
    dashboard: bool = False
    #: "head": without a pinning resource, hold the database on Ray's head.
    pin: str | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """What `up` found or made."""

    run: Run
    #: It was up before.
    already: bool
    #: Nodes that are online.
    nodes: tuple[str, ...]
    #: Live tasks found in the database.
    live: int


@dataclass(frozen=True, slots=True)
class Down:
    """What `down` ended."""

    #: None: nothing was up.
    run: Run | None
    processes: int = 0
    #: What could not be done in an orderly way, in words.
    trouble: str | None = None


def up(settings: Settings, wanted: Wanted | None = None, say: Say = lambda text: None) -> Up:
    """Bring a cluster up, or find that it is; safe to repeat.

    Args:
        settings: `address` names a Ray to join; without it Ray is started here.
        wanted: Further wishes.
        say: Told what takes time.

    Raises:
        OpenClawError: what failed; nothing that was started for it is left.
    """
    wanted = wanted or Wanted()
    address = settings.address or os.environ.get("RAY_ADDRESS") or None
    with _alone(settings.home):
        run = read_run(settings.home)
        if run is not None:
            if run.alive:
                _check_same(run, address, settings)
                return _serve(settings, wanted, run, say, fresh=False)
            say(f"what was up at {run.address} is gone: starting anew")
            stop_run(run)
            forget_run(settings.home)
        if address is not None:
            run = Run(address=address, namespace=settings.namespace, started_ray=False)
        else:
            run = _start_ray(settings, wanted, say)
        try:
            return _serve(settings, wanted, run, say, fresh=True)
        except BaseException:
            _leave_ray()
            stop_run(run)
            forget_run(settings.home)
            raise


def down(settings: Settings, say: Say = lambda text: None) -> Down:
    """End what `up` started: agents hand back their work, then our actors, then Ray if it was ours."""
    if not settings.home.exists():
        return Down(None)
    with _alone(settings.home):
        run = read_run(settings.home)
        if run is None:
            return Down(None)
        trouble = None
        if run.alive:
            say("agents hand back their work")
            try:
                _stop_ours(settings, run)
            except OpenClawError as error:
                trouble = str(error)
            finally:
                _leave_ray()
        if trouble is not None and not run.started_ray:
            raise NotConnected(
                f"our actors could not be stopped: {trouble}",
                hint=f"is that Ray gone? then remove {settings.home / 'run.json'}",
            )
        ended = stop_run(run)
        forget_run(settings.home)
        return Down(run, ended, trouble)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Nobody else brings this home up or down meanwhile."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(home / "up", purpose="openclaw-ray up or down"):
        yield


def _check_same(run: Run, address: str | None, settings: Settings) -> None:
    if address not in (None, run.address):
        raise Conflict(f"a cluster is up here at {run.address}, not at {address}", hint="openclaw-ray down, then up")
    if run.namespace != settings.namespace:
        raise Conflict(
            f"a cluster is up here in namespace {run.namespace!r}, not {settings.namespace!r}",
            hint="openclaw-ray down, then up; or another OPENCLAW_HOME for a second cluster",
        )


def node_name() -> str:
    """What this machine's node is called: its host name, as an agent without a label would call itself."""
    return re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower())[:100] or "node"


# -- Ray -----------------------------------------------------------------------------------------------------------


def _start_ray(settings: Settings, wanted: Wanted, say: Say) -> Run:
    """Start a head in a session of its own and record it, before anything else can go wrong."""
    if wanted.dashboard:
        _check_dashboard()
    token = settings.home / "token"
    write_token(token)
    options = _port_options()
    ports = dict(zip(options, free_ports(len(options)), strict=True))
    port = ports["port"]
    name = node_name()
    say("starting Ray")
    command = _ray_command(wanted, name, ports)
    session, failed = _spawned(command, _ray_environment(wanted, token), settings.home)
    run = Run(
        address=f"{wanted.host}:{port}" if wanted.host else loopback_address(port),
        namespace=settings.namespace,
        token_path=str(token),
        started_ray=True,
        session=session,
        processes=session_processes(session),
        node_id=name,
        dashboard=f"http://{LOOPBACK}:{ports['dashboard-port']}" if wanted.dashboard else None,
    )
    if failed or not run.alive:
        stop_run(run)
        raise NotConnected(f"Ray did not start: {failed or 'its processes ended'}", hint="see logs/ray-start.log")
    write_run(settings.home, run)
    return run


def _port_options() -> tuple[str, ...]:
    """Ports of `ray start` whose defaults a second Ray would hold; it refuses Ray Client's where grpc is missing."""
    client = ("ray-client-server-port",) if importlib.util.find_spec("grpc") is not None else ()
    return ("port", "dashboard-port", "dashboard-agent-listen-port", *client)


def _ray_command(wanted: Wanted, name: str, ports: Mapping[str, int]) -> list[str]:
    from actors.names import NODE_LABEL, PIN

    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats",
        f"--node-ip-address={wanted.host or LOOPBACK}",
        *(f"--{option}={port}" for option, port in ports.items()),
        f"--include-dashboard={'true' if wanted.dashboard else 'false'}",
        f'--resources={{"{PIN}": 1}}',
        f"--labels={NODE_LABEL}={name}",
        "--log-style=record", "--log-color=false",
    ]  # fmt: skip
    return command if wanted.num_cpus is None else [*command, f"--num-cpus={wanted.num_cpus}"]


def _ray_environment(wanted: Wanted, token: Path) -> dict[str, str]:
    left_out = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")  # a token in the environment would win over ours
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    return environment if wanted.host else {**environment, LOOPBACK_VARIABLE: "0"}


def _spawned(command: Sequence[str], environment: Mapping[str, str], home: Path) -> tuple[int, str | None]:
    """Run `ray start`; answers the session of what it left running, and why it failed if it did."""
    path = home / "logs" / "ray-start.log"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("wb") as log:
        starting = subprocess.Popen(
            command, env=dict(environment), cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = starting.wait(RAY_START_S)
        except subprocess.TimeoutExpired:
            starting.kill()
            starting.wait()
            return starting.pid, f"not within {RAY_START_S:g} s"
        except BaseException:
            stop_run(Run(address="", namespace="", started_ray=True, session=starting.pid,
                         processes=session_processes(starting.pid)))  # fmt: skip
            raise
    if code == 0:
        return starting.pid, None
    lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    return starting.pid, f"{lines[-1].strip()[:300]} (exit status {code})" if lines else f"exit status {code}"


def _check_dashboard() -> None:
    import importlib.util

    if importlib.util.find_spec("aiohttp_cors") is None:
        raise InvalidRequest(
            "the dashboard is not installed", field="--dashboard", hint="pip install 'openclaw-ray[jobs]'"
        )


def _leave_ray() -> None:
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


# -- our actors ----------------------------------------------------------------------------------------------------


def _serve(settings: Settings, wanted: Wanted, run: Run, say: Say, *, fresh: bool) -> Up:
    """Join Ray; find or start our actors; wait until the nodes are online; record where /metrics is."""
    import ray

    join(run.address, settings.home)
    already = _find(run.namespace) is not None
    pin = _pin(run, wanted)
    if not already:
        say("starting the StateManager, the Scheduler and an agent on each node")
    manager, scheduler = start_actors(settings, {}, pin)
    try:
        _wait_nodes(manager, run)
        nodes = tuple(n["node_id"] for n in ray.get(manager.get_online_nodes.remote(), timeout=30))
        counts = ray.get(manager.get_task_stats.remote(), timeout=30)
        metrics = ray.get(scheduler.status.remote(), timeout=30)["metrics"]
    except BaseException:
        if fresh and not already:
            stop_actors(manager, scheduler)
        raise
    found = run.model_copy(update={"metrics": metrics})
    if found != run or fresh:
        write_run(settings.home, found)
    return Up(found, already, nodes, sum(counts[state] for state in ("pending", "scheduled", "running")))


def _find(namespace: str) -> tuple[Any, Any] | None:
    """Our two singletons, if they are there."""
    import ray

    from actors.names import SCHEDULER, STATE_MANAGER

    try:
        return ray.get_actor(STATE_MANAGER, namespace), ray.get_actor(SCHEDULER, namespace)
    except ValueError:
        return None


def _pin(run: Run, wanted: Wanted) -> str:
    """The resource that holds our actors on the machine of the database."""
    import ray

    from actors.names import PIN

    if run.started_ray or ray.cluster_resources().get(PIN, 0) > 0:  # type: ignore[no-untyped-call]
        return PIN
    if wanted.pin == "head":
        return HEAD_PIN
    raise Conflict(
        f"the Ray at {run.address} has no node with the resource {PIN}, which says where the database lies",
        hint=f"start that node with --resources='{{\"{PIN}\": 1}}', or use Ray's head: openclaw-ray up --pin head",
    )


def _wait_nodes(manager: Any, run: Run) -> None:
    """Wait for the node of a Ray of our own; of somebody else's Ray, for those that are labelled."""
    import ray

    from actors.names import NODE_LABEL

    if run.node_id is not None:
        wait_online(manager, {run.node_id}, READY_S)
        return
    alive = [n for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]
    wait_online(manager, {n["Labels"][NODE_LABEL] for n in alive if NODE_LABEL in n["Labels"]}, READY_S)


def _stop_ours(settings: Settings, run: Run) -> None:
    join(run.address, settings.home)
    found = _find(run.namespace)
    if found is not None:
        stop_actors(*found)
