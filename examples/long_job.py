"""Long work that outlives its driver: start it, leave, come back from anywhere, and go on watching.

    python examples/long_job.py          # starts it, or finds it: the key is the same
    ^C                                   # only the watching ends
    python examples/long_job.py          # there it is again, further on
    python examples/long_job.py TASK-ID  # from another computer, days later

Needs a running cluster: `openclaw-ray up`, OPENCLAW_ADDRESS or RAY_ADDRESS.
"""

from __future__ import annotations

import sys
import time

import openclaw_ray as oc

KEY = "long-job"


@oc.skill(timeout="1h", retries=0)
def dig(ctx: oc.Context, metres: int) -> dict[str, int]:
    for depth in range(metres):
        if ctx.cancelled:  # somebody changed their mind
            break
        time.sleep(0.1)
        ctx.progress(depth + 1, metres, "digging")
    return {"depth": metres, "attempt": ctx.attempt}


def main() -> None:
    with oc.connect() as cluster:
        if len(sys.argv) > 1:
            task = cluster.task(sys.argv[1])
        else:
            cluster.register(dig)
            task = cluster.submit("dig", {"metres": 30}, key=KEY)
        print(task.id, flush=True)
        while True:
            try:
                # A WaitTimeout ends the waiting, never the task.
                print(task.result(timeout=1.0))
                return
            except oc.WaitTimeout:
                said = task.progress or {"done": 0, "total": "?", "text": task.state}
                print(f"{said['done']:.0f} of {said['total']}: {said['text']}", flush=True)


if __name__ == "__main__":
    main()
