"""The way to the coordinator over Ray. The only place of the client that knows Ray; it is imported when it is needed.

One call is one attempt: `Calls` repeats. What it says about a failure is exact: `NotConnected` did not happen,
`OutcomeUnknown` may have.
"""

from __future__ import annotations

import asyncio
from typing import Any

from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown

STATE_MANAGER = "openclaw-state-manager"
#: Pause that is proposed while the coordinator restarts (seconds): a restart takes one to three.
RETRY_AFTER_S = 0.3
#: How long other namespaces are looked through for a hint (seconds).
LOOK_S = 3.0


class RayTransport:
    """`runtime.ports.Coordinator` over the named actor of a namespace.

    Args:
        namespace: Ray namespace of the cluster's actors.
    """

    def __init__(self, namespace: str = "openclaw") -> None:
        self.namespace = namespace
        self._actor: Any = None
        self._look = asyncio.Lock()

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        """One call.

        Raises:
            NotConnected: there is no coordinator; nothing happened.
            OutcomeUnknown: it went away, or did not answer in time; it may have happened.
        """
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

        actor = await self._handle()
        try:
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may swallow a cancellation
                answer = await actor.call_json.remote(verb, body)
        except TimeoutError:
            raise OutcomeUnknown(
                f"{verb}: no answer within {timeout_s:.1f} s", hint="the same call with the same ids may be repeated"
            ) from None
        except ActorUnavailableError as error:
            raise OutcomeUnknown(f"{verb}: the coordinator went away: {_first_line(error)}") from None
        except (ActorDiedError, RayActorError) as error:
            self._actor = None  # another one may live under its name by now
            raise OutcomeUnknown(f"{verb}: the coordinator died: {_first_line(error)}") from None
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, OpenClawError):
                raise cause from None
            raise OpenClawError(f"{verb}: the coordinator failed: {_first_line(error)}") from None
        except ray.exceptions.RayError as error:
            raise OutcomeUnknown(f"{verb}: Ray failed: {_first_line(error)}") from None
        return str(answer)

    async def _handle(self) -> Any:
        if self._actor is None:
            async with self._look:
                if self._actor is None:
                    self._actor = await asyncio.to_thread(self._find)
        return self._actor

    def _find(self) -> Any:
        import ray

        if not ray.is_initialized():
            raise NotConnected("Ray is not connected in this process", hint="oc.connect()")
        try:
            return ray.get_actor(STATE_MANAGER, namespace=self.namespace)
        except ValueError:
            raise NotConnected(
                f"no coordinator in namespace {self.namespace!r} of this Ray cluster", hint=self._hint()
            ) from None
        except Exception as error:  # noqa: BLE001  (Ray raises many kinds while its head is away)
            raise NotConnected(
                f"Ray does not answer: {_first_line(error)}", hint="openclaw-ray doctor", retry_after=RETRY_AFTER_S
            ) from None

    def _hint(self) -> str:
        """Where else a coordinator is, or how to start one."""
        import ray

        try:
            named = ray.util.list_named_actors(all_namespaces=True)
        except Exception:  # noqa: BLE001  (it is only a hint)
            named = []
        spaces = sorted({str(one["namespace"]) for one in named if one["name"] == STATE_MANAGER} - {self.namespace})
        if spaces:
            return f"there is one in namespace {', '.join(map(repr, spaces))}: set OPENCLAW_NAMESPACE or namespace="
        return "start it with: openclaw-ray up"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
