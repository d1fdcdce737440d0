"""What a start of the StateManager cost: attempts that were live then and were lost before their node came back.

A restart alone loses none (I25): agents keep what they run and say so when they register again. What ends `lost` at the
first registration of its node, or because the node was not heard of in time, may have other reasons (its agent died
meanwhile); nobody can tell these apart afterwards, so all of it is counted here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from openclaw_ray.core.records import LeaseRecord
from openclaw_ray.core.types import Outcome
from openclaw_ray.storage.batch import AttemptEnd


class Recovery:
    """The attempts found at a start, until each is heard of again or ends."""

    def __init__(self, leases: Iterable[LeaseRecord] = ()) -> None:
        #: Token to node, of nodes that have not registered since the start.
        self._node_of = {lease.token: lease.node_id for lease in leases if lease.node_id is not None}
        self._registered: set[str] = set()
        #: Attempts that are run again since this start.
        self.rerun = 0

    @property
    def unheard(self) -> int:
        """Attempts whose node has not been heard of yet."""
        return len(self._node_of)

    def note(self, ends: Iterable[AttemptEnd], registered: Collection[str]) -> None:
        """A batch is on disk.

        Args:
            ends: Attempts that ended in it.
            registered: Nodes whose agent has registered since the start, in this batch or before.
        """
        if not self._node_of:
            return
        for end in ends:
            if self._node_of.pop(end.token, None) is not None:
                self.rerun += end.outcome == Outcome.LOST
        if not self._registered.issuperset(registered):
            self._registered.update(registered)  # what they lose from here on is lost for another reason
            self._node_of = {t: node for t, node in self._node_of.items() if node not in self._registered}
