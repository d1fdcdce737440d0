"""The command and the names of its parts; each part is loaded when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from openclaw_ray.cli.base import Session, common, orderly_end

#: Section to command to (module, one line for `--help`); the function in the module has the command's name.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "up": ("cluster", "Start a cluster here, or join one; it stays until `down`."),
        "down": ("cluster", "End what `up` started; tasks and results stay on disk."),
        "demo": ("demo", "See it work: a throw-away cluster indexes the Python standard library."),
        "drill": ("drill", "Try to break it: parts of a throw-away cluster are killed under load."),
        "backup": ("cluster", "Write a verified copy of the database."),
    },
    "Look": {
        "status": ("status", "How the cluster is, in a few lines."),
        "nodes": ("nodes", "Machines, what they offer and what they do."),
        "skills": ("nodes", "What can be run, and where."),
        "tasks": ("tasks", "List tasks, newest first."),
        "task": ("task", "One task: show, why, wait, logs."),
    },
    "Act": {
        "submit": ("submit", "Hand in a task."),
        "cancel": ("tasks", "Cancel tasks, or a group."),
        "retry": ("tasks", "Submit ended tasks anew."),
        "drain": ("nodes", "Take a node out of service; what runs may finish."),
        "undrain": ("nodes", "Give a node back."),
    },
    "Help": {
        "version": ("cluster", "Versions of everything that matters."),
    },
}


class Commands(click.Group):
    """Loads a command when it is called, and ends every one of them in an orderly way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the sections."""
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        for commands in SECTIONS.values():
            if cmd_name in commands:
                module = importlib.import_module(f"openclaw_ray.cli.{commands[cmd_name][0]}")
                found: click.Command = getattr(module, cmd_name)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which is near."""
        import difflib

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"No command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and end with the exit code that says how it went."""
        session = extra.setdefault("obj", Session())
        extra["standalone_mode"] = False
        with orderly_end(session):
            code = super().main(*args, **extra)
            raise click.exceptions.Exit(code if isinstance(code, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="openclaw-ray", prog_name="openclaw-ray", message="%(prog)s %(version)s")
@common
def cli() -> None:
    """Durable tasks for the machines you own.

    Say what is to be done; openclaw-ray decides where, keeps it, runs it on Ray, retries it, and can always say why
    a task waits.

    \b
    Exit codes: 0 done, 1 the task or the operation failed, 2 usage, 3 no cluster, 4 not found, 5 refused,
    6 cannot be placed, 124 the waiting timed out.
    """
