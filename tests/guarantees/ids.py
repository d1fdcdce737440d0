"""B01 to B15: ids, unknown words, lists, dependencies."""

from __future__ import annotations

from typing import Any

import openclaw_ray as oc
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound, UnknownSkill
from tests.guarantees.case import case, numbers, spec
from tests.guarantees.doors import Doors

IDS: list[tuple[str, str, Any]] = [
    ("B01", "empty", ""),
    ("B01", "blank", "  "),
    ("B01", "a dot", "."),
    ("B01", "a number", 0),
    ("B01", "true", True),
    ("B02", "a slash", "a/b"),
    ("B02", "a backslash", "a\\b"),
    ("B02", "a way up", "../../x"),
    ("B03", "NUL", "a\0b"),
    ("B03", "a line end", "a\n"),
    ("B04", "an accent", "caf\u00e9"),
    ("B04", "a Cyrillic look-alike", "\u0440aypal"),
    ("B04", "half a surrogate pair", "a\ud800"),
    ("B05", "10 KB", "x" * 10_240),
]
LIMIT = "1-128 characters of A-Z a-z 0-9 . _ : -"

for row, given, value in IDS:
    half = given.startswith("half")
    limit: tuple[str, ...] = ("lone surrogate",) if half else (LIMIT,)
    for verb, argument, body in (
        ("add_task", "task.task_id", {"task": {"task_id": value, "skill": "later"}}),
        ("get_task", "task_id", {"task_id": value}),
        ("update_task", "task_id", {"task_id": value, "changes": {"priority": 1}}),
        ("remove_task", "task_id", {"task_id": value}),
        ("why", "task_id", {"task_id": value}),
        ("submit", "tasks[0].id", {"tasks": [{"id": value, "spec": {"skill": "later"}}]}),
        ("cancel", "ids[0]", {"ids": [value]}),
        ("add_node", "node.node_id", {"node": {"node_id": value}}),
        ("drain", "node_id", {"node_id": value}),
    ):
        case(row, given, verb, lambda d, v=verb, b=body: d.call(v, **b), at=argument, says=limit)
    register = {"node_id": value, "agent": "a", "slots": 1, "machine": {"hostname": "h"}}
    # A lone surrogate in JSON text is no JSON at all.
    case(
        row,
        given,
        "register",
        lambda d, b=register: d.text("register", b),
        at="body" if half else "node_id",
        says=("invalid JSON",) if half else (LIMIT,),
    )
    if isinstance(value, str):
        case(row, given, "client", lambda d, v=value: d.cluster.task(v), at="task_id", says=limit)
        case(row, given, "command", lambda d, v=value: d.type("task", "show", "--", v), at="task_id", says=limit)
    spec(row, given, "after", [value], () if half else limit, inside="[0]", without=("JSON",) if half else ())

for row, given, value in IDS[:2]:
    for name in ("key", "group", "user_id", "name"):
        spec(
            row,
            f"{given} as {name}",
            name,
            value,
            "visible character",
            typed=() if name == "user_id" else (f"--{name}", value),
        )

case("B01", "no task at all", "client", lambda d: d.cluster.task(None), at="task", says=("a task, or its id",))
case("B05", "10 KB as verb", "call", lambda d: d.call("x" * 10_240), at="verb")
case("B01", "a list as verb", "call", lambda d: d.call(["get_task"]), at="verb")


def same_again(d: Doors) -> str:
    body = {"tasks": [{"id": f"same-{next(numbers)}", "spec": {"skill": "later", "params": {"a": 1}}}]}
    first, second = d.text("submit", body), d.text("submit", body)
    assert first["tasks"][0][:2] == second["tasks"][0][:2]
    assert (first["tasks"][0][2], second["tasks"][0][2]) == (True, False)
    twice = d.text("submit", {"tasks": body["tasks"] * 2})
    assert [row[2] for row in twice["tasks"]] == [False, False]
    return "the same task, not created again"


def same_key(d: Doors) -> str:
    key = f"key-{next(numbers)}"
    assert d.submit({"a": 1}, key=key).id == d.submit({"a": 1}, key=key).id
    return "the same task, not created again"


case("B06", "the same id and spec", "submit", same_again, error=None)
case("B06", "the same key and spec", "client", same_key, error=None)


OTHER = "the same spec again, or a new id and key"


def submitted(*tasks: dict[str, Any]) -> Any:
    """A submit of tasks given as one mapping each."""
    body = {"tasks": [{"id": task.pop("id"), "spec": {"skill": "later", **task}} for task in map(dict, tasks)]}
    return lambda d: d.text("submit", body)


conflict: dict[str, Any] = {"error": Conflict, "says": (OTHER,)}
case("B07", "other parameters", "submit", submitted({"id": "known", "params": {"a": 2}}), at="tasks[0].id", **conflict)
case(
    "B07",
    "another priority",
    "add_task",
    lambda d: d.call("add_task", task={"id": "known", "priority": 0}),
    at="task.id",
    **conflict,
)
case(
    "B07",
    "twice in one call, differently",
    "submit",
    submitted({"id": "two"}, {"id": "two", "priority": 0}),
    at="tasks[1].id",
    **conflict,
)
case(
    "B07",
    "one key, two specs",
    "submit",
    submitted({"id": "k1", "key": "k"}, {"id": "k2", "key": "k", "priority": 0}),
    at="tasks[1].spec.key",
    **conflict,
)
case(
    "B07",
    "other parameters under a known key",
    "command",
    lambda d: d.type("submit", "later", "--key", "known", "a=2"),
    error=Conflict,
    exit_code=5,
    at="bulk.rows[0].spec.key",
    says=(OTHER,),
)

# -- B08, B09: unknown words ---------------------------------------------------------------------------------------

for name, near in (
    ("timout", "timeout"),
    ("max_retry", "max_retries"),
    ("priorty", "priority"),
    ("req_tags", "required_tags"),
):
    spec("B08", name, name, 1, f"did you mean '{near}'?")
spec("B08", "a word like no other", "zzzzzz", 1, "known: ")
spec("B08", "a name of 100,000 letters", "x" * 100_000, 1, "known: ", named="x" * 59 + "…")
for verb, body, at, says in (
    ("submit", {"taskz": []}, "taskz", "did you mean 'tasks'?"),
    ("submit", {"tasks": [{"id": "a", "sepc": {}}]}, "tasks[0].sepc", "did you mean 'spec'?"),
    ("submit", {"bulk": {"spec": {}, "row": []}}, "bulk.row", "did you mean 'rows'?"),
    ("tasks", {"stats": ["pending"]}, "stats", "did you mean 'states'?"),
    ("drain", {"node_id": "n1", "reson": "x"}, "reson", "did you mean 'reason'?"),
    ("poll", {"node_id": "n1", "incarnation": 1, "n": 1, "hav": []}, "hav", "did you mean 'have'?"),
    ("report", {"node_id": "n1", "incarnation": 1, "outcome": []}, "outcome", "did you mean"),
    (
        "register",
        {"node_id": "n1", "agent": "a", "slots": 1, "machine": {"hostnam": "h"}},
        "machine.hostnam",
        "did you mean 'hostname'?",
    ),
    ("get_task", {"task": "known"}, "task", "arguments of get_task: task_id"),
    ("add_node", {"node": {"node_id": "a", "tagz": []}}, "node.tagz", "did you mean 'tags'?"),
    ("update_node", {"node_id": "n1", "changes": {"slot": 1}}, "changes.slot", "known: "),
    ("update_task", {"task_id": "known", "changes": {"prio": 1}}, "changes.prio", "priority"),
    ("hello", {"surplus": 1}, "surplus", "arguments of hello: none"),
):
    case("B08", at.rpartition(".")[2], verb, lambda d, v=verb, b=body: d.text(v, b), at=at, says=(says,))
case("B08", "--timout", "command", lambda d: d.type("submit", "later", "--timout", "5s"), says=("--timeout",))
case("B08", "the command submti", "command", lambda d: d.type("submti"), says=("Did you mean submit?",))
case("B08", "tasks stat:failed", "command", lambda d: d.type("tasks", "stat:failed"), at="query", says=("state",))
case("B08", "query stat:failed", "client", lambda d: d.cluster.tasks("stat:failed"), at="query", says=("state",))
case("B08", "the verb get_tsk", "call", lambda d: d.call("get_tsk"), at="verb", says=("did you mean 'get_task'?",))

ALL = "pending, scheduled, running, completed, failed, cancelled, timeout"
for given, state in (("pendin", "pendin"), ("done", "done"), ("a list", []), ("true", True), ("upper case", "FAILED")):
    case("B09", given, "tasks", lambda d, s=state: d.text("tasks", {"states": [s]}), at="states[0]", says=(ALL,))
    case(
        "B09",
        given,
        "get_tasks_by_status",
        lambda d, s=state: d.call("get_tasks_by_status", status=s, limit=5),
        error=None if state == [] else InvalidRequest,
        at="status",
        says=(ALL,),
    )
    case(
        "B09",
        given,
        "update_task",
        lambda d, s=state: d.call("update_task", task_id="known", changes={"status": s}),
        at="changes.status",
        says=("'pending', 'scheduled'",),
    )
case(
    "B09",
    "pendin",
    "client",
    lambda d: d.cluster.tasks(state="pendin"),
    at="query.states[0]",
    says=(ALL, "did you mean 'pending'?"),
)
case("B09", "a number", "client", lambda d: d.cluster.tasks(state=5), at="query.states[0]", says=(ALL,))
case("B09", "pendin", "command", lambda d: d.type("tasks", "--state", "pendin"), at="query.states[0]", says=(ALL,))
case(
    "B09",
    "sleeping",
    "update_node_status",
    lambda d: d.call("update_node_status", node_id="n1", status="sleeping"),
    at="status",
    says=("online, maintenance, offline, error",),
)
case(
    "B09",
    "sleeping",
    "add_node",
    lambda d: d.call("add_node", node={"node_id": "a", "status": "sleeping"}),
    at="node.status",
    says=("'online'",),
)

# -- B10 to B15: skills, lists, dependencies -----------------------------------------------------------------------


def waits(d: Doors) -> str:
    task = d.submit(name="b10")
    summary = task.why().summary
    assert "no online node has skill later" in summary
    assert "no online node has skill later" in d.type("task", "why", task.id).out
    task.cancel()
    return "waits: no online node has skill later"


case("B10", "no node has it", "client", waits, error=None)
case(
    "B10",
    "strict",
    "client",
    lambda d: d.submit(strict=True),
    error=UnknownSkill,
    at="bulk.rows[0].spec.skill",
    says=("without strict",),
)
case(
    "B10",
    "strict",
    "submit",
    lambda d: d.text("submit", {"strict": True, "tasks": [{"id": "s", "spec": {"skill": "later"}}]}),
    error=UnknownSkill,
    at="tasks[0].spec.skill",
    says=("without strict",),
)
case(
    "B10",
    "strict",
    "command",
    lambda d: d.type("submit", "later", "--strict"),
    error=UnknownSkill,
    exit_code=6,
    at="bulk.rows[0].spec.skill",
    says=("without strict",),
)
for name in ("required_skills", "optional_skills", "required_tags", "affinity_tags"):
    spec("B11", f"{name} as text", name, "python", 'a list, for example ["python"]')
    spec("B11", f"{name} as a mapping", name, {"python": 1}, 'a list, for example ["python"]')
    spec("B11", f"{name} with a number", name, ["ok", 5], ("5 is not a",), inside="[1]")
case(
    "B11",
    "the tasks of a map as text",
    "client",
    lambda d: d.cluster.map("later", "abc"),
    at="params",
    says=("a list",),
)
case(
    "B11",
    "the tasks of a map as a mapping",
    "client",
    lambda d: d.cluster.map("later", {"a": 1}),
    at="params",
    says=("a list",),
)
case(
    "B11",
    "the tasks of a map as a number",
    "client",
    lambda d: d.cluster.map("later", 5),
    at="params",
    says=("a list",),
)
case(
    "B11",
    "tags of a node as text",
    "client",
    lambda d: d.cluster.node("node-1").set(tags="gpu"),
    at="tags",
    says=("a list",),
)


def local(nodes: Any) -> Any:
    """A throw-away cluster; refused before anything is started."""

    def send(d: Doors) -> Any:
        with oc.local(nodes=nodes):
            raise AssertionError("started")

    return send


case("B11", "tags of a node as text", "oc.local", local([{}, {"tags": "gpu"}]), at="nodes[1].tags", says=("a list",))
case("B11", "a node that is no mapping", "oc.local", local([5]), at="nodes[0]", says=("a mapping",))
for given, count in (("no nodes", 0), ("-1 nodes", -1), ("10**9 nodes", 10**9), ("true nodes", True), ("a text", "3")):
    case("B44", given, "oc.local", local(count), at="nodes", says=("1 to 64",))
case("B44", "slots '4'", "oc.local", local([{"slots": "4"}]), at="nodes[0].slots", says=("a whole number",))
spec("B12", "10,000 required", "required_skills", [f"s{i}" for i in range(10_000)], "at most 64")
spec("B12", "10,000 optional", "optional_skills", [f"s{i}" for i in range(10_000)], "at most 64")
for length in (1, 2, 3):
    ring = [{"id": f"r{i}", "after": [f"r{(i + 1) % length}"]} for i in range(length)]
    row, words = ("B13", "cannot wait for itself") if length == 1 else ("B14", "wait for each other: r0 -> r1")
    case(row, f"{length} in a ring", "submit", submitted(*ring), at="tasks[0].spec.after[0]", says=(words,))
    case(
        row,
        f"{length} in a ring",
        "add_task",
        lambda d, r=ring: d.call("add_task", task=r),
        at="task[0].after[0]",
        says=(words,),
    )
case(
    "B13",
    "--after its own --id",
    "command",
    lambda d: d.type("submit", "later", "--id", "me", "--after", "me"),
    at="tasks[0].spec.after[0]",
    says=("cannot wait for itself",),
)
case(
    "B14",
    "a task before its dependency",
    "submit",
    submitted({"id": "r0", "after": ["r1"]}, {"id": "r1"}),
    at="tasks[0].spec.after[0]",
    says=("list a task after its dependencies",),
)
case(
    "B15",
    "nobody",
    "submit",
    submitted({"id": "a", "after": ["nobody"]}),
    at="tasks[0].spec.after[0]",
    says=("no task 'nobody'", "ids of known tasks"),
)
case(
    "B15",
    "nobody",
    "client",
    lambda d: d.submit(after="nobody"),
    at="bulk.rows[0].spec.after[0]",
    says=("no task 'nobody'",),
)
case(
    "B15",
    "nobody",
    "command",
    lambda d: d.type("submit", "later", "--after", "nobody"),
    at="bulk.rows[0].spec.after[0]",
    says=("no task 'nobody'",),
)
case(
    "B15",
    "1,001 of them",
    "submit",
    submitted({"id": "a", "after": ["known"] * 1_001}),
    at="tasks[0].spec.after",
    says=("at most 1,000",),
)
case(
    "B15",
    "a task of nobody",
    "client",
    lambda d: d.cluster.task("nobody"),
    error=NotFound,
    at="task_id",
    says=("no task 'nobody'",),
)
case(
    "B15",
    "a task of nobody",
    "command",
    lambda d: d.type("task", "why", "nobody"),
    error=NotFound,
    exit_code=4,
    at="task_id",
    says=("no task 'nobody'",),
)
