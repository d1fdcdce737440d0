"""Submit, wait, cancel, retry, drain, backup."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_ray.cli.screen import Screen
from tests.support.command import Command


def test_submit_prints_the_id_and_nothing_else(run: Command) -> None:
    ended = run.ok("submit", "echo", "x=1")
    assert ended.out.startswith("t-")
    assert ended.err == ""
    assert run.ok("submit", "echo", "x=1", "-o", "json").json["kind"] == "submitted"


def test_submit_and_wait_prints_the_result(run: Command) -> None:
    ended = run.ok("submit", "echo", "path=a b.txt", "dpi:=300", 'crop:={"left": 1}', "--wait")
    assert "completed" in ended.out
    assert '{"crop": {"left": 1}, "dpi": 300, "path": "a b.txt"}' in ended.out
    found = run.ok("submit", "echo", "--params", '{"a": [1, 2]}', "--wait", "-o", "json").json
    assert found["task"]["result"] == {"a": [1, 2]}


def test_parameters_come_from_standard_input(run: Command) -> None:
    ended = run.ok("submit", "echo", "--params", "-", "--wait", "-o", "json", stdin='{"x": 7}')
    assert ended.json["task"]["result"] == {"x": 7}


def test_a_failed_task_is_exit_1(run: Command) -> None:
    ended = run("submit", "boom", "text=no", "--retries", "0", "--wait")
    assert ended.code == 1
    assert "failed" in ended.out
    assert "ValueError: no" in ended.out
    assert "openclaw-ray retry t-" in ended.err


def test_waiting_that_times_out_is_exit_124_and_the_task_goes_on(run: Command) -> None:
    ended = run("submit", "held", "--wait-timeout", "1s")
    assert ended.code == 124
    assert "running" in ended.err
    assert "openclaw-ray task wait t-" in ended.err
    [task] = run.ok("tasks", "--skill", "held", "--state", "running", "-o", "json").json["tasks"]
    assert run("task", "wait", task["task_id"], "--timeout", "1s").code == 124
    run.ok("cancel", task["task_id"])
    assert run("task", "wait", task["task_id"]).code == 1


def test_an_id_of_ones_own_may_be_repeated(run: Command) -> None:
    assert run.submit("echo", "x=1", "--id", "my-1") == "my-1"
    assert run.submit("echo", "x=1", "--id", "my-1") == "my-1"
    other = run("submit", "echo", "x=2", "--id", "my-1")
    assert other.code == 5
    assert "with another spec" in other.err


def test_a_key_is_one_task(run: Command) -> None:
    assert run.submit("echo", "x=1", "--key", "k1") == run.submit("echo", "x=1", "--key", "k1")
    assert run("submit", "echo", "x=2", "--key", "k1").code == 5


def test_strict_refuses_what_no_node_offers(run: Command) -> None:
    ended = run("submit", "nobody-has-it", "--strict")
    assert ended.code == 6
    assert "no node offers skill 'nobody-has-it'" in ended.err
    assert run("submit", "nobody-has-it", "--strict", "--id", "my-2").code == 6


def test_a_task_waits_for_another(run: Command) -> None:
    first = run.submit("held")
    second = run.submit("echo", "--after", first)
    assert f"it waits for {first}" in run.ok("task", "why", second).out
    run.ok("cancel", first)
    assert run("task", "wait", second).code == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["submit", "echo", "x"], "is no parameter"),
        (["submit", "echo", "x=1", "x=2"], "given twice"),
        (["submit", "echo", "x:={"], "is not JSON"),
        (["submit", "echo", "x=1", "--params", "{}"], "not both"),
        (["submit", "echo", "--params", "@/no/such/file"], "cannot be read"),
        (["submit", "echo", "--priority", "urgent"], "priority"),
        (["submit", "echo", "--timeout", "soon"], "timeout"),
        (["submit", "a/b"], "skill"),
        (["cancel"], "Name task ids, or --group"),
        (["cancel", "t-1", "--group", "g"], "Name task ids, or --group"),
        (["retry"], "Name task ids, or --group"),
        (["tasks", "--limit", "0"], "--limit"),
        (["stats"], "Did you mean status?"),
    ],
)
def test_what_cannot_be_right_is_exit_2(run: Command, args: list[str], said: str) -> None:
    ended = run(*args)
    assert ended.code == 2, ended
    assert said in ended.err
    assert ended.out == ""


def test_cancel_says_what_was_too_late(run: Command) -> None:
    done = run.submit("echo")
    run.ok("task", "wait", done)
    waiting = run.submit("nobody")
    ended = run("cancel", done, waiting, "--reason", "enough")
    assert ended.code == 1
    assert ended.out == "1 cancelled\n"
    assert f"{done}: too late, it is completed" in ended.err


def test_many_are_not_cancelled_without_a_word(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(11):
        run.submit("nobody", "--group", "many")
    refused = run("cancel", "--group", "many")
    assert refused.code == 2
    assert "11 pending tasks; say --yes" in refused.err
    monkeypatch.setattr(Screen, "asks", True)
    assert run("cancel", "--group", "many", stdin="n\n").code == 130
    assert run.ok("cancel", "--group", "many", stdin="y\n").out == "11 cancelled\n"
    assert run.ok("cancel", "--group", "many", "--yes").out == "0 cancelled\n"


def test_retry_makes_new_tasks(run: Command) -> None:
    old = run.submit("boom", "--retries", "0", "--group", "again")
    assert run("task", "wait", old).code == 1
    new = run.ok("retry", old, "--retries", "1", "-o", "json").json["tasks"][old]
    assert run("task", "wait", new).code == 1
    found = run.ok("task", "show", new, "-o", "json").json
    assert found["task"]["retry_of"] == old
    assert len(found["attempts"]) == 2
    assert set(run.ok("retry", "--group", "again", "-o", "json").json["tasks"]) == {old, new}
    live = run.submit("held")
    assert run("retry", live).code == 5
    run.ok("cancel", live)


def test_a_drained_node_is_given_back(run: Command) -> None:
    ended = run.ok("drain", "node-2", "--reason", "OS update")
    assert ended.out == "node-2 draining · nothing runs there\n"
    assert "openclaw-ray undrain node-2" in ended.err
    assert '"OS update" by ' in run.ok("nodes").out
    assert "1 draining" in run.ok("status").out
    assert run.ok("undrain", "node-2").out == "node-2 online\n"


def test_backup_is_verified(run: Command, tmp_path: Path) -> None:
    found = run.ok("backup", "--to", str(tmp_path) + "/", "-o", "json").json
    assert Path(found["path"]).stat().st_size == found["bytes"]
    assert found["integrity"] == "ok"
    assert "integrity ok" in run.ok("backup", "--to", str(tmp_path / "again.db")).out
