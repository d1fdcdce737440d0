"""The demo's job: everything is submitted, one node is killed in the middle, all results are collected."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openclaw_ray.cli.demo.fleet import ARCHIVE, VICTIM
from openclaw_ray.cli.demo.metrics_page import Page, scrape
from openclaw_ray.cli.demo.work import digest_of_all, parse_module, unsteady

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster, Task

GROUP = "demo"
PRIORITIES = ("high", "normal", "normal", "low")
#: Tasks that fail the first time.
UNSTEADY = ("mirror", "registry", "archive")
#: The long task takes about this long (seconds): it is meant to be there when its node is killed.
LONG_S = 8.0
#: The node is killed when this share of all tasks is done, or when the long task is halfway.
KILL_AT = 0.3
SCRAPE_S = 2.0
#: How often the job is looked at while nothing ends (seconds).
LOOK_S = 0.2
#: Everything together takes at most this (seconds); a demo that hangs fails.
LIMIT_S = 600.0

Show = Callable[[int, int, str], None]


@dataclass
class Job:
    """What was asked, and what came of it."""

    root: Path
    files: list[str]
    #: Of the throw-away cluster.
    home: Path
    parse: dict[str, Task] = field(default_factory=dict)
    sha: dict[str, Task] = field(default_factory=dict)
    unsteady: list[Task] = field(default_factory=list)
    long: Task | None = None
    #: Nobody can run it.
    never: Task | None = None
    why: Any = None
    #: What ran on the victim when it was killed.
    killed: dict[str, Any] | None = None
    pages: list[Page] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tasks(self) -> list[Task]:
        """All that can end by themselves."""
        found = [*self.parse.values(), *self.sha.values(), *self.unsteady]
        return [self.long, *found] if self.long is not None else found


def register(cluster: Cluster) -> None:
    """Make the skills known, and wait until the right nodes offer them."""
    for one in (parse_module, digest_of_all, unsteady):
        cluster.register(one)
    for name, count in (("parse_module", 2), ("digest_of_all", 2), ("unsteady", 2), ("sha256", 2)):
        cluster.wait_for_skill(name, timeout=60, nodes=count)


def submit(cluster: Cluster, job: Job) -> None:
    """Hand everything in: the long task first, so that it finds its favourite node free."""
    job.long = cluster.submit(
        "digest_of_all",
        {"root": str(job.root), "paths": job.files, "pause_s": LONG_S / max(len(job.files), 1)},
        priority="critical", group=GROUP, affinity_tags=[ARCHIVE], strategy="affinity",
    )  # fmt: skip
    job.never = cluster.submit("transcribe", {"path": "talk.wav"}, group=GROUP, required_tags=["gpu"])
    job.unsteady = list(
        cluster.map("unsteady", [{"name": n, "seen": str(job.home / f"seen-{n}")} for n in UNSTEADY], group=GROUP)
    )
    for i, priority in enumerate(dict.fromkeys(PRIORITIES)):
        chosen = [f for at, f in enumerate(job.files) if PRIORITIES[at % len(PRIORITIES)] == priority]
        for skill, kept in (("parse_module", job.parse), ("sha256", job.sha)):
            asked = [{"path": str(job.root / name)} for name in chosen]
            tasks = cluster.map(skill, asked, group=GROUP, priority=priority, name=f"{skill} {i}")
            kept.update(zip(chosen, tasks, strict=True))


def run(cluster: Cluster, job: Job, metrics: str, show: Show, say: Callable[[str], None]) -> None:
    """Wait for all of it; kill a node on the way; scrape /metrics all the while."""
    began = scraped = time.monotonic()
    job.pages.append(scrape(metrics))
    tasks = job.tasks
    done = 0
    for task in _ending(cluster, tasks):
        now = time.monotonic()
        if task is not None:
            done += 1
        if job.killed is None and _time_to_kill(job, done / len(tasks)):
            job.killed = _kill(cluster, say)
        if now - scraped >= SCRAPE_S:
            scraped = now
            job.pages.append(scrape(metrics))
        show(done, len(tasks), _where(job))
    job.seconds = time.monotonic() - began


def _ending(cluster: Cluster, tasks: list[Task]) -> Iterator[Task | None]:
    """Tasks as they end, and None while nothing ends, so that the caller can look around."""
    heard: queue.SimpleQueue[Task | BaseException] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for task in cluster.as_completed(tasks, timeout=LIMIT_S):
                heard.put(task)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            heard.put(error)

    threading.Thread(target=listen, name="demo-results", daemon=True).start()
    left = len(tasks)
    while left:
        try:
            found = heard.get(timeout=LOOK_S)
        except queue.Empty:
            yield None
            continue
        if isinstance(found, BaseException):
            raise found
        left -= 1
        yield found


def _time_to_kill(job: Job, share: float) -> bool:
    """The long task runs on the victim, and the job is in its middle."""
    long = job.long
    assert long is not None
    if long.state != "running" or long.node != VICTIM:
        return False
    said = long.progress
    return said is not None and (share >= KILL_AT or said["done"] > said["total"] / 2)


def _kill(cluster: Any, say: Callable[[str], None]) -> dict[str, Any]:
    running = cluster.node(VICTIM).info.running_tasks
    say(f"kill -9 of all processes of {VICTIM}, with {running} {'task' if running == 1 else 'tasks'} on it")
    cluster.started.kill_node(VICTIM)
    return {"node": VICTIM, "running": running}


def _where(job: Job) -> str:
    long = job.long
    return f"{VICTIM} is gone, its work goes on elsewhere" if job.killed and long is not None and not long.ended else ""


def close(cluster: Cluster, job: Job) -> None:
    """Ask why the impossible task waits, then cancel it."""
    assert job.never is not None
    job.why = job.never.why()
    job.never.cancel("the demo is over")
