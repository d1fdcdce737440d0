"""The words of the client, against a real coordinator: wait, gather, cancel, keys, groups, retry, why."""

from __future__ import annotations

from typing import Any

import pytest

import openclaw_ray as oc
from openclaw_ray.client import Cluster
from tests.client.conftest import Home
from tests.support.inprocess import Wire
from tests.support.wait import wait_until


def test_ten_thousand_tasks_take_some_dozen_calls(cluster: Cluster, wire: Wire) -> None:
    wire.calls.clear()
    tasks = cluster.map("echo", ({"i": i} for i in range(10_000)), group="many")
    assert wire.calls["submit"] == 20
    assert oc.gather(tasks, timeout=90) == [{"i": i} for i in range(10_000)]
    assert sum(wire.calls.values()) < 400
    assert len({task.id for task in tasks}) == 10_000


def test_gather_modes(cluster: Cluster) -> None:
    tasks = [cluster.submit("same", {"value": 1}), cluster.submit("boom", {"x": 2}, retries=0)]
    tasks.append(cluster.submit("same", {"value": 3}))
    with pytest.raises(oc.TaskFailed, match="ValueError: bad 2"):
        oc.gather(tasks, timeout=10)
    one, failed, three = oc.gather(tasks, on_error="return", timeout=10)
    assert (one, three) == (1, 3)
    assert isinstance(failed, oc.TaskFailed)
    assert oc.gather(tasks, on_error="skip", timeout=10) == [1, 3]
    assert oc.gather([], timeout=1) == []
    with pytest.raises(oc.InvalidRequest):
        oc.gather(tasks, on_error="ignore")  # type: ignore[arg-type]


def test_a_failure_is_raised_while_others_still_run(home: Home, cluster: Cluster) -> None:
    held = cluster.submit("held", {})
    with pytest.raises(oc.TaskFailed):
        oc.gather([held, cluster.submit("boom", {}, retries=0)], timeout=10)
    home.gate.wait_entered()
    home.gate.open()
    assert held.result(10) == {}


def test_the_error_of_a_task_says_what_happened_where(cluster: Cluster) -> None:
    task = cluster.submit("boom", {"x": 1}, retries=1)
    with pytest.raises(oc.TaskFailed) as failed:
        task.result(10)
    error = failed.value
    assert "boom" in str(error)
    assert "on node-" in str(error)
    assert "(attempt 2): ValueError: bad 1" in str(error)
    assert error.facts["task_id"] == task.id
    assert error.facts["attempt"] == 2
    assert error.facts["kind"] == "skill_error"
    assert 'raise ValueError(f"bad {x}")' in error.facts["traceback"]
    assert task.error is not None
    assert task.error.type == "ValueError"
    assert [one.outcome for one in task.attempts()] == ["failed", "failed"]
    told = [line.split()[1] for line in task.story()]
    assert told == ["submitted", "leased", "running", "back", "leased", "running", "failed"]


def test_tasks_are_told_in_the_order_in_which_they_end(home: Home, cluster: Cluster) -> None:
    held = cluster.submit("held", {"n": 0})
    home.gate.wait_entered()
    quick = cluster.submit("same", {"value": 1})
    seen = oc.as_completed([held, quick], timeout=10)
    assert next(seen) is quick
    home.gate.open()
    assert next(seen) is held
    assert list(seen) == []


def test_only_the_waiting_times_out(home: Home, cluster: Cluster) -> None:
    task = cluster.submit("held", {})
    home.gate.wait_entered()
    with pytest.raises(oc.WaitTimeout) as late:
        task.result(timeout=0.05)
    assert late.value.facts["task_id"] == task.id
    with pytest.raises(oc.WaitTimeout):
        list(oc.as_completed([task], timeout=0.05))
    with pytest.raises(oc.WaitTimeout, match="1 of 2 tasks"):
        oc.gather([task, cluster.submit("echo", {}).wait(10)], timeout=0.05)
    wait_until(lambda: task.state == "running")
    home.gate.open()
    assert task.result(10) == {}


@pytest.mark.parametrize("timeout", [-1, float("nan"), True, "soon", [1]])
def test_a_time_that_is_none_is_refused(cluster: Cluster, timeout: Any) -> None:
    with pytest.raises(oc.InvalidRequest):
        cluster.submit("echo", {}).result(timeout=timeout)


def test_cancelling_stops_what_runs_and_what_waits(home: Home, cluster: Cluster) -> None:
    running = cluster.submit("held", {})
    home.gate.wait_entered()
    waiting = cluster.submit("echo", {}, not_before=3600)
    assert running.cancel("not needed") == "cancelled"
    assert cluster.cancel(waiting) == {waiting.id: "cancelled"}
    for task in (running, waiting):
        with pytest.raises(oc.TaskCancelled):
            task.result(10)
    done = cluster.submit("echo", {}).wait(10)
    assert done.cancel() == "completed"
    with pytest.raises(oc.NotFound):
        cluster.cancel("t-none")
    with pytest.raises(oc.InvalidRequest):
        cluster.cancel()


def test_a_group_is_cancelled_and_found_together(cluster: Cluster) -> None:
    tasks = cluster.map("echo", [{"i": i} for i in range(5)], group="later", not_before=3600)
    cluster.submit("echo", {}, not_before=3600)
    assert set(cluster.cancel(group="later")) == {task.id for task in tasks}
    assert {task.id for task in cluster.tasks("group:later state:cancelled")} == {task.id for task in tasks}


def test_one_task_per_key(cluster: Cluster) -> None:
    first = cluster.submit("echo", {"a": 1}, key="k")
    assert cluster.submit("echo", {"a": 1}, key="k").id == first.id
    with pytest.raises(oc.Conflict) as conflict:
        cluster.submit("echo", {"a": 2}, key="k")
    assert conflict.value.facts["task_id"] == first.id
    again = [cluster.map("echo", [{"i": i} for i in range(3)], key=lambda p: f"i:{p['i']}") for _ in range(2)]
    assert [t.id for t in again[0]] == [t.id for t in again[1]]
    assert oc.gather(again[1], timeout=10) == [{"i": i} for i in range(3)]


def test_a_key_function_may_use_the_cluster_itself(cluster: Cluster) -> None:
    tasks = cluster.map("echo", ({"n": cluster.call("hello")["protocol"]} for _ in range(2)), key=lambda p: None)
    assert oc.gather(tasks, timeout=10) == [{"n": 1}, {"n": 1}]


def test_a_task_waits_for_those_before_it(home: Home, cluster: Cluster) -> None:
    first = cluster.submit("held", {})
    second = cluster.submit("echo", {"b": 1}, after=[first])
    third = cluster.submit("echo", {}, after=second.id)
    home.gate.wait_entered()
    assert "waits for" in cluster.why(second).summary
    home.gate.open()
    assert oc.gather([first, second, third], timeout=10) == [{}, {"b": 1}, {}]
    failed = cluster.submit("boom", {}, retries=0)
    with pytest.raises(oc.TaskFailed) as upstream:
        cluster.submit("echo", {}, after=failed).result(10)
    assert upstream.value.facts["kind"] == "upstream"


def test_why_says_what_is_missing(cluster: Cluster) -> None:
    task = cluster.submit("cuda", {})
    why = cluster.why(task)
    assert why.verdict == "never"
    assert "no online node has skill cuda" in str(why)
    assert "offer cuda on node-1" in str(why)
    assert repr(why).startswith(f"<Why {task.id} never:")
    assert "\n" not in repr(why)
    done = cluster.submit("echo", {}).wait(10)
    assert done.why().verdict == "ended"


def test_a_retry_is_a_new_task_of_the_same_spec(cluster: Cluster) -> None:
    old = cluster.submit("tries", {"failures": 1}, retries=0, key="k", group="g", priority="low", timeout="1m")
    with pytest.raises(oc.TaskFailed):
        old.result(10)
    new = old.retry()
    assert new.id != old.id
    with pytest.raises(oc.TaskFailed):
        new.result(10)
    record = new.record
    assert record is not None
    assert (record.retry_of, record.group, record.priority, record.timeout, record.key) == (old.id, "g", 3, 60, None)
    assert record.max_retries == 0
    assert old.retry(retries=1).result(10) == 2
    assert old.state == "failed"
    live = cluster.submit("echo", {}, not_before=3600)
    with pytest.raises(oc.Conflict):
        live.retry()


def test_failures_are_retried_within_their_budget(cluster: Cluster) -> None:
    assert cluster.submit("tries", {"failures": 2}, retries=2).result(10) == 3


def test_a_function_is_registered_when_it_is_submitted(cluster: Cluster, wire: Wire) -> None:
    @oc.skill
    def plus(a: int, b: int = 1) -> int:
        return a + b

    assert cluster.submit(plus, {"a": 1}).result(10) == 2
    assert oc.gather(cluster.map(plus, [{"a": i, "b": i} for i in range(3)]), timeout=10) == [0, 2, 4]
    assert wire.calls["register_skill"] == 1
    assert cluster.submit("plus", {"a": 5}).result(10) == 6
    with pytest.raises(oc.InvalidParams, match="did you mean"):
        cluster.submit(plus, {"aa": 1})

    def plain(x: int) -> int:
        return -x

    assert cluster.submit(plain, {"x": 1}).result(10) == -1
    assert {"plus", "plain"} <= {skill.name for skill in cluster.skills()}


def test_a_changed_function_runs_as_changed(cluster: Cluster) -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    cluster.register(oc.skill(name="number")(one))
    assert cluster.submit("number").result(10) == 1
    cluster.register(oc.skill(name="number")(two))
    assert cluster.submit("number").result(10) == 2


def test_what_is_no_skill_is_refused(cluster: Cluster) -> None:
    with pytest.raises(oc.InvalidRequest):
        cluster.submit(3)  # type: ignore[arg-type]
    with pytest.raises(oc.InvalidRequest):
        cluster.submit(dict)
    with pytest.raises(oc.InvalidRequest):
        cluster.submit("a/b")
    with pytest.raises(oc.UnknownSkill):
        cluster.submit("nobody", strict=True)


def test_nodes_are_drained_changed_and_given_back(cluster: Cluster) -> None:
    node = cluster.node("node-1")
    assert node.drain("OS update", deadline="10m").status == "maintenance"
    assert "draining" in repr(node)
    assert '"OS update"' in str(cluster.nodes())
    assert {task.wait(10).node for task in cluster.map("echo", [{}] * 4)} == {"node-2"}
    assert node.undrain().status == "online"
    assert node.set(max_concurrent_tasks=7).info.max_concurrent_tasks == 7
    assert node.set(tags=["a"]).info.tags == ["a"]
    with pytest.raises(oc.InvalidRequest):
        node.set(max_concurrent_tasks=-1)
    with pytest.raises(oc.NotFound):
        cluster.node("nobody")
    cluster.call("add_node", node={"node_id": "by-hand"})
    cluster.node("by-hand").remove()
    assert [one.id for one in cluster.nodes()] == ["node-1", "node-2"]


def test_lists_of_tasks(cluster: Cluster) -> None:
    tasks = cluster.map("boom", [{"x": i} for i in range(60)], retries=0, group="g")
    oc.gather(tasks, on_error="return", timeout=20)
    found = cluster.tasks("state:failed,timeout group:g since:1h", limit=55)
    assert [task.id for task in found] == [task.id for task in reversed(tasks)][:55]
    assert len(cluster.tasks(state="failed", limit=1_000)) == 60
    assert len(cluster.tasks(group="other")) == 0
    retried = found[:2]
    assert [task.retry().params["x"] for task in retried] == [59, 58]
    with pytest.raises(oc.InvalidRequest, match="did you mean state"):
        cluster.tasks("stat:failed")
    with pytest.raises(oc.InvalidRequest, match="completed"):
        cluster.tasks("state:fine")
    with pytest.raises(oc.InvalidRequest):
        cluster.tasks(limit=0)


def test_progress_is_seen_while_a_task_runs(home: Home, cluster: Cluster) -> None:
    task = cluster.submit("reporting", {})
    home.gate.wait_entered()
    wait_until(lambda: task.refresh().progress == {"done": 3.0, "total": 10.0, "text": "page 3"})
    home.gate.open()
    task.wait(10)


def test_times_are_told(cluster: Cluster) -> None:
    task = cluster.submit("echo", {}).wait(10)
    assert task.wait_seconds is not None
    assert task.run_seconds is not None
    assert task.wait_seconds >= 0
    assert task.run_seconds >= 0
    assert task.attempt == 1


def test_status_and_backup(cluster: Cluster, tmp_path: Any) -> None:
    cluster.submit("echo", {}).wait(10)
    status = cluster.status()
    assert status["tasks"]["completed"] == 1
    assert status["node_stats"]["slots"] == 4
    assert cluster.backup(str(tmp_path / "copy.db"))["tasks"] == 1


def test_a_skill_that_nobody_offers_is_waited_for_in_vain(cluster: Cluster) -> None:
    with pytest.raises(oc.WaitTimeout, match="0 of 2 nodes offer skill 'nobody'"):
        cluster.wait_for_skill("nobody", timeout=0.05)
    assert cluster.wait_for_skill("echo", nodes=2) == ["node-1", "node-2"]
