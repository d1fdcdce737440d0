"""Undo, replay, restart, growth: what holds for every history. The histories are random walks from a seed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from openclaw_ray.core import events as ev
from openclaw_ray.core.books import IDLE_SHAPES_MAX
from openclaw_ray.core.effects import Effect, Log
from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, TaskRecord
from openclaw_ray.core.resources import Resources
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import Fault, NodeStatus, Outcome, TaskState
from openclaw_ray.errors import OpenClawError
from tests.support.cluster_builder import Cluster, happened, needs, planner_of, snapshot, submitted

SHAPES: list[Needs | None] = [
    needs("a"),
    needs("b", resources=Resources.of(cpu=1000)),
    needs("b", resources=Resources.of(cpu=2000, gpu=1000), tags=("gpu",)),
    needs("a", urgent=True, resources=Resources.of(cpu=500)),
    needs("a", skills=("a", "b"), revision="r1"),
    None,
]


#: Quarantines are short, so that a walk of some minutes sees nodes go and come back.
RULES: dict[str, Any] = {"prefill_max": 4, "lease_ttl_s": 15.0, "quarantine_faults": 2, "quarantine_base_s": 4.0}


class Walk:
    """Draws one event after another; whatever is refused must have changed nothing."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.c = Cluster(**RULES)
        self.made = 0
        self.done: dict[str, TaskState] = {}
        self.refused = 0
        #: (now, event) of everything that was applied.
        self.applied: list[tuple[object, ev.Event]] = []
        for skill in ("a", "b"):
            self.c.measure(0.01, skill)

    def step(self) -> None:
        c, rng = self.c, self.rng
        if rng.random() < 0.4:
            seconds = rng.choice([0.1, 1.0, 5.0])
            c.wall += seconds + (rng.random() < 0.02) * rng.choice([-3_600, 3_600])
            c.mono += seconds
        event = rng.choices(_DRAWS, _WEIGHTS)[0](self)
        if event is None:
            return
        before = (snapshot(c.state), len(c.state.books.touched_tasks))
        try:
            effects = c.apply(event)
        except OpenClawError:
            self.refused += 1
            assert (snapshot(c.state), len(c.state.books.touched_tasks)) == before
            return
        self.applied.append((c.now, event))
        if isinstance(event, ev.AttemptEnded) and rng.random() < 0.1:
            c.apply(event)
            self.applied.append((c.now, event))
        if not effects and not isinstance(event, ev.NodeHeard | ev.Ticked):
            assert snapshot(c.state)["tasks"] == before[0]["tasks"]

    # -- draws -----------------------------------------------------------------------------------------------------

    def submit(self) -> ev.Event:
        rng, c = self.rng, self.c
        self.made += 1
        after = tuple(rng.sample(sorted(c.state.tasks), min(len(c.state.tasks), rng.randint(0, 2)))) * (
            rng.random() < 0.4
        )
        return submitted(
            f"t{self.made}",
            rng.choice(SHAPES),
            rng.randint(0, 3),
            max_retries=rng.randint(0, 2),
            max_lost=rng.randint(0, 2),
            not_before=c.wall + rng.choice([5, 50]) if rng.random() < 0.2 else 0.0,
            deadline=c.wall + rng.choice([3, 30, 300]) if rng.random() < 0.2 else 0.0,
            after=after,
            daemon=rng.random() < 0.1,
        )

    def assign(self) -> ev.Event:
        planner = planner_of(self.c.state)
        rows = planner.plan()
        if self.rng.random() < 0.3:  # an old or wild plan
            shapes, nodes = sorted(self.c.state.shapes), [*sorted(self.c.state.nodes), "gone"]
            rows = [
                ev.PlanRow(
                    self.rng.choice(shapes), self.rng.choice(nodes), self.rng.randint(0, 3), self.rng.randint(0, 2)
                )
                for _ in range(4 if shapes else 0)
            ]
        return ev.Assigned(tuple(rows))

    def lease(self) -> LeaseRecord | None:
        held = [self.c.state.leases[t] for t in sorted(self.c.state.leases) if self.c.state.leases[t].node_id]
        return self.rng.choice(held) if held else None

    def start(self) -> ev.Event | None:
        lease = self.lease()
        return lease and self.c.start_report(lease, self.c.wall + self.rng.choice([-2, 0, 2]))

    def end(self) -> ev.Event | None:
        lease = self.lease()
        if lease is None:
            return None
        rng = self.rng
        outcome = rng.choice([*[Outcome.COMPLETED] * 4, *[o for o in Outcome if o is not Outcome.LOST]])
        report = self.c.end_report(
            lease, outcome, permanent=rng.random() < 0.1,
            node_caused=rng.random() < 0.3 and outcome in (Outcome.FAILED, Outcome.RELEASED),
            started_at=rng.choice([0.0, self.c.wall]), error=rng.choice([None, {"kind": "x"}, {"kind": "crashed"}]),
        )  # fmt: skip
        return report._replace(incarnation=report.incarnation + (rng.random() < 0.05))

    def pick_task(self) -> str:
        return self.rng.choice([*sorted(self.c.state.tasks), "gone"])

    def pick_node(self) -> str:
        return self.rng.choice(["n1", "n2", "n3", "r1"])

    def hand(self) -> ev.Event:
        return ev.TaskMovedByHand(
            self.pick_task(),
            self.rng.choice(list(TaskState)),
            self.rng.choice([None, self.pick_node()]),
            None,
            None,
            None,
        )

    def register(self) -> ev.Event:
        rng, name = self.rng, self.pick_node()
        known = self.c.state.nodes.get(name)
        same = known is not None and rng.random() < 0.5
        holds = [t for t in known.leases if rng.random() < 0.7] if known else []
        return ev.NodeRegistered(
            name, (known.incarnation if known else 0) + (not same), same, rng.randint(0, 3),
            Resources.of(cpu=rng.choice([1000, 4000]), gpu=1000), {"a": rng.choice(["r1", "r2"]), "b": "r1"},
            frozenset({"gpu"} if rng.random() < 0.5 else ()), frozenset(holds), None,
        )  # fmt: skip

    def edit_node(self) -> ev.Event:
        rng = self.rng
        return ev.NodeEdited(
            self.pick_node(), rng.choice([None, 0, 1, 4]), rng.choice([None, frozenset({"gpu"}), frozenset()]),
            rng.choice([None, {"a": "r1"}, {"a": "r1", "b": "r1"}]),
            rng.choice([None, Resources.of(cpu=500), Resources.of(cpu=4000, gpu=1000)]), None, rng.choice([None, "x"]),
        )  # fmt: skip

    def heard(self) -> ev.Event:
        name = self.pick_node()
        node = self.c.state.nodes.get(name)
        return ev.NodeHeard(name, node.incarnation if node and self.rng.random() < 0.9 else None)

    def recall(self) -> ev.Event | None:
        shapes = sorted(self.c.state.shapes)
        return ev.Recalled(self.pick_node(), self.rng.choice(shapes), 2) if shapes else None


_DRAWS = [
    Walk.submit, Walk.assign, Walk.start, Walk.end, Walk.hand, Walk.register, Walk.edit_node, Walk.heard, Walk.recall,
    lambda w: ev.Ticked(),
    lambda w: ev.CancelAsked(w.pick_task(), None, ""),
    lambda w: ev.TaskEdited(w.pick_task(), w.rng.choice([None, 0, 3]), w.rng.choice(SHAPES[:3]), {}, None),
    lambda w: ev.TaskRemoved(w.pick_task(), None),
    lambda w: ev.NodeAdded(
        w.pick_node(), w.rng.choice(list(NodeStatus)), 2, Resources(), {"a": ""}, frozenset(), None, None
    ),
    lambda w: ev.NodeSilenced(w.pick_node(), "dead", w.rng.choice([None, Fault.AGENT])),
    lambda w: ev.NodeHeld(w.pick_node(), "why", None, w.rng.choice([0.0, w.c.wall + 9])),
    lambda w: ev.NodeUnheld(w.pick_node(), None),
    lambda w: ev.NodeMovedByHand(w.pick_node(), w.rng.choice(list(NodeStatus)), None),
    lambda w: ev.NodeRemoved(w.pick_node(), w.rng.random() < 0.5, None),
]  # fmt: skip
_WEIGHTS = [14, 14, 10, 12, 5, 4, 3, 8, 3, 8, 3, 3, 1, 1, 1, 2, 2, 2, 1]


@pytest.mark.parametrize("seed", range(6))
def test_every_invariant_holds_after_every_step_and_undo_brings_back_the_last_commit(seed: int) -> None:
    walk = Walk(seed)
    state, rng = walk.c.state, walk.rng
    committed = snapshot(state)
    undone = 0
    for _ in range(400):
        walk.step()
        draw = rng.random()
        if draw < 0.15:
            state.settle()
            committed = snapshot(state)
        elif draw < 0.22:
            state.undo()
            state.check_invariants()
            assert snapshot(state) == committed
            undone += 1
    ended = set(happened(walk.c.history))
    assert undone
    assert walk.refused
    assert {"completed", "cancelled", "pending", "running", "scheduled"} <= ended


def test_walks_lead_nodes_into_quarantine_and_out_of_it() -> None:
    reasons: set[str | None] = set()
    for seed in range(6):
        walk = Walk(seed)
        for _ in range(300):
            walk.step()
        reasons |= {e.reason for e in walk.c.history if isinstance(e, Log)}
    assert "its quarantine is over" in reasons
    assert any("failures of its own" in str(reason) for reason in reasons)


def test_the_same_events_at_the_same_times_have_the_same_effects() -> None:
    walk = Walk(99)
    for _ in range(400):
        walk.step()
    again = Cluster(**RULES)
    for skill in ("a", "b"):
        again.measure(0.01, skill)
    for now, event in walk.applied:
        again.history += again.state.apply(event, now)  # type: ignore[arg-type]
    assert [repr(e) for e in again.history] == [repr(e) for e in walk.c.history]
    assert snapshot(again.state) == snapshot(walk.c.state)


def test_a_restart_takes_up_what_was_stored() -> None:
    walk = Walk(7)
    for _ in range(300):
        walk.step()
    old, now = walk.c.state, walk.c.now
    old.settle()
    new = ClusterState(old.rules)
    tasks = [t.copy() for t in old.tasks.values()]
    for task in tasks:
        task.shape = new.books.shape(task.shape.needs) if task.shape else None
    leases = [lease.copy() for lease in old.leases.values()]
    for lease in leases:
        lease.rank = 0.0  # not stored
    nodes = [n.copy() for n in old.nodes.values()]
    new.restore(old.version, old.books.next_seq, old.books.next_token, nodes, tasks, leases, now)
    new.check_invariants()
    for lease in old.leases.values():
        if lease.task_id in old.tasks:
            new.leases[lease.token].rank = lease.rank
    ours, theirs = snapshot(new), snapshot(old)
    assert {k: v for k, v in ours.items() if k != "leases"} == {k: v for k, v in theirs.items() if k != "leases"}
    assert set(ours["leases"]) == set(theirs["leases"])
    assert new.next_deadline()[0] == old.next_deadline()[0]
    new.undo()
    assert snapshot(new) == ours


def test_a_restart_gives_every_node_a_full_lease_time() -> None:
    state = ClusterState()
    node = NodeRecord("n1", NodeStatus.ONLINE, 1, Resources(), {}, frozenset(), held_until=5.0)
    task = TaskRecord("t", 1, None, 2, TaskState.RUNNING, 1.0, 3, 3, 121.0, 1, 4, "n1", deadline=9.0, seated=True)
    lease = LeaseRecord(4, "t", 1, "n1", None, True, 1.0, 2.0)
    state.restore(8, 2, 5, [node], [task], [lease])
    with pytest.raises(AssertionError, match="watched until 0"):
        state.check_invariants()
    state.watch_all(Cluster().now)
    state.check_invariants()
    assert (state.version, state.next_deadline(), lease.rank) == (8, (5.0, 515.0), 121.0)


# -- versions ------------------------------------------------------------------------------------------------------


def test_the_version_grows_with_what_is_stored_and_with_nothing_else() -> None:
    c = Cluster()
    seen = [c.state.version]

    def grew(effects: list[Effect]) -> bool:
        seen.append(c.state.version)
        return seen[-1] > seen[-2]

    assert grew(c.agent())
    c.submit("t")
    assert grew([])
    assert not grew(c.wait(1))
    assert not grew(c.apply(ev.NodeHeard("n1", 1)))
    assert not grew(c.apply(ev.Assigned((ev.PlanRow(77, "n1", 1),))))
    c.lease("n1")
    assert grew([])
    report = c.end_report(c.lease_of("t"))
    assert not grew(c.apply(report._replace(token=77)))
    assert grew(c.apply(report))
    assert not grew(c.apply(report))
    assert grew(c.apply(ev.TaskRemoved("t", None)))
    c.state.settle()
    c.submit("u")
    c.state.undo()
    assert not grew([])


# -- undo of what is easily forgotten ------------------------------------------------------------------------------


def test_undo_brings_back_an_ended_task_whose_shape_nobody_used_meanwhile() -> None:
    c = Cluster()
    c.agent()
    c.submit("t")
    c.state.settle()
    c.cancel("t")
    for i in range(2 * IDLE_SHAPES_MAX + 2):
        c.state.books.shape(needs(f"other{i}"))
    c.state.undo()
    c.state.check_invariants()
    assert c.lease("n1") == ["t"]


def test_undo_keeps_what_was_seen_meanwhile() -> None:
    c = Cluster()
    c.agent()
    c.submit("t", not_before=c.wall + 5)
    c.state.settle()
    c.wait(5, silent=True)
    c.edit_node(slots=3)
    c.lease("n1")
    c.state.observe("n1", 12.0, 0.0, 0.0, c.now)
    c.state.undo()
    c.state.check_invariants()
    node, task = c.node(), c.task("t")
    assert (node.slots, node.cpu_usage, node.silent_at) == (1, 12.0, c.mono + 15)
    assert (task.state, task.due) == (TaskState.PENDING, 0.0)


def test_undo_of_a_node_that_came_and_of_one_that_went() -> None:
    c = Cluster()
    c.agent("old")
    c.submit("t")
    c.lease("old")
    c.state.settle()
    before = snapshot(c.state)
    c.agent("new")
    c.apply(ev.NodeRemoved("old", True, None))
    c.agent("old", slots=7)
    c.apply(ev.NodeRemoved("new", True, None))
    c.agent("new")
    c.state.undo()
    c.state.check_invariants()
    assert snapshot(c.state) == before
    c.end("t")


def test_an_undone_deadline_comes_again() -> None:
    c = Cluster()
    c.submit("t", deadline=c.wall + 5)
    c.state.settle()
    for _ in range(200):
        c.wall += 5
        assert happened(c.apply(ev.Ticked())) == ["timeout"]
        c.state.undo()
        c.state.check_invariants()
    assert len(c.state.books.deadlines) < 200


# -- growth --------------------------------------------------------------------------------------------------------


def test_memory_follows_what_lives_not_what_lived() -> None:
    c = Cluster()
    state, now = c.state, c.now
    c.agent()
    for i in range(2_000):
        state.apply(submitted(f"t{i}", needs(f"s{i}"), not_before=c.wall + 1e6, deadline=c.wall + 1e7), now)
        state.apply(ev.CancelAsked(f"t{i}", None, ""), now)
        state.settle()
    books = state.books
    assert max(len(books.due), len(books.deadlines)) < 300
    assert len(books.shapes) <= IDLE_SHAPES_MAX
    state.check_invariants()


def test_a_queue_whose_tasks_change_places_does_not_grow() -> None:
    c = Cluster()
    shape = c.submit("t").shape
    assert shape is not None
    for i in range(1_000):
        c.state.apply(ev.TaskEdited("t", i % 4, None, {}, None), c.now)
    assert len(shape.heap) < 100
    c.state.check_invariants()


def test_the_shape_idle_longest_is_forgotten_first() -> None:
    c = Cluster()
    books = c.state.books
    for i in range(IDLE_SHAPES_MAX + 1):
        books.shape(needs(f"s{i}"))
    c.submit("t", "s0")
    c.cancel("t")
    c.state.settle()
    assert needs("s0") in books.shape_of
    assert needs("s1") not in books.shape_of


def test_the_checks_find_what_is_wrong() -> None:
    def broken() -> Cluster:
        c = Cluster()
        c.agent(slots=1)
        for task_id in ("t", "u"):
            c.submit(task_id)
        c.lease("n1")
        c.state.settle()
        return c

    c = broken()
    c.node().seated.clear()
    c.task("u").shape.waiting = 3  # type: ignore[union-attr]
    c.state.books.counts[TaskState.RUNNING] += 1
    c.task("u").blockers = frozenset({"gone"})
    with pytest.raises(AssertionError) as found:
        c.state.check_invariants()
    for part in ("seats", "waiting 3", "counts", "dependents", "never end"):
        assert part in str(found.value)
    c = broken()
    c.task("t").attempt = 9
    c.task("u").retries = 9
    c.state.books.next_token = 1
    c.node().slots = 0
    c.node().queue = []
    c.lease_of("t").seated = False
    c.node().silent_at = 0.0
    with pytest.raises(AssertionError) as found:
        c.state.check_invariants()
    for part in ("with lease", "budget", "token", "queue", "watched", "silences"):
        assert part in str(found.value)
