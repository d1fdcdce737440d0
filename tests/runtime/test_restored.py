"""A cluster that goes on from a restored backup (I11, F12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_ray.errors import StateRolledBack
from openclaw_ray.storage.restoring import EPOCHS_SKIPPED, TOKENS_SKIPPED, restore
from tests.support.fakes import HandAgent, Hub


async def test_tokens_go_on_after_a_restore_and_late_reports_stay_out(hub: Hub, tmp_path: Path) -> None:
    agent = HandAgent(hub)
    await agent.register()
    await hub.submit("t1")
    await hub.call("backup", to=str(tmp_path / "backup.db"))
    assert await hub.on_disk("SELECT value FROM meta WHERE name = 'last_backup'") == [(hub.instant(0),)]
    await hub.assign()
    [lease] = await agent.fetch()  # leased after the backup: the restored file knows nothing of it
    await hub.submit("gone")
    await hub.coordinator.stop()
    kept = restore(tmp_path / "backup.db", hub.home / "openclaw.db", hub.instant(0), replace=True).kept
    assert kept is not None
    await hub.restart()
    assert hub.office.identity.epoch == 1 + EPOCHS_SKIPPED + 1
    assert hub.office.state.books.next_token >= TOKENS_SKIPPED
    with pytest.raises(StateRolledBack, match="has seen version"):
        await agent.register(newest_version=hub.office.state.version + 3)
    agent.name = "another-process"  # made anew, it knows nothing of the file before
    reply = await agent.register(holds=(lease.token,), outcomes=[agent.outcome(lease.token)])
    assert reply.stops == [lease.token]
    assert await hub.state_of("t1") == "pending"
    [token] = await agent.run()
    assert token > lease.token + TOKENS_SKIPPED / 2
    assert await hub.state_of("t1") == "completed"
    assert (await hub.call("history", task_id="t1"))["events"][0]["what"] == "submitted"
    await hub.check()
