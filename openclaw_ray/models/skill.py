"""A skill as it is registered: what it is called, what it needs, and how it is run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from openclaw_ray.core import limits
from openclaw_ray.models.door import Document
from openclaw_ray.models.fields import Amounts, Seconds, SkillId, SkillIds, Tags, Text, label

Word = Annotated[str, Field(min_length=1, strict=True), label(limits.ID_LEN_MAX)]
Words = Annotated[list[Word], Field(max_length=limits.SKILLS_PER_TASK_MAX)]
#: One word of a command line.
Argument = Annotated[str, Field(strict=True), label(limits.WORD_LEN_MAX)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class SkillKind(StrEnum):
    """How a skill is run. Agent skills (SKILL.md) join here when they come."""

    PYTHON = "python"
    COMMAND = "command"


class Requirements(Document):
    """What a node must have before it may offer the skill."""

    bins: Words = Field(default_factory=list)  # every one on PATH
    any_bins: Words = Field(default_factory=list)  # at least one on PATH
    env: Words = Field(default_factory=list)  # set and not blank
    platform: Words = Field(default_factory=list)  # linux, darwin, win32; empty: any
    tags: Tags = Field(default_factory=list)  # tags of the node
    skills: SkillIds = Field(default_factory=list)  # other skills it must offer
    modules: Words = Field(default_factory=list)  # importable Python modules


class SkillManifest(Document):
    """One revision of one skill."""

    name: SkillId
    kind: SkillKind
    #: SHA-256 over what the skill is; see skills/function.py and skills/folder.py.
    revision: Digest
    description: Text = ""
    version: Annotated[str, Field(strict=True), label(limits.VERSION_LEN_MAX)] = ""
    tags: Tags = Field(default_factory=list)
    requires: Requirements = Field(default_factory=Requirements)
    timeout: Seconds | None = None
    retries: int | None = Field(default=None, ge=0, le=limits.RETRIES_MAX, strict=True)
    resources: Amounts = Field(default_factory=dict)
    #: Python skills: SHA-256 of the serialised function, and the Python that can load it ("3.11").
    code: Digest | None = None
    python: Annotated[str, Field(strict=True), label(limits.VERSION_LEN_MAX)] | None = None
    #: Whether the function takes a context as its first argument.
    takes_context: bool = False
    #: Command skills: argv; ``{skill}`` is the skill's folder.
    argv: Annotated[list[Argument], Field(max_length=limits.ARGV_MAX)] = Field(default_factory=list)
    env_passed: Words = Field(default_factory=list)  # environment variables handed through to the command
    #: Where a node found it: folder of a command skill, or the driver's words for a function.
    origin: Annotated[str, Field(strict=True), label(limits.PATH_LEN_MAX)] = ""


class Offer(Document):
    """What a node says about one skill: it can run this revision, or why not."""

    name: SkillId
    revision: Annotated[str, Field(strict=True), label(limits.VERSION_LEN_MAX)] = ""
    reason: Annotated[str, Field(strict=True), label(limits.REASON_LEN_MAX)] | None = None  # None: offered


class Registered(Document):
    """A row of the registry, with the nodes that offer it."""

    manifest: SkillManifest
    registered_at: str
    by: str | None = None
    nodes: list[str] = Field(default_factory=list)
    withheld: dict[str, str] = Field(default_factory=dict)
    stats: dict[str, Any] = Field(default_factory=dict)
