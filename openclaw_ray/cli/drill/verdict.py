"""Whether anything was lost or done twice: asked of the database's rows and of the ledger that the tasks wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openclaw_ray.cli.drill.faults import Felt
from openclaw_ray.cli.drill.load import GROUP, Load
from openclaw_ray.storage.database import Database

#: How long a part may take to be back (seconds): a restart with a small queue, a process, a lease and a new agent.
BACK_WITHIN_S = {
    "kill -9 StateManager": 5.0,
    "freeze StateManager": 5.0,
    "kill -9 Scheduler": 5.0,
    "kill -9 executor": 5.0,
    "kill -9 NodeAgent": 20.0,
    "freeze NodeAgent": 20.0,
    "kill -9 node": 20.0,
}
_TASKS = "SELECT task_id, status, result FROM tasks WHERE group_name = ?"
_ATTEMPTS = "SELECT a.token, a.task_id, a.outcome FROM attempts a JOIN tasks t USING (task_id) WHERE t.group_name = ?"


@dataclass
class Verdict:
    """What the drill came to."""

    seed: int
    minutes: float
    submitted: int
    ended: dict[str, int]
    attempts: dict[str, int]
    stale_reports: int
    unknown_submits: int
    #: Fault to how often, and its longest recovery in seconds.
    faults: dict[str, dict[str, Any]]
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "ok": not self.wrong}


async def read_rows(database: Path) -> tuple[list[Any], list[Any]]:
    """Tasks and attempts of the drill, by a reader of its own."""
    reader = await Database.open(database, create=False, read_only=True)
    try:
        return await reader.read(
            lambda conn: (conn.execute(_TASKS, (GROUP,)).fetchall(), conn.execute(_ATTEMPTS, (GROUP,)).fetchall()),
            bound_s=None,
        )
    finally:
        await reader.close()


def judge(load: Load, felt: list[Felt], rows: tuple[list[Any], list[Any]], ledger: Iterable[str]) -> list[str]:
    """Everything that should not be."""
    tasks, attempts = rows
    status = {task_id: state for task_id, state, _ in tasks}
    results = {task_id: result for task_id, _, result in tasks}
    wrong: list[str] = []
    for number, task in load.tasks.items():
        state = status.get(task.id)
        if state is None:
            wrong.append(f"{task.id} was acknowledged and is not there")
        elif state != "completed":
            wrong.append(f"{task.id} is {state}")
        elif results[task.id] != str(number):
            wrong.append(f"{task.id} has the result {results[task.id]}, not {number}")
    accepted = Counter(task_id for _, task_id, outcome in attempts if outcome == "completed")
    wrong += [f"{task_id} was accepted {n} times" for task_id, n in accepted.items() if n > 1]
    wrong += [f"the attempt of token {token} never ended" for token, _, outcome in attempts if outcome is None]
    wrong += _against_ledger(attempts, ledger)
    for one in felt:
        limit = BACK_WITHIN_S[one.fault]
        if one.recovery_s is None or one.recovery_s > limit:
            took = "for ever" if one.recovery_s is None else f"{one.recovery_s:.1f} s"
            wrong.append(f"{one.fault} ({one.part}): back after {took}, allowed are {limit:g} s")
    return wrong + [f"a submit was refused: {text}" for text in load.refused]


def _against_ledger(attempts: list[Any], ledger: Iterable[str]) -> list[str]:
    """A lease is run by one process once, and what was accepted was done to its end."""
    starts: Counter[int] = Counter()
    ends: set[int] = set()
    for line in ledger:
        what, _number, token, _pid = line.split()
        if what == "start":
            starts[int(token)] += 1
        else:
            ends.add(int(token))
    known = {token for token, _, _ in attempts}
    wrong = [f"token {token} was run {n} times" for token, n in starts.items() if n > 1]
    wrong += [f"token {token} was run and is not on record" for token in starts if token not in known]
    done = [token for token, _, outcome in attempts if outcome == "completed"]
    return wrong + [f"token {token} was accepted, but its work never ended" for token in done if token not in ends]


def longest(felt: list[Felt]) -> dict[str, dict[str, Any]]:
    """Per fault: how often, and the longest recovery (None: one was never over)."""
    found: dict[str, dict[str, Any]] = {}
    for fault in BACK_WITHIN_S:
        times = [one.recovery_s for one in felt if one.fault == fault]
        if times:
            worst = None if None in times else max(t for t in times if t is not None)
            found[fault] = {"times": len(times), "longest_s": worst, "allowed_s": BACK_WITHIN_S[fault]}
    return found
