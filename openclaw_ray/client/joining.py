"""Which Ray cluster a client joins, and with which token. It never starts one by accident."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_ray.errors import AuthRequired, NotConnected

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Target:
    """An address, and who named it."""

    address: str
    source: str
    #: Token file of a cluster that `openclaw-ray up` started.
    token_path: str | None = None


def target(
    address: str | None, home: Path, configured: str | None, environment: Mapping[str, str] | None = None
) -> Target:
    """Decide the address: the argument, OPENCLAW_ADDRESS, RAY_ADDRESS, then what `openclaw-ray up` wrote.

    Raises:
        NotConnected: nothing names a cluster.
    """
    environment = os.environ if environment is None else environment
    started = _run_file(home)
    if address is None and configured is None and not environment.get("RAY_ADDRESS") and started is None:
        raise NotConnected(
            "no cluster is known here",
            hint="start one with: openclaw-ray up; or name one: oc.connect(address=...), OPENCLAW_ADDRESS, RAY_ADDRESS",
        )
    for found, source in (
        (address, "the address argument"),
        (configured, "OPENCLAW_ADDRESS"),
        (environment.get("RAY_ADDRESS"), "RAY_ADDRESS"),
    ):
        if found:
            ours = started is not None and started.address == found
            return Target(found, source, started.token_path if ours and started is not None else None)
    assert started is not None
    return started


def _run_file(home: Path) -> Target | None:
    path = home / RUN_FILE
    try:
        found: Any = json.loads(path.read_text("utf-8"))
        address, token = found["address"], found.get("token_path")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotConnected(
            f"{path} cannot be used: {type(error).__name__}", hint="openclaw-ray up writes it; or name an address"
        ) from None
    return Target(str(address), str(path), str(token) if token else None)


def use_token(chosen: Target, environment: dict[str, str] | os._Environ[str] | None = None) -> None:
    """Set token mode and path for this process, or say what is missing before Ray fails without a word of it.

    Raises:
        AuthRequired: the token is there and token mode is not on; or the token file of `up` is gone.
    """
    environment = os.environ if environment is None else environment
    if chosen.token_path is not None:
        if not Path(chosen.token_path).is_file():
            raise AuthRequired(f"the token file {chosen.token_path} is missing", hint="openclaw-ray down, then up")
        environment["RAY_AUTH_MODE"] = "token"
        environment["RAY_AUTH_TOKEN_PATH"] = chosen.token_path
        environment.pop("RAY_AUTH_TOKEN", None)  # it would win over the file
        return
    if environment.get("RAY_AUTH_MODE") or chosen.address == "auto":
        return
    held = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if environment.get(name)]
    if held:
        raise AuthRequired(
            f"{held[0]} is set and RAY_AUTH_MODE is not, so Ray would not use the token",
            hint="export RAY_AUTH_MODE=token (or RAY_AUTH_MODE=disabled for a cluster without one)",
        )


def tell_ray() -> None:
    """Ray reads token mode and token when it is imported: where that was before they were set, let it look again."""
    if "ray" in sys.modules:
        raylet: Any = importlib.import_module("ray._raylet")  # no public way; without types
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def join(address: str | None = None, home: Path | None = None) -> None:
    """Connect this process to a Ray cluster; one that is connected already is used as it is.

    Raises:
        NotConnected, AuthRequired, InvalidRequest: with what to do about it.
    """
    import ray

    from openclaw_ray.config import load_settings

    if ray.is_initialized():
        return
    settings = load_settings()
    chosen = target(address, home or settings.home, settings.address)
    use_token(chosen)
    tell_ray()
    try:
        ray.init(
            address=chosen.address,
            namespace=settings.namespace,
            log_to_driver=False,
            logging_level=logging.ERROR,
            ignore_reinit_error=True,
        )
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and its own
        raise _refused(chosen, error) from error


def _refused(chosen: Target, error: Exception) -> NotConnected:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    facts = {"address": chosen.address, "source": chosen.source}
    token_file = Path("~/.ray/auth_token").expanduser()
    mode = os.environ.get("RAY_AUTH_MODE")
    if "auth" in type(error).__name__.lower() or "token" in text.lower():
        return AuthRequired(
            f"the cluster at {chosen.address} refused this process: {text}",
            hint="export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=<token file>",
            facts=facts,
        )
    if not mode and token_file.exists():
        return AuthRequired(
            f"the cluster at {chosen.address} ({chosen.source}) gives no answer; does it ask for {token_file}?",
            hint="export RAY_AUTH_MODE=token",
            facts=facts,
        )
    hint = "is it running? openclaw-ray status, or openclaw-ray up"
    if mode == "token":
        hint += "; is the token the cluster's own? Ray does not say when it is a wrong one"
    return NotConnected(f"no Ray cluster answers at {chosen.address} ({chosen.source}): {text}", hint=hint, facts=facts)
