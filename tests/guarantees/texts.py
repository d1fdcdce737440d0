"""B31 to B38: text that is taken as it is, and harmless wherever it is shown."""

from __future__ import annotations

import json
import logging
from html.parser import HTMLParser
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from openclaw_ray.core.limits import NAME_LEN_MAX
from openclaw_ray.logs import JsonLines
from openclaw_ray.metrics import Meter
from openclaw_ray.metrics.exporter import SERIES_MAX, SERIES_PER_NODE, Exporter
from tests.guarantees.case import case, numbers
from tests.guarantees.doors import Doors

SQL = "'; DROP TABLE tasks; --\" OR 1=1 /*"
#: Clears the screen, renames the window, writes the clipboard, goes back in the line, turns the text round.
ESCAPES = "\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\r\x9b31m\u202eevil\u2066\u200b\x7f\b\ttab\nline"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><b onclick='x'>&amp;"


def filled(d: Doors, text: str, **more: Any) -> dict[str, Any]:
    """A task with the text in every field that takes it, as it is read back."""
    number = next(numbers)
    fields: dict[str, Any] = {
        "name": text,
        "description": text,
        "user_id": text,
        "metadata": {text: text},
        "group": text,
        "key": f"{text}{number}",
        "params": {text: [text]},
        **more,
    }
    task = d.submit(fields.pop("params"), **fields)
    return {"id": task.id, "wanted": fields, "task": d.cluster.task(task.id)}


# -- B31, B32: stored and found as they are ------------------------------------------------------------------------


def sql_is_text(d: Doors) -> str:
    before = d.cluster.status()["tasks"]["total"]
    # A skill's name has no slash.
    skill = "'; DROP TABLE tasks; --\" OR 1=1"
    found = filled(d, SQL, required_tags=[SQL], affinity_tags=[SQL], optional_skills=[skill])
    record = found["task"].record
    assert record is not None
    for name, value in found["wanted"].items():
        assert getattr(record, name) == value, name
    assert record.parameters == {SQL: [SQL]}
    for name in ("group", "user", "name", "key"):
        wanted = found["wanted"]["key"] if name == "key" else SQL
        assert [t.id for t in d.cluster.tasks(**{name: wanted})] == [found["id"]], name
    assert d.cluster.status()["tasks"]["total"] == before + 1
    found["task"].cancel(reason=SQL)
    assert d.cluster.task(found["id"]).error.message == SQL
    return "kept, found by it, and read back equal"


def sql_on_a_node(d: Doors) -> str:
    fields = {
        "hostname": SQL,
        "platform": SQL,
        "arch": SQL,
        "ip_address": SQL,
        "tags": [SQL],
        "available_skills": ["a' OR 'b"],
    }
    d.call("add_node", node={"node_id": "sql", **fields})
    shown = d.call("get_node", node_id="sql")
    assert {name: shown[name] for name in fields} == fields
    assert [n["node_id"] for n in d.call("find_nodes_by_skill", skill="a' OR 'b")] == ["sql"]
    d.call("drain", node_id="sql", reason=SQL)
    assert d.call("get_node", node_id="sql")["held_reason"] == SQL
    d.call("remove_node", node_id="sql")
    return "kept, found by it, and read back equal"


def sql_is_typed(d: Doors) -> str:
    task_id = d.command.submit("later", f"a={SQL}", "--name", SQL, "--group", SQL)
    shown = d.command.ok("tasks", "--name", SQL, "-o", "json").json["tasks"]
    assert [(t["task_id"], t["name"], t["group"], t["parameters"]) for t in shown if t["task_id"] == task_id] == [
        (task_id, SQL, SQL, {"a": SQL})
    ]
    d.cluster.cancel(group=SQL)
    return "kept, found by it, and read back equal"


def letters_of_like(d: Doors) -> str:
    names = ["100%", "100x", "a_b", "axb", "back\\slash"]
    group = f"like-{next(numbers)}"
    tasks = {name: d.submit(name=name, group=group).id for name in names}
    wants = {"0%": names[:1], "%": names[:1], "a_b": names[2:3], "_": names[2:3], "k\\s": names[4:], "100": names[:2]}
    for part, wanted in wants.items():
        found = {task.id for task in d.cluster.tasks(name=part, group=group)}
        assert found == {tasks[name] for name in wanted}, part
        shown = d.command.ok("tasks", "--name", part, "--group", group, "-o", "json").json["tasks"]
        assert {t["name"] for t in shown} == set(wanted), part
    d.cluster.cancel(group=group)
    return "found letter by letter"


case("B31", "every field of a task", "client", sql_is_text, error=None)
case("B31", "every field of a node", "add_node", sql_on_a_node, error=None)
case("B31", "every word that is typed", "command", sql_is_typed, error=None)
case("B32", "%, _ and a backslash", "client and command", letters_of_like, error=None)

# -- B34: terminals ------------------------------------------------------------------------------------------------


def harmless(text: str) -> None:
    """Nothing but printable letters and line ends."""
    wrong = {letter for letter in text if not letter.isprintable() and letter != "\n"}
    assert not wrong, f"{wrong!r} reaches the terminal"


def every_view(d: Doors, text: str) -> list[tuple[str, str]]:
    """What the command prints of tasks and nodes with the text in every field."""
    group = text
    waiting = filled(d, text)["id"]
    failing = d.cluster.submit("boom", {"text": text}, retries=0, group=group, name=text)
    failing.wait(10)
    d.home.do(d.there.call("add_node", {"node": {"node_id": "odd", "hostname": text, "platform": text, "tags": ["t"]}}))
    d.command.ok("drain", "odd", "--reason", text)
    views = [
        ("tasks",),
        ("tasks", "--group", group),
        ("task", "show", waiting),
        ("task", "why", waiting),
        ("task", "show", failing.id),
        ("task", "logs", failing.id),
        ("nodes",),
        ("skills",),
        ("status",),
    ]
    shown = [(" ".join(words[:2]), d.command(*words)) for words in views]
    shown += [("json " + words[0], d.command(*words, "-o", "json")) for words in views]
    # No node offers the skill of one of them: `why` says so by its exit code.
    assert {ended.code for _, ended in shown} == {0, 6}
    shown += [
        ("task wait", d.command("task", "wait", failing.id)),
        ("cancel", d.command.ok("cancel", waiting, "--reason", text)),
        ("cancelled", d.command.ok("task", "show", waiting)),
        ("refused", d.command("task", "show", text)),
        ("refused filter", d.command("tasks", text + ":x")),
        ("refused option", d.command("tasks", "--" + text.replace("\n", ""))),
        ("refused command", d.command(text)),
        ("refused parameter", d.command("submit", "later", text)),
        ("refused JSON", d.command("submit", "later", "--params", text)),
        ("refused file", d.command("submit", "later", "--params", "@" + text)),
        ("refused skill", d.command("submit", text)),
    ]
    d.cluster.cancel(group=group)
    d.command.ok("undrain", "odd")
    d.home.do(d.there.call("remove_node", {"node_id": "odd"}))
    return [(name, one) for name, ended in shown for one in (ended.out, ended.err)]


def terminals(d: Doors) -> str:
    shown = every_view(d, ESCAPES)
    for name, text in shown:
        try:
            harmless(text)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    assert any("\\x1b]52;c;" in text and "\\u202e" in text for _, text in shown)
    return "shown as \\x1b, \\r, \\u202e; nothing of it reaches the terminal"


case("B34", "ESC, OSC 52, CR, U+202E in every field", "command", terminals, error=None)


def views_of_python(d: Doors) -> str:
    found = filled(d, ESCAPES)["task"]
    texts = [repr(found), str(d.cluster.tasks(limit=5)), str(found.why()), str(found.story()), str(d.cluster.nodes())]
    for text in texts:
        harmless(text)
    found.cancel()
    return "shown as \\x1b, \\r, \\u202e"


case("B34", "the same in repr and str", "client", views_of_python, error=None)


# -- B35: logs -----------------------------------------------------------------------------------------------------


def one_line(d: Doors) -> str:
    text = ESCAPES + '\r\n\x0b\x0c\x1c\x85\u2028\u2029\ud800{"level": "error"}'
    record = logging.LogRecord("openclaw_ray.x", logging.INFO, "x.py", 1, text, None, None)
    record.openclaw_fields = {"event": text, "task": text, "level_": text}
    line = JsonLines("test").format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["event"] == text
    return "one record is one line"


case("B35", "every kind of line end", "log", one_line, error=None)

# -- B36: HTML -----------------------------------------------------------------------------------------------------

TAGS = {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td", "pre"}


class Strict(HTMLParser):
    """Fails on whatever the project itself does not write."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert [name for name, _ in attrs] in ([], ["style"]), attrs

    def error(self, message: str) -> None:
        raise AssertionError(message)


def notebooks(d: Doors) -> str:
    found = filled(d, HTML)["task"]
    failing = d.cluster.submit("boom", {"text": HTML}, retries=0, name=HTML)
    failing.wait(10)
    found.refresh()
    for shown in (
        found,
        failing,
        d.cluster.tasks(limit=10),
        found.why(),
        found.story(),
        d.cluster.nodes(),
        d.cluster.skills(),
        d.cluster,
        d.cluster.status(),
    ):
        bundle = shown._repr_mimebundle_()
        Strict().feed(bundle["text/html"])
        assert "<script" not in bundle["text/html"]
    assert "&lt;script&gt;" in failing._repr_mimebundle_()["text/html"]
    found.cancel()
    return "shown as &lt;script&gt;"


case("B36", "in every field of a task", "notebook", notebooks, error=None)

# -- B37, B38: /metrics --------------------------------------------------------------------------------------------

ODD_SKILLS = [
    'quo"te',
    "back slash",
    'a{b="c"}',
    "new\nline",
    "\u202eturned",
    "x" * 500,
    "# HELP evil",
    "",
    "\ud7ff\ufeff",
    "other",
]


def parsed(page: str) -> dict[tuple[str, ...], float]:
    """The page as Prometheus reads it: every series once."""
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    found = {(s.name, *(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "a series twice"
    return found


def odd_skills(d: Doors) -> str:
    meter = Meter()
    for skill in ODD_SKILLS:
        meter.inc("tasks_submitted_total", (skill,))
        meter.observe("task_run_seconds", (skill, "completed"), 0.1)
    exporter = Exporter()
    exporter.update(meter.totals(), {"pending_tasks": dict.fromkeys(ODD_SKILLS, 1.0), "nodes": {'a"b\n': 1.0}})
    assert parsed(exporter.text())
    return "the page is parsed; control characters are shown as _"


def a_hundred_thousand(d: Doors) -> str:
    meter = Meter()
    for i in range(100_000):
        meter.observe("task_run_seconds", (f"skill-{i}", "completed"), 0.1)
    exporter = Exporter()
    nodes = {f"node-{i}": 1.0 for i in range(1_000)}
    exporter.update(meter.totals(), {"pending_tasks": {f"skill-{i}": 1.0 for i in range(100_000)}, "node_slots": nodes})
    series = len(parsed(exporter.text()))
    assert series <= SERIES_MAX + SERIES_PER_NODE * 250
    return f"at most {SERIES_MAX} + {SERIES_PER_NODE} per node series; the rest is other"


def many_users(d: Doors) -> str:
    before = len(parsed(_page(d)))
    many = 300
    tasks = [
        {
            "id": f"many-{i}",
            "spec": {
                "skill": f"skill-{i}",
                "user_id": f"user-{i}",
                "group": f"g-{i}",
                "name": f"n-{i}",
                "required_tags": [f"tag-{i}"],
                "metadata": {f"k{i}": i},
            },
        }
        for i in range(many)
    ]
    d.call("submit", tasks=tasks)
    page = _page(d)
    d.call("cancel", ids=[t["id"] for t in tasks])
    for word in ("user-7", "tag-7", "many-7", "g-7", "n-7", "k7"):
        assert word not in page, word
    assert before <= len(parsed(page)) <= SERIES_MAX + SERIES_PER_NODE * len(d.call("get_all_nodes"))
    return "no user, tag, group or name is a label; 20 skills are, then other"


def _page(d: Doors) -> str:
    totals = d.call("metrics")
    exporter = Exporter()
    exporter.update(totals["counters"], totals["gauges"])
    return exporter.text()


case("B37", "quotes, line ends, braces", "/metrics", odd_skills, error=None)
case("B38", "100,000 skills, 1,000 nodes", "/metrics", a_hundred_thousand, error=None)
case("B38", "300 users, skills, tags, groups", "submit", many_users, error=None)

for given, value, says in (("NUL", "a\0b", "without NUL"), ("201 letters", "x" * (NAME_LEN_MAX + 1), "at most 200")):
    for name in ("name", "group", "key", "user_id"):
        case(
            "B34",
            f"{name} with {given}",
            "client",
            lambda d, n=name, v=value: d.submit(**{n: v}),
            at=name,
            says=(says,),
        )
        case(
            "B34",
            f"{name} with {given}",
            "submit",
            lambda d, n=name, v=value: d.call("submit", tasks=[{"id": "a", "spec": {n: v}}]),
            at=f"tasks[0].spec.{name}",
            says=(says,),
        )
