"""The commands of the Arena Analysis guide, as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cje.cli import parser
from cje.models.runner.recording import recorded_runs
from cje.pipeline.prompts import load_prompts
from cje.settings import load_settings
from cje.stats.diagnostics import NO_WEIGHTS, overlap
from cje.thresholds import THRESHOLDS
from cje.vocabulary import Reach, Status
from pipeline import ROOT, new_project, run

SCRIPT = "scripts/run_arena_analysis.py"
SNIPPET = """
import json
from pathlib import Path

# Load latest results
results_dir = Path("outputs/arena_runs")
latest_run = max(results_dir.iterdir(), key=lambda p: p.stat().st_mtime)
with open(latest_run / "token_level_cje_results.json") as f:
    results = json.load(f)

print(f"Best model: {max(results['results'].keys(), key=lambda k: results['results'][k]['v_hat'])}")
"""
WEIGHTS = """
from examples.arena_interactive import ArenaAnalyzer

analyzer = ArenaAnalyzer()
analyzer.plot_weight_diagnostics()
print(analyzer.diagnose_weights()[["ess", "status", "issues"]].to_string())
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    """A small simulated project with the scripts and examples, nothing run."""
    repo = new_project(tmp_path_factory.mktemp("guide") / "cje")
    for name in ("scripts", "examples"):
        shutil.copytree(ROOT / name, repo / name)
    return repo


@pytest.fixture(scope="module")
def ran_once(repo) -> str:
    return guide(
        repo, "--max-samples", "60", "--oracle-fraction", "0.5", "--base-model", "base",
        "--oracle-model", "sim/oracle", "--proxy-model", "sim/judge", "--target-models", "clone",
        "cooler", "--temperature", "0.7", "--top-p", "0.9", "--seed", "42",
    )  # fmt: skip


def guide(repo: Path, *arguments: str, ok: bool = True, **variables: str) -> str:
    return run(sys.executable, SCRIPT, *arguments, cwd=repo, ok=ok, **variables)


def python(repo: Path, code: str) -> str:
    """What a session in the project prints that knows nothing of the library's place."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_has_every_flag_of_cje_run(repo):
    flags = set(re.findall(r"--[a-z-]+", guide(repo, "--help")))
    run_command = parser()._subparsers._group_actions[0].choices["run"]
    own = {option for action in run_command._actions for option in action.option_strings}
    assert {option for option in own if option.startswith("--")} <= flags
    old = "max-samples oracle-fraction base-model temperature top-p oracle-model proxy-model seed"
    assert {f"--{name}" for name in (*old.split(), "target-models", "help")} <= flags


def test_the_script_ends_with_a_run_folder(ran_once):
    assert "Run folder: outputs/arena_runs/run_" in ran_once and "ZIP of it:" in ran_once


def test_the_newest_entry_after_a_run_is_its_folder(repo, ran_once):
    assert re.fullmatch(r"Best model: (clone|cooler|base)\n", python(repo, SNIPPET))
    newest = max((repo / "outputs/arena_runs").iterdir(), key=lambda p: p.stat().st_mtime)
    archive = newest.with_name(f"{newest.name}.zip")
    assert newest.is_dir() and newest.stat().st_mtime - archive.stat().st_mtime >= 1


def test_the_weights_are_looked_into_as_the_guide_does(repo, ran_once):
    shown = python(repo, WEIGHTS)
    assert re.search(r"clone +1\.0+ +GOOD +none", shown)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--base-model gpt-3.5-turbo --oracle-model gpt-4o", "openai/gpt-3.5-turbo was shut down"),
        ("--base-model claude-2", "anthropic/claude-2 was shut down by Anthropic on 2025-07-21"),
        ("--target-models gpt-4 claude-3-opus gpt-4o-mini -S top_p=null", "openai/gpt-4 was shut"),
    ],
)  # fmt: skip
def test_the_guides_models_end_in_a_sentence_before_anything_changes(repo, flags, words):
    before = (repo / "params.yaml").read_bytes()
    home = {"OPENAI_BASE_URL": "", "ANTHROPIC_BASE_URL": "", "OPENAI_API_KEY": ""}
    output = guide(repo, *flags.split(), ok=False, **home)
    assert words in output and output.count("error: ") == 1 and "; take " in output
    assert "Running stage" not in output and len(output.splitlines()) == 2
    assert (repo / "params.yaml").read_bytes() == before


def test_more_samples_than_there_are_prompts_are_said(repo, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = load_settings().model_copy(update={"max_samples": 5000})
    notes = []
    assert len(load_prompts(settings, notes)) == 1000
    assert any("there are 1,000 prompts, fewer than max_samples (5,000)" in note for note in notes)
    notes.clear()
    load_prompts(settings.model_copy(update={"max_samples": 1000}), notes)
    assert not any("fewer than" in note for note in notes)


def test_a_temperature_that_is_not_recorded_is_told_which_are(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = load_settings()
    warm = settings.model_copy(update={"temperature": 0.3, "max_samples": 100, "oracle_samples": 7})
    lines = recorded_runs(warm)
    assert [re.search(r"model: (.*) \(data/recordings/", line)[1] for line in lines] == [
        "-S temperature=0.4", "-S temperature=0.7",
    ]  # fmt: skip
    assert recorded_runs(settings.model_copy(update={"policies": {}})) == []


@pytest.mark.parametrize(
    ("ess", "status"),
    [(0.852, Status.GOOD), (0.721, Status.GOOD), (0.453, Status.WARNING), (0.02, Status.CRITICAL)],
)
def test_the_status_of_weights_is_the_guides(ess, status):
    exact = NO_WEIGHTS.__class__(**vars(NO_WEIGHTS) | {
        "ess": ess, "mean_weight": 1.0, "mean_weight_z": 0.0,
    })  # fmt: skip
    assert overlap(exact, exact, Reach.STANDS, THRESHOLDS) is status


def test_a_warning_for_the_effective_sample_alone_is_named(repo, ran_once):
    path = repo / "metrics/diagnostics.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["clone"] |= {"status": "WARNING", "ess": 0.453, "sequence_ess": 0.453}
    script = f"""
import json
from pathlib import Path
from examples.arena_interactive import ArenaAnalyzer
analyzer = ArenaAnalyzer()
facts = json.loads({json.dumps(json.dumps(facts))})
path = Path("metrics/diagnostics.json")
before = path.read_text()
path.write_text(json.dumps(facts))
try:
    print(analyzer.diagnose_weights().loc["clone", ["status", "issues"]].to_list())
finally:
    path.write_text(before)
"""
    assert "['WARNING', 'moderate_overlap']" in python(repo, script)
