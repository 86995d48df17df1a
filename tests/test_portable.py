"""The store works where the system has no POSIX module, as on Windows."""

import os
import subprocess
import sys

from pipeline import ROOT

TESTS = (
    "tests/test_crash.py::test_a_stage_killed_ten_times_ends_with_the_same_bytes_and_repeats_only_"
    "calls_in_flight",
    "tests/test_store.py",
)
LONG = "folder or opening_a_store or cut_anywhere or worktrees or damage or prun or recording"


def test_the_tests_of_the_store_pass_with_the_posix_module_hidden(tmp_path):
    hidden = "import sys\nsys.modules['fcntl'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(ROOT / "stages")])
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", f"not ({LONG})", *TESTS], cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": paths, "KILLS": "2"}, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    seen = "import sys; from cje.models.runner import locks; print(sys.modules['fcntl'])"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", seen], env=os.environ | {"PYTHONPATH": paths},
        text=True, capture_output=True,
    )  # fmt: skip
    assert found.stdout == "None\n", found.stderr
