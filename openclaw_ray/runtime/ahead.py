"""How much work an executor is given ahead: enough to hide a call, little enough to go elsewhere when it stalls."""

from __future__ import annotations

from openclaw_ray.runtime.attempts import Attempt

#: Runs that are expected to be shorter than this are fed several at once (seconds).
SHORT_RUN_S = 0.005
#: Expected work of such a batch (milliseconds), and its attempts at most.
BATCH_MS, BATCH_MAX = 30.0, 250
#: Longer runs up to this get one more fed behind them when all seats are taken: it starts without a call's delay (s).
BRIEF_RUN_S = 0.1
#: An attempt that runs longer than this, and than twice what was expected, has its followers taken back (seconds).
STALL_S = 0.05
#: Overhead that an attempt costs its executor whatever it does (milliseconds).
OVERHEAD_MS = 0.1


def is_short(attempt: Attempt) -> bool:
    """Whether it may be one of many in an executor."""
    mean_s = attempt.lease.mean_run_s
    return mean_s is not None and mean_s <= SHORT_RUN_S


def is_brief(attempt: Attempt) -> bool:
    """Whether it may wait behind one other."""
    mean_s = attempt.lease.mean_run_s
    return mean_s is not None and mean_s <= BRIEF_RUN_S


def load_ms(attempt: Attempt) -> float:
    """How long it is expected to keep its executor (milliseconds)."""
    return (attempt.lease.mean_run_s or 0.0) * 1000 + OVERHEAD_MS


def stall_s(attempt: Attempt) -> float:
    """How long it may run before those behind it are taken back (seconds)."""
    return max(STALL_S, 2 * (attempt.lease.mean_run_s or 0.0))
