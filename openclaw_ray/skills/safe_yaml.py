"""Plain YAML from people we do not know: no tags, no anchors or aliases, no double keys, bounded size and depth.

Must not know what the YAML is about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from openclaw_ray.core.limits import KIB
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.quoting import field_name

#: A manifest is a page of text.
YAML_BYTES_MAX, YAML_DEPTH_MAX = 64 * KIB, 16


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file of YAML holds.

    Raises:
        InvalidRequest: Saying what is wrong with the file.
    """
    try:
        if not path.is_file() or not path.resolve().is_relative_to(path.parent.resolve()):
            raise InvalidRequest(f"{path.name} is not a file of this folder")
        with path.open("rb") as file:
            data = file.read(YAML_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > YAML_BYTES_MAX:
        raise InvalidRequest(f"{path.name} is too large", limit=f"{YAML_BYTES_MAX:,} bytes")
    try:
        text = data.decode("utf-8-sig")
        _check_events(text)
        found = yaml.load(text, Loader=_Loader)
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is not UTF-8 text") from None
    except InvalidRequest:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"{path.name} is not plain YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path.name} is not a mapping", limit="name: ..., command: [...]")
    return found


def _check_events(text: str) -> None:
    """Look before anything is built: aliases can multiply without end, and depth costs stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidRequest("YAML anchors and aliases are refused", hint="write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > YAML_DEPTH_MAX:
            raise InvalidRequest("the YAML is nested too deeply", limit=f"{YAML_DEPTH_MAX} levels")


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which the first would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidRequest("a key is not text", limit="plain words as keys")
            if key.value in seen:
                raise InvalidRequest("is given twice", field=field_name(key.value), hint="leave one of them out")
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)
