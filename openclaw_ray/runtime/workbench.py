"""Where a node's attempts run: the last gate before a start. Nothing starts beyond slots and resources.

Python skills run in executors, commands in processes of their own. Whatever happens to either, exactly one outcome per
token leaves here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from openclaw_ray.clock import Clock
from openclaw_ray.core.limits import PROGRESS_LEN_MAX
from openclaw_ray.core.resources import Resources, Room
from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import OpenClawError
from openclaw_ray.logs import get_logger
from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.protocol import OutcomeMessage, ProgressMessage, StartMessage
from openclaw_ray.runtime.ahead import BATCH_MAX, BATCH_MS, is_brief, is_short, load_ms, stall_s
from openclaw_ray.runtime.attempts import Attempt, Shelf, epitaph, outcome_of, simple_outcome, stopped_as, word_of
from openclaw_ray.runtime.pool import Death, Pool, PoolKey, Worker
from openclaw_ray.runtime.ports import ExecutorFactory
from openclaw_ray.runtime.skillset import Skillset
from openclaw_ray.skills.command import CommandRunner
from openclaw_ray.skills.outcome import Ended

log = get_logger(__name__)


class Workbench:
    """Starts, watches and ends attempts; `on_news` says that there is something to report."""

    def __init__(
        self,
        *,
        slots: int,
        capacity: Resources,
        skillset: Skillset,
        factory: ExecutorFactory,
        folder: Path,
        clock: Clock,
        kill_grace_s: float,
        default_timeout_s: int | None,
        on_news: Callable[[], None],
    ) -> None:
        self.slots = slots
        self.room = Room(capacity)
        self.shelf = Shelf()
        self.starts: list[StartMessage] = []
        self.progress: dict[int, ProgressMessage] = {}
        self._skillset = skillset
        self._clock = clock
        self._folder = folder
        self._kill_grace_s = kill_grace_s
        self._default_timeout_s = default_timeout_s
        self._on_news = on_news
        self._pool = Pool(factory, folder / "scratch", clock, self._entries, self._death, self._fill)
        self._commands = CommandRunner(on_progress=self._note_progress)
        #: Room in use: by a command (its token), or by an executor while it has work.
        self._seats: dict[int | str, Resources] = {}
        self._timers: dict[int, asyncio.Task[None]] = {}
        #: Asked of an executor, not answered.
        self._recalling: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def seats(self) -> int:
        """Slots in use."""
        return len(self._seats)

    # -- in --------------------------------------------------------------------------------------------------------

    def accept(self, attempts: list[Attempt]) -> None:
        """New leases; those that were here before start nothing."""
        for attempt in attempts:
            if not self.shelf.knows(attempt.token):
                self.shelf.add(attempt)
        if any(attempt.lease.urgent for attempt in attempts):
            self._make_way()
        self._fill()

    def _make_way(self) -> None:
        """What is interactive does not wait behind work that was fed ahead."""
        for worker in self._pool.workers.values():
            head = self.shelf.running.get(next(iter(worker.fed), 0))
            if len(worker.fed) > 1 and head is not None and not is_short(head):
                self._spawn(self._take_back_followers(worker))

    def stop(self, token: int, why: str) -> None:
        """Stop an attempt, or hand it back for `recall` if it has not started."""
        attempt = self.shelf.waiting.get(token)
        if attempt is not None:
            self._end(simple_outcome(attempt, stopped_as(why), why, f"{why} before its start", self._now()))
            return
        attempt = self.shelf.running.get(token)
        if attempt is None or attempt.stopping == why:
            return
        if why == "recall":
            if token not in self._recalling:  # it is asked again with each poll until it is settled
                self._recalling.add(token)
                self._spawn(self._recall(attempt))
            return
        if attempt.stopping:
            return
        attempt.stopping = why
        if not self._commands.stop(token):
            self._spawn(self._stop_python(attempt))

    def stop_all(self, why: str) -> None:
        """Stop everything that waits or runs."""
        for token in self.shelf.live():
            self.stop(token, why)

    # -- filling the seats -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start what has room, in order; the first that does not fit holds back those behind it that want a seat."""
        if self._closed:
            return
        self._top_up()
        while (attempt := self.shelf.next()) is not None:
            manifest = self._skillset.manifest(attempt.lease.skill, attempt.lease.revision)
            if manifest is None:
                self._refuse(attempt, "not_offered", "this node does not offer the skill at this revision any more")
                continue
            resources = attempt.resources
            if self.seats >= self.slots or not self.room.fits(resources):
                return
            if manifest.kind is SkillKind.COMMAND:
                self._start_command(attempt, manifest, resources)
            elif not self._start_python(attempt, manifest, resources):
                return

    def _refuse(self, attempt: Attempt, kind: str, message: str) -> None:
        self._end(simple_outcome(attempt, Outcome.LOST, kind, message, self._now(), node_caused=True))

    def _take_seat(self, key: int | str, resources: Resources) -> None:
        self._seats[key] = resources
        self.room.take(resources)

    def _leave_seat(self, key: int | str) -> None:
        seat = self._seats.pop(key, None)
        if seat is not None:
            self.room.give(seat)

    # -- python skills ---------------------------------------------------------------------------------------------

    def _start_python(self, attempt: Attempt, manifest: SkillManifest, resources: Resources) -> bool:
        """Feed an idle executor, or have one started; False while one is on its way."""
        key: PoolKey = resources.amounts
        alone = attempt.lease.alone
        worker = None if alone else self._pool.idle(key)
        if worker is None:
            wanted = self.slots - self.seats
            if alone:
                worker = self._pool.start(key, alone=True, on_refused=lambda e: self._refused(attempt, e))
                self._take_seat(f"executor-{worker.number}", resources)
                self._hand_over(worker, [(attempt, manifest)])
                return True
            if self._pool.starting(key) < min(wanted, len(self.shelf.waiting)):
                self._pool.start(key, alone=False, on_refused=lambda e: self._refused_waiting(key, e))
            return False
        self._take_seat(f"executor-{worker.number}", resources)
        self._feed(worker)
        return True

    def _top_up(self) -> None:
        """Executors in the middle of short work get more of it before they run dry."""
        if not self.shelf.waiting:
            return
        for worker in self._pool.workers.values():
            working = worker.executor is not None and worker.fed and not worker.doomed and not worker.alone
            if working and self._wants_more(worker):
                self._feed(worker)

    def _wants_more(self, worker: Worker) -> bool:
        head = self.shelf.running.get(next(iter(worker.fed)))
        # One that stalls gets nothing behind it, least of all what was just taken back from there.
        if head is None or (head.since and self._clock.now().mono - head.since >= stall_s(head)):
            return False
        return worker.load_ms < BATCH_MS / 2 if is_short(head) else self._may_follow(head, len(worker.fed))

    def _may_follow(self, attempt: Attempt, ahead: int) -> bool:
        """Whether one of its kind may be fed behind `ahead` others: behind one, and where no seat is free for it."""
        return ahead == 1 and is_brief(attempt) and self.seats >= self.slots

    def _feed(self, worker: Worker) -> None:
        """As many waiting attempts as fill a batch: one, or several that are short and ask the same."""
        batch: list[tuple[Attempt, SkillManifest]] = []
        work_ms = worker.load_ms if worker.fed else 0.0
        while (attempt := self.shelf.next()) is not None and len(batch) < BATCH_MAX:
            short, ahead = is_short(attempt), len(batch) + len(worker.fed)
            fits = attempt.resources.amounts == worker.key and not attempt.lease.alone
            if not fits or (ahead and not short and not self._may_follow(attempt, ahead)):
                break
            manifest = self._skillset.manifest(attempt.lease.skill, attempt.lease.revision)
            if manifest is None or manifest.kind is not SkillKind.PYTHON:
                break
            batch.append((attempt, manifest))
            self.shelf.start(attempt)
            work_ms += load_ms(attempt)
            if short and work_ms >= BATCH_MS:
                break
        if batch:
            self._hand_over(worker, batch)

    def _hand_over(self, worker: Worker, batch: list[tuple[Attempt, SkillManifest]]) -> None:
        items: list[dict[str, Any]] = []
        for attempt, manifest in batch:
            self.shelf.start(attempt)
            attempt.limit_s = self._timeout_s(attempt, manifest)
            lease = attempt.lease
            items.append({
                "token": lease.token,
                "task_id": lease.task_id,
                "attempt": lease.attempt,
                "skill": lease.skill,
                "revision": manifest.revision,
                "code": manifest.code,
                "code_path": self._skillset.code_path(manifest),
                "params": lease.params,
                "timeout_s": attempt.limit_s,
                "takes_context": manifest.takes_context,
            })  # fmt: skip
        self._pool.promise(worker, [item["token"] for item in items], sum(load_ms(attempt) for attempt, _ in batch))
        if worker.executor is None:
            self._spawn(self._feed_when_ready(worker, items))
        else:
            self._pool.feed(worker, items)
            self._watch(worker)

    async def _feed_when_ready(self, worker: Worker, items: list[dict[str, Any]]) -> None:
        while worker.executor is None and worker.number in self._pool.workers:
            starting = [t for t in worker.tasks if not t.done()]
            if not starting:
                return
            await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
        wanted = [item for item in items if item["token"] in worker.fed]  # not those stopped meanwhile
        if worker.executor is not None and not worker.doomed and wanted:
            self._pool.feed(worker, wanted)
            self._watch(worker)

    def _timeout_s(self, attempt: Attempt, manifest: SkillManifest) -> int | None:
        return attempt.lease.timeout_s or manifest.timeout or self._default_timeout_s

    def _refused(self, attempt: Attempt, error: OpenClawError) -> None:
        """Its executor could not be started: other work holds what it needs, or this machine's disk refuses."""
        own = error.facts.get("problem") == "scratch"
        self._end(simple_outcome(attempt, Outcome.RELEASED, "no_executor", str(error), self._now(), node_caused=own))
        self._free_dead_seats()

    def _refused_waiting(self, key: PoolKey, error: OpenClawError) -> None:
        """The first that waits for this kind goes back; whoever asks for something else is not to blame."""
        log.warning("executor refused", error=str(error), waiting=len(self.shelf.waiting))
        for attempt in self.shelf.in_order(len(self.shelf.waiting) + BATCH_MAX):
            if attempt.resources.amounts == key and not attempt.lease.alone:
                self._refused(attempt, error)
                return
        self._fill()

    def _free_dead_seats(self) -> None:
        alive = {f"executor-{n}" for n in self._pool.workers}
        for key in [k for k in self._seats if isinstance(k, str) and k not in alive]:
            self._leave_seat(key)
        self._fill()

    def _entries(self, worker: Worker, entries: list[dict[str, Any]]) -> None:
        """What an executor says, in the order in which it happened."""
        for entry in entries:
            self._entry(worker, entry)
        self._after(worker)

    def _entry(self, worker: Worker, entry: dict[str, Any]) -> None:
        token = entry["token"]
        attempt = self.shelf.running.get(token)
        event = entry["event"]
        if attempt is None:
            if event == "ended":
                self._pool.finished(worker, token)
            return
        if event == "started":
            attempt.started_at = entry["at"]
            self.starts.append(StartMessage(token=token, at=entry["at"]))
            self._on_news()
        elif event == "progress":
            self._note_progress(token, entry["progress"])
        elif event == "missing_code":
            self._pool.finished(worker, token)
            self._refuse(attempt, "no_code", "the code of the skill could not be loaded here")
        elif event == "ended":
            ended = Ended.from_json(entry)
            self._end(outcome_of(attempt, ended, word_of(attempt, ended.outcome)))
            self._pool.finished(worker, token)

    def _after(self, worker: Worker) -> None:
        """An executor has less to do: feed it, or give its seat back."""
        if worker.doomed:
            return
        if worker.fed:
            self._watch(worker)
            if self.shelf.waiting:
                self._top_up()
            return
        if worker.alone:
            self._pool.kill(worker)
            return
        self._leave_seat(f"executor-{worker.number}")
        self._fill()

    def _death(self, worker: Worker, death: Death) -> None:
        """An executor is gone: blame one, tell of those whose result went with it, start the others elsewhere."""
        now = self._now()
        timer = self._timers.pop(worker.number, None)
        if timer is not None:
            timer.cancel()
        for token in death.untouched:
            self._put_back(token)
        for token in death.finished:
            attempt = self.shelf.running.get(token)
            if attempt is not None:
                message = "the result was lost with its executor"
                own = death.blamed is None  # otherwise the attempt that crashed took it along
                self._end(simple_outcome(attempt, Outcome.LOST, "lost", message, now, node_caused=own))
        blamed = self.shelf.running.get(death.blamed) if death.blamed is not None else None
        if blamed is not None:
            self._end(epitaph(blamed, death, now))
        self._leave_seat(f"executor-{worker.number}")
        self._fill()

    def _put_back(self, token: int) -> None:
        """An executor did not get to it: it waits again, or ends if it was to be stopped anyway."""
        attempt = self.shelf.running.get(token)
        if attempt is None:
            return
        if attempt.stopping:
            self._end(simple_outcome(attempt, stopped_as(attempt.stopping), attempt.stopping, "stopped", self._now()))
        else:
            self.shelf.put_back(attempt)

    # -- timeouts and stalls ---------------------------------------------------------------------------------------

    def _watch(self, worker: Worker) -> None:
        """Look at the attempt at the head of an executor when it has run too long for its batch, or for itself."""
        old = self._timers.pop(worker.number, None)
        if old is not None:
            old.cancel()
        attempt = self.shelf.running.get(next(iter(worker.fed)))
        if attempt is None:
            return
        now = self._clock.now()
        attempt.since = attempt.since or now.mono
        followed = len(worker.fed) > 1
        if attempt.limit_s is None and not followed:
            return
        watching = self._watching(attempt, worker, followed, now.wall)
        self._timers[worker.number] = asyncio.create_task(watching, name=f"watch-{worker.number}")

    async def _watching(self, attempt: Attempt, worker: Worker, followed: bool, wall: float) -> None:
        if followed:
            await self._clock.sleep_until(attempt.since + stall_s(attempt))
            if worker.fed and next(iter(worker.fed)) == attempt.token and attempt.token in self.shelf.running:
                # On its own: news of the executor ends this watch, and an answer that nobody hears loses attempts.
                self._spawn(self._take_back_followers(worker))
        if attempt.limit_s is None:
            return
        await self._clock.sleep_until(attempt.since + attempt.limit_s)
        if attempt.token in self.shelf.running and attempt.token in worker.fed and not attempt.stopping:
            attempt.stopping = "timeout"
            attempt.started_at = attempt.started_at or wall
            self._spawn(self._climb(attempt, worker))

    async def _take_back_followers(self, worker: Worker) -> None:
        for token in await self._pool.withdraw(worker, list(worker.fed)[1:]):
            self._put_back(token)
        self._after(worker)  # the one before them may have ended meanwhile
        self._fill()

    async def _recall(self, attempt: Attempt) -> None:
        worker = self._worker_of(attempt.token)
        taken = await self._pool.withdraw(worker, [attempt.token]) if worker is not None else []
        self._recalling.discard(attempt.token)
        if worker is not None and taken:
            self._end(simple_outcome(attempt, Outcome.RELEASED, "recall", "recalled before its start", self._now()))
            self._after(worker)

    async def _stop_python(self, attempt: Attempt) -> None:
        worker = self._worker_of(attempt.token)
        if worker is None:
            return
        if attempt.token in await self._pool.withdraw(worker, [attempt.token]):
            self._end(simple_outcome(attempt, stopped_as(attempt.stopping), attempt.stopping, "stopped", self._now()))
            self._after(worker)
            return
        await self._climb(attempt, worker)

    async def _climb(self, attempt: Attempt, worker: Worker) -> None:
        """First the flag that a skill may look at; after the grace the process."""
        await self._pool.ask_cancel(worker, attempt.token)
        await self._clock.sleep_until(self._clock.now().mono + self._kill_grace_s)
        if attempt.token in worker.fed and worker.number in self._pool.workers:
            self._pool.kill(worker)

    def _worker_of(self, token: int) -> Worker | None:
        return next((w for w in self._pool.workers.values() if token in w.fed), None)

    # -- commands --------------------------------------------------------------------------------------------------

    def _start_command(self, attempt: Attempt, manifest: SkillManifest, resources: Resources) -> None:
        self.shelf.start(attempt)
        self._take_seat(attempt.token, resources)
        attempt.started_at = self._now()
        self.starts.append(StartMessage(token=attempt.token, at=attempt.started_at))
        self._spawn(self._command(attempt, manifest), "command")

    async def _command(self, attempt: Attempt, manifest: SkillManifest) -> None:
        lease = attempt.lease
        limit = self._timeout_s(attempt, manifest)
        try:
            ended = await self._commands.run(
                manifest,
                lease.params,
                token=lease.token,
                task_id=lease.task_id,
                attempt=lease.attempt,
                timeout_s=float(limit) if limit is not None else None,
                scratch=self._folder / "scratch",
                kill_grace_s=self._kill_grace_s,
                env=os.environ,
            )
        finally:
            self._leave_seat(attempt.token)
        outcome = word_of(attempt, ended.outcome)
        found = outcome_of(attempt, ended, outcome)
        if (ended.error or {}).get("kind") == "skill_changed":  # not run: the node offered what it has no more
            found = replace(found, outcome=Outcome.LOST, node_caused=True)
        self._end(found)
        self._fill()

    # -- out -------------------------------------------------------------------------------------------------------

    def _note_progress(self, token: int, said: dict[str, Any]) -> None:
        self.progress[token] = ProgressMessage(
            token=token,
            done=said.get("done") or 0,
            total=said.get("total"),
            text=str(said.get("text") or "")[:PROGRESS_LEN_MAX],
        )
        self._on_news()

    def _end(self, outcome: OutcomeMessage) -> None:
        self.progress.pop(outcome.token, None)
        if self.shelf.end(outcome):
            self._on_news()

    def end_idle(self) -> None:
        """Executors that idle give their resources back."""
        self._pool.end_idle()

    async def close(self) -> None:
        """Kill everything and wait until it is gone."""
        self._closed = True
        for token in list(self.shelf.running):
            self._commands.stop(token)
        for timer in self._timers.values():
            timer.cancel()
        await self._pool.close()
        for task in self._tasks:
            if task.get_name() != "command":  # the executors that it was about are gone
                task.cancel()
        pending = [t for t in self._tasks if not t.done()]
        if pending:
            _, late = await asyncio.wait(pending, timeout=self._kill_grace_s + 3)
            for task in late:
                task.cancel()

    def _now(self) -> float:
        return self._clock.now().wall

    def _spawn(self, work: Any, name: str = "workbench") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
