from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from openclaw_ray.core.limits import OUTPUT_BYTES_MAX, RESULT_BYTES_MAX
from openclaw_ray.errors import Conflict, InvalidParams
from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.skills.command import CommandRunner, remove_tree
from openclaw_ray.skills.command_line import command_line
from openclaw_ray.skills.folder import read_folder
from openclaw_ray.skills.outcome import Ended
from openclaw_ray.skills.processes import leftovers
from tests.support.wait import wait_until_async


class Commands:
    """Shell scripts as skills, run in a scratch folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.progress: list[tuple[int, dict]] = []
        self.runner = CommandRunner(lambda token, report: self.progress.append((token, report)))
        self._count = 0

    def skill(self, script: str, more: str = "", mode: int = 0o755, head: str = "#!/bin/sh\n") -> SkillManifest:
        self._count += 1
        folder = self.folder / f"skill{self._count}"
        folder.mkdir()
        (folder / "run.sh").write_text(head + script)
        (folder / "run.sh").chmod(mode)
        (folder / "skill.yaml").write_text(f'name: s{self._count}\ncommand: ["{{skill}}/run.sh"]\n{more}')
        return read_folder(folder)

    async def run(self, skill: SkillManifest | str, params: Any = None, more: str = "", **changes: Any) -> Ended:
        manifest = self.skill(skill, more) if isinstance(skill, str) else skill
        words: dict[str, Any] = {
            "token": 7, "task_id": "t", "attempt": 2, "timeout_s": 20, "scratch": self.scratch, "kill_grace_s": 0.2,
            "env": dict(os.environ),
        }  # fmt: skip
        ended = await self.runner.run(manifest, json.dumps({} if params is None else params), **words | changes)
        assert list(self.scratch.iterdir()) == []
        assert leftovers(self.scratch) == []
        assert ended.error is None or TaskFailure.model_validate(ended.error)
        return ended


@pytest.fixture
def commands(tmp_path):
    return Commands(tmp_path)


async def test_parameters_go_in_and_a_result_comes_out(commands):
    ended = await commands.run("cat", {"b": 1, "a": "é"})
    assert (ended.outcome, ended.result, ended.exit_status, ended.error) == ("completed", '{"a":"é","b":1}', 0, None)
    assert ended.token == 7
    assert abs(ended.started_at - time.time()) < 60
    assert ended.ended_at == ended.started_at + ended.run_s


async def test_a_program_need_not_read_its_parameters(commands):
    assert (await commands.run("exec <&-; echo 1", {"big": "x" * 900_000})).result == "1"
    assert (await commands.run("echo 2", {"big": "x" * 900_000})).result == "2"
    assert json.loads((await commands.run("cat", {"big": "x" * 900_000})).result) == {"big": "x" * 900_000}


async def test_a_program_that_says_nothing_has_no_result(commands):
    assert (await commands.run("true")).result == "null"


@pytest.mark.parametrize(
    "said", ["hello world", "NaN", "[1,", "1 2", "{'a': 1}", "[" * 100_000, "9" * 5_000, '"\\ud800"']
)
async def test_what_is_not_json_is_a_permanent_failure_that_quotes_it(commands, tmp_path, said):
    (tmp_path / "said").write_text(said)
    ended = await commands.run(f"cat {tmp_path}/said")
    assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", True, "result")
    assert said[:20].replace("'", "") in ended.error["message"].replace("'", "").replace("\\\\", "\\")


async def test_an_endless_result_is_cut_off_and_the_program_killed(commands):
    ended = await commands.run("trap '' TERM; exec yes")
    assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", True, "result")
    assert f"{RESULT_BYTES_MAX:,}" in ended.error["message"]


@pytest.mark.parametrize("status", [1, 75, 126, 255])
async def test_another_exit_status_is_an_ordinary_failure(commands, status):
    ended = await commands.run(f"echo broken >&2; exit {status}")
    assert (ended.outcome, ended.permanent, ended.exit_status, ended.signal) == ("failed", False, status, None)
    assert ended.error["message"] == f"exit status {status}: broken"
    assert ended.log_tail == "broken\n"


async def test_a_signal_is_named(commands):
    ended = await commands.run("kill -SEGV $$")
    assert (ended.outcome, ended.signal, ended.exit_status, ended.permanent) == ("failed", "SIGSEGV", None, False)
    assert ended.error["kind"] == "crashed"
    assert "SIGSEGV" in ended.error["message"]


async def test_endless_output_is_kept_from_its_end_and_marked(commands):
    ended = await commands.run("yes 0123456789 | head -c 1000000 >&2; echo the end >&2")
    assert ended.log_tail.startswith("[9")
    assert "bytes cut]" in ended.log_tail[:30]
    assert ended.log_tail.endswith("the end\n")
    assert len(ended.log_tail) < OUTPUT_BYTES_MAX + 100


async def test_progress_is_read_from_standard_error(commands):
    ended = await commands.run(
        "echo ::progress 1/4 one >&2; echo line >&2; echo ::progress 2 >&2; echo ::progress x >&2;"
        "echo '::progress 2.5/4 the last' >&2"
    )
    assert ended.progress == {"done": 2.5, "total": 4, "text": "the last"}
    assert ended.log_tail == "line\n::progress x\n"
    await wait_until_async(lambda: commands.progress)
    assert commands.progress[0] == (7, {"done": 1, "total": 4, "text": "one"})


async def test_the_program_sees_a_small_environment_and_a_folder_of_its_own(commands):
    env = {"PATH": os.environ["PATH"], "SECRET": "x", "PASSED": "yes", "LANG": "C", "LD_PRELOAD": "/x"}
    script = "umask; pwd; stat -c %a . 2>/dev/null || stat -f %Lp .; env; ps -o sid= -p $$; echo pid $$"
    ended = await commands.run(f"{{ {script}; }} >&2", more="env: [PASSED, ABSENT]\n", env=env, token=9)
    umask, cwd, mode, *lines = ended.log_tail.splitlines()
    assert (umask, cwd, mode) == ("0077", str(commands.scratch / "9"), "700")
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    for name in ("PWD", "OLDPWD", "SHLVL", "_"):  # made by the shell
        seen.pop(name, None)
    assert seen == {
        "PATH": env["PATH"], "LANG": "C", "HOME": cwd, "TMPDIR": cwd, "PASSED": "yes", "PYTHONDONTWRITEBYTECODE": "1",
        "OPENCLAW_TASK_ID": "t", "OPENCLAW_TASK_ATTEMPT": "2", "OPENCLAW_TASK_TOKEN": "9", "OPENCLAW_TASK_SCRATCH": cwd,
    }  # fmt: skip
    assert lines[-2].strip() == lines[-1].split()[1]  # a session of its own


async def test_a_manifest_cannot_pass_what_changes_programs(commands):
    manifest = commands.skill("env >&2").model_copy(update={"env_passed": ["LD_PRELOAD", "PYTHONPATH", "A=B"]})
    env = {"PATH": os.environ["PATH"], "LD_PRELOAD": "/nothing", "PYTHONPATH": "/x", "A=B": "1"}
    log = (await commands.run(manifest, env=env)).log_tail
    assert "LD_PRELOAD" not in log
    assert "PYTHONPATH" not in log


HOSTILE = ["; rm -rf x", "$(id)", "`id`", "a b  c", "-rf", "--", "*", "\n", "'\"\\", "{skill}", "{other}", "", "é"]


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_parameter_is_one_word_whatever_it_holds(commands, value):
    script = 'printf "%s" "$#" >&2; shift; printf "[%s]" "$1" >&2'
    ended = await commands.run(script, {"value": value}, more='args: [--, "{value}"]\n')
    assert ended.log_tail == f"2[{value}]"


@pytest.mark.parametrize(("value", "word"), [(5, "5"), (1.5, "1.5"), (True, "true"), ([1, "a b"], '[1,"a b"]')])
def test_other_values_become_their_json(value, word):
    manifest = SkillManifest(name="a", kind=SkillKind.COMMAND, revision="0" * 64, argv=["x", "{v}"], origin="/o")
    assert command_line(manifest, {"v": value}) == ["x", word]


@pytest.mark.parametrize("params", [{}, {"v": None}, [1], {"v": "-x"}, {"v": "a\0b"}, {"v": -1}])
def test_a_parameter_that_cannot_be_a_word_is_refused(params):
    manifest = SkillManifest(name="a", kind=SkillKind.COMMAND, revision="0" * 64, argv=["x", "{v}"], origin="/o")
    with pytest.raises(InvalidParams) as caught:
        command_line(manifest, params)
    assert caught.value.field == "params.v"


async def test_refused_parameters_are_a_permanent_failure(commands):
    ended = await commands.run("true", more='args: ["{path}"]\n')
    assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", True, "invalid_params")


async def test_parameters_too_long_for_a_command_line_are_a_permanent_failure(commands):
    ended = await commands.run("true", {"v": "x" * 1_000_000}, more='args: ["{v}"]\n')
    assert (ended.permanent, ended.error["kind"]) == (True, "invalid_params")


async def test_what_cannot_be_run_is_a_permanent_failure_that_says_why(commands):
    cases = {
        "interpreter": commands.skill("", head="#!/no/such/interpreter\n"),
        "no program": commands.skill("\x00\x01", head="\x7fXYZ"),
        "not executable": commands.skill("true", mode=0o644),
        "no-such-program": commands.skill("true").model_copy(update={"argv": ["no-such-program"]}),
        "'/bin/sh'": commands.skill("true").model_copy(update={"argv": ["/bin/sh"]}),
        "leads out": commands.skill("true").model_copy(update={"argv": ["{skill}/../../x"]}),
        "not a file": commands.skill("true").model_copy(update={"argv": ["{skill}/x"]}),
        "''": commands.skill("true").model_copy(update={"argv": []}),
    }
    for words, manifest in cases.items():
        ended = await commands.run(manifest)
        assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", True, "not_runnable"), words
        assert words in ended.error["message"]


async def test_an_edited_skill_is_not_run(commands):
    manifest = commands.skill("echo 1")
    assert (await commands.run(manifest)).result == "1"
    (Path(manifest.origin) / "run.sh").write_text("#!/bin/sh\necho 22\n")
    ended = await commands.run(manifest)
    assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", False, "skill_changed")
    remove_tree(Path(manifest.origin))
    assert (await commands.run(manifest)).error["kind"] == "skill_changed"


async def test_a_timeout_ends_the_program(commands):
    ended = await commands.run("sleep 60", timeout_s=0.1)
    assert (ended.outcome, ended.signal, ended.permanent) == ("timeout", "SIGTERM", False)
    assert ended.error["kind"] == "timeout"
    assert 0.1 <= ended.run_s < 10


async def test_a_program_may_use_its_grace_but_not_its_last_words(commands):
    ended = await commands.run(
        "trap 'echo cleaned >&2; echo 1; exit 0' TERM; while :; do sleep 0.05; done", timeout_s=0.2, kill_grace_s=20
    )
    assert (ended.outcome, ended.result, ended.exit_status) == ("timeout", None, 0)
    assert ended.log_tail.endswith("cleaned\n")


STUBBORN = """
trap '' TERM
python3 - <<'END' &
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(os.environ["HOME"] + "/ready", "w").close()
        time.sleep(120)
time.sleep(120)
END
(trap '' TERM; sleep 120) &
sleep 120; sleep 120
"""


@pytest.mark.parametrize("how", ["timeout", "stop", "cancel"])
async def test_nothing_is_left_of_a_stubborn_tree(commands, how):
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    timeout_s = 3 if how == "timeout" else 60
    running = asyncio.create_task(commands.run(STUBBORN, token=3, timeout_s=timeout_s, kill_grace_s=0.3))
    await wait_until_async(lambda: (commands.scratch / "3" / "ready").exists())
    assert len(leftovers(commands.scratch)) >= 5
    if how == "cancel":
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        if how == "stop":
            assert commands.runner.stop(3)
        ended = await running
        assert (ended.outcome, ended.signal) == ({"stop": "cancelled"}.get(how, how), "SIGKILL")
    assert leftovers(commands.scratch) == []
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    assert list(commands.scratch.iterdir()) == []


async def test_what_a_program_leaves_behind_is_ended_with_it(commands):
    ended = await commands.run("set -m; sleep 120 & set +m; sleep 120 & setsid sleep 120 >/dev/null 2>&1 & echo 5")
    assert (ended.outcome, ended.result) == ("completed", "5")
    assert ended.run_s < 10


async def test_a_child_without_its_environment_is_found_through_its_parent(commands):
    ended = await commands.run("setsid env -i sleep 119.5; true", timeout_s=0.3)
    assert ended.outcome == "timeout"
    assert not [p for p in psutil.process_iter() if _command_of(p) == ["sleep", "119.5"]]


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_stop_of_an_unknown_run_says_so(commands):
    assert commands.runner.stop(99) is False
    await commands.run("true")
    assert commands.runner.stop(7) is False


async def test_one_token_starts_one_program(commands):
    running = asyncio.create_task(commands.run("touch ready; sleep 60"))
    await wait_until_async(lambda: (commands.scratch / "7" / "ready").exists())
    with pytest.raises(Conflict):
        await commands.runner.run(
            commands.skill("true"),
            "{}",
            token=7,
            task_id="t",
            attempt=1,
            timeout_s=9,
            scratch=commands.scratch,
            kill_grace_s=1,
            env={},
        )
    assert commands.runner.stop(7)
    assert (await running).outcome == "cancelled"


async def test_many_run_at_once(commands):
    manifest = commands.skill("cat")
    words = {
        "task_id": "t",
        "attempt": 1,
        "timeout_s": 20,
        "scratch": commands.scratch,
        "kill_grace_s": 1,
        "env": os.environ,
    }
    found = await asyncio.gather(*(commands.runner.run(manifest, str(n), token=n, **words) for n in range(1, 21)))
    assert [ended.result for ended in found] == [str(n) for n in range(1, 21)]


async def test_folders_a_program_locked_are_removed_too(commands):
    ended = await commands.run("mkdir -p a/b; touch a/b/c; chmod 0 a/b; chmod 500 a; chmod 500 .")
    assert ended.outcome == "completed"


async def test_an_old_scratch_folder_is_not_seen(commands):
    (commands.scratch / "7").mkdir()
    (commands.scratch / "7" / "old").write_text("x")
    assert (await commands.run("ls | wc -l")).result == "0"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only where limits of a running process can be set")
async def test_memory_that_was_asked_for_is_a_limit(commands):
    script = 'sleep 0.1; exec python3 -c "x = bytearray(300 << 20)"'
    ended = await commands.run(script, more="resources: {memory: 128MiB}\n")
    assert ended.outcome == "failed"
    assert "MemoryError" in ended.log_tail


async def test_without_a_descriptor_for_processes_their_end_is_polled(commands, monkeypatch):
    monkeypatch.setattr("openclaw_ray.skills.child._pidfd", lambda pid: None)
    assert (await commands.run("echo 1")).result == "1"
    assert (await commands.run("sleep 60", timeout_s=0.1)).outcome == "timeout"


async def test_where_a_folder_cannot_be_made_the_node_is_to_blame(commands):
    commands.scratch.rmdir()
    commands.scratch.write_text("in the way")
    manifest = commands.skill("true")
    words = {"task_id": "t", "attempt": 1, "timeout_s": 20, "scratch": commands.scratch, "kill_grace_s": 1, "env": {}}
    ended = await commands.runner.run(manifest, "{}", token=1, **words)
    assert (ended.outcome, ended.permanent, ended.error["kind"]) == ("failed", False, "node")
