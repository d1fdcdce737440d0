"""Documents agree with the code and with each other, and no file names somebody's machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openclaw_ray.core.transitions import diagrams
from tests.docs.documents import ROOT, files, markdown

ARCHITECTURE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- transitions: begin -->\n", "\n<!-- transitions: end -->"

#: Put together here, so that this file does not hold them: folders of one machine, and hosts of package registries.
FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.~/}-])/(?:" + "wor" + r"k|ro" + r"ot)/",
            "/op" + "t/oc",
            r"/(?:ho" + r"me|Us" + r"ers)/(?!(?:me|you|user|ana|x)\b)\w+/",
            r"\.\./sha" + "red",
            "py" + r"pi\.org",
            "python" + r"hosted\.org",
            "arti" + "factory",
            "--(?:extra-)?index" + "-url",
        )
    )
)

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def test_the_diagrams_are_those_of_the_tables() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    shown = text.split(BEGIN)[1].split(END)[0]
    assert shown == diagrams(), "put in what `python -m openclaw_ray.core.transitions` prints"


@pytest.mark.parametrize("path", markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text("utf-8")) if "://" not in link]
    wrong = []
    for link in links:
        target, _, anchor = link.partition("#")
        found = path.parent / target if target else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            wrong.append(link)
    assert not wrong


def anchors(path: Path) -> set[str]:
    """What a heading is called in a link."""
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_file_names_a_machine_or_a_registry() -> None:
    wrong = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # pictures and the like
        wrong += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
            for match in FORBIDDEN.finditer(text)
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/" + "work/main", True),
        ("https://" + "pypi" + ".org/simple", True),
        ("/" + "home/" + "karl/x", True),
        ("/" + "home/me/x", False),
        ("/etc/hosts", False),
        ("https://example.org/work/x", False),
        ("a/root/b", False),
    ],
)
def test_the_rule_itself(text: str, found: bool) -> None:
    assert bool(FORBIDDEN.search(text)) is found


def test_documents_say_cancelled() -> None:
    american = re.compile("cancel" + "(?:ed|ing)" + r"\b", re.IGNORECASE)
    wrong = [str(path.relative_to(ROOT)) for path in markdown() if american.search(path.read_text("utf-8"))]
    assert not wrong


def test_the_version_is_the_same_everywhere() -> None:
    import tomllib

    import openclaw_ray

    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert openclaw_ray.__version__ == version
    assert re.search(rf"^## .*\b{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
