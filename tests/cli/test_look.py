"""What the looking commands show, as tables and as JSON."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

import pytest

from openclaw_ray.cli.base import Session
from openclaw_ray.cli.nodes import _show_nodes
from openclaw_ray.client.views import NodeFacts, NodeTable
from openclaw_ray.clock import SystemClock
from openclaw_ray.core.types import NodeStatus
from openclaw_ray.models.fields import iso
from openclaw_ray.models.node import NodeInfo
from tests.support.command import Command

ESC = "\x1b]52;c;aGk=\x07\u202etxt"


def test_status_counts_nodes_and_tasks(run: Command) -> None:
    run.ok("submit", "echo", "x:=1", "--wait")
    shown = run.ok("status")
    assert shown.out.startswith("openclaw · healthy")
    assert "2 online" in shown.out
    assert "slots 0/6" in shown.out
    found = run.ok("status", "-o", "json").json
    assert (found["schema"], found["kind"]) == (1, "status")
    assert found["node_stats"]["online"] == 2
    assert found["tasks"]["completed"] >= 1


def test_status_names_what_no_node_has(run: Command) -> None:
    task = run.submit("cuda-ocr")
    shown = run.ok("status")
    assert "healthy, but tasks wait for what no node has" in shown.out
    assert "1 cuda-ocr: no online node has skill cuda-ocr" in shown.out
    assert f"openclaw-ray task why {task}" in shown.err
    run.ok("cancel", task)


def test_nodes_are_listed_with_their_skills(run: Command) -> None:
    lines = run.ok("nodes").out.splitlines()
    assert lines[0].split()[:3] == ["NODE", "STATE", "SLOTS"]
    assert lines[1].split()[:3] == ["node-1", "online", "0/3"]
    found = run.ok("-o", "json", "nodes").json
    assert [node["node_id"] for node in found["nodes"]] == ["node-1", "node-2"]


def test_skills_say_where_they_run(run: Command) -> None:
    found = {skill["name"]: skill for skill in run.ok("skills", "-o", "json").json["skills"]}
    assert found["echo"]["nodes"] == ["node-1", "node-2"]
    assert "echo" in run.ok("skills").out


def test_tasks_are_filtered_and_explained(run: Command) -> None:
    task = run.submit("nobody", "--group", "g1", "--name", "测试天气查询", "--priority", "high")
    shown = run.ok("tasks", "group:g1").out
    assert task in shown
    assert "测试天气查询" in shown
    assert "high" in shown
    assert "no online node has skill nobody" in shown
    assert [t["task_id"] for t in run.ok("tasks", "--group", "g1", "-o", "json").json["tasks"]] == [task]
    assert run.ok("tasks", "--group", "g1", "--state", "failed,completed").err == "no such tasks\n"
    run.ok("cancel", task)


def test_a_list_that_is_cut_says_so(run: Command) -> None:
    for _ in range(3):
        run.ok("submit", "echo", "--group", "g2", "--wait")
    assert "... more: use --limit (now 2) or a filter" in run.ok("tasks", "--group", "g2", "--limit", "2").err
    assert run.ok("tasks", "--group", "g2", "--limit", "2", "-o", "json").json["more"] is True
    assert run.ok("tasks", "--group", "g2", "--limit", "3", "-o", "json").json["more"] is False


def test_a_wrong_filter_names_the_near_one(run: Command) -> None:
    ended = run("tasks", "grup:x")
    assert ended.code == 2
    assert "did you mean group:?" in ended.err


def test_task_show_tells_the_story(run: Command) -> None:
    task = run.submit("boom", "text=no luck", "--retries", "1")
    assert run("task", "wait", task).code == 1
    shown = run.ok("task", "show", task).out
    assert shown.startswith("boom · failed in ")
    assert "attempt 2 of at most 2" in shown
    assert 'params  {"text": "no luck"}' in shown
    assert "error   ValueError: no luck" in shown
    assert "back in the queue" in shown
    found = run.ok("task", "show", task, "-o", "json").json
    assert [a["outcome"] for a in found["attempts"]] == ["failed", "failed"]
    assert (found["schema"], found["kind"]) == (1, "history")


def test_task_why_exits_6_for_what_can_never_run(run: Command) -> None:
    task = run.submit("cuda-ocr", "--tag", "gpu")
    ended = run("task", "why", task)
    assert ended.code == 6
    assert "node-2" in ended.out
    assert "never, as configured" in ended.out
    assert "  1. offer cuda-ocr on node-1 and add tag gpu to node-1" in ended.out
    assert run("task", "why", task, "-o", "json").json["why"]["verdict"] == "never"
    run.ok("cancel", task)
    assert run("task", "why", task).code == 0


@pytest.mark.parametrize(
    "args", [["task", "show", "t-no"], ["task", "why", "t-no"], ["task", "wait", "t-no"], ["cancel", "t-no"],
             ["retry", "t-no"], ["drain", "node-9"], ["undrain", "node-9"]],
)  # fmt: skip
def test_what_does_not_exist_is_exit_4(run: Command, args: list[str]) -> None:
    ended = run(*args)
    assert ended.code == 4, ended
    assert "error: " in ended.err
    assert ended.out == ""


def test_nothing_from_a_task_reaches_the_terminal_raw(run: Command) -> None:
    task = run.submit("boom", f"text={ESC}", "--retries", "0", "--name", f"n{ESC}", "--group", f"g{ESC}")
    failed = run("task", "wait", task)
    shown = [
        failed.out + failed.err,
        run.ok("task", "show", task).out,
        run.ok("tasks").out,
        run.ok("task", "logs", task).out,
        run.ok("tasks", "-o", "json").out,
        run.ok("task", "show", task, "-o", "json").out,
    ]
    good = run.ok("submit", "echo", f"x={ESC}", "--wait")
    for text in [*shown, good.out]:
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
    assert "\\u001b]52" in good.out


def test_a_quarantined_node_says_why_and_for_how_long() -> None:
    until = iso(SystemClock().now().wall + 235)
    info = NodeInfo(
        node_id="n1", hostname="h", platform="", arch="", status=NodeStatus.ERROR, agent=True,
        quarantined_until=until, quarantine_reason="3 failures of its own",
    )  # fmt: skip
    shown = StringIO()
    with redirect_stdout(shown):
        _show_nodes(Session(), [info])
    assert "quarantined" in shown.getvalue()
    assert "3 failures of its own; retry in 3m" in shown.getvalue()
    assert "3 failures of its own; retry in 3m" in str(NodeTable([NodeFacts(info.model_dump())]))
