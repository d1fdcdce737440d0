"""Whether the demo's results are right, asked of somebody else: hashlib, a count by tokens, the database, the logs."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openclaw_ray.cli.demo.job import UNSTEADY, Job
from openclaw_ray.cli.demo.metrics_page import Page, same, scrape

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster

#: Files whose counts are counted again, and otherwise: reading tokens is slow.
SAMPLE = 60
#: /metrics is as old as the Scheduler's last look, at most some seconds.
METRICS_S = 20.0
#: What each line of a log tells.
LOG_FIELDS = frozenset({"time", "level", "component", "logger", "module", "function", "line", "event"})
#: Columns of a node that may be empty: a machine without Tailscale, a node without tags.
_MAY_BE_EMPTY = frozenset({"tailscale_ip", "tags"})
_COLUMNS = (
    "node_id", "hostname", "platform", "arch", "status", "cpu_usage", "memory_usage", "disk_usage", "available_skills",
    "max_concurrent_tasks", "running_tasks", "ip_address", "tailscale_ip", "port", "total_tasks_processed",
    "successful_tasks", "failed_tasks", "average_execution_time", "registered_at", "last_heartbeat", "tags",
)  # fmt: skip


@dataclass
class Check:
    """One question, and what is wrong; nothing is wrong when it is right."""

    said: str
    wrong: list[str] = field(default_factory=list)

    def expect(self, truth: bool, otherwise: str) -> None:
        """Note what is wrong unless it is true."""
        if not truth:
            self.wrong.append(otherwise)


@dataclass
class History:
    """What the database holds of the demo's tasks."""

    tasks: list[dict[str, Any]]
    attempts: list[dict[str, Any]]

    @property
    def retried(self) -> int:
        """Attempts after a failure."""
        return sum(task["retry_count"] for task in self.tasks)

    @property
    def rescued(self) -> int:
        """Tasks that went on elsewhere after their node was lost."""
        return sum(task["lost_count"] > 0 and task["status"] == "completed" for task in self.tasks)


def read_history(cluster: Cluster, job: Job) -> History:
    """Every task with all its attempts, from the rows on disk."""
    ask: Callable[..., Any] = cluster.call
    ask("sync_to_database")
    ids = [task.id for task in [*job.tasks, *([job.never] if job.never else [])]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: ask("history", task_id=one), ids))
    return History([one["task"] for one in found], [a for one in found for a in one["attempts"]])


def digests(job: Job) -> Check:
    """Each digest that the system's tool made, against hashlib's."""
    check = Check(f"{len(job.sha):,} digests equal those of hashlib")
    all_of_it = hashlib.sha256()
    for name in job.files:
        data = (job.root / name).read_bytes()
        all_of_it.update(data)
        found = _result(check, name, job.sha[name])
        if found is not None:
            expected = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            check.expect(found == expected, f"{name}: {found}, expected {expected}")
    whole = _result(check, "all files", job.long)
    check.expect(whole is None or whole["sha256"] == all_of_it.hexdigest(), "the digest over all files differs")
    return check


def counts(job: Job) -> Check:
    """A sample of the counts, against a count of tokens."""
    sample = job.files[:: max(1, len(job.files) // SAMPLE)][:SAMPLE]
    check = Check(f"{len(job.parse):,} files counted, {len(sample)} of them again by tokens, with the same result")
    for name, task in job.parse.items():
        found = _result(check, name, task)
        if found is not None and name in sample:
            expected = count_tokens((job.root / name).read_bytes())
            check.expect(found == expected, f"{name}: {found}, by tokens {expected}")
    return check


def _result(check: Check, name: str, task: Any) -> Any:
    if task.state == "completed":
        return task.result(timeout=30)
    check.wrong.append(f"{name}: task {task.id} is {task.state}")
    return None


def count_tokens(source: bytes) -> dict[str, int]:
    """Functions, classes and imports of a file, without a parser: by the words that begin them."""
    found = {"functions": 0, "classes": 0, "imports": 0}
    for word, begins in _words(source):
        if word == "def":
            found["functions"] += 1
        elif word == "class":
            found["classes"] += 1
        elif begins and word in ("import", "from"):
            found["imports"] += 1
    return found


def _words(source: bytes) -> Iterator[tuple[str, bool]]:
    """Names and keywords, and whether a statement begins with them."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    begins, depth, colon = True, 0, False
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type in silent:
            continue
        if token.type == tokenize.NAME:
            yield token.string, begins or (colon and depth == 0)
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.string, 0)
        colon = token.string == ":" and depth == 0
        begins = token.type == tokenize.NEWLINE or (token.string == ";" and depth == 0)


def events(job: Job, history: History) -> Check:
    """What was meant to go wrong went wrong, and was mended."""
    check = Check(
        f"{history.retried} failed attempts retried, {history.rescued} tasks rescued from the killed node, "
        f"1 task that nobody can run explained"
    )
    check.expect(job.killed is not None, "no node was killed")
    check.expect(history.rescued > 0, "no task was rescued")
    check.expect(job.long is not None and job.long.attempt > 1, "the long task did not change its node")
    for task in job.unsteady:
        failed = sum(a["task_id"] == task.id and a["outcome"] == "failed" for a in history.attempts)
        check.expect(task.state == "completed" and failed == 1, f"{task.id}: {task.state}, failed {failed} times")
    check.expect(len(job.unsteady) == len(UNSTEADY), "not all unsteady tasks were submitted")
    check.expect(job.why is not None and job.why.verdict == "never", f"the verdict is {job.why and job.why.verdict}")
    python = {"node-1", "node-2"}
    offered = {"sha256": {"node-2", "node-3"}, "parse_module": python, "unsteady": python}
    skill_of = {task["task_id"]: task["skill"] for task in history.tasks}
    for attempt in history.attempts:
        allowed = offered.get(skill_of[attempt["task_id"]])
        if allowed is not None and attempt["node_id"] not in allowed:
            check.wrong.append(f"{attempt['task_id']} ran on {attempt['node_id']}, which does not offer its skill")
    return check


def metrics(address: str, job: Job, history: History) -> Check:
    """The counters of /metrics, against the rows."""
    skill_of = {task["task_id"]: str(task["skill"]) for task in history.tasks}
    counted: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {
        ("tasks_submitted_total", "skill"): Counter((s,) for s in skill_of.values()),
        ("tasks_finished_total", "skill", "outcome"): Counter((str(t["skill"]), t["status"]) for t in history.tasks),
        ("task_attempts_total", "skill", "outcome"): Counter(
            (skill_of[a["task_id"]], a["outcome"]) for a in history.attempts if a["outcome"]
        ),
    }

    def differ(page: Page) -> list[str]:
        return [
            f"{name}: the page says {page.by(f'openclaw_{name}', *labels)}, the database {dict(expected)}"
            for (name, *labels), expected in counted.items()
            if not same(page.by(f"openclaw_{name}", *labels), expected)
        ]

    end = time.monotonic() + METRICS_S
    while (wrong := differ(page := scrape(address))) and time.monotonic() < end:
        time.sleep(0.2)
    job.pages.append(page)
    return Check(f"/metrics read {len(job.pages)} times; its counters equal the database", wrong)


def node_rows(cluster: Cluster, history: History) -> Check:
    """Every column of each node's row is filled, and its totals are those of its attempts."""
    rows = [node.info for node in cluster.nodes()]
    check = Check(f"{len(rows)} node rows filled; their totals and means equal {len(history.attempts):,} attempts")
    for info in rows:
        row = info.model_dump(mode="json")
        empty = [c for c in _COLUMNS if row[c] in (None, "", []) and c not in _MAY_BE_EMPTY]
        check.expect(not empty, f"{info.node_id}: empty columns {', '.join(empty)}")
        check.expect(
            info.memory_usage > 0 and info.disk_usage > 0, f"{info.node_id}: no use of memory or disk measured"
        )
        ended = [a for a in history.attempts if a["node_id"] == info.node_id]
        good = [a for a in ended if a["outcome"] == "completed"]
        bad = [a for a in ended if a["outcome"] in ("failed", "timeout", "cancelled") and a["started_at"]]
        check.expect(
            info.successful_tasks == len(good),
            f"{info.node_id}: {info.successful_tasks} successful, {len(good)} attempts",
        )
        check.expect(info.failed_tasks == len(bad), f"{info.node_id}: {info.failed_tasks} failed, {len(bad)} attempts")
        check.expect(info.total_tasks_processed == len(good) + len(bad), f"{info.node_id}: the total is another")
        mean = _mean(_seconds(a) for a in [*good, *bad])
        check.expect(
            math.isclose(info.average_execution_time, mean, rel_tol=0.02, abs_tol=0.002),
            f"{info.node_id}: mean {info.average_execution_time:.4f} s, of its attempts {mean:.4f} s",
        )
    return check


def _seconds(attempt: dict[str, Any]) -> float:
    from openclaw_ray.models.fields import from_iso

    return max(0.0, from_iso(attempt["ended_at"]) - from_iso(attempt["started_at"]))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def log_lines(home: Path) -> Check:
    """Every line of every log is JSON with all its fields."""
    check = Check("")
    lines = 0
    for path in sorted((home / "logs").glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            lines += 1
            try:
                missing = LOG_FIELDS - json.loads(line).keys()
            except ValueError as error:
                check.wrong.append(f"{path.name}:{number}: {error}")
                continue
            check.expect(not missing, f"{path.name}:{number}: no {', '.join(sorted(missing))}")
    check.expect(lines > 0, "there are no logs")
    check.said = f"{lines:,} lines of logs parse and have all fields"
    return check
