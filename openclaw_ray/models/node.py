"""A node as people and programs see it, and what its agent says of the machine."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field

from openclaw_ray.core import limits
from openclaw_ray.core.types import NodeStatus
from openclaw_ray.models.door import Document
from openclaw_ray.models.fields import Amounts, Count, Id, Name, Tags, Text, json_value, skill_name, text_list

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False, strict=True)]
Slots = Annotated[int, Field(ge=0, le=limits.SLOTS_MAX, strict=True)]
Port = Annotated[int, Field(ge=0, le=65_535, strict=True)]
NodeSkills = Annotated[list[str], text_list(skill_name, limits.SKILLS_PER_NODE_MAX)]


class Usage(Document):
    """What a machine is doing right now: an observation, without a version or an event."""

    cpu_usage: Percent = 0.0
    memory_usage: Percent = 0.0
    disk_usage: Percent = 0.0
    gpu_usage: Percent | None = None
    memory_free: Count | None = None  # bytes
    running: Count = 0


class Machine(Document):
    """What a machine is; measured by its agent when it registers."""

    hostname: Name
    platform: Name = ""
    arch: Name = ""
    ip_address: Name | None = None
    tailscale_ip: Name | None = None
    port: Port | None = None
    #: Cluster-wide amounts: cpu, memory (bytes), gpu, custom ones.
    capacity: Amounts = Field(default_factory=dict)
    gpus: Annotated[list[dict[str, Any]], json_value(limits.METADATA_BYTES_MAX)] = Field(default_factory=list)
    python: Name = ""
    version: Name = ""


class NodeSpec(Document):
    """A node added by hand: a record, found by skill, leased nothing until an agent registers under its id."""

    node_id: Id
    hostname: Name = ""
    platform: Name = ""
    arch: Name = ""
    status: NodeStatus = NodeStatus.ONLINE
    cpu_usage: Percent = 0.0
    memory_usage: Percent = 0.0
    disk_usage: Percent = 0.0
    available_skills: NodeSkills = Field(
        default_factory=list, validation_alias=AliasChoices("available_skills", "skills")
    )
    max_concurrent_tasks: Slots = 5
    ip_address: Name | None = None
    tailscale_ip: Name | None = None
    port: Port | None = None
    tags: Tags = Field(default_factory=list)
    resources: Amounts = Field(default_factory=dict)


class NodeChange(Document):
    """What an owner may change on a node."""

    max_concurrent_tasks: Slots | None = None
    tags: Tags | None = None
    status: NodeStatus | None = None
    available_skills: NodeSkills | None = None  # only for a node without an agent: an agent says what it offers
    reason: Text | None = None


class NodeInfo(Document):
    """A node as it is kept: the columns of the ``nodes`` table, lists and mappings as such, times as ISO text."""

    node_id: Id
    hostname: str
    platform: str
    arch: str
    status: NodeStatus
    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    disk_usage: float = 0.0
    available_skills: list[str] = Field(default_factory=list)
    max_concurrent_tasks: int = 5
    running_tasks: int = 0
    ip_address: str | None = None
    tailscale_ip: str | None = None
    port: int | None = None
    total_tasks_processed: int = 0
    successful_tasks: int = 0
    failed_tasks: int = 0
    average_execution_time: float = 0.0
    registered_at: str | None = None
    last_heartbeat: str | None = None
    tags: list[str] = Field(default_factory=list)
    #: Whether a NodeAgent owns this id; without one it is a record kept by hand.
    agent: bool = False
    incarnation: int = 0
    resources: dict[str, Any] = Field(default_factory=dict)  # capacity, as people write it
    #: Skill to revision, as offered.
    offers: dict[str, str] = Field(default_factory=dict)
    #: Skill to the reason why this node does not offer it.
    withheld: dict[str, str] = Field(default_factory=dict)
    gpus: list[dict[str, Any]] = Field(default_factory=list)
    #: Name that the process of its agent drew at its start.
    agent_process: str | None = None
    #: Slots and tags as its agent declared them last (JSON); while it declares the same, the owner's changes hold.
    declared: str | None = None
    held_reason: str | None = None  # drained by its owner, and why
    held_by: str | None = None
    held_until: str | None = None
    version: int = 0
    #: Failures for reasons of its own that count at present, and the newest of them (or the end of its quarantine).
    faults: int = 0
    fault_at: str | None = None
    #: Token from which on an attempt's failure counts anew, and its successful attempts by then.
    fault_token: int = 0
    fault_successes: int = 0
    #: Quarantines in a row; the next one is longer.
    quarantines: int = 0
    quarantined_until: str | None = None  # leased nothing before that, and why
    quarantine_reason: str | None = None
