"""What each stage declares in dvc.yaml is what it really reads: settings, files, environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cje.models import addresses
from cje.settings import CALL_SETTINGS, Settings
from loopback import Loopback
from pipeline import ROOT, SIMULATED, STAGES
from user_rows import draw, log, write

GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
CHECKED = "check_settings"  # reads the whole of params.yaml
# What the environment may say: keys, where replies are kept, how fast a model works. None of it
# changes a result. Addresses do: the first stage alone looks for them.
ADDRESSES = set(addresses.VARIABLES.values())
VARIABLES = {
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SERVER_API_KEY", "CJE_STORE", "DVC_ROOT", "DVC_STAGE",
    "CJE_LOCAL_DEVICE", "CJE_LOCAL_THREADS", "CJE_LOCAL_BATCH",
}  # fmt: skip
ORDER = {"data/tried.json"}  # read by nobody: it says what comes before what
BY_PEOPLE = {
    "labels",
    "raters_overlap",
}  # read where people are the oracle, which they are in none of these runs
SMALL = {"max_samples": 40, "target_labels": 10, "oracle_samples": 10}
RUBRIC = "--- system ---\nJudge.\n--- user ---\n{{ prompt }}\n{{ answer }}\n"


def params(folder: Path, source: Path, changes: dict) -> None:
    values = YAML(typ="safe").load(source.read_text(encoding="utf-8"))
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(values | changes, file)


def simulated(folder: Path) -> None:
    params(folder, SIMULATED, SMALL)


def recorded(folder: Path) -> None:
    """The run that the project ships, cut short, from its recording."""
    for name in ("data/prompts", "data/recordings"):
        shutil.copytree(ROOT / name, folder / name)
    params(folder, ROOT / "params.yaml", SMALL | {"oracle_samples": 0})


def asked(folder: Path) -> None:
    """Models over HTTP, judged by a rubric of the user's."""
    write(folder / "data/prompts/mine.jsonl", [{"prompt": f"Say {i}."} for i in range(40)])
    (folder / "data/rubrics").mkdir(parents=True)
    (folder / "data/rubrics/mine.j2").write_text(RUBRIC)
    judges = {"proxy_model": "openai/gpt-4o-mini", "oracle_model": "openai/gpt-4o"}
    models = {"base_model": "openai/gpt-4o-mini", "target_models": ["openai/gpt-4o"]}
    own = {"prompts": "data/prompts/mine.jsonl", "rubric": "data/rubrics/mine.j2"}
    params(folder, SIMULATED, SMALL | judges | models | own | {"top_p": None, "max_tokens": 12})


def from_files(folder: Path) -> None:
    rows = [(f"p{i}", {"judge_score": i / 40, "oracle_score": i / 40}) for i in range(40)]
    write(folder / "data/inputs/logs.jsonl", [log(uid, **own) for uid, own in rows])
    write(folder / "data/inputs/draws/clone.jsonl", [draw(uid, **own) for uid, own in rows] + ["?"])
    scales = {"judge_range": [0, 1], "oracle_range": [0, 1]}
    params(folder, SIMULATED, SMALL | scales | {"source": "files", "on_bad_row": "skip"})


@pytest.fixture(scope="module")
def reads(tmp_path_factory) -> list[dict]:
    """What each stage read, by run."""
    found = []
    with Loopback() as server:
        for prepare in (simulated, recorded, asked, from_files):
            folder = tmp_path_factory.mktemp(prepare.__name__)
            prepare(folder)
            environment = os.environ | {
                "OPENAI_API_KEY": "sk-loopback-key", "OPENAI_BASE_URL": f"{server.url}/v1",
                "CJE_STORE": str(tmp_path_factory.mktemp("store")),
                "PYTHONPATH": str(ROOT / "stages"),
            }  # fmt: skip
            environment.pop("DVC_ROOT", None)
            done = subprocess.run(
                [sys.executable, str(ROOT / "tests/reads.py"), *STAGES],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def union(reads: list[dict], stage: str, kind: str) -> set[str]:
    return {name for run in reads for name in run[stage][kind]}


def declared_files(stage: str) -> set[str]:
    return {dep for dep in GRAPH[stage]["deps"] if not dep.startswith("stages/")}


def covers(declared: str, path: str) -> bool:
    return path == declared or Path(declared) in Path(path).parents


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != CHECKED])
def test_a_stage_declares_the_settings_that_it_reads_and_no_other(reads, stage):
    free = set(CALL_SETTINGS) - ({"prices"} if stage == "cost" else set())  # how calls are made
    if stage in ("generate_logs", "draw_targets"):
        free.add("guard_rails")  # max_truncated says whether to go on, and changes no answer
    declared = set(GRAPH[stage].get("params", ())) - BY_PEOPLE
    assert union(reads, stage, "settings") - free == declared


def test_the_first_stage_depends_on_every_setting_and_all_others_on_what_it_writes():
    assert GRAPH[CHECKED]["params"] == [{"params.yaml": None}]
    known = set(YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    assert known == set(Settings.model_fields)
    for stage in STAGES[1 : STAGES.index("calibrate")]:
        assert any(dep.startswith("data/cast/") for dep in GRAPH[stage]["deps"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_files_that_it_reads_and_no_other(reads, stage):
    outs = [next(iter(out)) if isinstance(out, dict) else out for out in GRAPH[stage]["outs"]]
    declared = declared_files(stage)
    read = union(reads, stage, "files") - {"params.yaml"}
    read = {path for path in read if not any(covers(out, path) for out in outs)}
    assert {path for path in read if not any(covers(dep, path) for dep in declared)} == set()
    unread = {dep for dep in declared if not any(covers(dep, path) for path in read)}
    assert unread <= ORDER | BY_PEOPLE


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_in_the_environment_changes_a_result(reads, stage):
    read = union(reads, stage, "variables") - (ADDRESSES if stage == CHECKED else set())
    assert {name for name in read if not name.startswith("PYARROW_")} <= VARIABLES
