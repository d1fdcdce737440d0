"""Checks of a running cluster: is it reachable, do its parts answer, do its nodes agree."""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from openclaw_ray.cli.doctor.finding import Finding, fail, ok, warn
from openclaw_ray.clock import SystemClock
from openclaw_ray.display import duration, escape, seconds_since, seconds_until
from openclaw_ray.errors import NotConnected, OpenClawError

if TYPE_CHECKING:
    from openclaw_ray.cli.base import Session
    from openclaw_ray.cluster_run import Run
    from openclaw_ray.config import Settings

#: A head that does not take a connection within this (seconds) is not there; Ray itself would try for a minute.
KNOCK_S = 2.0
#: An agent that does not answer within this (seconds) is stuck.
ASK_S = 3.0
#: A Scheduler that is not heard of is asked for once more after this (seconds).
AGAIN_S = 3.0
#: Answers slower than this mean a machine or a disk that is overloaded.
SLOW_S = 1.0
#: Clocks that differ by more make times of attempts wrong on the screen; leases do not depend on them.
SKEW_WARN_S = 2.0


def check(session: Session, settings: Settings, run: Run | None) -> Iterator[Finding]:
    """Every check that needs a cluster, as far as one builds on the other."""
    address = settings.address or os.environ.get("RAY_ADDRESS") or (run.address if run else None)
    if address is None:
        yield warn("cluster", "none is up here", "openclaw-ray up; or name one: --address, OPENCLAW_ADDRESS")
        return
    if run is not None and run.address == address and not run.alive:
        yield fail("cluster", f"the one that was up at {address} is gone", "openclaw-ray up")
        return
    if not reachable(address):
        yield fail(
            "cluster", f"nobody answers at {address}", "is it running there? openclaw-ray up; check host and port"
        )
        return
    yield from serving(session)
    if run is not None and run.metrics:
        yield _metrics(run.metrics)


def serving(session: Session) -> Iterator[Finding]:
    """What the parts of the cluster answer."""
    try:
        with session.connected() as cluster:
            began = time.monotonic()
            state = session.ask(cluster, "get_state")
            yield _answer(time.monotonic() - began, state)
            if not state["scheduler"]["alive"]:  # between two of its calls, on a machine that is overloaded?
                time.sleep(AGAIN_S)
                state = session.ask(cluster, "get_state")
            yield _scheduler(state)
            yield from nodes(state["nodes"])
            yield from _agents(state)
    except NotConnected as error:  # a token that is missing, another namespace: it says which
        yield fail("cluster", error.message, error.hint or "openclaw-ray up")
    except OpenClawError as error:
        yield fail("state manager", error.message, error.hint or "look into the logs of OPENCLAW_HOME")


def reachable(address: str) -> bool:
    """Whether somebody takes connections there; true where the address does not say where."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return True
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=KNOCK_S):
            return True
    except OSError:
        return False


def _answer(seconds: float, state: dict[str, Any]) -> Finding:
    text = f"answers in {duration(seconds)}, version {state['version']:,}, start {state['epoch']}"
    if seconds > SLOW_S:
        return warn("state manager", text, "look at the disk of OPENCLAW_HOME: each answer waits for its commit")
    return ok("state manager", text)


def _scheduler(state: dict[str, Any]) -> Finding:
    if not state["scheduler"]["alive"]:
        return fail("scheduler", "it is silent: nothing is placed", "openclaw-ray down, then up; see its log")
    return ok("scheduler", f"watches, strategy {escape(state['scheduler']['strategy'] or '-')}")


def nodes(found: list[dict[str, Any]]) -> Iterator[Finding]:
    """Nodes that are out of service, and skills on which nodes differ."""
    served = [one for one in found if one["agent"] or one["agent_process"]]  # not those kept by hand
    online = [one for one in served if one["agent"] and one["status"] in ("online", "busy")]
    if not online:
        yield fail(
            "nodes", f"none of {len(found)} is online", "openclaw-ray nodes; start Ray on a machine of the cluster"
        )
    for one in served:
        if one["status"] == "error" and one["quarantined_until"]:
            left = duration(seconds_until(one["quarantined_until"]))
            said = escape(one["quarantine_reason"], 100)
            yield warn("nodes", f"{one['node_id']} is quarantined for {left} more: {said}",
                       f"mend it, then openclaw-ray undrain {one['node_id']}")  # fmt: skip
        elif one["status"] == "offline":
            heard = duration(seconds_since(one["last_heartbeat"])) if one["last_heartbeat"] else "ever"
            yield warn("nodes", f"{one['node_id']} is offline, not heard for {heard}", "start Ray on that machine")
    if online:
        yield ok("nodes", f"{len(online)} of {len(served)} online")
    yield from _differing(online)


def _differing(online: list[dict[str, Any]]) -> Iterator[Finding]:
    revisions: dict[str, dict[str, list[str]]] = {}
    for node in online:
        for skill, revision in node["offers"].items():
            revisions.setdefault(skill, {}).setdefault(revision, []).append(node["node_id"])
    for skill, found in sorted(revisions.items()):
        if len(found) > 1:
            where = "; ".join(f"{revision[:8] or '-'} on {', '.join(nodes[:3])}" for revision, nodes in found.items())
            yield warn("skills", f"{escape(skill, 60)} differs: {where}", "bring the same skill folder to every node")


def _agents(state: dict[str, Any]) -> Iterator[Finding]:
    """Ask every agent itself: does it answer, what time is it there, does it run our version."""
    if "ray" not in sys.modules:  # a cluster without it, in a test
        return
    import ray

    if not ray.is_initialized():
        return
    from actors.names import agent_name

    asked: dict[Any, str] = {}
    began = SystemClock().now()
    for node in state["nodes"]:
        if node["agent"] and node["status"] != "offline":
            try:
                handle = ray.get_actor(agent_name(node["node_id"]), namespace=state["namespace"])
            except ValueError:
                yield fail(
                    "agents", f"{node['node_id']} has no agent", "the Scheduler makes one within seconds; see its log"
                )
                continue
            asked[handle.info.remote()] = node["node_id"]
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ASK_S) if asked else ([], [])
    ended = SystemClock().now()
    for call, node_id in asked.items():
        if call not in answered:
            yield fail("agents", f"the agent of {node_id} does not answer", "see its log in OPENCLAW_HOME/logs there")
            continue
        try:
            info = ray.get(call)
        except ray.exceptions.RayError as error:
            yield fail("agents", f"the agent of {node_id} fails: {type(error).__name__}", "see its log there")
            continue
        yield from compared(node_id, info, began.wall, ended.wall)
    if answered:
        yield ok("agents", f"{len(answered)} of {len(asked)} answer within {duration(ended.mono - began.mono)}")


def compared(node_id: str, info: dict[str, Any], earliest: float, latest: float) -> Iterator[Finding]:
    """An agent's clock and version beside ours. Its answer was made between `earliest` and `latest`."""
    from importlib import metadata

    skew_s = max(earliest - info["wall"], info["wall"] - latest)
    if skew_s > SKEW_WARN_S:
        yield warn(
            "clocks", f"that of {node_id} is {duration(skew_s)} off", "let NTP set it; leases do not depend on it"
        )
    there, here = info["machine"]["version"], metadata.version("openclaw-ray")
    if there != here:
        yield fail("versions", f"{node_id} runs openclaw-ray {there}, this is {here}", "install the same on every node")


def _metrics(address: str) -> Finding:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=KNOCK_S) as answer:
            size = len(answer.read())
    except OSError as error:
        return warn("metrics", f"http://{address}/metrics does not answer: {error}", "see the log of the Scheduler")
    return ok("metrics", f"http://{address}/metrics, {size:,} bytes")
