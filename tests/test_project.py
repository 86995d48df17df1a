"""What people expect of a project: one version everywhere, and a license."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version

import cje
from pipeline import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_one_everywhere():
    released = PROJECT["version"]
    assert cje.__version__ == version(PROJECT["name"]) == released
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == released
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d.*?)\]", changes, re.M)[0] == released


def test_the_license_is_the_one_that_is_named():
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0" in text


RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/dvc" ;;
esac
"""


def test_make_repro_works_in_a_path_with_spaces_and_other_scripts(tmp_path):
    folder = tmp_path / "a run of ours, \N{LATIN SMALL LETTER U WITH DIAERESIS}"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = folder / "recorder"
    python.write_text(RECORDER)
    python.chmod(0o755)
    calls = tmp_path / "calls"
    run = ["make", "repro", "PYTHON=./recorder"]
    done = subprocess.run(
        run, cwd=folder, env=os.environ | {"CALLS": str(calls)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made, *installed, repro, screen = calls.read_text().splitlines()
    assert made == "recorder -m venv .venv"
    assert [line for line in installed if line.startswith("python -m pip install")] == installed
    assert len(installed) == 2
    assert (repro, screen) == ("dvc repro", "python -m cje.results.console")


def test_another_projects_package_of_the_same_name_is_named(tmp_path):
    (tmp_path / "cje").mkdir()
    (tmp_path / "cje/__init__.py").write_text("__version__ = '0.9'\n")
    code = "import sys; sys.argv = ['cje', '--help']; import cje_pipeline; cje_pipeline.main()"
    for first, words in (
        (tmp_path, "is another project's, such as cje-eval"),
        (None, "usage: cje"),
    ):
        path = os.pathsep.join(str(p) for p in (first, ROOT / "stages") if p)
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path},
            capture_output=True, text=True,
        )  # fmt: skip
        assert words in done.stdout + done.stderr and "Traceback" not in done.stderr
