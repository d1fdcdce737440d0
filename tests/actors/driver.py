"""A driver with handles only, run in a process of its own: submits tasks, or reads their results by id.

python driver.py <namespace> submit|read <id prefix> <count>
"""

import json
import sys

import ray

namespace, what, prefix, count = *sys.argv[1:4], int(sys.argv[4])
ray.init(namespace=namespace, log_to_driver=False, logging_level="ERROR")
state = ray.get_actor("openclaw-state-manager")
ids = [f"{prefix}-{i}" for i in range(count)]


def call(verb: str, **body: object) -> dict:
    """One call in JSON."""
    answer = json.loads(ray.get(state.call_json.remote(verb, json.dumps(body)), timeout=60))
    if not answer["ok"]:
        sys.exit(f"{verb}: {answer['error']}")
    return answer["value"]


def ended_tasks(session: str) -> dict:
    """Wait for all of them."""
    ended, n, new = {}, 0, ids
    while len(ended) < count:
        n += 1
        reply = call("results", session=session, n=n, add=new, timeout_s=20)
        new = []
        ended |= {task["task_id"]: task for task in reply["ended"]}
        if reply["missing"]:
            sys.exit(f"missing: {reply['missing'][:3]}")
    return ended


if what == "submit":
    for first in range(0, count, 250):
        specs = [{"skill": "slow_square", "params": {"x": i}} for i in range(first, first + 250)]
        call("submit", tasks=[{"id": ids[s["params"]["x"]], "spec": s} for s in specs])
    print(f"acknowledged {count}", flush=True)  # noqa: T201
    ended_tasks(f"{prefix}-first")
else:
    ended_tasks(f"{prefix}-second")
    found = [task for i in range(0, count, 250) for task in ray.get(state.get_task.remote(ids[i : i + 250]))]
    if any(task["status"] != "completed" for task in found):
        sys.exit("not all completed")
    print(json.dumps({task["task_id"]: task["result"] for task in found}), flush=True)  # noqa: T201
ray.shutdown()
