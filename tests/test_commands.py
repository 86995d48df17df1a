"""`cje run` as a user gives it: what it asks of DVC, what it leaves, what it refuses."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from cje.cli import main, parser
from cje.commands.run import changed_settings, override, overrides
from cje.errors import CJEError
from cje.results.opening import RESULTS
from cje.vocabulary import counted
from pipeline import ROOT, STAGES, new_project, own_cje, ran, run
from reported import write_run

FEW = ["--max-samples", "60", "--target-models", "clone", "better"]


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    return new_project(tmp_path_factory.mktemp("commands") / "cje")


def cje(repo: Path, *arguments: str, ok: bool = True, **variables: str) -> str:
    return run(sys.executable, "-m", "cje.cli", *arguments, cwd=repo, ok=ok, **variables)


def given(*arguments: str) -> list[str]:
    return overrides(parser().parse_args(["run", *arguments]))


def test_every_flag_is_a_setting():
    assert given(
        "--max-samples", "9", "--oracle-fraction", "0.5", "--target-labels", "40",
        "--base-model", "gpt-5.4-mini",
        "--oracle-model", "openai/gpt-6.1-sol", "--proxy-model", "gpt-6-luna",
        "--target-models", "a", "server/meta-llama/Llama-3.1-8B:free", "--temperature", "0.4",
        "--top-p", "1", "--seed", "7", "--max-cost", "20", "--batch", "-S", "folds=10",
    ) == [
        "max_samples=9", "oracle_fraction=0.5", "target_labels=40", "base_model=gpt-5.4-mini",
        "oracle_model=openai/gpt-6.1-sol", "proxy_model=gpt-6-luna",
        "target_models=[a,'server/meta-llama/Llama-3.1-8B:free']", "temperature=0.4", "top_p=1.0",
        "seed=7", "max_cost_usd=20.0", "batch=true", "folds=10",
    ]  # fmt: skip
    assert given() == []


@pytest.mark.parametrize(
    "name", ["a b", "it's", "x=y", "a,b", "[x]", "back\\slash", "end\\", "\\'", "{a}", "ä"]
)
def test_any_name_comes_through_dvcs_grammar(name, tmp_path, monkeypatch):
    text = (ROOT / "tests/simulated.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = changed_settings(
        [f"+policies.odd={{model: sim/base, system_prompt: {override(name)}}}"]
    )
    assert found.policy("odd").system_prompt == name


def test_a_dry_run_tells_the_command_and_the_cost_and_changes_nothing(repo):
    before = (repo / "params.yaml").read_text()
    output = cje(repo, "run", *FEW, "--dry-run")
    assert "$ dvc exp run -S max_samples=60 -S 'target_models=[clone,better]'" in output
    assert "What this run would cost" in output and "Nothing was run" in output
    assert (repo / "params.yaml").read_text() == before and not (repo / "metrics").exists()


def test_a_run_is_an_experiment_and_ends_with_its_folder(repo):
    output = cje(repo, "run", *FEW, "--name", "few")
    assert ran(output) == STAGES
    line = next(x for x in output.splitlines() if x.startswith("$ "))
    assert shlex.split(line)[1:4] == ["dvc", "exp", "run"]
    assert "✓ Obtained" in output and "Spearman correlation (proxy vs oracle)" in output
    folder = repo / next(
        x.removeprefix("Run folder: ") for x in output.splitlines() if x.startswith("Run folder")
    )
    results = json.loads((folder / "token_level_cje_results.json").read_text())
    assert set(results["results"]) == {"clone", "better", "base"}
    assert results["settings"]["max_samples"] == 60
    assert Path(f"{folder}.zip").exists()
    assert "few" in run("dvc", "exp", "list", cwd=repo)


def test_the_temperatures_side_by_side(repo):
    """Every temperature is a run of its own; dry ones here, real ones are above."""
    folder = own_cje(repo.parent / "bin")
    script = ROOT / "examples/batch_temperatures.sh"
    programs = f"export PATH={folder}:$PATH; sh {script} 0.5 0.9"
    wide = {"MAX_SAMPLES": "60", "CJE_RUN": "--dry-run", "COLUMNS": "250"}
    output = run("sh", "-c", programs, cwd=repo, **wide)
    for temperature in ("0.5", "0.9"):
        line = f"$ dvc exp run -S max_samples=60 -S temperature={temperature} -S seed=42"
        assert line in output
    assert "Experiment" in output and "workspace" in output  # the table at the end
    output = run("sh", "-c", f"{programs} 7 8", cwd=repo, ok=False, **wide)
    assert "temperature=0.9" in output and "temperature: 7.0 is not allowed" in output
    assert output.endswith("error: not run, for the reasons above: temperature 7 8\n")


def test_wrong_settings_stop_it_before_anything_runs(repo):
    for arguments, words in (
        (["--oracle-fraction", "4"], "oracle_fraction: 4.0 is not allowed; give a number above 0"),
        (["--target-models", "clonee"], 'did you mean "clone"?'),
        (["-S", "nonsense=3"], "Could not override 'nonsense'"),
        (["-S", "folds=[3"], "a list as [a,b]"),
        (["--target-labels", "-1"], "target_labels: -1 is not allowed; give a whole number, 0 or"),
        (["-S", "guard_rails.refuse_ess=2"], "guard_rails.refuse_ess: 2 is not allowed; give a"),
        (["-S", "guard_rails.zzz=2"], "a new one takes a + before it"),
        (["-S", "+refuse_ess=0.1"], "params.yaml: refuse_ess: is now guard_rails.refuse_ess"),
    ):
        output = cje(repo, "run", *arguments, ok=False)
        assert output.startswith("error: ") and words in output
        assert len(output.splitlines()) <= 5 and "Running stage" not in output
    assert "invalid int value: 'many'" in cje(repo, "run", "--max-samples", "many", ok=False)


def test_a_failed_stage_fails_the_command(repo):
    output = cje(repo, "run", "--proxy-model", "gpt-6-luna", ok=False, OPENAI_API_KEY="")
    assert "error: " in output and "OPENAI_API_KEY" in output
    assert "Traceback" not in output and "Run folder" not in output
    change = "prompts=data/prompts/none.jsonl"
    output = cje(repo, "run", "-S", change, ok=False)
    assert "data/prompts/none.jsonl: no such file" in output
    assert f"params.yaml keeps the change ({change})" in output
    assert "git checkout . && dvc checkout goes back" in output
    run("git", "checkout", "-q", ".", cwd=repo)


def test_without_git_or_a_name_it_says_what_to_do(tmp_path):
    project = new_project(tmp_path / "cje")
    env = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "EMAIL": ""}
    run("git", "config", "--unset", "user.name", cwd=project)
    run("git", "config", "user.useConfigOnly", "true", cwd=project)
    output = cje(project, "run", ok=False, **env)
    assert output.startswith("error: git does not know your name") and "git config" in output
    shutil.rmtree(project / ".git")
    output = cje(project, "run", ok=False, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert output.startswith("error: an experiment needs a git repository with a commit")
    assert "dvc repro" in output


def test_a_key_that_is_nearly_a_setting_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CJEError, match=r"'oracle_fractoin'; did you mean oracle_fraction\? write"):
        changed_settings(["oracle_fractoin=0.5"])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("store import nope.parquet", "error: nope.parquet: there is no such file; give the path"),
        ("store import folder", "error: folder: this is a folder, and a file is needed; name a"),
        ("plan --within 0.05 --run-dir .", "Do not stop yet: "),
    ],
)
def test_a_path_and_a_pilot_that_will_not_do(tmp_path, monkeypatch, arguments, words):
    few = write_run(tmp_path, prompts=4, labels=False)
    monkeypatch.chdir(few)
    Path("folder").mkdir()
    Path(RESULTS).touch()  # as in a run folder
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert str(end.value).startswith(words)


def test_options_of_one_name_are_shown_alike():
    """One declaration of --run-dir, and no value named after its own option (`--power POWER`)."""
    commands = next(a.choices for a in parser()._actions if a.choices)
    run_dirs = set()
    for command in commands.values():
        for option in command._actions:
            if option.dest == "run_dir":
                run_dirs.add((option.metavar, option.help))
            takes_a_value = option.option_strings and option.nargs != 0 and not option.choices
            assert option.metavar is not None or not takes_a_value, option.option_strings
    assert len(run_dirs) == 1


def test_one_of_a_kind_is_not_many():
    assert counted(1, "policy", "policies") == "1 policy"
    assert counted(1000, "label") == "1,000 labels"


def test_outside_a_project_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CJEError, match="run this in the project's folder"):
        changed_settings([])
    output = run(
        sys.executable, "-m", "cje.cli", "run", cwd=tmp_path, ok=False,
        PYTHONPATH=str(ROOT / "stages"),
    )  # fmt: skip
    assert output.startswith("error: params.yaml: cannot be read")


@pytest.mark.parametrize(
    "arguments",
    [
        "store prune --before yesterday --yes",
        "store prune --before 2026-02-30 --yes",
        "store prune --before 20260201 --yes",
        "store verify --ask -1",
        "report --answers -5",
        "label --port 70000",
        "label --policy clone --add none",
    ],
)
def test_a_day_or_number_that_is_none_is_refused_before_anything_is_done(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(arguments.split())
    assert end.value.code == 2
    assert re.search(
        "is not a (day; write it as YYYY-MM-DD|whole number, )", capsys.readouterr().err
    )


def test_a_day_is_taken_as_it_is_written():
    assert parser().parse_args("store prune --before 2026-02-01".split()).before == "2026-02-01"
