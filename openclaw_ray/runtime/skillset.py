"""What one node can run: registered functions and the command skills of its folders, and why not the others."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from openclaw_ray.core.limits import REASON_LEN_MAX
from openclaw_ray.errors import Corrupt, NotFound
from openclaw_ray.models.skill import Offer, SkillKind, SkillManifest
from openclaw_ray.protocol import RegistryReply, RegistryRequest
from openclaw_ray.runtime.link import Link
from openclaw_ray.skills.folder import discover
from openclaw_ray.skills.requirements import NodeFacts, resolve_offers

#: Older revisions of a name that are kept for leases that are out.
OLD_KEPT = 3


class Skillset:
    """Manifests by name and revision, and the code of functions on this node's disk."""

    def __init__(
        self, roots: tuple[Path, ...], folder: Path, tags: frozenset[str], capacity: Mapping[str, float | int]
    ) -> None:
        self._roots = roots
        self._code = folder / "code"
        self._tags = tags
        self._capacity = capacity
        #: Registered functions: newest of each name, and those before it that may still be leased.
        self._functions: dict[str, list[SkillManifest]] = {}
        self._commands: dict[str, SkillManifest] = {}
        #: Registered, but their code is not here yet; and why not.
        self._unfetched: dict[str, SkillManifest] = {}
        self.withheld: dict[str, str] = {}
        self.rejected: list[tuple[str, str]] = []
        self.registry = 0
        self.offers: list[Offer] = []
        self._offered: dict[str, str] = {}

    @property
    def found(self) -> list[SkillManifest]:
        """Command skills of this node's folders."""
        return list(self._commands.values())

    async def scan(self) -> bool:
        """Read the skill folders again; whether the offers changed."""
        found = await asyncio.to_thread(discover, self._roots)
        self._commands = {m.name: m for m in found.skills}
        self.rejected = found.rejected
        return await self._resolve()

    async def refresh(self, link: Link, timeout_s: float) -> bool:
        """Fetch what was registered since, with its code; whether the offers changed."""
        reply = await link.ask("registry", RegistryRequest(since=self.registry), RegistryReply, timeout_s)
        self._unfetched |= {m.name: m for m in reply.manifests if m.kind is SkillKind.PYTHON}
        self.registry = reply.registry
        return await self.fetch(link, timeout_s)

    async def fetch(self, link: Link, timeout_s: float) -> bool:
        """Fetch code that is still missing; whether the offers changed. One skill without code stops no other."""
        for manifest in list(self._unfetched.values()):
            try:
                await self._fetch(link, manifest, timeout_s)
            except (Corrupt, NotFound) as error:
                self.withheld[manifest.name] = str(error)
                continue
            del self._unfetched[manifest.name]
            self.withheld.pop(manifest.name, None)
            known = [m for m in self._functions.get(manifest.name, []) if m.revision != manifest.revision]
            self._functions[manifest.name] = [manifest, *known[:OLD_KEPT]]
        return await self._resolve()

    async def _fetch(self, link: Link, manifest: SkillManifest, timeout_s: float) -> None:
        path = Path(self.code_path(manifest))
        if manifest.code is None or await asyncio.to_thread(path.exists):
            return
        blob = base64.b64decode(await link.plain("code", {"digest": manifest.code}, timeout_s))
        if hashlib.sha256(blob).hexdigest() != manifest.code:
            raise Corrupt(f"the code of {manifest.name} is not what its digest says")
        await asyncio.to_thread(_write, path, blob)

    def code_path(self, manifest: SkillManifest) -> str:
        """Where the code of a function lies on this node."""
        return f"{self._code}/{manifest.code or 'none'}"

    async def _resolve(self) -> bool:
        manifests = [m[0] for m in self._functions.values()]
        # A registered function wins over a folder of the same name: the driver that registered it expects it.
        manifests += [m for name, m in self._commands.items() if name not in self._functions]
        facts = NodeFacts(
            path=os.environ.get("PATH", ""),
            env=os.environ,
            platform=sys.platform,
            tags=self._tags,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            capacity=dict(self._capacity),
        )
        offers = await asyncio.to_thread(resolve_offers, manifests, facts)
        offers += [
            Offer(name=n, reason=why[:REASON_LEN_MAX]) for n, why in self.withheld.items() if n not in self._functions
        ]
        changed = offers != self.offers
        self.offers = offers
        self._offered = {o.name: o.revision for o in offers if o.reason is None}
        return changed

    def manifest(self, name: str, revision: str | None) -> SkillManifest | None:
        """The manifest that a lease is about; None when this node does not offer it (any more)."""
        if name not in self._offered:
            return None
        candidates = [*self._functions.get(name, ()), *([self._commands[name]] if name in self._commands else [])]
        return next((m for m in candidates if revision is None or m.revision == revision), None)


def _write(path: Path, blob: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(blob)
    partial.replace(path)
