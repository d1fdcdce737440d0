"""What people see: one line, escaped, aligned, within a second."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from typing import Any

import pytest

import openclaw_ray as oc
from openclaw_ray import display
from openclaw_ray.client import Cluster
from openclaw_ray.client.progress import progress
from tests.client.conftest import Home
from tests.support.inprocess import Wire

HOSTILE = [
    "\x1b[31mred",
    "\x1b]52;c;ZXZpbA==\x07",
    "a\rb",
    "a\nb",
    "\u202ecod.exe",
    "\u2066x\u2069",
    "zero\u200bwidth",
    "\x9b31m",
    "\x00",
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_moves_the_cursor_or_the_direction_gets_out(text: str) -> None:
    shown = display.escape(text)
    assert shown.isprintable()
    assert "\\" in shown
    assert "\n" not in display.table(("a",), [[text]]).split("\n", 1)[1]


def test_plain_text_of_any_language_stays_as_it_is() -> None:
    for text in ("plain", "Grüße", "中文", "😀", "", "a b", "日本語 text"):
        assert display.escape(text) == text


def test_a_long_text_is_cut_without_walking_through_it() -> None:
    began = time.perf_counter()
    assert display.escape("\u202e" * 50_000_000, 10)[-1] == "…"
    assert time.perf_counter() - began < 0.5
    assert display.escape("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"), (float("nan"), "-"), (0, "0 ms"), (0.042, "42 ms"), (0.9999, "1.0s"), (9.44, "9.4s"),
        (9.96, "10s"),
        (59.4, "59s"), (59.6, "1m 00s"), (125, "2m 05s"), (3600, "1h 00m"), (90_000, "1d 1h"), (-5, "-5.0s"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert display.duration(seconds) == shown


def test_amounts_and_ages() -> None:
    assert [display.bytes_(n) for n in (None, 0, 1023, 1024, 12_025_908_429, 2**60)] == [
        "-", "0 B", "1023 B", "1.0 KiB", "11.2 GiB", "1048576.0 TiB",
    ]  # fmt: skip
    assert [display.ago(n) for n in (None, 0.2, 42, 7200)] == ["never", "just now", "42s ago", "2h 00m ago"]


def test_wide_letters_take_two_columns() -> None:
    assert [display.width(text) for text in ("ab", "中文", "é", "e\u0301", "😀")] == [2, 4, 1, 1, 2]
    shown = display.table(("name", "n"), [["中文", 1], ["abcd", 22], ["é", 333]])
    lines = shown.split("\n")
    assert lines == ["NAME    N", "中文    1", "abcd   22", "é     333"]
    assert len({display.width(line) for line in lines}) == 1
    assert display.fit("中文字", 4) == "中…"


class Parsed(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"
HARMLESS = {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "b", "pre"}


@pytest.mark.parametrize(
    "html",
    [
        display.html_table((EVIL,), [[EVIL]]),
        display.html_card(EVIL, [(EVIL, EVIL)], text=EVIL),
        display.html_bar(1, 2, EVIL),
    ],
)
def test_markup_from_tasks_is_shown_not_run(html: str) -> None:
    parsed = Parsed(html)
    assert parsed.tags <= HARMLESS
    assert parsed.attributes <= {"style"}
    assert EVIL in parsed.text


def test_long_tables_say_how_much_more_there_is() -> None:
    html = display.html_table(("n",), [[i] for i in range(1_000)])
    assert html.count("<tr>") == 21
    assert "980 more" in html


def test_a_hostile_failure_is_harmless_in_every_view(cluster: Cluster) -> None:
    task = cluster.submit("boom", {"x": EVIL + "\x1b[31m\u202e"}, retries=0, name=EVIL)
    task.wait(10)
    lists = (cluster.tasks(), cluster.tasks("state:failed"), cluster.nodes(), cluster.skills())
    for shown in (task, *lists, cluster, task.why(), task.story()):
        line = repr(shown)
        assert line.isprintable(), line
        bundle = shown._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"}
        assert all(part.isprintable() for part in bundle["text/plain"].split("\n"))
        parsed = Parsed(bundle["text/html"])
        assert parsed.tags <= HARMLESS
        assert parsed.attributes <= {"style"}
        assert "\x1b" not in bundle["text/html"]
        assert "\u202e" not in bundle["text/html"]
    assert all(part.isprintable() for part in str(task.why()).split("\n"))
    assert "alert(1)" in Parsed(task._repr_mimebundle_()["text/html"]).text


def test_a_repr_is_one_line_and_up_to_date(home: Home, cluster: Cluster) -> None:
    task = cluster.submit("echo", {})
    task.wait(10)
    assert repr(task).startswith(f"<Task {task.id} echo completed on node-")
    tasks = cluster.map("echo", [{}] * 30)
    oc.gather(tasks)
    assert repr(tasks) == "<30 tasks: 30 completed>"
    assert "… 10 more" in tasks._repr_mimebundle_()["text/plain"]
    assert "31 completed" in repr(cluster) or "31 completed" in repr(cluster.status())
    assert repr(cluster.node("node-1")).startswith("<Node node-1 online 0/2 slots")


def test_a_repr_never_blocks_for_long_and_tells_its_age(cluster: Cluster, wire: Wire) -> None:
    task = cluster.submit("echo", {}, not_before=3600)
    assert "pending" in repr(cluster)
    wire.cut = True
    task._snapshot.heard_at -= 60
    status = cluster._async.last_status
    assert status is not None
    status.heard_at -= 60
    began = time.monotonic()
    assert "pending (1m 01s ago)" in repr(task)
    assert "as of 1m" in repr(cluster)
    assert "as of" in task._repr_mimebundle_()["text/html"]
    assert time.monotonic() - began < 4.5


def test_progress_shows_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str], cluster: Cluster) -> None:
    tasks = cluster.map("echo", [{"i": i} for i in range(5)])
    completed = oc.as_completed(tasks)
    assert completed.__length_hint__() == 5
    assert len(list(oc.progress(completed, label="echo"))) == 5
    assert list(progress(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_terminal_ends_at_its_total(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(progress(range(3), label="\x1b[31mevil")) == [0, 1, 2]
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "\x1b[31mevil" not in shown.err


def test_progress_in_a_notebook_updates_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, html: Any) -> None:
            shown.append(html.data)

    class Shell:
        kernel = object()

    def display_html(html: Any, display_id: bool) -> Handle:
        shown.append(html.data)
        return Handle()

    ipython = pytest.importorskip("IPython")
    monkeypatch.setattr(ipython, "get_ipython", Shell)
    monkeypatch.setattr("IPython.display.display", display_html)
    assert list(progress(range(3), label="<b>")) == [0, 1, 2]
    assert "0/3" in shown[0]
    assert "3/3" in shown[-1]
    assert Parsed(shown[-1]).tags <= HARMLESS - {"b"}


def test_a_bar_keeps_its_last_word_when_the_loop_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    monkeypatch.setattr("openclaw_ray.client.progress._notebook", lambda: object())
    monkeypatch.setattr("openclaw_ray.client.progress._notebook_bar", lambda *_: said.append)
    walk = progress(iter(range(10)), total=10)
    assert [next(walk), next(walk)] == [0, 1]
    walk.close()  # type: ignore[attr-defined]
    assert said[-1] == 1
