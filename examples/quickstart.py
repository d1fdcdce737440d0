"""The whole thing in one file, on a cluster of its own that is gone afterwards.

    python examples/quickstart.py

On a cluster that runs already, `with oc.local(...)` becomes `cluster = oc.connect()`; the rest stays as it is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import openclaw_ray as oc


# A skill is a function with what it needs and how it may fail. It travels by value: nothing to install on the nodes.
@oc.skill(timeout="30s", retries=3)
def word_count(path: str) -> dict[str, int]:
    return dict(Counter(Path(path).read_text("utf-8").split()).most_common(3))


def main() -> None:
    # Two nodes of unlike make; one of them has a tag that tasks may ask for.
    with oc.local(nodes=[{"tags": ["ssd"]}, {}], slots=2) as cluster:
        cluster.register(word_count)

        # When submit returns, the task is on disk. The key makes a repeat the same task.
        task = cluster.submit("word_count", {"path": __file__}, priority="high", key="quickstart")
        print("one task:   ", task.result(timeout=60))
        print("where, when:", f"{task.node}, attempt {task.attempt}, {task.state}")
        again = cluster.submit("word_count", {"path": __file__}, priority="high", key="quickstart")
        print("same key:   ", "the same task" if again.id == task.id else "another task")

        # Many tasks in a few calls; results come back in order, or as they end.
        paths = sorted(str(p) for p in Path(oc.__file__).parent.glob("*.py"))
        tasks = cluster.map("word_count", [{"path": p} for p in paths], group="docs")
        counts = oc.gather(tasks, timeout=60)
        print("many tasks: ", f"{len(counts)} files; the first one's words: {counts[0]}")
        print("by node:    ", dict(Counter(t.node for t in oc.as_completed(tasks))))

        # What cannot run waits, and says why.
        waiting = cluster.submit("word_count", {"path": __file__}, required_tags=["gpu"])
        print("\n" + str(cluster.why(waiting)))
        print("cancelled:  ", waiting.cancel())


if __name__ == "__main__":
    main()
