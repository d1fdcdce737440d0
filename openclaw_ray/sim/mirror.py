"""Whether the StateManager's memory equals its disk, and its indexes their records (I5)."""

from __future__ import annotations

from openclaw_ray.core.state import ClusterState
from openclaw_ray.runtime.coordinator import Coordinator
from openclaw_ray.runtime.restore import differences, rebuild
from openclaw_ray.sim.disk import Disk


async def memory_differs(coordinator: Coordinator, disk: Disk) -> list[str]:
    """What differs now, between two batches; nothing while it does not serve."""
    if coordinator._refusal is not None:
        return []
    office = coordinator.office
    async with office.commit.paused():
        if office.commit._stopped is not None:
            return []
        found: list[str] = []
        try:
            office.state.check_invariants()
        except AssertionError as error:
            found.append(f"memory: {error}")
        fresh = ClusterState(office.state.rules)
        rebuild(fresh, disk.db.load(), office.clock.now())
        found += [f"memory and disk: {line}" for line in differences(office.state, fresh)]
        return found
