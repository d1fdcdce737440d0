"""The registry of skills: which names there are, their newest revision, and who must look again.

Functions come from drivers with their code; command skills come from the nodes that found them. The newest registration
of a name is the one that tasks without `revision=` run.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from openclaw_ray.core import events as ev
from openclaw_ray.core.limits import CODE_BYTES_MAX
from openclaw_ray.errors import InvalidRequest, NotFound
from openclaw_ray.models.door import quoted
from openclaw_ray.models.fields import iso
from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.protocol import RegisterSkillRequest, RegistryReply, RegistryRequest
from openclaw_ray.runtime.commit import Turn
from openclaw_ray.runtime.context import Office
from openclaw_ray.storage import skills
from openclaw_ray.storage.rows import SkillRow

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
#: The largest code as base64, three bytes in four letters: looked at before anything is decoded.
BLOB_CHARS_MAX = CODE_BYTES_MAX // 3 * 4 + 4


class SkillDesk:
    """Serves registrations, and the agents that fetch them."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def register_skill(self, request: RegisterSkillRequest) -> dict[str, Any]:
        """Keep a function: returns after the commit, not after nodes offer it. The same again changes nothing."""
        manifest = request.manifest
        code = _code(request)
        known = self._office.registry.newest.get(manifest.name)
        if known is not None and known.revision == manifest.revision and known.kind is manifest.kind:
            return {"name": manifest.name, "revision": manifest.revision, "created": False}
        await self._office.commit.run(lambda turn: self._register(turn, manifest, code, request.by))
        return {"name": manifest.name, "revision": manifest.revision, "created": True}

    def _register(self, turn: Turn, manifest: SkillManifest, code: tuple[str, bytes] | None, by: str | None) -> None:
        put(self._office, turn, manifest, code, by)
        # Nodes that offer the old revision stop until they have the new one: a task submitted after `register`
        # never runs the code of before.
        for node in list(turn.state.nodes.values()):
            offered = node.offers.get(manifest.name)
            if node.agent and offered is not None and offered != manifest.revision:
                offers = {name: r for name, r in node.offers.items() if name != manifest.name}
                turn.apply(ev.NodeEdited(node.id, None, None, offers, None, by))

    async def registry(self, request: RegistryRequest) -> RegistryReply:
        """What was registered after `since`: the newest manifest of each name."""
        await self._office.commit.quiet()
        known = self._office.registry
        manifests = [m for name, m in known.newest.items() if known.changed[name] > request.since]
        return RegistryReply.model_construct(registry=known.version, manifests=manifests)

    async def code(self, digest: Any) -> str:
        """The code of a skill by its digest, as base64; only executors ever load it."""
        if not isinstance(digest, str) or not _DIGEST.match(digest):
            raise InvalidRequest(f"{quoted(digest)} is no digest", field="digest", limit="64 of 0-9 a-f")
        blob = await self._office.store.read(lambda conn: _blob(conn, digest))
        if blob is None:
            raise NotFound(f"no code {digest!r}", field="digest")
        return base64.b64encode(blob).decode()


def put(office: Office, turn: Turn, manifest: SkillManifest, code: tuple[str, bytes] | None, by: str | None) -> None:
    """Store a registration and make it the newest of its name."""
    registry = office.registry
    seq = registry.version + len(turn.ledger.batch.insert_skills) + 1
    row = SkillRow(
        manifest.name, manifest.revision, manifest.model_dump_json(exclude_defaults=True), iso(turn.now.wall), by, seq
    )
    turn.ledger.put_skill(row, code)


def note_found(office: Office, turn: Turn, manifests: list[SkillManifest]) -> None:
    """Command skills that a node found in its folders join the registry when they are new or changed."""
    pending = {(row.name, row.revision) for row in turn.ledger.batch.insert_skills}
    for manifest in manifests:
        known = office.registry.newest.get(manifest.name)
        if manifest.kind is SkillKind.PYTHON or (manifest.name, manifest.revision) in pending:
            continue
        if known is None or (known.kind is manifest.kind and known.revision != manifest.revision):
            put(office, turn, manifest, None, None)


def committed(office: Office, rows: list[SkillRow]) -> None:
    """Registrations are on disk: agents and submits see them."""
    for row in rows:
        manifest = SkillManifest.model_validate_json(row.manifest)
        office.registry.newest[row.name] = manifest
        office.registry.changed[row.name] = row.seq
        office.registry.version = max(office.registry.version, row.seq)
    if rows:
        for outbox in office.outboxes.values():
            outbox.registry_changed()


def _code(request: RegisterSkillRequest) -> tuple[str, bytes] | None:
    manifest = request.manifest
    if manifest.kind is not SkillKind.PYTHON:
        message = "only functions are registered; nodes find command skills themselves"
        raise InvalidRequest(message, field="manifest.kind", limit=SkillKind.PYTHON.value)
    if len(request.blob) > BLOB_CHARS_MAX:
        raise InvalidRequest(f"{len(request.blob):,} characters", field="blob", limit=f"{CODE_BYTES_MAX:,} bytes")
    try:
        blob = base64.b64decode(request.blob, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidRequest("is not base64", field="blob", limit="base64") from None
    if not blob or len(blob) > CODE_BYTES_MAX:
        raise InvalidRequest(f"{len(blob):,} bytes", field="blob", limit=f"1 to {CODE_BYTES_MAX:,} bytes")
    digest = hashlib.sha256(blob).hexdigest()
    if digest != manifest.code:
        raise InvalidRequest("the code is not what the manifest says", field="manifest.code", limit=digest)
    return digest, blob


def _blob(conn: Any, digest: str) -> bytes | None:
    return skills.code(conn, digest)
