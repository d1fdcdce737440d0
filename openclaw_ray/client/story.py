"""What happened to a task, in sentences: its events, and what was said of its attempts too late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openclaw_ray.display import bundle, escape, html_card


class Story(list[str]):
    """What happened to a task, a sentence each, oldest first."""

    def __str__(self) -> str:
        return "\n".join(self)

    def __repr__(self) -> str:
        return f"<Story of {len(self)} events>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(str(self), html_card("story", text=str(self)))


_EVENT_WORDS = {"scheduled": "leased", "pending": "back in the queue"}


def story_of(events: Iterable[Mapping[str, Any]], attempts: Iterable[Mapping[str, Any]] = ()) -> Story:
    """Events in words, and where they belong in time what was said of attempts too late."""
    lines = [(event["at"], _event_line(event)) for event in events]
    for at, text in sorted((late["at"], _late_line(late, one["attempt"])) for one in attempts for late in one["late"]):
        # Events keep their own order: a clock that was set back must not tell the story backwards.
        place = next((i for i, line in enumerate(lines) if line[0] > at), len(lines))
        lines.insert(place, (at, text))
    return Story(escape(text) for _, text in lines)


def _late_line(late: Mapping[str, Any], attempt: int) -> str:
    said = {True: ", the same result", False: ", another result", None: ""}[late["same_result"]]
    mark = f" (sha256 {late['sha256'][:8]}…)" if late["sha256"] else ""
    return (
        f"{late['at'][11:23]} refused (attempt {attempt}) on {late['node_id']} "
        f"because: {late['outcome']} came too late, {late['why']}{said}{mark}"
    )


def _event_line(event: Mapping[str, Any]) -> str:
    words = [event["at"][11:23], _EVENT_WORDS.get(event["what"], event["what"])]
    if event["attempt"]:
        words.append(f"(attempt {event['attempt']})")
    if event["node_id"]:
        words.append(f"{'to' if event['what'] == 'scheduled' else 'on'} {event['node_id']}")
    if event["by"]:
        words.append(f"by {event['by']}")
    if event["reason"]:
        words.append(f"because: {event['reason']}")
    return " ".join(words)
