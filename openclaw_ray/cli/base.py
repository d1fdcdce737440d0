"""What all commands share: the global options, the connection, and how errors end a program."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import click

from openclaw_ray.cli.screen import Screen
from openclaw_ray.display import escape
from openclaw_ray.errors import NotConnected, OpenClawError, UnknownSkill

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster
    from openclaw_ray.config import Settings

#: Of the JSON that commands print: it rises when a field changes its meaning or goes.
SCHEMA = 1

EXIT_FAILED = 1
EXIT_CANNOT_BE_PLACED = 6
EXIT_INTERRUPTED = 130


@dataclass
class Session:
    """One run of the command."""

    address: str | None = None
    namespace: str | None = None
    #: table or json.
    output: str = "table"
    screen: Screen = field(default_factory=Screen)

    @property
    def json(self) -> bool:
        """Whether a program reads the answer."""
        return self.output == "json"

    def settings(self, **overrides: Any) -> Settings:
        """Environment and options."""
        from openclaw_ray.config import load_settings

        return load_settings(address=self.address, namespace=self.namespace, **overrides)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Cluster]:
        """A client, or `NotConnected` at once where it is clear that nothing is up."""
        from openclaw_ray.client import connect

        settings = self.settings()
        namespace = settings.namespace
        if settings.address is None and not os.environ.get("RAY_ADDRESS"):
            run = self._run(settings)
            if self.namespace is None and "OPENCLAW_NAMESPACE" not in os.environ:
                namespace = run.namespace
        with self.screen.alone(), connect(settings.address, namespace) as cluster:
            yield cluster

    def ask(self, cluster: Cluster, verb: str, **arguments: Any) -> Any:
        """A verb of the coordinator that the client has no word for; plain values."""
        call: Any = cluster.call
        return call(verb, **arguments)

    def _run(self, settings: Settings) -> Any:
        from openclaw_ray.cluster_run import read_run

        run = read_run(settings.home)
        if run is None:
            raise NotConnected(
                "no cluster is up here", hint="start one: openclaw-ray up; or name one: --address, OPENCLAW_ADDRESS"
            )
        if not run.alive:
            raise NotConnected(f"the cluster that was up at {run.address} is gone", hint="openclaw-ray up")
        return run

    def answer(self, kind: str, body: dict[str, Any], show: Callable[[], None]) -> None:
        """Print a result: as JSON with its schema, or as `show` draws it."""
        if self.json:
            # Escaped to ASCII: what tasks say is as harmless on a terminal as it is in the tables.
            self.screen.out(json.dumps({"schema": SCHEMA, "kind": kind, **body}, indent=2))
        else:
            show()


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command takes, before or after its name; hands it the `Session`."""
    for option in (
        click.option("--address", metavar="ADDRESS", expose_value=False, callback=_remember,
                     help="Ray address of the cluster (OPENCLAW_ADDRESS, RAY_ADDRESS; else what `up` started here)."),
        click.option("--namespace", metavar="NAME", expose_value=False, callback=_remember,
                     help="Ray namespace of its actors (OPENCLAW_NAMESPACE)."),
        click.option("-o", "--output", type=click.Choice(["table", "json"]), expose_value=False, callback=_remember,
                     help="How to print results."),
    ):  # fmt: skip
        command = option(command)
    return command


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    session = ctx.ensure_object(Session)
    if value is not None and option.name is not None:
        setattr(session, option.name, value)


@contextlib.contextmanager
def orderly_end(session: Session) -> Iterator[None]:
    """Turn every way in which a command can end into its exit code, with what failed, why, and one hint."""
    debug = os.environ.pop("OPENCLAW_DEBUG", "") not in ("", "0")
    try:
        yield
    except click.exceptions.Exit as done:
        _leave(done.exit_code)
    except click.ClickException as wrong:
        # What was typed may have been copied from anywhere, and stands in the message.
        said = io.StringIO()
        wrong.show(said)
        for line in said.getvalue().rstrip("\n").split("\n"):
            session.screen.note(escape(line))
        _leave(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt) as stopped:
        for note in getattr(stopped, "__notes__", []):
            click.echo(note, err=True)
        click.echo("stopped", err=True)
        _leave(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `openclaw-ray tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(0)
    except OpenClawError as error:
        if debug:
            traceback.print_exc()
        _tell(session, error)
        _leave(EXIT_CANNOT_BE_PLACED if isinstance(error, UnknownSkill) else error.exit_code)
    except Exception as error:  # the last word of a program is a sentence, not a traceback
        if debug:
            raise
        session.screen.error(
            f"{type(error).__name__}: {error}", "this is a fault of openclaw-ray; OPENCLAW_DEBUG=1 shows where"
        )
        _leave(EXIT_FAILED)


def _tell(session: Session, error: OpenClawError) -> None:
    if session.json:
        click.echo(json.dumps({"schema": SCHEMA, "kind": "error", "error": error.to_json()}), err=True)
        return
    text = f"{error.field}: {error.message}" if error.field else error.message
    session.screen.error(text + (f" (accepted: {error.limit})" if error.limit else ""), error.hint)


def _leave(code: int) -> NoReturn:
    sys.exit(code)
