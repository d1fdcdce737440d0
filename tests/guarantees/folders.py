"""B48 to B60: skill folders, and the commands in them. A bad one is reported, and its neighbours load."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openclaw_ray.skills.command import CommandRunner
from openclaw_ray.skills.contents import FILES_MAX
from openclaw_ray.skills.folder import discover, read_folder
from openclaw_ray.skills.outcome import Ended
from tests.guarantees.case import case, numbers
from tests.guarantees.doors import Doors

GOOD = 'name: good\ncommand: ["{skill}/run.sh"]\n'
Make = Callable[[Path], None]


def make(folder: Path, text: str | bytes = GOOD, script: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "skill.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "run.sh").write_text(script)
    (folder / "run.sh").chmod(0o755)
    return folder


def scanned(d: Doors, build: Make, clear: Callable[[], object] = lambda: None) -> tuple[list[str], dict[str, str]]:
    """Skills and reasons below a root in which something is wrong and `zz` is not."""
    root = d.folder / f"root-{next(numbers)}"
    root.mkdir()
    build(root)
    make(root / "zz", GOOD.replace("good", "neighbour"))
    try:
        found = discover([root])
        # One way to say where: the root is another one each time.
        reasons = {os.path.relpath(path, root): reason.replace(str(root), "ROOT") for path, reason in found.rejected}
        return [skill.name for skill in found.skills], reasons
    finally:
        clear()
        shutil.rmtree(root)


def skipped(row: str, given: str, build: Make, says: str) -> None:
    """What `build` makes below a root is not offered, with a reason; its neighbour is."""

    def send(d: Doors) -> str:
        skills, reasons = scanned(d, build)
        assert "neighbour" in skills
        assert any(says in reason for reason in reasons.values()), reasons
        assert all(reason.isprintable() and len(reason) < 700 for reason in reasons.values()), reasons
        return "skipped: " + "; ".join(f"{path}: {reason}" for path, reason in sorted(reasons.items()))

    case(row, given, "skill folder", send, error=None)


def file(row: str, given: str, text: str | bytes, says: str) -> None:
    """A folder with such a skill.yaml."""
    skipped(row, given, lambda root: make(root / "bad", text) and None, says)


file("B48", "UTF-16", GOOD.encode("utf-16"), "not UTF-8")
file("B48", "binary", b"\x7fELF\x00\x01\x02", "not plain YAML")
file("B48", "not closed", "name: [a\n", "not plain YAML")
file("B48", "empty", "", "not a mapping")
file("B48", "a list", "- a\n", "not a mapping")
file("B48", "an unknown field", "name: a\ncommand: [sh]\ntimout: 3s\n", "did you mean 'timeout'?")
file("B48", "a field twice", "name: a\ncommand: [sh]\nname: b\n", "given twice")
file("B48", "a control character in a field's name", 'name: a\ncommand: [sh]\n"a\\e[2J": 1\n', "unknown field")
file("B48", "a field twice whose name is an escape", '"a\\e[2J": 1\n"a\\e[2J": 2\n', "given twice")
file("B48", "a number of 5,000 digits", "name: a\ncommand: [sh]\nretries: " + "9" * 5_000, "not plain YAML")
file("B48", "a date that is none", "name: a\ncommand: [sh]\nversion: 2020-13-45\n", "not plain YAML")
file("B48", "a set", "name: a\ncommand: [sh]\ntags: !!set {a, b}\n", "is not a list")
file("B48", "bytes", "name: !!binary aGk=\ncommand: [sh]\n", "not a skill name")
file("B48", "infinity", "name: a\ncommand: [sh]\ntimeout: .inf\n", "not a duration")
file("B49", "aliases of aliases", "a: &a [x,x]\nb: &b [*a,*a]\nname: b\ncommand: [sh]\n", "anchors and aliases")
file("B50", "os.system", "name: !!python/object/apply:os.system [id]\ncommand: [sh]\n", "not plain YAML")
file("B50", "a class", "name: !!python/name:os.system\ncommand: [sh]\n", "not plain YAML")
file("B51", "2,000 lists", "name: " + "[" * 2_000 + "]" * 2_000, "nested too deeply")
file("B51", "2,000 mappings", "name: " + "{a: " * 2_000, "nested too deeply")
for word in ("no", "null", "1.0", "~", "2020-01-01", "0x10", "yes"):
    file("B52", word, f"name: {word}\ncommand: [sh]\n", "not a skill name")
for given, command in (
    ("absolute", "[/bin/sh]"),
    ("relative", "[./run.sh]"),
    ("..", "[..]"),
    ("a way up", '["{skill}/../x"]'),
    ("absolute inside", '["{skill}//bin/sh"]'),
    ("a backslash", '["a\\\\b"]'),
    ("a file that is not there", '["{skill}/no.sh"]'),
    ("a text", "sh -c ls"),
    ("a number", "[1]"),
    ("empty", "[]"),
    ("NUL", '[sh, "a\\0b"]'),
    ("a parameter", '[sh, "{path}"]'),
):
    file("B54", given, f"name: a\ncommand: {command}\n", "command")
for given, name in (
    ("=", "A=b"),
    ("NUL", '"A\\0"'),
    ("LD_PRELOAD", "LD_PRELOAD"),
    ("DYLD_INSERT_LIBRARIES", "DYLD_INSERT_LIBRARIES"),
    ("PYTHONPATH", "PYTHONPATH"),
    ("PATH", "PATH"),
    ("BASH_ENV", "BASH_ENV"),
    ("one of ours", "OPENCLAW_TASK_TOKEN"),
    ("a number", "5"),
    ("empty", '""'),
):
    file("B59", given, f"name: a\ncommand: [sh]\nenv: [{name}]\n", "env[0]")


def two_of_a_name(root: Path) -> None:
    make(root / "a")
    make(root / "b")


def with_link(name: str, target: str) -> Make:
    return lambda root: (make(root / "bad") / name).symlink_to(target)


skipped("B53", "in one root", two_of_a_name, "the skill good was already found in ROOT/a")
skipped("B55", "a circle in a folder", with_link("loop", "loop"), "in a circle")
skipped("B55", "out of a folder", with_link("out", "/etc/passwd"), "a link out of the skill's folder")
skipped("B55", "a circle in a root", lambda root: (root / "loop").symlink_to("loop"), "in a circle")
skipped("B55", "out of a root", lambda root: (root / "out").symlink_to("/etc"), "a link out of the root")


def program_out(root: Path) -> None:
    folder = make(root / "bad")
    (folder / "run.sh").unlink()
    (folder / "run.sh").symlink_to("/bin/sh")


def sparse(name: str) -> Make:
    def build(root: Path) -> None:
        with (make(root / "bad") / name).open("wb") as big:
            big.truncate(500 << 20)

    return build


def many_files(root: Path) -> None:
    folder = make(root / "bad")
    for i in range(FILES_MAX):
        (folder / str(i)).touch()


def no_name_in_utf8(root: Path) -> None:
    odd = root / os.fsdecode(b"b\xff")
    odd.mkdir()
    make(root / "good").rename(odd / "good")


skipped("B55", "a program out of a folder", program_out, "out of the skill's folder")
skipped("B56", "a skill.yaml of 500 MB", sparse("skill.yaml"), "too large (accepted: 65,536 bytes)")
skipped("B56", "a file of 500 MB", sparse("data"), "holds too much")
skipped("B56", "1,002 files", many_files, "holds too much")
skipped("B48", "a path that is no UTF-8", no_name_in_utf8, "Unicode text")


def deep_folders(d: Doors) -> str:
    made: list[str] = []

    def build(root: Path) -> None:
        made.append(f"{root}/a")
        while len(made) < 1_000:
            made.append(made[-1] + "/a")
        for path in made:
            os.mkdir(path)  # noqa: PTH102 - a Path of a thousand parts takes its time

    skills, reasons = scanned(d, build, lambda: [os.rmdir(path) for path in reversed(made)])  # noqa: PTH106
    assert (skills, reasons) == (["neighbour"], {})
    return "not looked into below 6 levels"


case("B56", "1,000 levels in a root", "skill folder", deep_folders, error=None)

# -- running -------------------------------------------------------------------------------------------------------

#: Says its words as a list of JSON; none of those that are tried needs more than quotes.
ECHO = """#!/bin/sh
printf '['
first=1
for word in "$@"; do
    [ $first = 1 ] || printf ,
    first=0
    printf '"%s"' "$word"
done
printf ']'
"""


def ran(d: Doors, folder: Path, params: Any, change: Make = lambda folder: None) -> Ended:
    """One attempt at the skill of a folder, which is changed after it was read."""
    manifest = read_folder(folder)
    change(folder)
    scratch = d.folder / "scratch"
    scratch.mkdir(exist_ok=True)

    async def run() -> Ended:
        return await CommandRunner().run(
            manifest,
            json.dumps(params),
            token=next(numbers),
            task_id="t",
            attempt=1,
            timeout_s=20.0,
            scratch=scratch,
            kill_grace_s=1.0,
            env={"PATH": os.environ["PATH"]},
        )

    try:
        return asyncio.run(run())
    finally:
        shutil.rmtree(folder)


def words_arrive(d: Doors) -> str:
    text = 'name: echo\ncommand: ["{skill}/run.sh", --]\nargs: ["{a}"]\n'
    for word in ("; rm -rf x", "$(id)", "`id`", "two words", "-rf", "--", "*", "a'b", "| cat", "&& ls"):
        ended = ran(d, make(d.folder / f"echo-{next(numbers)}", text, ECHO), {"a": word})
        assert ended.outcome == "completed", ended
        assert json.loads(ended.result or "") == ["--", word]
    return "one argument each, as it is; no shell"


def failing(
    row: str,
    given: str,
    says: str,
    text: str = GOOD,
    script: str = "#!/bin/sh\n",
    params: Any = None,
    change: Make = lambda folder: None,
    *,
    permanent: bool = True,
) -> None:
    """An attempt that cannot be run."""

    def send(d: Doors) -> str:
        folder = make(d.folder / f"skill-{next(numbers)}", text, script)
        ended = ran(d, folder, params or {}, change)
        assert (ended.outcome, ended.permanent, ended.result) == ("failed", permanent, None), ended
        assert ended.error is not None
        assert says in ended.error["message"], ended.error
        return f"the attempt fails: {ended.error['kind']}: {ended.error['message'].replace(str(folder), 'FOLDER')}"

    case(row, given, "command of a skill", send, error=None)


ARGS = 'name: good\ncommand: ["{skill}/run.sh"]\nargs: ["{a}"]\n'
case("B57", "shell words", "command of a skill", words_arrive, error=None)
failing("B57", "a leading - without --", "begins with -", ARGS, params={"a": "-rf"})
failing("B57", "NUL", "NUL character", ARGS, params={"a": "a\0b"})
failing("B57", "a missing parameter", "is missing", ARGS)
failing("B58", "not on PATH", "is not on PATH", "name: a\ncommand: [no-such-program-at-all]\n")
failing("B58", "an interpreter that is not there", "its interpreter", script="#!/no/such/interpreter\n")
failing("B58", "no program at all", "it is no program", script="\x00\x01\x02")


def not_executable(d: Doors) -> str:
    folder = make(d.folder / f"skill-{next(numbers)}")
    (folder / "run.sh").chmod(0o644)
    ended = ran(d, folder, {})
    assert (ended.outcome, ended.permanent) == ("failed", True)
    assert ended.error is not None
    assert "is not executable" in ended.error["message"]
    return "the attempt fails: not_runnable: {skill}/run.sh is not executable"


case("B58", "not executable", "command of a skill", not_executable, error=None)


def edited(d: Doors) -> str:
    folder = make(d.folder / f"skill-{next(numbers)}")
    ended = ran(d, folder, {}, lambda folder: (folder / "run.sh").write_text("#!/bin/sh\necho 1\n") and None)
    assert (ended.outcome, ended.permanent) == ("failed", False)
    assert ended.error is not None
    assert ended.error["kind"] == "skill_changed"
    return "not run: skill_changed; the node has to offer it anew"


case("B60", "edited while its task waited", "command of a skill", edited, error=None)
