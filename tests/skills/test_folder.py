from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.skills import contents
from openclaw_ray.skills.folder import READERS, discover, read_folder

GOOD = 'name: good\ncommand: ["{skill}/run.sh"]\n'


def make(folder: Path, text: str | bytes = GOOD, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "skill.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, content in ({"run.sh": "#!/bin/sh\n"} | {n.replace("_", "."): c for n, c in files.items()}).items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    return folder


def test_a_folder_becomes_a_manifest(tmp_path):
    folder = make(
        tmp_path / "a",
        'name: Größe\ndescription: "x: y"\nversion: "1.0"\ncommand: ["{skill}/run.sh", --fast, "{\\"a\\": 1}"]\n'
        'args: [--, "{path}"]\ntimeout: 30s\nretries: 2\nrequires: {bins: [sh], platform: [linux]}\n'
        "resources: {cpu: 1, memory: 1GiB}\ntags: [x]\nenv: [MY_TOKEN]\n",
    )
    found = read_folder(folder)
    assert (found.name, found.kind, found.version, found.timeout, found.retries) == (
        "Größe",
        SkillKind.COMMAND,
        "1.0",
        30,
        2,
    )
    assert found.argv == ["{skill}/run.sh", "--fast", '{"a": 1}', "--", "{path}"]
    assert (found.env_passed, found.resources, found.origin) == (["MY_TOKEN"], {"cpu": 1, "memory": 2**30}, str(folder))
    assert found.requires.bins == ["sh"]
    assert SkillManifest.model_validate_json(found.model_dump_json()) == found


def test_a_program_of_the_system_is_required_of_the_node(tmp_path):
    assert read_folder(make(tmp_path / "a", "name: a\ncommand: [ffmpeg, -i]\n")).requires.bins == ["ffmpeg"]


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"# comment\r\n"])
def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path, prefix):
    text = prefix + GOOD.replace("\n", "\r\n").encode()
    assert read_folder(make(tmp_path / "a", text)).name == "good"


BOMB = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nname: bomb\ncommand: [sh]\n"

BAD_FILES = {
    "no name": ("command: [sh]\n", "name: is missing"),
    "no command": ("name: a\n", "command: is missing"),
    "unknown field": ("name: a\ncommand: [sh]\ntimout: 3s\n", "did you mean 'timeout'"),
    "name no": ("name: no\ncommand: [sh]\n", "not a skill name"),
    "name null": ("name: null\ncommand: [sh]\n", "not a skill name"),
    "name number": ("name: 1.0\ncommand: [sh]\n", "not a skill name"),
    "name path": ("name: ../x\ncommand: [sh]\n", "not a skill name"),
    "version number": ("name: a\ncommand: [sh]\nversion: 1.0\n", "version"),
    "command text": ("name: a\ncommand: sh -c ls\n", "not a list of words"),
    "command empty": ("name: a\ncommand: []\n", "not a list of words"),
    "command number": ("name: a\ncommand: [1]\n", "not a program"),
    "absolute": ("name: a\ncommand: [/bin/sh]\n", "is a path"),
    "relative": ("name: a\ncommand: [./run.sh]\n", "is a path"),
    "dots": ("name: a\ncommand: [..]\n", "leaves"),
    "dots inside": ('name: a\ncommand: ["{skill}/../x"]\n', "leaves"),
    "absolute inside": ('name: a\ncommand: ["{skill}//bin/sh"]\n', "leaves"),
    "only folder": ('name: a\ncommand: ["{skill}"]\n', "is a path"),
    "not there": ('name: a\ncommand: ["{skill}/other.sh"]\n', "is not a file of the skill"),
    "placeholder": ('name: a\ncommand: [sh, "{path}"]\n', "put it into args"),
    "NUL": ('name: a\ncommand: [sh, "a\\0b"]\n', "NUL character"),
    "env equals": ("name: a\ncommand: [sh]\nenv: [A=b]\n", "not the name"),
    "env NUL": ('name: a\ncommand: [sh]\nenv: ["A\\0"]\n', "not the name"),
    "env preload": ("name: a\ncommand: [sh]\nenv: [LD_PRELOAD]\n", "not passed"),
    "env python": ("name: a\ncommand: [sh]\nenv: [PYTHONPATH]\n", "not passed"),
    "env path": ("name: a\ncommand: [sh]\nenv: [PATH]\n", "not passed"),
    "env ours": ("name: a\ncommand: [sh]\nenv: [OPENCLAW_TASK_TOKEN]\n", "not passed"),
    "timeout": ("name: a\ncommand: [sh]\ntimeout: 5 minutes-ish\n", "not a duration"),
    "alias bomb": (BOMB, "anchors and aliases"),
    "python tag": ("name: !!python/object/apply:os.system [id]\ncommand: [sh]\n", "not plain YAML"),
    "deep": ("name: " + "[" * 2_000 + "]" * 2_000, "nested too deeply"),
    "twice": ("name: a\ncommand: [sh]\nname: b\n", "given twice"),
    "list": ("- a\n", "not a mapping"),
    "list key": ("[a]: b\n", "not text"),
    "empty": ("", "not a mapping"),
    "broken": ("name: [a\n", "not plain YAML"),
    "binary": (b"\x7fELF\x00\x01\x02", "not plain YAML"),
    "UTF-16": (GOOD.encode("utf-16"), "not UTF-8"),
    "huge": ("#" * 70_000, "too large"),
    "huge date": ("name: a\ncommand: [sh]\nversion: 2020-13-45\n", "not plain YAML"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_reported_and_its_neighbours_load(tmp_path, name):
    text, words = BAD_FILES[name]
    bad = make(tmp_path / "bad", text)
    make(tmp_path / "good")
    found = discover([tmp_path])
    assert [skill.name for skill in found.skills] == ["good"]
    ((path, reason),) = found.rejected
    assert path == str(bad)
    assert words in reason


def test_the_revision_covers_names_contents_and_what_is_executable(tmp_path):
    folder = make(tmp_path / "a", data_txt="1")
    seen = [read_folder(folder).revision]

    def now() -> str:
        seen.append(read_folder(folder).revision)
        return seen[-1]

    (folder / "data.txt").chmod(0o700)
    assert now() == seen[0]  # still executable: the rest of the mode is the umask of whoever copied it
    (folder / "data.txt").chmod(0o600)
    assert now() != seen[0]
    (folder / "data.txt").write_text("2")
    now()
    (folder / "data.txt").rename(folder / "data2.txt")
    now()
    (folder / "inner").mkdir()
    (folder / "inner" / "x").write_text("")
    now()
    (folder / "link").symlink_to("data2.txt")
    now()
    assert len(set(seen)) == len(seen) - 1


def test_a_copy_elsewhere_has_the_same_revision(tmp_path):
    assert read_folder(make(tmp_path / "a")).revision == read_folder(make(tmp_path / "b" / "c")).revision


def test_the_signature_changes_with_a_file(tmp_path):
    folder = make(tmp_path / "a")
    before = contents.folder_signature(folder)
    assert contents.folder_signature(folder) == before
    (folder / "run.sh").write_text("#!/bin/sh\necho 1\n")
    assert contents.folder_signature(folder) != before


@pytest.mark.parametrize("target", ["/etc/passwd", "../..", "../other", "nowhere", "loop"])
def test_links_out_of_the_folder_and_in_circles_are_refused(tmp_path, target):
    (tmp_path / "other").mkdir()
    folder = make(tmp_path / "root" / "a")
    (folder / "loop").symlink_to(target)
    with pytest.raises(InvalidRequest, match="link"):
        read_folder(folder)


def test_a_program_that_is_a_link_out_is_refused(tmp_path):
    folder = make(tmp_path / "a")
    (folder / "run.sh").unlink()
    (folder / "run.sh").symlink_to("/bin/sh")
    with pytest.raises(InvalidRequest, match="out of the skill's folder"):
        read_folder(folder)


def test_a_manifest_that_is_a_link_out_is_refused(tmp_path):
    (tmp_path / "outside.yaml").write_text(GOOD)
    folder = make(tmp_path / "a")
    (folder / "skill.yaml").unlink()
    (folder / "skill.yaml").symlink_to("../outside.yaml")
    with pytest.raises(InvalidRequest, match="not a file of this folder"):
        read_folder(folder)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    folder = make(tmp_path / "a")
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidRequest, match="neither"):
        read_folder(folder)
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(folder / "s"))
        with pytest.raises(InvalidRequest, match="neither"):
            read_folder(folder)


def test_too_many_and_too_large_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "FILES_MAX", 5)
    folder = make(tmp_path / "a")
    for n in range(5):
        (folder / f"f{n}").write_text("")
    with pytest.raises(InvalidRequest, match="too much"):
        read_folder(folder)
    with (make(tmp_path / "b") / "big").open("wb") as file:
        file.truncate(contents.FOLDER_BYTES_MAX + 1)
    with pytest.raises(InvalidRequest, match="too much"):
        read_folder(tmp_path / "b")


def test_the_first_root_wins_a_name_and_the_other_is_reported(tmp_path):
    make(tmp_path / "one" / "b")
    make(tmp_path / "two" / "a")
    make(tmp_path / "one" / "c")
    found = discover([tmp_path / "one", tmp_path / "two"])
    assert [skill.origin for skill in found.skills] == [str(tmp_path / "one" / "b")]
    assert [path for path, _ in found.rejected] == [str(tmp_path / "one" / "c"), str(tmp_path / "two" / "a")]
    assert all(str(tmp_path / "one" / "b") in reason for _, reason in found.rejected)


def test_skills_are_found_some_levels_down_but_not_inside_of_skills(tmp_path):
    make(tmp_path / "x" / "y" / "a")
    make(tmp_path / "x" / "y" / "a" / "inner", "name: inner\ncommand: [sh]\n")
    make(tmp_path / "1/2/3/4/5/6/7", "name: deep\ncommand: [sh]\n")
    assert [skill.name for skill in discover([tmp_path]).skills] == ["good"]


def test_links_below_a_root_are_not_followed(tmp_path):
    make(tmp_path / "outside" / "a")
    root = tmp_path / "root"
    make(root / "b", "name: b\ncommand: [sh]\n")
    (root / "again").symlink_to("b")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to("loop")
    found = discover([root])
    assert [skill.name for skill in found.skills] == ["b"]
    assert [Path(path).name for path, _ in found.rejected] == ["loop", "out"]


def test_a_root_that_is_not_there_is_reported(tmp_path):
    found = discover([tmp_path / "none"])
    assert found.rejected == [(str(tmp_path / "none"), "no such folder")]


def test_a_scan_of_endless_folders_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("openclaw_ray.skills.folder.SCAN_FOLDERS_MAX", 3)
    for n in range(5):
        (tmp_path / str(n)).mkdir()
    assert "not looked at" in discover([tmp_path]).rejected[0][1]


def test_readers_of_other_formats_can_be_added(tmp_path):
    other = make(tmp_path / "other")
    (other / "skill.yaml").rename(other / "OTHER.md")
    made = SkillManifest(name="other", kind=SkillKind.COMMAND, revision="0" * 64)
    found = discover([tmp_path], READERS | {"OTHER.md": lambda folder: made})
    assert found.skills == [made]
