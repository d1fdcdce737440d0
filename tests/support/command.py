"""The command over an in-process cluster: the real client and coordinator, without Ray."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from openclaw_ray.cli.app import cli
from openclaw_ray.cli.base import Session
from openclaw_ray.client import Cluster
from tests.support.inprocess import InProcess


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class HereSession(Session):
    """A session whose cluster is the one of the test."""

    home: InProcess

    @contextlib.contextmanager
    def connected(self) -> Iterator[Cluster]:
        with self.screen.alone(), Cluster.over(self.home.wire(), timeout_s=10) as cluster:
            yield cluster


class Command:
    """Calls the command; after each call the cluster goes on."""

    def __init__(self, home: InProcess) -> None:
        self._home = home

    def session(self) -> HereSession:
        """For one call."""
        session = HereSession()
        session.home = self._home
        return session

    def __call__(self, *args: str, stdin: str | bytes | None = None) -> Ended:
        found = CliRunner().invoke(cli, list(args), obj=self.session(), input=stdin)
        return Ended(found.exit_code, found.stdout, found.stderr)

    def ok(self, *args: str, **more: Any) -> Ended:
        """A call that must end well."""
        found = self(*args, **more)
        assert found.code == 0, found
        return found

    def submit(self, *args: str) -> str:
        """Submit; answers the id."""
        return self.ok("submit", *args).out.strip()
