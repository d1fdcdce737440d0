"""B44 to B47: nodes by hand, and what an agent says."""

from __future__ import annotations

import math
from typing import Any

from openclaw_ray.errors import InvalidParams, NotFound
from tests.guarantees.case import case
from tests.guarantees.doors import Doors

NAN, INF = math.nan, math.inf
COUNT = "a whole number"


def register(**fields: Any) -> Any:
    """A registration of a new agent, good but for the fields given."""
    body = {"node_id": "n9", "agent": "a", "slots": 1, "machine": {"hostname": "h"}, **fields}
    return lambda d: d.text("register", body)


def add_node(**fields: Any) -> Any:
    return lambda d: d.call("add_node", node={"node_id": "odd", **fields})


def message(verb: str, **fields: Any) -> Any:
    """A message of the agent that is there."""
    return lambda d: d.say(verb, **fields)


# -- B44: figures --------------------------------------------------------------------------------------------------

for given, value in (
    ("-1", -1),
    ("'4'", "4"),
    ("10**9", 10**9),
    ("1.5", 1.5),
    ("true", True),
    ("null", None),
    ("2**70", 2**70),
):
    case("B44", f"slots {given}", "add_node", add_node(max_concurrent_tasks=value), at="node.max_concurrent_tasks")
    case("B44", f"slots {given}", "register", register(slots=value), at="slots")
    if value is not None:
        case(
            "B44",
            f"slots {given}",
            "update_node",
            lambda d, v=value: d.call("update_node", node_id="n1", changes={"max_concurrent_tasks": v}),
            at="changes.max_concurrent_tasks",
        )
        case(
            "B44",
            f"slots {given}",
            "client",
            lambda d, v=value: d.cluster.node("node-1").set(max_concurrent_tasks=v),
            at="max_concurrent_tasks",
        )
for given, value in (("250 %", 250), ("-1", -1), ("'4'", "4"), ("NaN", NAN), ("Infinity", INF), ("true", True)):
    for name in ("cpu_usage", "memory_usage", "disk_usage"):
        case("B44", f"{name} {given}", "poll", message("poll", n=1, usage={name: value}), at=f"usage.{name}")
        case("B44", f"{name} {given}", "register", register(usage={name: value}), at=f"usage.{name}")
        case("B44", f"{name} {given}", "add_node", add_node(**{name: value}), at=f"node.{name}")
        case(
            "B44",
            f"{name} {given}",
            "update_heartbeat",
            lambda d, n=name, v=value: d.call("update_heartbeat", node_id="n1", usage={n: v}),
            at=f"usage.{name}",
        )
for given, value in (("-1", -1), ("'4'", "4"), ("NaN", NAN), ("10**15", 10**15)):
    case(
        "B44",
        f"capacity of cpu {given}",
        "register",
        register(machine={"hostname": "h", "capacity": {"cpu": value}}),
        at="machine.capacity.cpu",
        says=("a number from 0",),
    )
    case("B44", f"resources of cpu {given}", "add_node", add_node(resources={"cpu": value}), at="node.resources.cpu")
for given, value in (("'80'", "80"), ("70000", 70_000), ("-1", -1)):
    case("B44", f"port {given}", "register", register(machine={"hostname": "h", "port": value}), at="machine.port")
    case("B44", f"port {given}", "add_node", add_node(port=value), at="node.port")
for given, value in (
    ("memory_free 2**70", {"memory_free": 2**70}),
    ("running -1", {"running": -1}),
    ("running true", {"running": True}),
):
    case("B44", given, "poll", message("poll", n=1, usage=value), at=f"usage.{next(iter(value))}")

#: Messages of an agent: verb, fields that are numbers or lists of them, and a body that is good but for one.
NUMBERS: list[tuple[str, str, dict[str, Any]]] = [
    ("poll", "incarnation", {"n": 1}),
    ("poll", "n", {}),
    ("poll", "registry", {"n": 1}),
    ("report", "incarnation", {}),
    ("offers", "incarnation", {"offers": []}),
    ("node_gone", "incarnation", {}),
]
for given, value in (
    ("'1'", "1"),
    ("true", True),
    ("1.5", 1.5),
    ("-1", -1),
    ("2**70", 2**70),
    ("a list", []),
    ("a mapping", {}),
):
    for verb, name, rest in NUMBERS:
        case("B44", f"{name} {given}", verb, message(verb, **{**rest, name: value}), at=name)
    for name in ("newest_version", "protocol"):
        case("B44", f"{name} {given}", "register", register(**{name: value}), at=name)
    case("B44", f"a token {given}", "poll", message("poll", n=1, have=[value]), at="have[0]")
    case("B44", f"a token {given}", "register", register(holds=[value]), at="holds[0]")
    case("B44", f"a token {given}", "report", lambda d, v=value: d.report(token=v), at="outcomes[0].token")
    case(
        "B44",
        f"a token {given} started",
        "report",
        message("report", starts=[{"token": value, "at": 1.0}]),
        at="starts[0].token",
    )
    for verb, body in (
        ("assign", {"epoch": value, "cursor": 0, "rows": []}),
        ("watch", {"epoch": value, "timeout_s": 0}),
    ):
        case("B44", f"epoch {given}", verb, lambda d, v=verb, b=body: d.text(v, b), at="epoch")
    for name in ("shape", "seated", "prefill", "credit", "level"):
        row = {"shape": 1, "node": "n1", "seated": 0, name: value}
        case(
            "B44",
            f"{name} {given}",
            "assign",
            lambda d, r=row: d.text("assign", {"epoch": 1, "cursor": 0, "rows": [r]}),
            at=f"rows[0].{name}",
        )
    case("B44", f"since {given}", "registry", lambda d, v=value: d.text("registry", {"since": v}), at="since")
    case("B44", f"n {given}", "results", lambda d, v=value: d.text("results", {"session": "s", "n": v}), at="n")
case(
    "B44",
    "100,001 tokens",
    "poll",
    message("poll", n=1, have=list(range(100_001))),
    at="have",
    says=("at most 100000",),
)
case(
    "B44",
    "1,001 starts",
    "report",
    message("report", starts=[{"token": 1, "at": 1.0}] * 1_001),
    at="starts",
    says=("at most 1000",),
)

# -- outcomes: what the database or a reader could not take --------------------------------------------------------

for given, fields, at in (
    ("an outcome that is none", {"outcome": "won"}, "outcome"),
    ("an outcome that is null", {"outcome": None}, "outcome"),
    ("a result that is no JSON", {"result": "not json"}, "result"),
    ("a result NaN", {"result": "NaN"}, "result"),
    ("a result of 5 MB", {"result": '"' + "x" * 5_000_000 + '"'}, "result"),
    ("a result nested 100,000 deep", {"result": "[" * 100_000}, "result"),
    ("a result that is a mapping", {"result": {}}, "result"),
    ("an error that is a text", {"error": "bad"}, "error"),
    ("an error without a kind", {"error": {"message": "x"}}, "error.kind"),
    ("an error with a number for its kind", {"error": {"kind": 5}}, "error.kind"),
    ("an error with a number for its traceback", {"error": {"kind": "x", "traceback": 5}}, "error.traceback"),
    ("an error of 1 MB", {"error": {"kind": "x", "message": "x" * 1_000_000}}, "error"),
    ("an error with unknown words", {"error": {"kind": "x", "mesage": "y"}}, "error.mesage"),
    ("a peak memory of 2**70", {"peak_memory": 2**70}, "peak_memory"),
    ("a peak memory of -1", {"peak_memory": -1}, "peak_memory"),
    ("an exit status of 2**70", {"exit_status": 2**70}, "exit_status"),
    ("a signal of 1 MB", {"signal": "x" * 1_000_000}, "signal"),
    ("a log of 1 MB", {"log_tail": "x" * 1_000_000}, "log_tail"),
    ("a log with NUL", {"log_tail": "a\0"}, "log_tail"),
    ("permanent as a text", {"permanent": "yes"}, "permanent"),
    ("an unknown field", {"zzz": 1}, "zzz"),
    ("a length of NaN", {"run_s": NAN}, "run_s"),
    ("a length of Infinity", {"run_s": INF}, "run_s"),
    ("a length of -1", {"run_s": -1}, "run_s"),
    ("an end of NaN", {"ended_at": NAN}, "ended_at"),
    ("a start that is a text", {"started_at": "now"}, "started_at"),
):
    case("B44", given, "report", lambda d, f=fields: d.report(**f), at=f"outcomes[0].{at}")
    case(
        "B44",
        f"{given}, out of a spool",
        "register",
        lambda d, f=fields: register(
            outcomes=[{"token": 1, "outcome": "completed", "started_at": 1.0, "ended_at": 2.0, "run_s": 1.0, **f}]
        )(d),
        at=f"outcomes[0].{at}",
    )
for given, fields, at in (
    ("done NaN", {"done": NAN}, "done"),
    ("done as a text", {"done": "3"}, "done"),
    ("total Infinity", {"done": 1, "total": INF}, "total"),
    ("a text of 501 letters", {"done": 1, "text": "x" * 501}, "text"),
):
    case(
        "B44",
        f"progress: {given}",
        "report",
        message("report", progress=[{"token": 1, **fields}]),
        at=f"progress[0].{at}",
    )

# -- B45, B46 ------------------------------------------------------------------------------------------------------

for verb in ("update_heartbeat", "get_node"):
    case(
        "B45",
        "a node of nobody",
        verb,
        lambda d, v=verb: d.call(v, node_id="nobody"),
        error=NotFound,
        at="node_id",
        says=("no node 'nobody'",),
    )
case(
    "B45",
    "a node of nobody",
    "node_gone",
    lambda d: d.text("node_gone", {"node_id": "nobody"}),
    error=NotFound,
    at="node_id",
    says=("no node 'nobody'",),
)
case(
    "B45",
    "a node of nobody",
    "command",
    lambda d: d.type("drain", "nobody"),
    error=NotFound,
    exit_code=4,
    at="node_id",
    says=("no node 'nobody'",),
)


def register_again(d: Doors) -> str:
    for verb, rest in (("poll", {"n": 1}), ("report", {}), ("offers", {"offers": []})):
        for who in ({"node_id": "nobody", "incarnation": 1}, {"node_id": "n1", "incarnation": d.agent.incarnation + 1}):
            assert d.text(verb, {**who, **rest})["register_again"] is True, verb
    return "the agent is told to register again"


case("B45", "an agent of nobody, and one of before", "poll, report, offers", register_again, error=None)


def own_clock(at: float) -> Any:
    def send(d: Doors) -> str:
        token = d.token
        task_id = d.hub.office.state.leases[token].task_id
        before = d.run(_now(d))
        assert d.report(started_at=at, ended_at=at)["accepted"] == [token]
        [tried] = d.call("history", task_id=task_id)["attempts"]
        task = d.call("get_task", task_id=task_id)
        assert task["submitted_at"] <= tried["leased_at"] <= tried["started_at"] <= tried["ended_at"] <= before
        assert task["started_at"] <= task["completed_at"]
        assert d.call("get_node", node_id="n1")["last_heartbeat"] <= before
        return "the coordinator's own clock is used"

    return send


async def _now(d: Doors) -> str:
    return d.hub.instant(0)


case("B46", "in the year 33658", "report", own_clock(1e12), error=None)
case("B46", "in 1970", "report", own_clock(0.0), error=None)
case("B46", "before 1970", "report", lambda d: d.report(started_at=-1.0), at="outcomes[0].started_at", says=("from 0",))
case("B46", "NaN", "report", message("report", starts=[{"token": 1, "at": NAN}]), at="starts[0].at", says=("finite",))

# -- B47: skills ---------------------------------------------------------------------------------------------------

NAME = "1-128 printable characters, no / or \\"
for given, value in (
    ("5", 5),
    ("null", None),
    ("empty", ""),
    ("a slash", "a/b"),
    ("a line end", "a\nb"),
    ("U+202E", "a\u202eb"),
    ("a blank before", " a"),
    ("129 letters", "x" * 129),
    ("10 MB", "x" * 10_000_000),
    ("..", ".."),
):
    case(
        "B47", given, "add_node", add_node(available_skills=["ok", value]), at="node.available_skills[1]", says=(NAME,)
    )
    case(
        "B47", given, "register", register(offers=[{"name": "ok"}, {"name": value}]), at="offers[1].name", says=(NAME,)
    )
    case("B47", given, "offers", message("offers", offers=[{"name": value}]), at="offers[0].name", says=(NAME,))
    case(
        "B47",
        given,
        "find_nodes_by_skill",
        lambda d, v=value: d.call("find_nodes_by_skill", skill=v),
        at="skill",
        says=(NAME,),
    )
    if isinstance(value, str):
        case("B47", given, "client", lambda d, v=value: d.cluster.submit(v), at="skill", says=(NAME,))
        case("B47", given, "command", lambda d, v=value: d.type("submit", "--", v), at="skill", says=(NAME,))
case(
    "B47",
    "100,000 of them",
    "add_node",
    add_node(available_skills=[f"s{i}" for i in range(100_000)]),
    at="node.available_skills",
    says=("at most 10,000",),
)
many = [{"name": f"s{i}"} for i in range(100_000)]
case("B47", "100,000 of them", "register", register(offers=many), at="offers", says=("at most 10000",))
case("B47", "100,000 of them", "offers", message("offers", offers=many), at="offers", says=("at most 10000",))
for given, fields, at in (
    ("a revision of 1 MB", {"revision": "x" * 1_000_000}, "revision"),
    ("a reason of 501 letters", {"reason": "x" * 501}, "reason"),
    ("a reason that is a number", {"reason": 5}, "reason"),
    ("a reason with NUL", {"reason": "\0"}, "reason"),
):
    case("B47", given, "offers", message("offers", offers=[{"name": "s", **fields}]), at=f"offers[0].{at}")
GOOD = {"name": "m", "kind": "command", "revision": "a" * 64}
for given, fields, at in (
    ("a revision that is none", {"revision": "main"}, "revision"),
    ("a kind that is none", {"kind": "shell"}, "kind"),
    ("a command as text", {"argv": "rm -rf"}, "argv"),
    ("a word of 10 MB", {"argv": ["x" * 10_000_000]}, "argv[0]"),
    ("257 words", {"argv": ["x"] * 257}, "argv"),
    ("an origin of 5 KB", {"origin": "x" * 5_000}, "origin"),
    ("a version of 65 letters", {"version": "x" * 65}, "version"),
    ("65 programs", {"requires": {"bins": ["x"] * 65}}, "requires.bins"),
    ("retries of -1", {"retries": -1}, "retries"),
    ("a timeout of 0", {"timeout": 0}, "timeout"),
):
    case(
        "B47", f"a manifest with {given}", "register", register(manifests=[{**GOOD, **fields}]), at=f"manifests[0].{at}"
    )
for given, value in (("NaN", {"a": NAN}), ("100 KB", {"a": "x" * 100_000})):
    case(
        "B44",
        f"a GPU of {given}",
        "register",
        register(machine={"hostname": "h", "gpus": [value]}),
        error=InvalidParams,
        at="machine.gpus" + ("[0].a" if given == "NaN" else ""),
    )
