"""B16 to B21, B33, B39: the words of a spec, durations, filters."""

from __future__ import annotations

import math
from typing import Any

from tests.guarantees.case import case, spec
from tests.guarantees.doors import Doors

NAN, INF = math.nan, math.inf
#: Python itself refuses to print it.
HUGE = 10**5_000
#: JSON text has no such value, or `json.dumps` of the test would not write it.
NO_JSON = ("JSON",)

PRIORITY = "critical, high, normal, low (0 to 3)"
for given, value in (
    ("99", 99),
    ("-1", -1),
    ("1.5", 1.5),
    ("true", True),
    ("null", None),
    ("'high '", "high "),
    ("upper case", "HIGH"),
    ("a list", [1]),
    ("empty", ""),
    ("a text of 1 MB", "x" * 1_000_000),
):
    typed = ("--priority", value) if isinstance(value, str) else ()
    # What is None in the client's words was not given.
    without = ("client", "async client") if value is None else ()
    spec("B16", given, "priority", value, PRIORITY, typed=typed, without=without)
for given, value in (("NaN", NAN), ("Infinity", INF)):
    spec("B16", given, "priority", value, (), without=("add_task", "submit"))
    case(
        "B16",
        f"priority {given}",
        "add_task",
        lambda d, v=value: d.call("add_task", task={"priority": v}),
        at="task.priority",
        says=("finite numbers",),
    )
    case(
        "B16",
        f"priority {given}",
        "update_task",
        lambda d, v=value: d.call("update_task", task_id="known", changes={"priority": v}),
        at="changes.priority",
        says=("finite numbers",),
    )
case(
    "B16",
    "priority 99",
    "update_task",
    lambda d: d.text("update_task", {"task_id": "known", "changes": {"priority": 99}}),
    at="changes.priority",
    says=(PRIORITY,),
)
case(
    "B16",
    "priority null",
    "update_task",
    lambda d: d.call("update_task", task_id="known", changes={"priority": None}),
    at="changes.priority",
    says=("leave the field out",),
)
case("B16", "a number of 5,000 digits", "client", lambda d: d.submit(priority=HUGE), at="priority", says=(PRIORITY,))
case(
    "B16",
    "a number of 5,000 digits",
    "add_task",
    lambda d: d.call("add_task", task={"priority": HUGE}),
    at="task.priority",
    says=("1024 bits",),
)

DURATION = 'whole seconds from 1, or "30s", "5m", "2h", "1d"; ten years at most'
for row, given, value in (
    ("B17", "0", 0),
    ("B17", "-1", -1),
    ("B17", "0.5", 0.5),
    ("B17", "1e308", 1e308),
    ("B17", "'10'", "10"),
    ("B17", "true", True),
    ("B17", "ten million days", "9999999d"),
    ("B17", "a list", [1]),
    ("B39", "empty", ""),
    ("B39", "-3s", "-3s"),
    ("B39", "1e9s", "1e9s"),
    ("B39", "5 minutes-ish", "5 minutes-ish"),
    ("B39", "1.5h", "1.5h"),
    ("B39", "a space before", " 5s"),
    ("B39", "Arabic digits", "\u0665s"),
):
    typed = ("--timeout", value) if isinstance(value, str) else ()
    spec(row, given, "timeout", value, DURATION, typed=typed)
    case(
        row,
        f"deadline {given}",
        "drain",
        lambda d, v=value: d.text("drain", {"node_id": "n1", "deadline_s": v}),
        at="deadline_s",
        says=(DURATION,),
    )
for given, value in (("NaN", NAN), ("Infinity", INF)):
    case("B17", given, "client", lambda d, v=value: d.submit(timeout=v), at="timeout", says=(DURATION,))
    case(
        "B17",
        given,
        "JSON",
        lambda d, v=value: d.text("submit", {"tasks": [{"id": "a", "spec": {"timeout": v}}]}),
        at="tasks[0].spec.timeout",
        says=(DURATION,),
    )
    case("B17", given, "check_stale_nodes", lambda d, v=value: d.call("check_stale_nodes", timeout=v), at="timeout")
    case("B17", given, "poll", lambda d, v=value: d.say("poll", n=1, timeout_s=v), at="timeout_s", says=("finite",))
for given, value in (("0", 0), ("-1", -1), ("'5'", "5"), ("10**400", 10**400), ("5,000 digits", HUGE), ("true", True)):
    case("B17", given, "check_stale_nodes", lambda d, v=value: d.call("check_stale_nodes", timeout=v), at="timeout")
WAIT = 'seconds from 0, "30s", None'
for given, value in (
    ("-1", -1),
    ("NaN", NAN),
    ("'soon'", "soon"),
    ("10**400", 10**400),
    ("true", True),
    ("a list", []),
):
    case("B39", f"waiting {given}", "client", lambda d, v=value: known(d).result(timeout=v), at="timeout", says=(WAIT,))
for words in (("task", "wait", "KNOWN", "--timeout"), ("submit", "later", "--wait-timeout")):
    case(
        "B39",
        f"{words[-1]} soon",
        "command",
        lambda d, w=words: d.type(*(known(d).id if x == "KNOWN" else x for x in w), "soon"),
        at="timeout",
        says=("30s",),
    )
case(
    "B39",
    "since 5 minutes-ish",
    "command",
    lambda d: d.type("tasks", "--since", "5 minutes-ish"),
    at="query.since",
    says=("1h",),
)
case("B39", "since yesterday", "client", lambda d: d.cluster.tasks(since="yesterday"), at="query.since", says=("1h",))
case(
    "B39",
    "since a year 9999",
    "tasks",
    lambda d: d.text("tasks", {"since": "9999-01-01T00:00:00Z"}),
    at="since",
    says=("2000 to 2200",),
)


def known(d: Doors) -> Any:
    """The task that is there from the beginning."""
    return d.cluster.tasks("key:known")[0]


for given, value in (("-1", -1), ("2.5", 2.5), ("10**9", 10**9), ("true", True), ("'3'", "3"), ("a list", [3])):
    spec("B18", given, "retries", value, ())
    spec("B18", given, "max_lost", value, ())
case("B18", "-1", "command", lambda d: d.type("submit", "later", "--retries", "-1"), says=("x>=0",))
case("B18", "2.5", "command", lambda d: d.type("submit", "later", "--retries", "2.5"), says=("2.5",))
case(
    "B18",
    "10**9",
    "command",
    lambda d: d.type("submit", "later", "--retries", str(10**9)),
    at="retries",
    says=("at most 1000",),
)

for name in ("not_before", "deadline"):
    for given, value in (
        ("without a zone", "2026-01-01T00:00:00"),
        ("in the year 9999", "9999-01-01T00:00:00Z"),
        ("tomorrow", "tomorrow"),
        ("empty", ""),
        ("true", True),
        ("a list", []),
        ("of 1 MB", "2" * 1_000_000),
    ):
        spec("B19", given, name, value, "ISO-8601 with a zone")
    for given, value in (("1e18", 1e18), ("NaN", NAN), ("Infinity", INF), ("10**400", 10**400)):
        case("B19", f"{name} {given}", "client", lambda d, n=name, v=value: d.submit(**{n: v}), at=name, says=("zone",))
    case(
        "B19",
        f"{name} 1e18",
        "JSON",
        lambda d, n=name: d.text("submit", {"tasks": [{"id": "a", "spec": {n: 1e18}}]}),
        at=f"tasks[0].spec.{name}",
        says=("zone",),
    )
spec(
    "B19",
    "a deadline before not_before",
    "deadline",
    "2026-01-01T00:00:00Z",
    "later than not_before",
    more={"not_before": "2026-01-02T00:00:00Z"},
)
spec("B19", "a daemon with a timeout", "timeout", 5, "leave it out", more={"task_type": "daemon"})
spec("B19", "a task_type that is none", "task_type", "fast", "'interactive'", typed=("--type", "fast"))
spec("B19", "a strategy that is none", "strategy", "best", "least_tasks", typed=("--strategy", "best"))

AMOUNT = "a number from 0"
for given, value in (("cpu -1", -1), ("cpu '1'", "1"), ("cpu true", True), ("cpu 10**15", 10**15), ("cpu a list", [])):
    spec("B20", given, "resources", {"cpu": value}, AMOUNT, inside=".cpu")
spec("B20", "cpu 0.0001", "resources", {"cpu": 0.0001}, "steps of 0.001", inside=".cpu")
case("B20", "cpu NaN", "client", lambda d: d.submit(resources={"cpu": NAN}), at="resources.cpu", says=(AMOUNT,))
case(
    "B20",
    "cpu NaN",
    "JSON",
    lambda d: d.text("submit", {"tasks": [{"id": "a", "spec": {"resources": {"cpu": NAN}}}]}),
    at="tasks[0].spec.resources.cpu",
    says=(AMOUNT,),
)
for given, value in (("memory 2**63", 2**63), ("memory 2 gigs", "2 gigs"), ("memory -1", -1), ("memory 1.5", 1.5)):
    spec("B20", given, "resources", {"memory": value}, 'bytes, or text such as "512MiB", "2GiB"', inside=".memory")
spec("B20", "17 names", "resources", {f"r{i}": 1 for i in range(17)}, "at most 16")
spec("B20", "a list", "resources", [1], 'for example {"cpu": 1')
spec("B20", "an empty name", "resources", {"": 1}, "1-64 printable characters")


def too_much(d: Doors) -> str:
    d.call("add_task", task={"id": "greedy", "skill": "echo", "resources": {"cpu": 1_000}})
    why = d.call("why", task_id="greedy")
    d.call("cancel", ids=["greedy"])
    assert why["verdict"] == "never"
    assert "ask for 4 cpu instead of 1000" in why["changes"]
    return f"waits: {why['nodes'][0]['resources']}; would start it: {why['changes'][0]}"


case("B20", "more than any node has", "add_task", too_much, error=None)

TAG = "1-64 printable characters"
for name in ("required_tags", "affinity_tags"):
    option = "--tag" if name == "required_tags" else "--affinity"
    spec("B21", "10,000 of them", name, ["t"] * 10_000, "at most 32")
    spec("B21", "of 1 MB", name, ["x" * 1_000_000], TAG, inside="[0]")
    spec("B21", "with a line end", name, ["a", "b\nc"], TAG, inside="[1]", typed=(option, "a", option, "b\nc"))
    spec("B21", "with an escape sequence", name, ["\x1b[2J"], TAG, inside="[0]", typed=(option, "\x1b[2J"))
    spec("B21", "blank", name, [" "], TAG, inside="[0]", typed=(option, " "))
case(
    "B21",
    "33 on a node",
    "update_node",
    lambda d: d.call("update_node", node_id="n1", changes={"tags": ["t"] * 33}),
    at="changes.tags",
    says=("at most 32",),
)
case(
    "B21",
    "33 from an agent",
    "register",
    lambda d: d.text(
        "register", {"node_id": "n9", "agent": "a", "slots": 1, "machine": {"hostname": "h"}, "tags": ["t"] * 33}
    ),
    at="tags",
    says=("at most 32",),
)

for given, body in (
    ("order", {"order": "name; DROP TABLE tasks"}),
    ("order_by", {"order_by": "1"}),
    ("sort", {"sort": "name"}),
):
    case("B33", given, "tasks", lambda d, b=body: d.text("tasks", b), at=given, says=("unknown field",))
    case("B33", given, "client", lambda d, b=body: d.cluster.tasks(**b), at=f"query.{given}", says=("unknown field",))
case("B33", "--order", "command", lambda d: d.type("tasks", "--order", "name"), says=("No such option",))
for given, value in (("true", True), ("'5'", "5"), ("-1", -1), ("2**70", 2**70), ("1.5", 1.5)):
    case("B33", f"the page before {given}", "tasks", lambda d, v=value: d.text("tasks", {"before": v}), at="before")
    case("B33", f"a page of {given}", "tasks", lambda d, v=value: d.text("tasks", {"limit": v}), at="limit")
    case(
        "B33",
        f"a page of {given}",
        "get_pending_tasks",
        lambda d, v=value: d.call("get_pending_tasks", limit=v),
        at="limit",
        says=("1 to 1,000",),
    )
for name in ("skill", "node", "user", "group", "key", "name"):
    case(
        "B33",
        f"{name} of 10 KB",
        "tasks",
        lambda d, n=name: d.text("tasks", {n: "x" * 10_240}),
        at=name,
        says=("at most 200",),
    )
    case(
        "B33",
        f"{name} with NUL",
        "tasks",
        lambda d, n=name: d.text("tasks", {n: "a\0"}),
        at=name,
        says=("without NUL",),
    )
    case("B33", f"{name} as a number", "tasks", lambda d, n=name: d.text("tasks", {n: 5}), at=name)
for verb, argument in (
    ("get_task", "task_id"),
    ("get_node", "node_id"),
    ("find_nodes_by_skill", "skill"),
    ("remove_node", "node_id"),
):
    case(
        "B33",
        "1,001 at once",
        verb,
        lambda d, v=verb, a=argument: d.call(v, **{a: ["x"] * 1_001}),
        at=argument,
        says=("at most 1,000",),
    )

for cron in ("* * * *", "* * * * * * *", "61 * * * *", "*/0 * * * *", "@reboot"):
    case("B40", cron, "client", lambda d, c=cron: d.submit(cron=c), at="cron", says=("unknown field",))
case("B41", "0 0 30 2 *", "client", lambda d: d.submit(cron="0 0 30 2 *"), at="cron", says=("unknown field",))
case(
    "B42", "Mars/Olympus", "client", lambda d: d.submit(timezone="Mars/Olympus"), at="timezone", says=("unknown field",)
)
case("B43", "catch_up", "client", lambda d: d.submit(catch_up="all"), at="catch_up", says=("unknown field",))
