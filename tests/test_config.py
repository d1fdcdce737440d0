from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from openclaw_ray.config import PREFIX, Settings, load_settings
from openclaw_ray.errors import InvalidRequest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def test_defaults_need_no_environment() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.home == Path.home() / ".openclaw-ray"
    assert settings.metrics_port == 9464
    assert settings.params_bytes_max == 1024 * 1024


def test_the_environment_sets_typed_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENCLAW_HOME", str(tmp_path))
    monkeypatch.setenv("OPENCLAW_METRICS_PORT", "0")
    monkeypatch.setenv("OPENCLAW_LEASE_TTL_S", "7.5")
    monkeypatch.setenv("OPENCLAW_SKILL_ROOTS", os.pathsep.join(["/a", "~/b", ""]))
    settings = load_settings()
    assert settings.home == tmp_path
    assert settings.metrics_port == 0
    assert settings.lease_ttl_s == 7.5
    assert settings.skill_roots == (Path("/a"), Path.home() / "b")


def test_an_override_wins_and_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_ADDRESS", "from-environment:6379")
    monkeypatch.setenv("OPENCLAW_SLOTS", "2")
    settings = load_settings(address="given:6379", slots=None)
    assert (settings.address, settings.slots) == ("given:6379", 2)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_ADDRESS", "")
    assert load_settings().address is None


def test_an_unknown_name_is_refused_with_the_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_METRIC_PORT", "1")
    with pytest.raises(InvalidRequest, match=r"OPENCLAW_METRIC_PORT.*OPENCLAW_METRICS_PORT"):
        load_settings()


def test_an_unknown_name_without_a_near_one_lists_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_ZZZ", "1")
    with pytest.raises(InvalidRequest, match=r"OPENCLAW_ZZZ.*OPENCLAW_HOME"):
        load_settings()


@pytest.mark.parametrize("name", ["OPENCLAW_TEST_DATA", "OPENCLAW_SHELL", "OPENCLAW_GATEWAY_TOKEN"])
def test_names_of_the_tests_and_of_the_openclaw_program_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "exec")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METRICS_PORT", "65536"),
        ("METRICS_PORT", "http"),
        ("LEASE_TTL_S", "0"),
        ("LEASE_TTL_S", "inf"),
        ("RETRY_JITTER", "1.5"),
        ("LOG_LEVEL", "loud"),
        ("SLOTS", "0"),
    ],
)
def test_a_value_out_of_range_names_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(InvalidRequest, match=PREFIX + name) as caught:
        load_settings()
    assert value.lower() in str(caught.value).lower()


@pytest.mark.parametrize(("word", "level"), [("debug", "DEBUG"), ("trace", "DEBUG"), ("warn", "WARNING")])
def test_log_levels_are_read_in_any_case_and_in_the_words_of_openclaw(
    monkeypatch: pytest.MonkeyPatch, word: str, level: str
) -> None:
    monkeypatch.setenv("OPENCLAW_LOG_LEVEL", word)
    assert load_settings().log_level == level


def test_settings_survive_plain_json(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, skill_roots=(tmp_path / "a", tmp_path / "b"), slots=3)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_json_is_read_without_a_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_SLOTS", "2")
    assert Settings.from_json({}).slots == 5
    assert Settings().slots == 5


def test_an_unknown_name_in_json_is_refused_with_the_near_one() -> None:
    with pytest.raises(InvalidRequest, match=r"slot.*slots"):
        Settings.from_json({"slot": 2})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().slots = 9  # type: ignore[misc]


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENCLAW_HOME", "here")
    assert load_settings().home == tmp_path / "here"


def test_a_program_inside_a_command_skill_may_load_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_TASK_ID", "t-1")
    load_settings()
