"""Room on nodes, by what the skills themselves wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from openclaw_ray.sim.checker.record import Record, Violation

#: Of every simulated machine: thousandths of a CPU, bytes.
_CAPACITY = {"cpu": 4_000, "memory": 8 << 30}


def never_too_full(record: Record) -> Iterator[Violation]:
    """I17: at every instant what runs on a node fits into its slots and resources."""
    running: dict[str, dict[int, dict[str, int]]] = defaultdict(dict)
    for line in record.evidence.ledger:
        there = running[line.node]
        if line.what != "began":
            there.pop(line.token, None)
            continue
        there[line.token] = dict(line.resources)
        used: Counter[str] = Counter()
        for held in there.values():
            used.update(held)
        if len(there) > record.evidence.slots[line.node]:
            yield Violation("I17", f"{len(there)} attempts run on {line.node} at {line.at:.3f}: {sorted(there)}")
        if any(amount > _CAPACITY.get(name, 0) for name, amount in used.items()):
            yield Violation("I17", f"{dict(used)} in use on {line.node} at {line.at:.3f}")


CHECKS = (never_too_full,)
