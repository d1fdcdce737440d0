"""What a function is, as one SHA-256: equal in every process, different when anything that travels with it changes.

Pickle bytes cannot serve: they differ between two runs of one cell. So the function is walked: its name, source, code,
defaults and closure, and the same of every helper, class and value of the driver's own modules that it refers to.
Installed functions count by their name; what a node has installed is what runs there.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from openclaw_ray.core.limits import CODE_BYTES_MAX
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import dumps
from openclaw_ray.skills import packing

#: Deeper values are an accident; the walk itself takes a few Python frames per level.
DEPTH_MAX = 100
#: Filled in by the interpreter, and different from run to run or without influence on what the class does.
_CLASS_NOISE = {
    "__abstractmethods__",
    "__annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__qualname__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}


class Identity:
    """Walks one function; `digest` and `local_imports` are the results.

    Args:
        fn: The function.
        declared: JSON of what was declared beside it (requirements, resources).

    Raises:
        InvalidRequest: Naming the variable that cannot travel.
    """

    def __init__(self, fn: FunctionType, declared: dict[str, Any]) -> None:
        #: Functions, classes and modules: id to digest, or to the path where the walk is inside them now (a loop).
        self._seen: dict[int, str] = {}
        #: Keeps what `_seen` knows by id alive, so that no id is used twice.
        self._alive: list[object] = []
        self._bytes = 0
        #: Modules of the driver that are imported inside functions, and must be there when the skill runs.
        self.local_imports: set[str] = set()
        body = self._function(fn, fn.__name__) if packing.reference(fn) is None else self._installed(fn)
        #: SHA-256, 64 hex digits.
        self.digest = _hash("skill", body, dumps(declared), *self._imported())

    def _imported(self) -> Iterator[str]:
        """Digests of the modules imported inside functions; walking one may find more."""
        done: set[str] = set()
        while todo := sorted(self.local_imports - done):
            done.add(todo[0])
            yield self._walk(sys.modules[todo[0]], todo[0], 0)

    def _installed(self, fn: FunctionType) -> str:
        defaults = self._walk([fn.__defaults__, fn.__kwdefaults__], "defaults", 0)
        return _hash(fn.__module__, fn.__qualname__, _source(fn), self._code(fn.__code__), defaults)

    def _walk(self, value: object, path: str, depth: int) -> str:
        """Digest of any value; `path` is how a person would name it."""
        if depth > DEPTH_MAX:
            text = f"{path:.200} is nested too deeply (or holds itself)"
            raise InvalidRequest(text, field=path[:200], limit=f"{DEPTH_MAX} levels")
        kind = type(value)
        if value is None or kind in (bool, int, float, complex, str, bytes) or value is Ellipsis:
            return self._leaf(kind.__name__, value)
        if kind in (list, tuple):
            items: Iterable[Any] = value  # type: ignore[assignment]
            return _hash(kind.__name__, *(self._walk(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(items)))
        if kind in (set, frozenset):
            items = value  # type: ignore[assignment]
            return _hash(kind.__name__, *sorted(self._walk(v, f"an item of {path}", depth + 1) for v in items))
        if isinstance(value, dict) and kind is dict:
            pairs = (
                (self._walk(k, f"a key of {path}", depth + 1), self._walk(v, f"{path}[{k!r:.40}]", depth + 1))
                for k, v in value.items()
            )
            return _hash("dict", *(part for pair in sorted(pairs) for part in pair))
        if isinstance(value, FunctionType | type | ModuleType):
            return self._once(value, path, depth)
        return self._object(value, path, depth)

    def _leaf(self, kind: str, value: object) -> str:
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogatepass")
        data = value if isinstance(value, bytes) else repr(value).encode()
        self._bytes += len(data) + len(kind)
        if self._bytes > 4 * CODE_BYTES_MAX:
            raise InvalidRequest(
                "the data that the function refers to is too large",
                limit=f"{CODE_BYTES_MAX:,} bytes with its code",
                hint="pass data as parameters or read it from a file inside the function",
            )
        return hashlib.sha256(kind.encode() + b"\0" + data).hexdigest()

    def _once(self, value: FunctionType | type | ModuleType, path: str, depth: int) -> str:
        """Functions, classes and modules refer to each other in loops: a second meeting counts as the first one."""
        known = self._seen.get(id(value))
        if known is not None:
            return known
        self._alive.append(value)
        self._seen[id(value)] = _hash("loop", getattr(value, "__qualname__", value.__name__))
        if isinstance(value, FunctionType):
            by_reference = packing.reference(value)
            digest = _hash("function", *by_reference) if by_reference else self._function(value, path, depth)
        elif isinstance(value, type):
            digest = self._class(value, path, depth)
        elif value.__name__ != "__main__" and packing.travels_by_value(value.__name__):
            digest = self._names(vars(value), value.__name__, depth)
        else:
            digest = _hash("module", value.__name__)
        self._seen[id(value)] = digest
        return digest

    def _function(self, fn: FunctionType, path: str, depth: int = 0) -> str:
        self._seen.setdefault(id(fn), _hash("loop", fn.__qualname__))
        self._local_imports(fn)
        parts = [
            fn.__qualname__,
            _source(fn),
            self._code(fn.__code__),
            self._walk(fn.__defaults__, f"defaults of {path}", depth + 1),
            self._walk(fn.__kwdefaults__, f"defaults of {path}", depth + 1),
        ]
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                inner = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            parts += [name, self._walk(inner, f"closure variable {name!r} of {path}", depth + 1)]
        for name in sorted(set(_global_names(fn.__code__))):
            if name in fn.__globals__:
                parts += [name, self._walk(fn.__globals__[name], f"global {name!r} of {path}", depth + 1)]
        return _hash("function", *parts)

    def _class(self, cls: type, path: str, depth: int) -> str:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if not packing.travels_by_value(cls.__module__) and "<locals>" not in name:
            return _hash("class", name)
        bases = [self._walk(base, f"a base of {path}", depth + 1) for base in cls.__bases__]
        return _hash("class", cls.__qualname__, _source(cls), *bases, self._names(vars(cls), path, depth))

    def _names(self, names: Any, path: str, depth: int) -> str:
        """The namespace of a class or module. Dunder names count only where somebody wrote a function."""
        parts: list[str] = []
        for name, value in sorted(names.items()):
            inner = getattr(value, "__func__", value)  # staticmethod, classmethod
            dunder = name.startswith("__") and name.endswith("__")
            if name in _CLASS_NOISE or (dunder and not isinstance(inner, FunctionType)):
                continue
            for one in (inner.fget, inner.fset, inner.fdel) if isinstance(inner, property) else (inner,):
                if one is not None:
                    parts += [name, self._walk(one, f"{path}.{name}", depth + 1)]
        return _hash("names", *parts)

    def _object(self, value: object, path: str, depth: int) -> str:
        """Anything else is what pickle would make it from."""
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | None):
            return _hash("builtin", str(value.__module__), value.__qualname__)
        try:
            reducer = copyreg.dispatch_table.get(type(value))
            made = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception as error:  # noqa: BLE001 - whatever an object's __reduce__ raises
            if packing.picklable(value):  # a type that only cloudpickle knows; its content does not count
                return _hash("opaque", type(value).__qualname__)
            raise InvalidRequest(
                f"{path} is a {type(value).__name__}, which cannot travel to another process: {error}",
                field=path,
                hint="make it inside the function",
            ) from None
        if isinstance(made, str):
            return _hash("global", type(value).__module__, made)
        parts = [list(part) if isinstance(part, Iterator) else part for part in made]
        return _hash("object", *(self._walk(part, path, depth + 1) for part in parts))

    def _code(self, code: CodeType) -> str:
        """The bytecode without file names and line numbers. The source alone may have been edited after its import."""
        constants = [
            self._code(one) if isinstance(one, CodeType) else self._walk(one, "a constant", 0) for one in code.co_consts
        ]
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return _hash("code", code.co_code.hex(), repr((counts, names)), *constants)

    def _local_imports(self, fn: FunctionType) -> None:
        for name in _imported_names(fn.__code__, fn.__globals__.get("__package__")):
            self.local_imports.update(packing.import_local(name))


def _source(thing: FunctionType | type) -> str:
    """The source of exactly this function (not of what it wraps), or nothing where there is none."""
    try:
        found = inspect.getsource(thing.__code__ if isinstance(thing, FunctionType) else thing)
    except (OSError, TypeError, IndexError, SyntaxError):
        return ""
    return textwrap.dedent(found).strip()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _global_names(code: CodeType) -> Iterator[str]:
    for one in _codes(code):
        for step in dis.get_instructions(one):
            if step.opname == "LOAD_GLOBAL" or (step.opname == "LOAD_NAME" and one is not code):
                yield str(step.argval)


def _imported_names(code: CodeType, package: str | None) -> Iterator[str]:
    """Absolute names that ``import`` statements inside a function ask for, ``from a import b`` as both a and a.b."""
    for one in _codes(code):
        level, base = 0, ""
        for step in dis.get_instructions(one):
            if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT") and isinstance(step.argval, int):
                level = step.argval
            elif step.opname == "IMPORT_NAME":
                base = _absolute(str(step.argval), level, package)
                if base:
                    yield base
            elif step.opname == "IMPORT_FROM" and base:
                yield f"{base}.{step.argval}"


def _absolute(name: str, level: int, package: str | None) -> str:
    try:
        return importlib.util.resolve_name("." * level + name, package)
    except ImportError:
        return ""


def _hash(*parts: str) -> str:
    """SHA-256 over texts, each with its length, so that no two lists of parts run together."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()
