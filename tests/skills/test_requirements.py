from __future__ import annotations

import dataclasses
import os

import pytest

from openclaw_ray.models.skill import Requirements, SkillKind, SkillManifest
from openclaw_ray.skills.requirements import NodeFacts, check, check_manifest, find_program, resolve_offers


@pytest.fixture
def facts(tmp_path):
    for name, mode in (("tool", 0o755), ("plain", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    return NodeFacts(
        path=f"relative{os.pathsep}{os.pathsep}{tmp_path}",
        env={"TOKEN": "secret", "BLANK": "  "},
        platform="linux",
        tags=frozenset({"gpu"}),
        python="3.11",
        capacity={"cpu": 4, "memory": 2**30},
    )


@pytest.mark.parametrize(
    "requires",
    [
        {},
        {"bins": ["tool"]},
        {"any_bins": ["nothing", "tool"]},
        {"env": ["TOKEN"]},
        {"platform": ["darwin", "linux"]},
        {"tags": ["gpu"]},
        {"modules": ["json", "json.decoder"]},
    ],
)
def test_what_is_there_is_no_reason(facts, requires):
    assert check(Requirements(**requires), facts) is None


@pytest.mark.parametrize(
    ("requires", "word"),
    [
        ({"bins": ["tool", "nothing"]}, "nothing"),
        ({"bins": ["plain"]}, "plain"),
        ({"bins": ["folder"]}, "folder"),
        ({"bins": ["/bin/sh"]}, "/bin/sh"),
        ({"bins": [".."]}, ".."),
        ({"bins": ["x" * 100]}, "PATH"),
        ({"any_bins": ["a", "b"]}, "a, b"),
        ({"env": ["TOKEN", "ABSENT"]}, "ABSENT"),
        ({"env": ["BLANK"]}, "BLANK"),
        ({"platform": ["darwin"]}, "this is linux"),
        ({"tags": ["gpu", "fast"]}, "fast"),
        ({"modules": ["no_such_module"]}, "no_such_module"),
        ({"modules": ["__main__.x"]}, "__main__"),
        ({"modules": [".."]}, ".."),
    ],
)
def test_what_is_missing_is_named(facts, requires, word):
    reason = check(Requirements(**requires), facts)
    assert reason is not None
    assert word in reason
    assert "secret" not in reason


def test_modules_are_looked_up_without_importing_them(facts):
    asked: list[str] = []
    check(Requirements(modules=["xml.dom"]), dataclasses.replace(facts, importable=lambda m: asked.append(m) or True))
    assert asked == ["xml.dom"]


def test_relative_entries_of_path_are_skipped(tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_program("tool", f".{os.pathsep}") is None


def manifest(name: str, *skills: str, **fields) -> SkillManifest:
    revision = f"{abs(hash(name)):064x}"[:64]
    requires = Requirements(skills=list(skills), **fields.pop("requires", {}))
    return SkillManifest(name=name, kind=SkillKind.PYTHON, revision=revision, requires=requires, **fields)


def test_a_function_needs_the_python_that_packed_it(facts):
    assert check_manifest(manifest("a", python="3.11"), facts) is None
    assert "3.12" in str(check_manifest(manifest("a", python="3.12"), facts))


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"cpu": 4}, True),
        ({"cpu": 4.5}, False),
        ({"memory": "1GiB"}, True),
        ({"memory": "2GiB"}, False),
        ({"gpu": 1}, False),
    ],
)
def test_a_skill_larger_than_the_node_is_not_offered(facts, asked, fits):
    assert (check_manifest(manifest("a", resources=asked), facts) is None) is fits


def offers(facts, *manifests):
    return {offer.name: offer.reason for offer in resolve_offers(manifests, facts)}


def test_a_skill_is_offered_when_those_it_requires_are(facts):
    found = offers(facts, manifest("a", "b"), manifest("b", "c"), manifest("c"), manifest("d", "by hand"))
    assert (found["a"], found["b"], found["c"]) == (None, None, None)
    assert found["d"] == "requires the skill by hand: it is not known here"
    known = dataclasses.replace(facts, offered=frozenset({"by hand"}))
    assert offers(known, manifest("d", "by hand")) == {"d": None}


def test_the_reason_at_the_end_of_the_chain_is_given(facts):
    found = offers(facts, manifest("a", "b"), manifest("b", "c"), manifest("c", requires={"bins": ["nothing"]}))
    assert found["a"] == "requires the skill c: the program nothing is not on PATH"
    assert found["c"] == "the program nothing is not on PATH"


def test_a_loop_is_refused_and_named(facts):
    found = offers(facts, manifest("a", "b"), manifest("b", "c"), manifest("c", "b"), manifest("d", "d"), manifest("e"))
    assert found["a"] == found["b"] == found["c"] == "these skills require each other: b -> c -> b"
    assert found["d"] == "these skills require each other: d -> d"
    assert found["e"] is None


def test_any_offered_revision_will_do(facts):
    old, new = manifest("b", requires={"bins": ["nothing"]}), manifest("b", version="2")
    first, *_, last = resolve_offers([manifest("a", "b"), old, new], facts)
    assert first.reason is None
    assert last.reason is None


def test_ten_thousand_skills_in_a_chain_and_in_a_loop_are_settled(facts):
    chain = [manifest(f"s{n}", f"s{n + 1}") for n in range(10_000)]
    assert {offer.reason for offer in resolve_offers([*chain, manifest("s10000")], facts)} == {None}
    reasons = [offer.reason for offer in resolve_offers([*chain[:2_000], manifest("s2000", "s0")], facts)]
    assert all("require each other" in str(reason) and len(str(reason)) <= 500 for reason in reasons)
