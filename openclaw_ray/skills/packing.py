"""How a function travels: by value, as a blob that only executor processes load, or by reference to what is installed.

By value: functions of the script (``__main__``), of a notebook, and of modules that lie in the driver's own folders.
Everything else is expected to be installed on the node. Must not know what a skill is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import pickle
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from openclaw_ray.core.limits import CODE_BYTES_MAX
from openclaw_ray.errors import InvalidRequest

#: The registry of by-value modules is one set per process, so packing is one at a time.
_REGISTRY = threading.Lock()
#: Where this project lies: it is on every node, also when a checkout is the driver's folder.
_OURS = tuple(Path(__file__).resolve().parents[2] / name for name in ("openclaw_ray", "actors"))


def driver_folders() -> tuple[Path, ...]:
    """The folders whose modules travel by value: the script's, and the current one."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found.append(Path.cwd().resolve())
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script:
        found.append(Path(script).resolve().parent)
    return tuple(found)


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


@functools.lru_cache(maxsize=65_536)  # asked for every loaded module, again and again
def _is_drivers_own(file: str | None, folders: tuple[Path, ...]) -> bool:
    if not file:
        return False
    path = Path(file).resolve()
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return False
    if any(path.is_relative_to(library) for library in (*_library_folders(), *_OURS)):
        return False
    return path.suffix == ".py" and any(path.is_relative_to(folder) for folder in folders)


def travels_by_value(name: str | None) -> bool:
    """Whether what the module `name` defines goes along with the functions that use it."""
    module = sys.modules.get(name or "")
    if not name or name == "__main__" or module is None:
        return True
    return _is_drivers_own(getattr(module, "__file__", None), driver_folders())


def by_value_modules() -> dict[str, ModuleType]:
    """The loaded modules that travel by value, by name."""
    folders = driver_folders()
    return {
        name: module
        for name, module in sorted(sys.modules.items())
        if name not in {"__main__", "__mp_main__"}
        and getattr(module, "__name__", None) == name
        and _is_drivers_own(getattr(module, "__file__", None), folders)
    }


def import_local(name: str) -> list[str]:
    """Names of the modules (with parents) that ``import name`` inside a function needs and that must travel along.

    Imports them here, as calling the function here would.
    """
    parts = name.split(".")
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    folders = driver_folders()
    try:
        for one in names:  # the top first: looking for a part of an installed package would import that package
            spec = importlib.util.find_spec(one)
            places = [spec.origin, *(f"{p}/__init__.py" for p in spec.submodule_search_locations or ())] if spec else []
            if not any(_is_drivers_own(place, folders) for place in places):
                return []
        importlib.import_module(name)
    except (ImportError, ValueError, AttributeError):
        return []
    return names


def reference(fn: FunctionType) -> tuple[str, str] | None:
    """Module and qualified name under which every node finds `fn`; None when it has to travel by value."""
    name = fn.__module__
    if travels_by_value(name):
        return None
    found: Any = sys.modules.get(name)
    for part in fn.__qualname__.split("."):
        found = getattr(found, part, None)
    # What stands under the name may be the decorated object; `fn` is then what it wraps.
    if found is fn or getattr(found, "fn", None) is fn:
        return name, fn.__qualname__
    return None


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in importlib.metadata.packages_distributions().items()}


def distribution(module: str) -> str:
    """``name version`` of the distribution that installs a module, or an empty text."""
    for name in _distributions().get(module.partition(".")[0], []):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    return ""


def pack(fn: FunctionType, local_imports: Iterable[str] = ()) -> bytes:
    """Serialise `fn`, together with the modules that it imports while it runs.

    Raises:
        InvalidRequest: It cannot be serialised, or is larger than CODE_BYTES_MAX.
    """
    found = reference(fn)
    if found is not None:
        return _checked_size(cloudpickle.dumps(("reference", *found)))
    with _registered() as modules:
        # A package without __init__.py has no file; None stands for it.
        bundle = {name: modules.get(name) for name in sorted(set(local_imports))}
        try:
            blob = cloudpickle.dumps(("value", fn, bundle))
        except RecursionError:
            raise InvalidRequest("what the function refers to is nested too deeply", field=fn.__name__) from None
        except Exception as error:  # noqa: BLE001 - whatever an object's __reduce__ raises
            raise InvalidRequest(f"cannot be serialised: {error}", field=fn.__name__) from None
    return _checked_size(blob)


def picklable(value: object) -> bool:
    """Whether `value` could travel with a function."""
    with _registered():
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 - whatever an object's __reduce__ raises
            return False
    return True


@contextlib.contextmanager
def _registered() -> Iterator[dict[str, ModuleType]]:
    """Make cloudpickle take the driver's own modules by value; what the user registered stays as it was."""
    with _REGISTRY:
        modules = by_value_modules()
        known = cloudpickle.list_registry_pickle_by_value()
        added = [module for name, module in modules.items() if name not in known]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield modules
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


def _checked_size(blob: bytes) -> bytes:
    if len(blob) > CODE_BYTES_MAX:
        raise InvalidRequest(
            f"the function and the data it refers to are {len(blob):,} bytes",
            limit=f"{CODE_BYTES_MAX:,} bytes",
            hint="pass data as parameters or read it from a file inside the function",
        )
    return blob


def load(blob: bytes) -> Callable[..., Any]:
    """Bring a packed function back as a plain callable. Runs code from the blob: for executor processes only."""
    kind, *rest = pickle.loads(blob)
    if kind == "reference":
        module, qualname = rest
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        fn, bundle = getattr(found, "fn", found), {}
    else:
        fn, bundle = rest
    if inspect.iscoroutinefunction(fn):
        fn = _blocking(fn)
    return _with_modules(fn, bundle) if bundle else fn


def _blocking(fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(fn(*args, **kwargs))

    return run


def _with_modules(fn: Callable[..., Any], packed: dict[str, ModuleType | None]) -> Callable[..., Any]:
    """Put the modules that travelled along where ``import`` finds them, for the time of the call.

    Not for good: two skills may bring different modules of one name. One executor runs one call at a time.
    """
    bundle = {name: module or ModuleType(name) for name, module in packed.items()}
    for name in bundle:
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(bundle[parent], child, bundle[name])
            vars(bundle[parent]).setdefault("__path__", [])

    def run(*args: Any, **kwargs: Any) -> Any:
        before = {name: sys.modules.get(name) for name in bundle}
        sys.modules.update(bundle)
        try:
            return fn(*args, **kwargs)
        finally:
            for name, module in before.items():
                if module is not None:
                    sys.modules[name] = module
                else:
                    sys.modules.pop(name, None)

    return run
