"""Hand in a task, and wait for it if asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from openclaw_ray.cli.base import Session, common
from openclaw_ray.cli.parameters import FORM, parameters, whole
from openclaw_ray.cli.waiting import finish, follow, wait_s

if TYPE_CHECKING:
    from openclaw_ray.client.specs import SubmitOptions


@click.command()
@common
@click.argument("skill")
@click.argument("params", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--params", "all_params", metavar="JSON", help="All parameters at once: JSON, @file, or - for stdin.")
@click.option("--priority", metavar="WORD", help="critical, high, normal (default), low.")
@click.option("--timeout", metavar="DURATION", help="How long one attempt may run: 30s, 5m.")
@click.option("--retries", type=click.IntRange(0), help="Further attempts after failures.")
@click.option("--name", help="Shown in lists.")
@click.option("--key", help="One task per key: the same submit again is the same task.")
@click.option("--group", help="Tasks that belong together.")
@click.option("--tag", "required_tags", multiple=True, help="Tag that the node must have; may be repeated.")
@click.option("--affinity", "affinity_tags", multiple=True, help="Tag that makes a node preferred; may be repeated.")
@click.option("--after", multiple=True, metavar="ID", help="Task that must complete first; may be repeated.")
@click.option("--strategy", metavar="NAME", help="Placement of this task.")
@click.option("--type", "task_type", metavar="WORD", help="interactive, batch (default), compute_intensive, ...")
@click.option("--id", "task_id", metavar="ID", help="Your own id: the same submit again is the same task.")
@click.option("--strict", is_flag=True, help="Exit 6 instead of waiting if no node offers the skill.")
@click.option("--wait", is_flag=True, help="Wait for the end; print the result; exit 1 if there is none.")
@click.option("--wait-timeout", metavar="DURATION", help="Wait no longer than this (exit 124); the task goes on.")
@click.pass_obj
def submit(
    session: Session,
    /,
    skill: str,
    params: tuple[str, ...],
    all_params: str | None,
    task_id: str | None,
    wait: bool,
    wait_timeout: str | None,
    **options: Any,
) -> None:
    """Hand in a task for SKILL; it is on disk when this returns, and its id is printed."""
    if params and all_params is not None:
        raise click.UsageError(f"Give --params or {FORM}, not both.")
    given = whole(all_params) if all_params is not None else parameters(params)
    chosen: dict[str, Any] = {
        name: list(v) if isinstance(v, tuple) else v for name, v in options.items() if v not in (None, ())
    }
    if wait_timeout is not None:
        wait_s(wait_timeout)  # refused before anything is handed in
    with session.connected() as cluster:
        if task_id is None:
            task = cluster.submit(skill, given, **cast("SubmitOptions", chosen))
        else:
            task = cluster.task(_submit_as(cluster, task_id, skill, given, chosen))
        if not wait and wait_timeout is None:
            body = {"task_id": task.id, "skill": skill}
            session.answer("submitted", body, lambda: session.screen.out(task.id))
            return
        follow(session, task, wait_timeout)
        finish(session, task)


def _submit_as(cluster: Any, task_id: str, skill: str, params: Any, options: dict[str, Any]) -> str:
    """Submit under an id of the user's."""
    from openclaw_ray.client.specs import common_spec, os_user
    from openclaw_ray.models.door import parse
    from openclaw_ray.protocol import SubmitRequest

    strict = options.pop("strict", False)
    spec = {**common_spec(skill, options), "params": params}
    asked = {"tasks": [{"id": task_id, "spec": spec}], "by": os_user(), "strict": strict}
    answer = cluster.message("submit", parse(SubmitRequest, asked))
    return str(answer["tasks"][0][0])
