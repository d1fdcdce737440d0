"""Command skills: a folder with a `skill.yaml` that says which program runs, below the folders an operator named.

What a folder holds was written by others. It is read here, never run; nothing outside of it is looked at. One bad
folder is reported and does not keep its neighbours from loading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from openclaw_ray.core import limits
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import Document, parse, quoted
from openclaw_ray.models.fields import Amounts, Seconds, SkillId, Tags, Text, label
from openclaw_ray.models.skill import Argument, Requirements, SkillKind, SkillManifest
from openclaw_ray.skills.contents import SKILL_FOLDER, folder_revision, program_path
from openclaw_ray.skills.safe_yaml import read_yaml

MANIFEST_NAME = "skill.yaml"
#: How deep below a root skills are looked for, and how many folders are looked into at most.
SCAN_DEPTH_MAX, SCAN_FOLDERS_MAX = 6, 10_000

#: Words of `command`, and of `args`: together they are what a manifest may hold.
ARGUMENTS_MAX = limits.ARGV_MAX // 2
#: Variables that one skill may have passed through.
ENV_MAX = 64

#: ``{name}``: an item of `args` that stands for one parameter; ``{skill}`` is the folder.
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: These change which code a program loads, or are set by us.
_ENV_REFUSED = re.compile(r"(LD_|DYLD_|OPENCLAW_TASK_|PYTHON(PATH|HOME|STARTUP)\Z|BASH_|(PATH|HOME|TMPDIR|ENV|IFS)\Z)")


def env_name(value: object) -> str:
    """A variable that a skill may have passed through: a plain name, and none that changes what programs load."""
    if not isinstance(value, str) or not _ENV_NAME.match(value):
        raise InvalidRequest(f"{quoted(value)} is not the name of an environment variable", limit="A-Z a-z 0-9 _")
    if _ENV_REFUSED.match(value):
        raise InvalidRequest(f"{value} is not passed to skills", hint="it changes which programs run, or is set by us")
    return value


def program(value: object) -> str:
    """First word of a command: a bare name, looked up on PATH, or ``{skill}/...`` for a file of the folder."""
    accepted = 'a program on PATH ("ffmpeg"), or a file of the skill ("{skill}/run.sh")'
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidRequest(f"{quoted(value)} is not a program", limit=accepted)
    inside = value.startswith(f"{SKILL_FOLDER}/")
    parts = value.removeprefix(f"{SKILL_FOLDER}/").split("/")
    if ".." in parts or (inside and "" in parts) or "\\" in value:
        raise InvalidRequest(f"{quoted(value)} leaves the skill's folder", limit=accepted)
    if not inside and (len(parts) > 1 or value in {".", SKILL_FOLDER}):
        raise InvalidRequest(f"{quoted(value)} is a path", limit=accepted)
    return value


def _command(value: object) -> object:
    if isinstance(value, str) or not isinstance(value, list) or not value:
        raise InvalidRequest("is not a list of words", limit='for example ["{skill}/run.sh", "--fast"]; no shell')
    program(value[0])
    for word in value[1:]:
        if isinstance(word, str) and PLACEHOLDER.match(word) and word != SKILL_FOLDER:
            raise InvalidRequest(f"{word} is a parameter", hint="put it into args")
    return value


Arguments = Annotated[list[Argument], Field(max_length=ARGUMENTS_MAX)]
EnvName = Annotated[str, BeforeValidator(env_name)]


class SkillYaml(Document):
    """A `skill.yaml`."""

    name: SkillId
    #: The program and its fixed arguments.
    command: Annotated[Arguments, BeforeValidator(_command)]
    #: Further arguments. An item that is ``{name}`` becomes that parameter, always as one argument.
    args: Arguments = Field(default_factory=list)
    description: Text = ""
    version: Annotated[str, Field(strict=True), label(limits.VERSION_LEN_MAX)] = ""
    timeout: Seconds | None = None
    retries: int | None = Field(default=None, ge=0, le=limits.RETRIES_MAX, strict=True)
    requires: Requirements = Field(default_factory=Requirements)
    resources: Amounts = Field(default_factory=dict)
    tags: Tags = Field(default_factory=list)
    #: Environment variables of the node that are handed to the program.
    env: Annotated[list[EnvName], Field(max_length=ENV_MAX)] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found below some roots."""

    skills: list[SkillManifest]
    #: Path and reason, in the order in which they were met.
    rejected: list[tuple[str, str]]


def read_folder(path: Path) -> SkillManifest:
    """Read one skill's folder.

    Raises:
        InvalidRequest: Saying what is wrong with which file or field.
    """
    folder = path.resolve()
    found = parse(SkillYaml, read_yaml(folder / MANIFEST_NAME))
    requires = found.requires
    first = found.command[0]
    if first.startswith(SKILL_FOLDER):
        _check_program(folder, first)
    elif first not in requires.bins:  # a node without the program does not offer the skill
        requires = requires.model_copy(update={"bins": [*requires.bins, first]})
    manifest = {
        "name": found.name,
        "kind": SkillKind.COMMAND,
        "revision": folder_revision(folder),
        "description": found.description,
        "version": found.version,
        "tags": found.tags,
        "requires": requires,
        "timeout": found.timeout,
        "retries": found.retries,
        "resources": found.resources,
        "argv": [*found.command, *found.args],
        "env_passed": list(found.env),
        "origin": str(folder),  # a name that is no Unicode could not be told to anybody
    }
    return parse(SkillManifest, manifest)


def _check_program(folder: Path, word: str) -> None:
    target = program_path(folder, word)
    if not target.is_file():
        raise InvalidRequest(f"{word} is not a file of the skill", field="command")


Reader = Callable[[Path], SkillManifest]
#: Who reads which kind of skill folder, by the file that marks it. Readers of other formats are added here.
READERS: dict[str, Reader] = {MANIFEST_NAME: read_folder}


def discover(roots: Iterable[Path], readers: dict[str, Reader] | None = None) -> Discovered:
    """Read every skill below the roots. The first root wins a name; within one root, the first path by name.

    A folder that cannot be used is reported with its reason; nothing is raised for it.
    """
    by_name: dict[str, SkillManifest] = {}
    rejected: list[tuple[str, str]] = []
    for root in roots:
        for folder, reader in _skill_folders(root, READERS if readers is None else readers, rejected):
            try:
                found = reader(folder)
            except InvalidRequest as error:
                rejected.append((str(folder), str(error)))
                continue
            first = by_name.setdefault(found.name, found)
            if first is not found and first.origin != found.origin:
                rejected.append((str(folder), f"the skill {found.name} was already found in {first.origin}"))
    return Discovered(list(by_name.values()), rejected)


def _skill_folders(
    root: Path, readers: dict[str, Reader], rejected: list[tuple[str, str]]
) -> Iterator[tuple[Path, Reader]]:
    """Skill folders below one root, by path. A folder inside a skill is that skill's own matter."""
    home = root.expanduser().resolve()
    if not home.is_dir():
        rejected.append((str(root), "no such folder"))
        return
    todo = [(home, 0)]
    looked = 0
    while todo:
        folder, depth = todo.pop()
        looked += 1
        if looked > SCAN_FOLDERS_MAX:
            rejected.append((str(root), f"more than {SCAN_FOLDERS_MAX:,} folders; the rest was not looked at"))
            return
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            rejected.append((str(folder), f"cannot be read: {error.strerror}"))
            continue
        reader = next((readers[name] for name in names if name in readers), None)
        if reader is not None:
            yield folder, reader
            continue
        inner = [] if depth == SCAN_DEPTH_MAX else [folder / name for name in names]
        entered = [(path, depth + 1) for path in inner if _may_enter(path, home, rejected)]
        todo += reversed(entered)  # the last one is taken first


def _may_enter(path: Path, home: Path, rejected: list[tuple[str, str]]) -> bool:
    """Links are not followed: one inside the root is met under its own path, others are reported."""
    if not path.is_symlink():
        return path.is_dir()
    try:
        if not path.resolve(strict=True).is_relative_to(home):
            rejected.append((str(path), "a link out of the root"))
    except (OSError, RuntimeError):
        rejected.append((str(path), "a link that leads nowhere, or in a circle"))
    return False
