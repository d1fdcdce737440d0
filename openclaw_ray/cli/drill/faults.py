"""What the drill does to a running cluster, and how long it takes to recover from it.

Every part is stopped by its own process id. Which part, and when, comes from the drill's seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: A part that is not back by then never will be (seconds).
BACK_S = 120.0
#: How often it is looked at meanwhile (seconds).
LOOK_S = 0.05
#: Between two faults: the cluster has some seconds of peace, so that each is felt alone (seconds).
PAUSE_S = (2.0, 6.0)
#: How long a frozen StateManager stands still (seconds): a stall, not a death.
STALL_S = 3.0
CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Felt:
    """A fault, and the time until the part was back; None: it was not."""

    fault: str
    part: str
    at_s: float
    recovery_s: float | None


class Faults:
    """A seeded plan of faults on one cluster of `oc.local`."""

    def __init__(self, cluster: Any, seed: int) -> None:
        self._cluster = cluster
        self._started = cluster.started
        self._chance = random.Random(seed)
        self._began = time.monotonic()
        self._kinds: dict[str, Callable[[], tuple[str, Callable[[], bool]]]] = {
            "kill -9 StateManager": self._kill_state_manager,
            "kill -9 Scheduler": self._kill_scheduler,
            "kill -9 NodeAgent": self._kill_agent,
            "kill -9 executor": self._kill_executor,
            "kill -9 node": self._kill_node,
            "freeze NodeAgent": self._freeze_agent,
            "freeze StateManager": self._freeze_state_manager,
        }

    def run(self, until: float) -> Iterator[Felt]:
        """One fault after the other until the monotonic moment `until`: all kinds in a drawn order, then again."""
        while True:
            kinds = list(self._kinds)
            self._chance.shuffle(kinds)
            for kind in kinds:
                time.sleep(self._chance.uniform(*PAUSE_S))
                if time.monotonic() >= until:
                    return
                yield self._feel(kind)

    def _feel(self, kind: str) -> Felt:
        at = time.monotonic()
        part, back = self._kinds[kind]()
        struck = time.monotonic()
        while time.monotonic() - struck < BACK_S:
            with contextlib.suppress(Exception):  # no answer is an answer: it is not back
                if back():
                    return Felt(kind, part, at - self._began, time.monotonic() - struck)
            time.sleep(LOOK_S)
        return Felt(kind, part, at - self._began, None)

    # -- the faults: each answers what it hit, and how to see that it is back ----------------------------------------

    def _kill_state_manager(self) -> tuple[str, Callable[[], bool]]:
        epoch = self._ask("hello")["epoch"]
        os.kill(self._get(self._started.state_manager.pid.remote()), signal.SIGKILL)
        return "StateManager", lambda: bool(self._ask("hello")["epoch"] > epoch)

    def _freeze_state_manager(self) -> tuple[str, Callable[[], bool]]:
        pid = self._get(self._started.state_manager.pid.remote())
        with _frozen(pid):
            time.sleep(STALL_S)
        return "StateManager", lambda: bool(self._ask("hello"))

    def _kill_scheduler(self) -> tuple[str, Callable[[], bool]]:
        pid = self._status()["pid"]
        os.kill(pid, signal.SIGKILL)
        return "Scheduler", lambda: bool(self._status()["pid"] != pid and self._status()["passes"] > 0)

    def _kill_agent(self) -> tuple[str, Callable[[], bool]]:
        node_id, info = self._an_agent()
        os.kill(info["pid"], signal.SIGKILL)
        return node_id, lambda: self._agent_after(node_id, info)

    def _freeze_agent(self) -> tuple[str, Callable[[], bool]]:
        """Longer than its lease: its work is given to others, and what it says afterwards is stale."""
        node_id, info = self._an_agent()
        with _frozen(info["pid"]):
            time.sleep(self._started.settings.lease_ttl_s + 3)
        return node_id, lambda: self._online(node_id)

    def _kill_executor(self) -> tuple[str, Callable[[], bool]]:
        import psutil

        found = [p for p in psutil.Process().children(recursive=True) if _is_executor(p)]
        if not found:
            return "no executor", lambda: True
        victim = self._chance.choice(sorted(found, key=lambda p: int(p.pid)))
        os.kill(victim.pid, signal.SIGKILL)
        return f"process {victim.pid}", lambda: not victim.is_running()

    def _kill_node(self) -> tuple[str, Callable[[], bool]]:
        node_id, info = self._an_agent()
        options = self._started.options[node_id]
        self._started.kill_node(node_id)
        self._started.add_node(node_id, **options)
        return node_id, lambda: self._agent_after(node_id, info)

    # -- looking -----------------------------------------------------------------------------------------------------

    def _an_agent(self) -> tuple[str, dict[str, Any]]:
        """A node that can be lost: not the one that holds the database, whose Ray node is the head."""
        node_id = self._chance.choice(sorted(self._started.options)[1:])
        return node_id, self._info(node_id)

    def _agent_after(self, node_id: str, before: dict[str, Any]) -> bool:
        info = self._info(node_id)
        return bool(info["pid"] != before["pid"] and info["incarnation"] > 0 and self._online(node_id))

    def _info(self, node_id: str) -> dict[str, Any]:
        import ray

        from actors.names import agent_name

        find: Any = ray.get_actor
        handle = find(agent_name(node_id), namespace=self._started.settings.namespace)
        found: dict[str, Any] = self._get(handle.info.remote())
        return found

    def _online(self, node_id: str) -> bool:
        return bool(self._ask("get_node", node_id=node_id)["status"] in ("online", "busy"))

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get(self._started.scheduler.status.remote())
        return found

    def _ask(self, verb: str, **arguments: Any) -> Any:
        return self._get(self._started.state_manager.call.remote(verb, arguments))

    def _get(self, reference: Any) -> Any:
        import ray

        return ray.get(reference, timeout=CALL_S)


def _is_executor(process: Any) -> bool:
    import psutil

    try:
        return any(word.startswith("ray::Executor") for word in process.cmdline())
    except psutil.Error:
        return False


@contextlib.contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
