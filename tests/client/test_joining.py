"""Which cluster is joined, and what is said when there is none. No Ray is started here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import openclaw_ray as oc
from openclaw_ray.client.joining import Target, target, use_token


def written(home: Path, **fields: object) -> Path:
    home.mkdir(exist_ok=True)
    (home / "run.json").write_text(json.dumps(fields))
    return home


def test_the_order_in_which_addresses_count(tmp_path: Path) -> None:
    home = written(tmp_path / "h", address="127.0.0.1:1", token_path="/t")
    ray = {"RAY_ADDRESS": "ray:3"}
    assert target("a:1", home, "b:2", ray) == Target("a:1", "the address argument")
    assert target(None, home, "b:2", ray) == Target("b:2", "OPENCLAW_ADDRESS")
    assert target(None, home, None, ray) == Target("ray:3", "RAY_ADDRESS")
    assert target(None, home, None, {}) == Target("127.0.0.1:1", str(home / "run.json"), "/t")
    assert target("127.0.0.1:1", home, None, {}).token_path == "/t"


def test_no_cluster_is_started_by_accident(tmp_path: Path) -> None:
    with pytest.raises(oc.NotConnected, match="openclaw-ray up"):
        target(None, tmp_path, None, {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "null"])
def test_a_damaged_run_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(oc.NotConnected, match=r"run\.json"):
        target(None, tmp_path, None, {})


def test_the_token_of_up_is_used_for_this_process(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    environment: dict[str, str] = {}
    use_token(Target("a:1", "run.json", str(token)), environment)
    assert environment == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with pytest.raises(oc.AuthRequired, match="missing"):
        use_token(Target("a:1", "run.json", str(tmp_path / "gone")), {})


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_without_its_mode_is_pointed_out(name: str) -> None:
    with pytest.raises(oc.AuthRequired, match="RAY_AUTH_MODE=token"):
        use_token(Target("a:1", "RAY_ADDRESS"), {name: "x"})
    use_token(Target("a:1", "RAY_ADDRESS"), {name: "x", "RAY_AUTH_MODE": "token"})
    use_token(Target("auto", "RAY_ADDRESS"), {name: "x"})
    use_token(Target("a:1", "RAY_ADDRESS"), {})
