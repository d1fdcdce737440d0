"""Sync and async are one vocabulary; threads and loops are left as they were found."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

import openclaw_ray as oc
from openclaw_ray.client import AsyncCluster, AsyncNode, AsyncTask, AsyncTasks, Cluster, Node, Task, Tasks
from tests.client.conftest import Home
from tests.support.wait import wait_until


@pytest.mark.parametrize(
    ("sync", "of"), [(Cluster, AsyncCluster), (Task, AsyncTask), (Tasks, AsyncTasks), (Node, AsyncNode)]
)
def test_both_forms_have_the_same_words(sync: type, of: type) -> None:
    only_one = {"open", "waiter", "over"}
    words = {name for name in dir(of) if not name.startswith("_")} - only_one
    missing = words - set(dir(sync))
    assert not missing - {"last_status"}
    for name in words & set(vars(sync)):
        method, asynchronous = getattr(sync, name), getattr(of, name)
        if callable(asynchronous):
            assert method.__doc__, name
            assert list(inspect.signature(method).parameters) == list(inspect.signature(asynchronous).parameters), name
            assert not inspect.iscoroutinefunction(method)


def test_editors_and_notebooks_see_every_word_of_submit() -> None:
    for submit in (oc.Cluster.submit, oc.AsyncCluster.submit):
        assert {"skill", "params", "priority", "timeout", "key", "after", "strict"} <= set(
            inspect.signature(submit).parameters
        )
    assert inspect.signature(oc.Cluster.submit).return_annotation == "Task"
    assert "key" in inspect.signature(oc.Cluster.map).parameters


async def test_the_async_form(home: Home, client: AsyncCluster) -> None:
    task = await client.submit("echo", {"a": 1})
    assert await task == {"a": 1}
    assert task.state == "completed"
    tasks = await client.map("echo", [{"i": i} for i in range(5)])
    seen = [done.params["i"] async for done in client.as_completed(tasks, timeout=10)]
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert await client.gather(tasks) == [{"i": i} for i in range(5)]
    assert await tasks.gather() == [{"i": i} for i in range(5)]
    assert (await client.task(task.id)).id == task.id
    held = await client.submit("held", {})
    with pytest.raises(oc.WaitTimeout):
        await held.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(held.result(), 0.01)
    await asyncio.to_thread(home.gate.wait_entered)
    assert (await held.refresh()).state in ("scheduled", "running")
    assert await held.cancel() == "cancelled"
    with pytest.raises(oc.TaskCancelled):
        await held
    again = await held.retry()
    assert (await again.cancel()) == "cancelled"
    assert len(await client.tasks("state:cancelled")) == 2
    assert [node.id for node in await client.nodes()] == ["node-1", "node-2"]
    assert "completed" in repr(await client.status())
    assert "Task" in repr(tasks[0])


async def test_a_failure_in_the_async_form_is_raised_and_may_be_returned(client: AsyncCluster) -> None:
    task = await client.submit("boom", {}, retries=0)
    with pytest.raises(oc.TaskFailed):
        await task
    [error] = await client.gather([task], on_error="return")
    assert isinstance(error, oc.TaskFailed)


async def test_the_sync_client_refuses_to_stop_a_running_loop(home: Home) -> None:
    with pytest.raises(oc.UseAsyncClient, match="connect_async"):
        Cluster.over(home.wire())
    cluster = await asyncio.to_thread(Cluster.over, home.wire())
    with pytest.raises(oc.UseAsyncClient):
        cluster.submit("echo", {})
    assert "Cluster" in repr(cluster)  # showing it never fails
    await asyncio.to_thread(cluster.close)


async def test_in_a_notebook_the_sync_client_works_inside_the_running_loop(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shell:
        @staticmethod
        def get_ipython() -> object:
            return object()

    monkeypatch.setitem(sys.modules, "IPython", Shell)
    with Cluster.over(home.wire()) as cluster:
        assert cluster.submit("echo", {"a": 1}).result(10) == {"a": 1}


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "openclaw-client"]


def test_closing_leaves_no_thread_and_later_calls_say_so(home: Home) -> None:
    before = set(threading.enumerate())
    cluster = Cluster.over(home.wire())
    task = cluster.submit("held", {})
    home.gate.wait_entered()
    waiting: list[BaseException] = []

    def wait() -> None:
        try:
            task.result()
        except BaseException as error:  # noqa: BLE001
            waiting.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: bool(cluster._async.waiter._awaited))
    cluster.register(extra)
    cluster.close()
    waiter.join(10)
    assert isinstance(waiting[0], oc.NotConnected)
    assert not [t for t in threading.enumerate() if t not in before and t.name.startswith(("openclaw", "asyncio"))]
    cluster.close()
    assert repr(cluster) == "<Cluster openclaw closed>"
    with pytest.raises(oc.NotConnected, match="closed"):
        cluster.submit("echo", {})
    with pytest.raises(oc.NotConnected, match="closed"):
        task.result()


def extra() -> int:
    return 1


def test_a_forgotten_cluster_ends_its_thread(home: Home) -> None:
    cluster = Cluster.over(home.wire())
    found = weakref.ref(cluster)
    assert client_threads()
    del cluster
    gc.collect()
    assert found() is None
    wait_until(lambda: not client_threads())


def test_a_connection_that_fails_leaves_no_thread(home: Home) -> None:
    wire = home.wire()
    wire.cut = True
    with pytest.raises(oc.NotConnected):
        Cluster.over(wire, timeout_s=0.1)
    wait_until(lambda: not client_threads())


def test_an_interrupt_ends_the_waiting_and_not_the_task(home: Home, cluster: Cluster) -> None:
    task = cluster.submit("held", {})
    home.gate.wait_entered()
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt) as stopped:
        task.result(10)
    assert task.id in stopped.value.__notes__[0]
    wait_until(lambda: task.state == "running")
    home.gate.open()
    assert task.result(10) == {}


def test_tasks_of_two_clients_are_not_mixed(home: Home, cluster: Cluster) -> None:
    with Cluster.over(home.wire()) as other:
        mixed: list[Any] = [cluster.submit("echo", {}), other.submit("echo", {})]
        with pytest.raises(oc.InvalidRequest):
            oc.gather(mixed)
        with pytest.raises(oc.InvalidRequest):
            oc.gather(["t-1"])  # type: ignore[list-item]


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, openclaw_ray as oc; heavy = {'ray', 'pydantic', 'asyncio', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy; assert oc.NotFound.__name__ in dir(oc); oc.skill; oc.gather; "
        "assert 'ray' not in sys.modules; assert all(hasattr(oc, n) for n in oc.__all__ if n != 'local')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = oc.nothing
