"""What can go wrong, and how a program hears of it. Every error says what failed, why, and what to do.

    python examples/errors.py

Needs a running cluster: `openclaw-ray up`, OPENCLAW_ADDRESS or RAY_ADDRESS.
"""

from __future__ import annotations

import time

import openclaw_ray as oc


@oc.skill(retries=1)
def divide(a: int, b: int) -> float:
    return a / b


@oc.skill(timeout="1s", retries=0)
def sleepy() -> None:
    time.sleep(60)


def main() -> None:
    with oc.connect() as cluster:
        cluster.register(divide)
        cluster.register(sleepy)

        # 1. The request itself: refused at once, nothing was stored, the field is named.
        try:
            cluster.submit("divide", {"a": 1, "b": 2}, priority="urgent")
        except oc.InvalidRequest as error:
            print(f"invalid     {error.field}: accepted are {error.limit}")

        # 2. The task's own code: the original type and traceback come along, as text.
        task = cluster.submit("divide", {"a": 1, "b": 0})
        try:
            task.result(timeout=30)
        except oc.TaskFailed as error:
            frames = error.facts["traceback"].count("File")
            print(f"failed      {task.error.type} after {task.attempt} attempts; {frames} frames of traceback")

        # 3. Its time: the attempt is killed, the task ends `timeout`.
        try:
            cluster.submit("sleepy").result(timeout=30)
        except oc.TaskTimeout as error:
            print(f"timeout     {error.facts['kind']}")

        # 4. Only the waiting ended: the task goes on, until somebody cancels it.
        waiting = cluster.submit("sleepy", required_tags=["nobody-has-this"])
        try:
            waiting.result(timeout=0.2)
        except oc.WaitTimeout:
            print(f"waiting     {waiting.state}; why: {cluster.why(waiting).verdict}")
        waiting.cancel("changed my mind")
        try:
            waiting.result(timeout=5)
        except oc.TaskCancelled as error:
            print(f"cancelled   {error.facts['kind']}")

        # 5. Many at once: errors in their places, the rest as results.
        tasks = cluster.map("divide", [{"a": 6, "b": b} for b in (1, 0, 3)], retries=0)
        print(
            "gather     ",
            [type(x).__name__ if isinstance(x, oc.TaskError) else x for x in oc.gather(tasks, on_error="return")],
        )

        # 6. No such thing.
        try:
            cluster.task("no-such-task")
        except oc.NotFound as error:
            print(f"not found   {error.field}")


if __name__ == "__main__":
    main()
