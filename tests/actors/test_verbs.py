"""Every verb, by handles only: good and bad, singly and in batch; and fifty callers at once."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actors.names import AGENT_PREFIX, PIN, STATE_MANAGER, singleton_options
from openclaw_ray import errors
from openclaw_ray.config import Settings
from tests.actors import verb_table
from tests.actors.processes import kill_and_wait
from tests.actors.verbs import CASES, Driver
from tests.support.rays import QUICK, Rays
from tests.support.wait import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared")]

_spaces = itertools.count(1)


def start_manager(home: Path, namespace: str) -> Any:
    """A StateManager without a scheduler and agents: nothing happens in it but what the test does."""
    import ray

    from actors.state_manager import StateManager

    settings = Settings(**{**QUICK, "home": home, "namespace": namespace, "lease_ttl_s": 60.0})
    manager = StateManager.options(**singleton_options(STATE_MANAGER, namespace, PIN)).remote(settings.to_json())
    ray.get(manager.initialise.remote(), timeout=60)
    return manager


@pytest.fixture(scope="module")
def alone(_rays: Rays) -> Iterator[Any]:
    """A StateManager of this module's own."""
    import ray

    _rays.shared()
    with tempfile.TemporaryDirectory(prefix="och", dir="/tmp") as home:
        manager = start_manager(Path(home), f"verbs-{next(_spaces)}")
        yield manager
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(manager.stop.remote(), timeout=30)


@pytest.fixture
def driver(alone: Any, _rays: Rays) -> Driver:
    """Handles as a plain driver gets them."""
    import ray

    cluster = _rays.shared()
    agent = ray.get_actor(AGENT_PREFIX + "node-1", namespace=cluster.settings.namespace)
    return Driver(alone, cluster.scheduler, agent)


def fitting(driver: Driver, verb: str, shared: Any) -> Driver:
    """Verbs of the Scheduler are asked of the whole cluster, all others of the StateManager that nobody disturbs."""
    if CASES[verb].actor == "StateManager":
        return driver
    return Driver(shared.state_manager, shared.scheduler, driver.agent)


@pytest.mark.parametrize("verb", CASES)
def test_a_verb_does_its_work(verb: str, driver: Driver, shared: Any) -> None:
    CASES[verb].one(fitting(driver, verb, shared))


@pytest.mark.parametrize("verb", [verb for verb, case in CASES.items() if case.many])
def test_a_verb_takes_several_at_once(verb: str, driver: Driver) -> None:
    many = CASES[verb].many
    assert many is not None
    many(driver)


@pytest.mark.parametrize(("verb", "nth"), [(verb, i) for verb, case in CASES.items() for i in range(len(case.bad))])
def test_a_verb_refuses_naming_the_field(verb: str, nth: int, driver: Driver, shared: Any) -> None:
    case = CASES[verb]
    arguments, kind, field = case.bad[nth]
    driver = fitting(driver, verb, shared)
    actor = {"StateManager": driver.manager, "Scheduler": driver.scheduler, "NodeAgent": driver.agent}[case.actor]
    if not arguments:
        # A verb that takes nothing: Ray refuses in the driver, by the signature.
        with pytest.raises(TypeError):
            getattr(actor, verb).remote(surplus=1)
        arguments = {"surplus": 1}
    else:
        with pytest.raises(kind) as refused:  # through Ray it comes as its own class: `except` works
            driver.get(getattr(actor, verb).remote(**arguments))
        assert isinstance(refused.value, errors.OpenClawError)
        assert refused.value.field == field, str(refused.value)
    if case.actor == "StateManager":
        answer = json.loads(driver.get(actor.call_json.remote(verb, json.dumps(arguments))))
        assert answer["ok"] is False
        said = answer["error"]
        assert {"code", "field", "limit", "hint", "message"} <= set(said)
        assert (said["code"], said["field"]) == (kind.code, field)


def test_json_callers_get_the_value(driver: Driver) -> None:
    node_id = driver.node()
    answer = json.loads(driver.get(driver.manager.call_json.remote("get_node", json.dumps({"node_id": node_id}))))
    assert answer["ok"] is True
    assert answer["value"]["node_id"] == node_id


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("no_such_verb", "{}", "verb"),
        ("get_node", "{", "body"),
        ("get_node", "[]", "body"),
        ("get_node", "{}", "node_id"),
        ("get_node", '{"node": 1}', "node"),
        ("submit", '{"tasks": [{"id": "a", "spec": {"skil": "x"}}]}', "tasks[0].spec.skil"),
    ],
)
def test_json_callers_are_refused_by_field(driver: Driver, verb: str, body: str, field: str) -> None:
    answer = json.loads(driver.get(driver.manager.call_json.remote(verb, body)))
    assert (answer["ok"], answer["error"]["code"], answer["error"]["field"]) == (False, "invalid_request", field)


def test_the_table_of_verbs_is_up_to_date() -> None:
    assert verb_table.PATH.read_text("utf-8") == verb_table.text(), "run: python -m tests.actors.verb_table"


CALLERS, CALLS = 50, 100


class Caller:
    """One of fifty: a hundred calls of mixed verbs on things of its own and on tasks that all fight for."""

    def __init__(self, driver: Driver, number: int, prizes: list[str]) -> None:
        self.driver = driver
        self.number = number
        self.prizes = prizes
        self.random = random.Random(number)  # the same calls in every run
        self.tasks: dict[str, int] = {}
        self.removed: list[str] = []
        self.won: list[str] = []
        self.versions: list[int] = []
        self.beats = 0
        self.node_id = driver.add_node({"node_id": f"caller-{number}"})

    def run(self) -> None:
        for step in range(CALLS):
            self.random.choice(
                [self.add, self.add, self.change, self.change, self.end, self.read, self.beat, self.retag, self.fight]
            )(step)

    def add(self, step: int) -> None:
        task_id = self.driver.add_task({"task_id": f"c{self.number}-{step}", "metadata": {"n": 0}})
        self.tasks[task_id] = 0

    def change(self, step: int) -> None:
        if self.tasks:
            task_id = self.random.choice(list(self.tasks))
            self.tasks[task_id] += 1
            self.versions.append(self.driver.update_task(task_id, {"metadata": {"n": self.tasks[task_id]}}))

    def end(self, step: int) -> None:
        if self.tasks:
            task_id = self.random.choice(list(self.tasks))
            del self.tasks[task_id]
            self.versions.append(self.driver.update_task(task_id, {"status": "cancelled"}))
            assert self.driver.remove_task(task_id) is True
            self.removed.append(task_id)

    def read(self, step: int) -> None:
        if self.tasks:  # what was answered is there, at once
            ids = list(self.tasks)[-5:]
            assert [t["metadata"]["n"] for t in self.driver.get_task(ids)] == [self.tasks[i] for i in ids]

    def beat(self, step: int) -> None:
        self.beats += 1
        self.driver.update_heartbeat(self.node_id, {"cpu_usage": float(self.beats)})

    def retag(self, step: int) -> None:
        self.versions.append(self.driver.update_node(self.node_id, {"tags": [f"step-{step}"]}))
        assert self.driver.get_node(self.node_id)["tags"] == [f"step-{step}"]

    def fight(self, step: int) -> None:
        prize = self.random.choice([one for one in self.prizes if one not in self.won])
        try:
            self.versions.append(self.driver.update_task(prize, {"status": "running", "assigned_node": self.node_id}))
        except errors.Conflict:
            return
        self.won.append(prize)


def test_fifty_callers_lose_no_update_and_the_version_outlives_the_process(alone: Any) -> None:
    driver = Driver(alone)
    before = driver.get_task_stats()
    prizes = driver.add_task([{"task_id": f"prize-{i}"} for i in range(40)])
    callers = [Caller(driver, number, prizes) for number in range(CALLERS)]
    seen = [driver.get_state()["version"]]
    with ThreadPoolExecutor(CALLERS) as pool:
        running = [pool.submit(caller.run) for caller in callers]
        while not all(one.done() for one in running):
            seen.append(driver.get_state()["version"])
        for one in running:
            one.result()

    assert seen == sorted(seen)
    for caller in callers:
        assert all(a < b for a, b in itertools.pairwise(caller.versions))
    answered = [version for caller in callers for version in caller.versions]
    assert len(set(answered)) == len(answered)  # no two changes had one version

    def check() -> int:
        for caller in callers:
            found = driver.get_task(list(caller.tasks)) if caller.tasks else []
            assert {t["task_id"]: t["metadata"]["n"] for t in found} == caller.tasks
            assert driver.get_node(caller.node_id)["cpu_usage"] == float(caller.beats)
        won = [prize for caller in callers for prize in caller.won]
        assert len(set(won)) == len(won) > 0  # each prize had one winner
        stats = driver.get_task_stats()
        left = sum(len(caller.tasks) for caller in callers)
        grown = {name: stats[name] - before[name] for name in ("total", "running", "pending")}
        assert grown == {
            "total": len(prizes) + left,
            "running": len(won),
            "pending": len(prizes) - len(won) + left,
        }
        version: int = driver.get_state()["version"]
        return version

    version = check()
    assert version >= max(answered)
    kill_and_wait(driver.pid())
    wait_until(lambda: _answers(driver), 30)
    assert check() == version
    assert driver.refresh_from_database()["differences"] == []


def _answers(driver: Driver) -> bool:
    import ray

    try:
        return bool(driver.get_state()["version"])
    except (ray.exceptions.RayError, errors.Unavailable):
        return False
