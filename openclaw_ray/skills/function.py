"""`@skill`: a Python function as something a cluster can run.

The decorated object is still the function. What is declared is checked at once, so that a mistake shows where it was
written; code and revision are worked out when the skill is packed, since helpers may stand below it in the file.
Must not know how a packed skill is registered or where it runs.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from openclaw_ray.core.limits import DESCRIPTION_LEN_MAX
from openclaw_ray.errors import InvalidParams, InvalidRequest
from openclaw_ray.models.door import parse, shorten
from openclaw_ray.models.skill import Requirements, SkillKind, SkillManifest
from openclaw_ray.skills import packing
from openclaw_ray.skills.context import Context
from openclaw_ray.skills.revision import Identity

P = ParamSpec("P")
R = TypeVar("R")

#: Stands in a draft until the skill is packed.
_UNKNOWN = "0" * 64
_CONTEXT_NAMES = ("ctx", "context")


@dataclass(frozen=True, slots=True)
class Packed:
    """A skill ready to be registered."""

    manifest: SkillManifest
    #: Only executor processes load it; `manifest.code` is its SHA-256.
    blob: bytes


class Skill(Generic[P, R]):
    """A function with a manifest. Made by `skill`; calling it calls the function, here and now."""

    def __init__(self, fn: Callable[P, R], draft: SkillManifest) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self._draft = draft

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Skill {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Skills that call each other travel as the plain functions they are."""
        return _plain, (self.fn,)

    @property
    def name(self) -> str:
        """What tasks call it."""
        return self._draft.name

    @property
    def signature(self) -> inspect.Signature:
        """The parameters a task gives: those of the function, without the context."""
        return _task_signature(self.fn, self._draft.takes_context)

    @property
    def manifest(self) -> SkillManifest:
        """As it would be registered now; worked out anew each time, since helpers and globals may have changed."""
        return self.packed().manifest

    def check(self, *params: object) -> None:
        """Refuse parameters that the function cannot take, those of one task or of many; see `check_params`."""
        signature = self.signature
        for one in params:
            check_params(signature, one)

    @property
    def revision(self) -> str:
        """Which code this is, as of now: what a registration of it now would be named."""
        return self._identity().digest

    def _identity(self) -> Identity:
        draft = self._draft
        declared = {"requires": draft.requires.model_dump(mode="json"), "resources": draft.resources}
        return Identity(cast("Any", self.fn), declared)

    def packed(self) -> Packed:
        """Manifest and code, as of now.

        Raises:
            InvalidRequest: Something that the function refers to cannot travel (it is named), or is too large.
        """
        fn: Any = self.fn
        draft = self._draft
        identity = self._identity()
        blob = packing.pack(fn, identity.local_imports)
        origin, requires = f"{fn.__module__}:{fn.__qualname__}", draft.requires
        reference = packing.reference(fn)
        if reference:
            top = reference[0].partition(".")[0]
            if top not in requires.modules:
                requires = requires.model_copy(update={"modules": [*requires.modules, top]})
            found = packing.distribution(top)
            origin += f" ({found})" if found else ""
        manifest = draft.model_copy(
            update={
                "revision": identity.digest,
                "code": hashlib.sha256(blob).hexdigest(),
                "python": f"{sys.version_info.major}.{sys.version_info.minor}",
                "origin": origin,
                "requires": requires,
            }
        )
        return Packed(manifest, blob)


def _plain(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


@overload
def skill(fn: Callable[P, R], /) -> Skill[P, R]: ...
@overload
def skill(
    fn: None = None,
    /,
    *,
    name: str | None = None,
    timeout: str | int | None = None,
    retries: int | None = None,
    requires: Mapping[str, Any] | Requirements | None = None,
    resources: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    description: str | None = None,
    version: str = "",
) -> Callable[[Callable[P, R]], Skill[P, R]]: ...
def skill(
    fn: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: str | int | None = None,
    retries: int | None = None,
    requires: Mapping[str, Any] | Requirements | None = None,
    resources: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    description: str | None = None,
    version: str = "",
) -> Skill[P, R] | Callable[[Callable[P, R]], Skill[P, R]]:
    """Turn a function into a skill: ``@skill`` or ``@skill(timeout="30s", retries=3)``.

    Parameters of a task become keyword arguments; parameters that are no mapping become the one positional argument. A
    first parameter named `ctx` or `context`, or annotated with `Context`, is given the context. Coroutine functions
    run on a loop of their own.

    Args:
        fn: The function.
        name: What tasks call it; by default the function's name.
        timeout: How long one attempt may take: ``"30s"``, ``"5m"`` or whole seconds.
        retries: Further attempts after a failure.
        requires: What a node must have; see `Requirements`.
        resources: What one attempt takes: ``{"cpu": 2, "memory": "1GiB"}``.
        tags: Words to find it by.
        description: What it does; by default the first paragraph of the docstring.
        version: The author's own word for this version.

    Raises:
        InvalidRequest: `fn` cannot be a skill, or a declared value is refused; the field is named.
    """
    declared = {
        "name": name,
        "description": description,
        "version": version,
        "tags": list(tags) if isinstance(tags, tuple | set | frozenset) else tags,
        "requires": dict(requires) if isinstance(requires, Mapping) else requires or Requirements(),
        "timeout": timeout,
        "retries": retries,
        "resources": {} if resources is None else resources,
    }
    if fn is None:
        return functools.partial(_made, declared=declared)
    return _made(fn, declared)


def _made(fn: Callable[P, R], declared: dict[str, Any]) -> Skill[P, R]:
    if isinstance(fn, Skill):
        fn = fn.fn
    function = _checked(fn, declared["name"])
    draft = declared | {
        "kind": SkillKind.PYTHON,
        "revision": _UNKNOWN,
        "name": function.__name__ if declared["name"] is None else declared["name"],
        "takes_context": _takes_context(function),
    }
    if draft["description"] is None:
        draft["description"] = _first_paragraph(function)
    return Skill(fn, parse(SkillManifest, draft))


def _checked(fn: object, name: str | None) -> FunctionType:
    """Refuse what cannot travel or has no one result."""
    label = getattr(fn, "__qualname__", type(fn).__qualname__)
    accepted = "a function made with def, or async def"
    if isinstance(fn, type):
        raise InvalidRequest(f"{label} is a class", field="fn", limit=accepted, hint="write a function that uses it")
    if inspect.ismethod(fn):
        raise InvalidRequest(f"{label} is a method", field="fn", limit=accepted, hint="write a function that calls it")
    if not isinstance(fn, FunctionType):
        kind = "a builtin" if inspect.isbuiltin(fn) else f"a {type(fn).__name__}"
        raise InvalidRequest(f"{label} is {kind}", field="fn", limit=accepted, hint="write a function that calls it")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidRequest(f"{label} is a generator", field="fn", limit=accepted, hint="return a list instead")
    if name is None and fn.__name__ == "<lambda>":
        raise InvalidRequest("a lambda has no name", field="name", hint='give it one: skill(fn, name="...")')
    return fn


def _takes_context(fn: FunctionType) -> bool:
    for parameter in inspect.signature(fn, follow_wrapped=False).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return False
        note = parameter.annotation
        # A text where annotations are not evaluated: "Context", "oc.Context".
        named = isinstance(note, str) and note.rpartition(".")[2].strip("'\" ") == "Context"
        return parameter.name in _CONTEXT_NAMES or note is Context or named
    return False


def _task_signature(fn: Callable[..., Any], takes_context: bool) -> inspect.Signature:
    found = inspect.signature(fn, follow_wrapped=False)
    return found.replace(parameters=list(found.parameters.values())[1:]) if takes_context else found


def _first_paragraph(fn: FunctionType) -> str:
    return " ".join((inspect.getdoc(fn) or "").partition("\n\n")[0].split())[:DESCRIPTION_LEN_MAX]


def check_params(signature: inspect.Signature, params: object) -> None:
    """Refuse parameters that a call with this signature cannot take, before they are submitted.

    Raises:
        InvalidParams: Naming the field, and for an unknown one the nearest known name.
    """
    if not isinstance(params, Mapping):
        try:
            signature.bind(params)
        except TypeError as error:
            text = f"{shorten(params)!r} cannot be the one argument: {error}"
            raise InvalidParams(text, field="params", hint=f"the skill takes {signature}") from None
        return
    by_name = {
        name: p for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in params:
        if name not in by_name and not takes_any:
            near = difflib.get_close_matches(str(name), by_name, n=1)
            known = ", ".join(by_name) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"the skill takes: {known}"
            raise InvalidParams("the skill has no such parameter", field=f"params.{shorten(str(name))}", hint=hint)
    for name, p in signature.parameters.items():
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name not in params:
            raise InvalidParams("is missing", field=f"params.{name}", hint=f"the skill takes {signature}")
        if p.kind is p.POSITIONAL_ONLY and name in params:
            raise InvalidParams("takes no name", field=f"params.{name}", hint="remove the / from the function")
