"""Where skills crashed: evidence for who is to blame, the node or the skill.

One thing is told, and only where it can be told honestly: a task that crashed on one node and then completed on another
speaks against the first node, as long as its skill crashes nowhere else. A skill that crashes on two nodes is at fault
itself. Kept in memory only, bounded, and lost at a restart: then blame begins anew.
"""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Skills and tasks remembered; the oldest are forgotten. A crash is rare, and evidence ages within minutes.
SKILLS_MAX, TASKS_MAX = 256, 1_000


class Crashes:
    """The newest crash of each skill on each node, and of each task."""

    def __init__(self) -> None:
        #: Skill to node to the wall time of its newest crash there.
        self._nodes: dict[str, dict[str, float]] = {}
        #: Task id to the node and the token of its newest crash.
        self._tasks: dict[str, tuple[str, int]] = {}
        #: Skill and node where a task crashed that completed elsewhere, and when that was.
        self._proven: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        """Whether any task crashed: keeps the usual completion free of look-ups."""
        return bool(self._tasks)

    def note(self, skill: str, task_id: str, node_id: str, token: int, at: float) -> None:
        """A task crashed; noting it twice changes nothing."""
        _put(self._nodes, skill, {**self._nodes.get(skill, {}), node_id: at}, SKILLS_MAX)
        _put(self._tasks, task_id, (node_id, token), TASKS_MAX)

    def suspect(self, skill: str, task_id: str, node_id: str, now: float, window_s: float) -> tuple[str, int] | None:
        """The node (and lease) that a completion on `node_id` speaks against; None when it says nothing."""
        found = self._tasks.get(task_id)
        if found is None or found[0] == node_id or not self._only_there(skill, found[0], now, window_s):
            return None
        _put(self._proven, (skill, found[0]), now, SKILLS_MAX)
        return found

    def proven(self, skill: str, node_id: str, now: float, window_s: float) -> bool:
        """Whether the newest evidence says that crashes of the skill on this node are the node's fault."""
        at = self._proven.get((skill, node_id))
        return at is not None and now - at <= window_s and self._only_there(skill, node_id, now, window_s)

    def _only_there(self, skill: str, node_id: str, now: float, window_s: float) -> bool:
        return all(node == node_id or now - at > window_s for node, at in self._nodes.get(skill, {}).items())


def _put(kept: dict[K, V], key: K, value: V, at_most: int) -> None:
    """Set the newest entry, and drop the oldest beyond `at_most`."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > at_most:
        del kept[next(iter(kept))]
