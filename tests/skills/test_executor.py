from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pydantic
import pytest

from openclaw_ray.core.limits import ERROR_TEXT_MAX, RESULT_BYTES_MAX
from openclaw_ray.errors import InvalidParams, InvalidRequest
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.skills.context import current
from openclaw_ray.skills.function import skill
from openclaw_ray.skills.marker import read_marker
from openclaw_ray.skills.outcome import Ended

from .conftest import REPOSITORY


def echo(x=None, y=0):
    return {"x": x, "y": y}


async def test_keyword_arguments_go_in_and_canonical_json_comes_out(bench):
    entry = await bench.run(echo, '{"y": 2, "x": "é"}')
    assert (entry["event"], entry["outcome"], entry["result"]) == ("ended", "completed", '{"x":"é","y":2}')
    assert entry["error"] is None
    assert entry["run_s"] >= 0
    assert entry["ended_at"] == entry["started_at"] + entry["run_s"]
    assert Ended.from_json(entry).result == entry["result"]
    assert Ended.from_json(Ended.from_json(entry).to_json()) == Ended.from_json(entry)


@pytest.mark.parametrize("value", [5, "text", [1, 2], None, True])
async def test_what_is_no_mapping_is_the_one_argument(bench, value):
    assert json.loads((await bench.run(echo, json.dumps(value)))["result"])["x"] == value


@dataclasses.dataclass
class Point:
    x: int


class Model(pydantic.BaseModel):
    p: int


async def test_models_and_dataclasses_become_mappings(bench):
    entry = await bench.run(lambda_of(lambda: [Point(1), Model(p=2)]))
    assert json.loads(entry["result"]) == [{"x": 1}, {"p": 2}]


def lambda_of(fn):
    return skill(name="made")(fn)


class HostileDict(dict):
    def values(self):
        raise SystemExit(3)

    items = values


def self_holding():
    loop: list = []
    loop.append(loop)
    return loop


BAD_RESULTS = {
    "lambda": (lambda: lambda: 1, "function"),
    "generator": (lambda: (i for i in []), "generator"),
    "open file": (lambda: open(os.devnull), "TextIOWrapper"),  # noqa: SIM115, PTH123
    "set": (lambda: {"a": {1}}, "dict"),
    "NaN": (lambda: float("nan"), "float"),
    "bytes": (lambda: b"x", "bytes"),
    "key": (lambda: {1: 2}, "dict"),
    "loop": (self_holding, "list"),
    "hostile": (lambda: HostileDict(a=1), "HostileDict"),
    "surrogate": (lambda: "\ud800", "str"),
    "too large": (lambda: "x" * (RESULT_BYTES_MAX + 1), "str"),
    "too large inside": (lambda: [{"a": "x" * 1_000}] * 10_000, "list"),
    "too many": (lambda: [1] * (RESULT_BYTES_MAX + 1), "list"),
}


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize("name", BAD_RESULTS)
async def test_a_result_that_cannot_be_stored_is_a_permanent_failure_naming_its_type(bench, name):
    fn, type_name = BAD_RESULTS[name]
    entry = await bench.run(lambda_of(fn))
    assert (entry["outcome"], entry["permanent"], entry["result"]) == ("failed", True, None)
    assert (entry["error"]["kind"], entry["error"]["type"]) == ("result", type_name)
    assert (await bench.run(echo))["outcome"] == "completed"


class Odd(BaseException):
    def __str__(self):
        raise RuntimeError("no text")


class Unpicklable(Exception):
    def __init__(self, a, b):
        self.lock = threading.Lock()


class LyingStr(str):
    def __getitem__(self, key):
        raise SystemExit(1)


class Lying(Exception):
    def __str__(self):
        return LyingStr("lying")


def raising(error):
    def fail():
        raise error()

    return lambda_of(fail)


@pytest.mark.parametrize(
    ("make", "type_name"),
    [
        (lambda: ValueError("bad"), "ValueError"),
        (lambda: SystemExit(1), "SystemExit"),
        (lambda: KeyboardInterrupt(), "KeyboardInterrupt"),
        (lambda: GeneratorExit(), "GeneratorExit"),
        (Odd, "Odd"),
        (lambda: Unpicklable(1, 2), "Unpicklable"),
        (Lying, "Lying"),
        (lambda: asyncio.CancelledError(), "CancelledError"),
        (lambda: ValueError("x\0\ud800" * 100_000), "ValueError"),
    ],
)
async def test_whatever_a_skill_raises_only_its_attempt_fails(bench, make, type_name):
    entry = await bench.run(raising(make))
    assert (entry["outcome"], entry["permanent"]) == ("failed", False)
    error = TaskFailure.model_validate(entry["error"])
    assert (error.kind, error.type) == ("skill_error", type_name)
    assert len(error.message) < 5_000
    assert len(error.traceback) < ERROR_TEXT_MAX + 100
    json.dumps(entry).encode()
    assert (await bench.run(echo))["outcome"] == "completed"


def deep_inside():
    raise ValueError("here")


def outer():
    deep_inside()


async def test_the_traceback_shows_the_skill_and_not_us(bench):
    trace = (await bench.run(outer))["error"]["traceback"]
    assert "deep_inside" in trace
    assert "ValueError: here" in trace
    assert "openclaw_ray" not in trace


def endless(n=0):
    return endless(n + 1)


async def test_a_runaway_recursion_fails_its_attempt(bench):
    assert (await bench.run(endless))["error"]["type"] == "RecursionError"


async def test_params_that_do_not_fit_are_a_permanent_failure(bench):
    entry = await bench.run(echo, '{"z": 1}')
    assert (entry["error"]["kind"], entry["permanent"]) == ("invalid_params", True)
    assert "'z'" in entry["error"]["message"]


def own_type_error():
    return echo(1, 2, 3)


def says_no():
    raise InvalidParams("no such file", field="params.path")


async def test_only_the_call_itself_makes_a_type_error_permanent(bench):
    assert (await bench.run(own_type_error))["permanent"] is False
    assert (await bench.run(says_no))["permanent"] is True


async def slow_echo(x):
    await asyncio.sleep(0)
    return [x, current().task_id]


async def test_coroutine_functions_run_and_know_their_context(bench):
    assert json.loads((await bench.run(slow_echo, "5", task_id="me"))["result"]) == [5, "me"]


def looks(ctx):
    assert current() is ctx
    ctx.log.info("looking")
    ctx.progress(1, 2, "half")
    (ctx.scratch / "x").write_text("x")
    return [ctx.task_id, ctx.attempt, ctx.token, ctx.remaining_s() > 5, ctx.cancelled]


async def test_a_skill_is_handed_its_context(bench):
    item = bench.item(looks, attempt=3, timeout_s=10)
    bench.loop.feed([item])
    entries = await bench.until_ended()
    assert json.loads(entries[-1]["result"]) == [item["task_id"], 3, item["token"], True, False]
    assert entries[-1]["log_tail"] == "INFO looking\n"
    assert entries[-1]["progress"] == {"done": 1, "total": 2, "text": "half"}
    assert [e["progress"]["done"] for e in entries if e["event"] == "progress"] == [1]
    assert not (bench.folder / "scratch" / str(item["token"])).exists()


async def test_many_short_tasks_are_answered_in_order_and_in_bulk(bench):
    items = [bench.item(echo, str(n)) for n in range(50)]
    bench.loop.feed(items)
    first = await bench.loop.collect(10)
    entries = first + (await bench.until_ended(50 - len(first)) if len(first) < 50 else [])
    assert [entry["token"] for entry in entries] == [item["token"] for item in items]
    assert {entry["event"] for entry in entries} == {"ended"}
    assert len(first) > 10


def waiting(event):
    """A skill that waits for an event of this process: it is loaded here, so it can be handed over by the module."""
    sys.modules["_gate_of_test"] = type(sys)("_gate_of_test")
    sys.modules["_gate_of_test"].event = event

    def wait(ctx):
        import sys

        event = sys.modules["_gate_of_test"].event
        event.wait(20)
        return ctx.cancelled

    return lambda_of(wait)


async def test_a_short_task_does_not_wait_for_a_long_neighbour(bench):
    gate = threading.Event()
    bench.loop.feed([bench.item(echo), bench.item(waiting(gate))])
    began = time.monotonic()
    entries = await bench.until_ended()
    assert [entry["event"] for entry in entries] == ["ended"]
    assert time.monotonic() - began < 1
    started = await bench.loop.collect(20)
    assert [(entry["event"], entry["token"]) for entry in started] == [("started", 2)]
    assert await bench.loop.collect(0.01) == []
    gate.set()
    assert (await bench.until_ended())[-1]["token"] == 2


async def test_what_has_not_started_can_be_withdrawn(bench):
    gate = threading.Event()
    items = [bench.item(waiting(gate)), bench.item(echo), bench.item(echo)]
    bench.loop.feed(items)
    await bench.loop.collect(20)
    assert bench.loop.cancel(2)
    assert bench.loop.withdraw([1, 2, 99]) == [2]
    bench.loop.feed([bench.item(waiting(gate), token=2)])  # given back later: the old wish to stop is forgotten
    gate.set()
    entries = [e for e in await bench.until_ended(3) if e["event"] == "ended"]
    assert [(e["token"], e["result"]) for e in entries] == [(1, "false"), (3, '{"x":null,"y":0}'), (2, "false")]
    assert bench.loop.idle


async def test_cancel_sets_the_flag_of_what_runs_and_of_what_waits(bench):
    gate = threading.Event()
    bench.loop.feed([bench.item(waiting(gate)), bench.item(waiting(gate))])
    await bench.loop.collect(20)
    assert bench.loop.cancel(1)
    assert bench.loop.cancel(2)
    assert not bench.loop.cancel(3)
    gate.set()
    entries = await bench.until_ended(2)
    assert [e["result"] for e in entries if e["event"] == "ended"] == ["true", "true"]


async def test_code_that_was_never_named_is_asked_for(bench):
    entry = await bench.run(echo, code="0" * 64)
    assert entry == {"token": 1, "event": "missing_code", "code": "0" * 64}
    assert (await bench.run(echo))["outcome"] == "completed"


async def test_a_file_with_other_code_is_not_loaded(bench):
    item = bench.item(echo)
    (bench.folder / item["code"]).write_bytes(b"something else")
    bench.loop.feed([item])
    (entry,) = await bench.until_ended()
    assert (entry["error"]["kind"], entry["permanent"]) == ("not_loadable", False)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('bang')",)


async def test_code_that_fails_while_it_loads_fails_its_attempt_only(bench):
    import hashlib
    import pickle

    blob = pickle.dumps(("value", Bomb(), {}))
    path = bench.folder / "bomb"
    path.write_bytes(blob)
    digest = hashlib.sha256(blob).hexdigest()
    bench.loop.load_code(digest, path)
    entry = await bench.run(echo, code=digest)
    assert entry["error"]["kind"] == "not_loadable"
    assert "bang" in entry["error"]["message"]
    assert (await bench.run(echo))["outcome"] == "completed"


async def test_only_the_functions_used_last_stay_loaded(bench, monkeypatch):
    monkeypatch.setattr("openclaw_ray.skills.code_cache.LOADED_MAX", 2)
    for n in range(4):
        assert (await bench.run(lambda_of(lambda n=n: n)))["result"] == str(n)
    assert len(bench.loop._code._loaded) == 2


def test_an_incomplete_item_is_refused(bench):
    with pytest.raises(InvalidRequest):
        bench.loop.feed([{"token": 1}])


async def test_nothing_to_report_is_an_empty_list(bench):
    assert await bench.loop.collect(0.01) == []


async def test_the_marker_names_who_runs_and_who_finished(bench):
    gate = threading.Event()
    path = bench.folder / "scratch" / "running"
    assert read_marker(path) == (0, 0)
    bench.loop.feed([bench.item(echo), bench.item(waiting(gate))])
    while not any(e["event"] == "started" for e in await bench.loop.collect(20)):
        pass
    assert read_marker(path) == (2, 1)
    gate.set()
    await bench.until_ended()
    assert read_marker(path) == (0, 2)
    assert read_marker(bench.folder / "none") == (0, 0)


CAPTURING = """
import asyncio, json, os, subprocess, sys, tempfile, hashlib
from pathlib import Path
from openclaw_ray.skills.executor import ExecutorLoop
from openclaw_ray.skills.function import skill
def silent(): pass
def prints():
    print("out"); print("err", file=sys.stderr); os.write(1, b"raw\\n"); subprocess.run(["echo", "child"])
def floods():
    for _ in range(100): print("x" * 50_000)
    print("the end")
def closes():
    sys.stdout.close(); sys.stderr = None
def dies():
    os.kill(os.getpid(), 9)
async def main():
    folder = Path(tempfile.mkdtemp()); loop = ExecutorLoop(folder); found = []
    for token, fn in enumerate(map(globals().get, sys.argv[1:]), 1):
        packed = skill(fn).packed(); (folder / packed.manifest.code).write_bytes(packed.blob)
        loop.load_code(packed.manifest.code, folder / packed.manifest.code)
        if fn is dies: os.write(loop._capture._saved[0], str(folder / "running").encode())
        loop.feed([dict(token=token, task_id="t", attempt=1, code=packed.manifest.code, params="{}", timeout_s=None,
                        takes_context=False)])
        while not (entries := await loop.collect(20)) or entries[-1]["event"] != "ended": pass
        found.append([entries[-1]["outcome"], entries[-1]["log_tail"]])
    loop.close()
    print(json.dumps(found))
asyncio.run(main())
"""


def capturing(tmp_path: Path, *names: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "capturing.py"
    script.write_text(CAPTURING)
    return subprocess.run(
        [sys.executable, str(script), *names],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_output_is_kept_with_its_attempt_and_bounded(tmp_path):
    done = capturing(tmp_path, "prints", "silent", "floods", "closes", "prints", "silent")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [outcome for outcome, _ in found] == ["completed"] * 6
    logs = [log for _, log in found]
    assert logs[0] == logs[4] == "out\nerr\nraw\nchild\n"
    assert logs[1] is logs[5] is logs[3] is None
    assert logs[2].startswith("[4,")
    assert "bytes cut]" in logs[2][:40]
    assert logs[2].endswith("the end\n")
    assert len(logs[2]) < 66_000


def test_after_a_crash_the_marker_says_whom_to_blame(tmp_path):
    done = capturing(tmp_path, "silent", "dies")
    assert done.returncode == -9
    assert read_marker(Path(done.stdout)) == (2, 1)
