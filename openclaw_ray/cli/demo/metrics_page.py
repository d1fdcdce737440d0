"""A page of /metrics, read as a monitoring system reads it: over HTTP, and strictly."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping

#: One sample: name, labels, value.
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)\Z")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|\Z)')
_COMMENT = re.compile(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .+\Z")
TIMEOUT_S = 10.0

#: (name, labels in order) -> value.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Page:
    """The samples of one scrape."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of a family that are not 0, by some of its labels; the others are added up."""
        found: dict[tuple[str, ...], float] = {}
        for (sample, pairs), value in self.samples.items():
            if sample == name and value:
                key = tuple(dict(pairs).get(label, "") for label in labels)
                found[key] = found.get(key, 0) + value
        return found


def scrape(address: str) -> Page:
    """Fetch and read a page.

    Raises:
        ValueError: a line is not in Prometheus' text format.
        OSError: nobody serves there.
    """
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
        return Page(parse(answer.read().decode("utf-8")))


def parse(text: str) -> Samples:
    """Read a page, line by line.

    Raises:
        ValueError: naming the line that cannot be read, or a sample that stands there twice.
    """
    found: Samples = {}
    for line in text.splitlines():
        if not line or _COMMENT.match(line):
            continue
        match = _SAMPLE.match(line)
        if match is None:
            raise ValueError(f"not a sample: {line!r:.100}")
        key = (match[1], _labels(match[2] or "", line))
        if key in found:
            raise ValueError(f"twice on the page: {line!r:.100}")
        found[key] = float(match[3])
    return found


def _labels(text: str, line: str) -> tuple[tuple[str, str], ...]:
    pairs, at = [], 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if match is None:
            raise ValueError(f"labels cannot be read: {line!r:.100}")
        pairs.append((match[1], match[2]))
        at = match.end()
    return tuple(pairs)


def same(page: Mapping[tuple[str, ...], float], counted: Mapping[tuple[str, ...], int]) -> bool:
    """Whether two counts are equal."""
    return dict(page) == {key: float(count) for key, count in counted.items() if count}
