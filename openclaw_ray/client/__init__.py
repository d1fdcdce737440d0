"""The client: typed, durable by repeating calls with ids of its own, sync and async over one core."""

from openclaw_ray.client.connecting import connect, connect_async
from openclaw_ray.client.core import AsyncCluster
from openclaw_ray.client.handles import AsyncNode, AsyncTask, AsyncTasks
from openclaw_ray.client.joining import join
from openclaw_ray.client.sync import Cluster, Node, Task, Tasks, as_completed, gather
from openclaw_ray.client.transport import RayTransport

__all__ = [
    "AsyncCluster",
    "AsyncNode",
    "AsyncTask",
    "AsyncTasks",
    "Cluster",
    "Node",
    "RayTransport",
    "Task",
    "Tasks",
    "as_completed",
    "connect",
    "connect_async",
    "gather",
    "join",
]
