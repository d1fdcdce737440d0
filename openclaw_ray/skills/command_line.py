"""What exactly is run for a command skill: its words, the file behind the first one, and its environment.

Nothing here passes through a shell, so nothing in a parameter can be more than one word.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from openclaw_ray.errors import InvalidParams, InvalidRequest
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.skills.contents import SKILL_FOLDER, program_path
from openclaw_ray.skills.folder import PLACEHOLDER, env_name
from openclaw_ray.skills.processes import MARK
from openclaw_ray.skills.requirements import find_program


def command_line(manifest: SkillManifest, params: object) -> list[str]:
    """The words of the program: ``{skill}`` becomes the folder, an item ``{name}`` one parameter, whatever it holds.

    Raises:
        InvalidParams: A parameter is missing, has no form as a word, or would be taken for an option.
    """
    argv: list[str] = []
    for word in manifest.argv:
        found = PLACEHOLDER.match(word)
        if word == SKILL_FOLDER or word.startswith(f"{SKILL_FOLDER}/"):
            argv.append(manifest.origin + word.removeprefix(SKILL_FOLDER))
        elif found:
            argv.append(_word(found[1], params, after_dashes="--" in argv))
        else:
            argv.append(word)
    return argv


def _word(name: str, params: object, *, after_dashes: bool) -> str:
    field = f"params.{name}"
    if not isinstance(params, dict) or params.get(name) is None:
        raise InvalidParams("is missing", field=field, hint="the skill puts it into its command line")
    value = params[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\0" in text:
        raise InvalidParams("holds a NUL character", field=field, limit="text without NUL")
    if text.startswith("-") and not after_dashes:
        raise InvalidParams(
            "begins with -, so that the program would take it for an option",
            field=field,
            hint='the skill can allow it by an item "--" before it in args',
        )
    return text


def executable_of(manifest: SkillManifest, path: str) -> str:
    """The file behind the first word.

    Raises:
        InvalidRequest: There is none, or it may not be executed.
    """
    first = manifest.argv[0] if manifest.argv else ""
    if first.startswith(f"{SKILL_FOLDER}/"):
        found = program_path(Path(manifest.origin), first)
        if not found.is_file():
            raise InvalidRequest(f"{first} is not a file of the skill")
        if not os.access(found, os.X_OK):
            raise InvalidRequest(f"{first} is not executable", hint=f"chmod +x {found}")
        return str(found)
    program = find_program(first, path)
    if program is None:
        raise InvalidRequest(f"the program {first!r:.100} is not on PATH, or not executable")
    return program


def environment(
    manifest: SkillManifest, env: Mapping[str, str], folder: Path, task_id: str, attempt: int, token: int
) -> dict[str, str]:
    """The program's environment: little enough to know what it sees; what it needs beyond that its manifest names."""
    words = {name: env[name] for name in manifest.env_passed if name in env and _may_pass(name)}
    return words | {
        "PATH": env.get("PATH") or os.defpath,
        "LANG": env.get("LANG") or "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",  # a script that imports its neighbour must not change its own revision
        "OPENCLAW_TASK_ID": task_id,
        "OPENCLAW_TASK_ATTEMPT": str(attempt),
        "OPENCLAW_TASK_TOKEN": str(token),
        MARK: str(folder),
    }


def _may_pass(name: str) -> bool:
    with contextlib.suppress(InvalidRequest):
        return bool(env_name(name))
    return False
