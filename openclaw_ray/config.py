"""All settings in one frozen value, read from the environment once and handed on as an argument.

`load_settings` is the only reader of `OPENCLAW_*`; making a `Settings` by hand, or from the JSON that crosses to an
actor, never looks at the environment. Must not know who uses which setting.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from openclaw_ray.errors import InvalidRequest

__all__ = ["PREFIX", "Settings", "load_settings"]

PREFIX = "OPENCLAW_"

#: The OpenClaw program has the same prefix; a machine that runs both has these set, and `OPENCLAW_SHELL` whenever an
#: agent calls us. They are not ours to refuse. From its page "Environment variables"; a trailing `_` means a family.
OPENCLAW_PROGRAM_NAMES = (
    "OPENCLAW_AGENT_",
    "OPENCLAW_BUNDLED_",
    "OPENCLAW_CLI",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_",
    "OPENCLAW_LOAD_SHELL_ENV",
    "OPENCLAW_OAUTH_DIR",
    "OPENCLAW_PLUGIN_",
    "OPENCLAW_PROFILE",
    "OPENCLAW_SERVICE_",
    "OPENCLAW_SHELL",
    "OPENCLAW_SHELL_ENV_TIMEOUT_MS",
    "OPENCLAW_SKIP_",
    "OPENCLAW_STATE_DIR",
)

#: Set by us for the commands that we run: a program inside one may call us in turn.
OWN_FAMILY = "OPENCLAW_TASK_"

#: `OPENCLAW_LOG_LEVEL` is shared with that program, too: its words mean their nearest here.
_LEVEL_WORDS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL", "SILENT": "CRITICAL"}

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def _absolute(value: object) -> object:
    # Absolute at the edge: actors run in other working directories, and a `~` would mean another home there.
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


def _path_list(value: object) -> object:
    parts = [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value
    return tuple(map(_absolute, parts)) if isinstance(parts, list | tuple) else parts


def _level(value: object) -> object:
    return _LEVEL_WORDS.get(value.upper(), value.upper()) if isinstance(value, str) else value


AbsolutePath = Annotated[Path, BeforeValidator(_absolute), PlainSerializer(str)]
PathList = Annotated[
    tuple[Path, ...],
    NoDecode,  # PATH-like, not the JSON that pydantic-settings expects of a list
    BeforeValidator(_path_list),
    PlainSerializer(lambda paths: [str(path) for path in paths]),
]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Every setting, with its default beside the reason for it. Each is `OPENCLAW_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # `OPENCLAW_ADDRESS= openclaw-ray status` means: unset
        frozen=True,
        extra="forbid",
    )

    # --- where things are -------------------------------------------------------------------------------------------
    #: Database, lock, token, logs and spools; one folder, so that a backup or a move is one copy.
    home: AbsolutePath = Field(default=Path("~/.openclaw-ray"), validate_default=True)
    #: Ray address of a running cluster; None: RAY_ADDRESS, `<home>/run.json`, then the local one.
    address: str | None = None
    #: Ray namespace of our named actors; another one is another, separate queue.
    namespace: str = Field(default="openclaw", min_length=1, max_length=64)
    #: Folders with skills, `:` between them; none by default, because what they hold is run.
    skill_roots: PathList = ()
    #: Sample data of the tests. The program never reads it; it stands here so that the name is a known one.
    test_data: AbsolutePath | None = None

    # --- placement and nodes ----------------------------------------------------------------------------------------
    #: Name of the placement strategy: the node with the fewest tasks is the least surprising choice.
    strategy: str = Field(default="least_tasks", min_length=1, max_length=64)
    #: Slots of a node that does not say otherwise (`max_concurrent_tasks`); 5 is what existing databases hold.
    slots: int = Field(default=5, ge=1, le=10_000)
    #: Expected work leased to a node beyond its slots, milliseconds: some round trips' worth of very short tasks, so
    #: that a node never waits for a message; 0 switches prefill off.
    prefill_ms: float = Field(default=200.0, ge=0, le=60_000)
    #: A waiting task rises by one priority per so many seconds, so that LOW work is never starved.
    aging_s: PositiveSeconds = 60.0

    # --- liveness ---------------------------------------------------------------------------------------------------
    #: Seconds between signs of life of a node; the interval grows with the cluster from there.
    heartbeat_s: PositiveSeconds = 2.0
    #: A lease ends so many seconds after the last sign of life: several heartbeats, so that one late one costs nothing.
    lease_ttl_s: PositiveSeconds = 15.0
    #: An agent without contact stops its work after so many seconds by its own clock (never before two leases' time):
    #: long enough to outlive a restart of the head.
    offline_work_s: PositiveSeconds = 120.0
    #: Longest time between two looks for what is due, seconds; deadlines usually wake earlier.
    sweep_s: PositiveSeconds = 1.0
    #: Between the polite and the hard end of a stopped attempt, seconds.
    kill_grace_s: float = Field(default=5.0, ge=0, le=3_600)

    # --- retries ----------------------------------------------------------------------------------------------------
    #: Delay before the second attempt, seconds; doubled for each further one ...
    retry_base_s: float = Field(default=1.0, ge=0, le=86_400)
    #: ... up to this many: five minutes keep a broken dependency from being hammered.
    retry_max_s: float = Field(default=300.0, ge=0, le=86_400)
    #: Share of a delay that is random, so that what failed together does not return together.
    retry_jitter: float = Field(default=0.2, ge=0, le=1)
    #: Further attempts after a failure, unless the task says otherwise; 3 is what existing databases hold.
    max_retries: int = Field(default=3, ge=0, le=1_000)
    #: Lost attempts (the node went away) before a task fails: such a task may be what kills its nodes.
    max_lost: int = Field(default=3, ge=0, le=1_000)

    # --- quarantine -------------------------------------------------------------------------------------------------
    #: Failures of its own after which a node is leased nothing for a while: one is an accident, two may be; 0: never.
    quarantine_faults: int = Field(default=3, ge=0, le=1_000)
    #: Seconds without such a failure after which those before are forgotten: long enough for a node whose agent dies
    #: every minute or two.
    quarantine_window_s: PositiveSeconds = 300.0
    #: First quarantine, seconds: a machine that starts again is through with it; doubled for each one in a row ...
    quarantine_base_s: PositiveSeconds = 30.0
    #: ... up to this many: a mended machine is back within the hour, without anybody's word.
    quarantine_max_s: PositiveSeconds = 3_600.0
    #: Seconds without a failure of its own after which the next quarantine is a first one again.
    quarantine_forgive_s: PositiveSeconds = 600.0

    # --- limits -----------------------------------------------------------------------------------------------------
    #: Tasks that may wait; at most 1 KB of memory each keeps the StateManager near 1 GB.
    waiting_tasks_max: int = Field(default=1_000_000, ge=1, le=100_000_000)
    #: Tasks in one submit: one transaction, well below a second on a slow disk.
    submit_batch_max: int = Field(default=10_000, ge=1, le=100_000)
    #: Parameters of one task, bytes of JSON: larger data belongs in a file.
    params_bytes_max: int = Field(default=1 << 20, ge=1, le=64 << 20)
    #: Result of one task, bytes of JSON.
    result_bytes_max: int = Field(default=4 << 20, ge=1, le=64 << 20)

    # --- seen from outside ------------------------------------------------------------------------------------------
    #: Port of `/metrics`; 0 takes a free one.
    metrics_port: int = Field(default=9464, ge=0, le=65_535)
    #: Address of `/metrics`: loopback, because it asks nobody for a password.
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    #: Least severe log record that is written.
    log_level: Annotated[Level, BeforeValidator(_level)] = "INFO"
    #: Size at which a log file is rotated, bytes ...
    log_bytes_max: int = Field(default=10 << 20, ge=1 << 10)
    #: ... and how many old ones are kept: with the default 60 MB per component at most.
    log_files_max: int = Field(default=5, ge=1, le=1_000)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: in an actor the environment is another machine's, and none of our business."""
        return (init_settings,)

    def to_json(self) -> dict[str, Any]:
        """All settings as plain JSON values; `from_json` is the inverse."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Settings from `to_json`; what is missing takes its default.

        Raises:
            InvalidRequest: A name is unknown or a value out of range.
        """
        return _checked(values, prefix="")


def load_settings(**overrides: Any) -> Settings:
    """Read the environment, once, at the edge of a program.

    Args:
        overrides: Values that win over the environment (options of a command); None means: not given.

    Raises:
        InvalidRequest: An `OPENCLAW_*` name is unknown, or a value cannot be used; the text names both and the remedy.
    """
    _refuse_unknown(os.environ)
    values = dict(EnvSettingsSource(Settings)())
    values.update({name: value for name, value in overrides.items() if value is not None})
    return _checked(values, prefix=PREFIX)


def _refuse_unknown(names: Any) -> None:
    """Refuse a misspelt name: a limit that a typing error switched off is found much too late."""
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in sorted(names):
        ours = name in known or name.startswith(OWN_FAMILY)
        if not name.startswith(PREFIX) or ours or _is_openclaw_programs(name):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        raise InvalidRequest(
            "unknown setting in the environment",
            field=name,
            hint=f"Did you mean {near[0]}?" if near else f"Unset it; known are: {', '.join(sorted(known))}",
        )


def _is_openclaw_programs(name: str) -> bool:
    return any(name.startswith(known) if known.endswith("_") else name == known for known in OPENCLAW_PROGRAM_NAMES)


def _checked(values: dict[str, Any], prefix: str) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        raise InvalidRequest(
            f"{first['input']!r} cannot be used: {first['msg']}",
            field=prefix + name.upper() if prefix else name,
            limit=None if name in Settings.model_fields else f"did you mean {near[0]}" if near else None,
        ) from None
