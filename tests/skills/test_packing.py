"""What travels by value, and that it runs where the driver's folder is not."""

from __future__ import annotations

import json
import subprocess
import sys

from openclaw_ray.skills import packing

from .conftest import REPOSITORY

DRIVER = """
from pathlib import Path
from openclaw_ray.skills.function import skill
import helper
from package.inner import deep
VALUE = 5
def plain(x):
    return x * 2
@skill
def all_ways(x):
    import late
    from package.more import further
    from spaces.part import there
    return [plain(x), helper.twice(x), deep(x), late.three(x), further(x), there(), VALUE]
Path("blob").write_bytes(all_ways.packed().blob)
"""

LOAD = """
import sys, json
from pathlib import Path
from openclaw_ray.skills import packing
before = set(sys.modules)
fn = packing.load(Path(sys.argv[1]).read_bytes())
print(json.dumps([fn(x=2), sorted(set(sys.modules) & {"helper", "late", "package", "spaces"})]))
"""


def test_a_function_runs_where_none_of_its_modules_are(run_script, tmp_path):
    (tmp_path / "helper.py").write_text("from helper_two import base\ndef twice(x):\n    return 2 * base(x)\n")
    (tmp_path / "helper_two.py").write_text("def base(x):\n    return x\n")
    (tmp_path / "late.py").write_text("def three(x):\n    return 3 * x\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text("from .more import further\ndef deep(x):\n    return further(x)\n")
    (tmp_path / "package" / "more.py").write_text("def further(x):\n    return x - 1\n")
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "part.py").write_text("def there():\n    return 'there'\n")
    run_script(DRIVER)
    loader = tmp_path / "elsewhere"
    loader.mkdir()
    (loader / "load.py").write_text(LOAD)
    done = subprocess.run(
        [sys.executable, str(loader / "load.py"), str(tmp_path / "blob")],
        cwd=loader, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results, left_behind = json.loads(done.stdout)
    assert results == [4, 4, 1, 6, 1, "there", 5]
    assert left_behind == []


def test_our_own_modules_and_installed_ones_travel_by_reference():
    assert not packing.travels_by_value("openclaw_ray.errors")
    assert not packing.travels_by_value("pydantic")
    assert not packing.travels_by_value("json")
    assert packing.travels_by_value("__main__")
    assert packing.travels_by_value(__name__)


def test_packing_leaves_no_module_registered():
    import cloudpickle

    from openclaw_ray.skills.function import skill

    skill(name="x")(lambda: packing.driver_folders).packed()
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_looking_for_local_imports_does_not_import_installed_packages():
    assert packing.import_local("xml.dom.minidom") == []
    assert packing.import_local("no_such_module_at_all") == []
