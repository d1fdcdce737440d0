"""The example for Ray's cluster launcher is one that Ray accepts and that keeps our promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PATH = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text("utf-8"))
    return loaded


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_exactly_the_head_holds_the_state_and_runs_no_tasks(config: dict[str, Any]) -> None:
    holders = {
        n: t["resources"] for n, t in config["available_node_types"].items() if "openclaw_state" in t["resources"]
    }
    assert holders == {config["head_node_type"]: {"CPU": 0, "openclaw_state": 1}}
    (head,) = config["head_start_ray_commands"]
    assert "--num-cpus=0" in head
    assert """--resources='{"openclaw_state": 1}'""" in head


def test_every_node_asks_for_the_token_and_has_files_enough(config: dict[str, Any]) -> None:
    for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]:
        assert command.startswith("ulimit -n 65536; RAY_AUTH_MODE=token ")
        assert "\n" not in command
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_ray_is_never_stopped_for_everybody(config: dict[str, Any]) -> None:
    assert "ray stop" not in str(config)
