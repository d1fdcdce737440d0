"""The command `openclaw-ray`. What a command needs is imported when it runs: `--help` answers at once."""

from __future__ import annotations


def main() -> None:
    """Entry point."""
    from openclaw_ray.cli.app import cli

    cli(prog_name="openclaw-ray")
