"""The pipeline under DVC itself, in a temporary repository; and what dvc.yaml declares."""

import ast
import json
import shutil
import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import pytest
from ruamel.yaml import YAML

from arena import copy_arena_sample
from cje.errors import CJEError
from cje.results.opening import open_run
from pipeline import (
    ROOT,
    STAGES,
    commit,
    finished_project,
    ran,
    rerun,
    restore,
    run,
)
from recomputed import compared, own_label_estimates

GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@cache
def imports(path: Path) -> set[Path]:
    """The modules of the library that a file imports, and the packages that these are in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    names = {n for n in names if n.startswith("cje.")}
    names |= {package for name in names for package in parents(name)}
    found = set()
    for name in names:
        place = ROOT / "stages" / Path(*name.split("."))
        if place.with_suffix(".py").exists():
            found.add(place.with_suffix(".py"))
        elif (place / "__init__.py").exists():
            found.add(place / "__init__.py")
    return found


def parents(name: str) -> list[str]:
    """The packages below the library's own that a module is in."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(2, len(parts))]


def closure(path: Path) -> set[Path]:
    """All modules of the library that a file needs, those of its imports included."""
    seen, todo = set(), [path]
    while todo:
        for module in imports(todo.pop()) - seen:
            seen.add(module)
            todo.append(module)
    return seen


def says_nothing(path: Path) -> bool:
    """Whether a module is a docstring alone, as that of most packages."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_on_what_it_uses_of_the_library_and_no_more(stage):
    script = ROOT / f"stages/{stage}.py"
    needed = closure(script)
    if ROOT / "stages/cje/models/registry.py" in needed:  # finds its providers by name
        for provider in (ROOT / "stages/cje/models").rglob("*.py"):
            needed |= {provider} | closure(provider)
    declared = {ROOT / dep for dep in GRAPH[stage]["deps"] if dep.startswith("stages/")}
    files = {dep: {dep} if dep.is_file() else set(dep.rglob("*.py")) for dep in declared}
    every = set().union(*files.values())
    assert {path for path in needed - every if not says_nothing(path)} == set()
    assert [str(dep) for dep in declared - {script} if not files[dep] & needed] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_starts_in_under_two_seconds(stage):
    """What it imports, loaded, in processor time; a promise to users, so a bound, no benchmark."""
    code = (
        f"import sys, time; t = time.process_time(); sys.path.insert(0, 'stages'); import {stage}; "
    )
    code += "print(time.process_time() - t)"
    for last in (False, False, True):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        if float(done.stdout) < 2:
            return
        assert not last, done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, small settings committed, run once."""
    return finished_project(tmp_path_factory)


@pytest.fixture
def repo(project: Path):
    yield project
    restore(project)


def test_the_numbers_are_those_of_the_tables(project):
    """Everything that people read, computed anew from data/ by other code."""
    found, near = open_run(project), {"rtol": 0, "atol": 2e-5, "check_names": False}
    tables = {name: pd.read_parquet(project / f"data/{name}.parquet") for name in (
        "rewards", "validation_labels", "influence"
    )}  # fmt: skip
    rewards, checked, psi = tables.values()
    by_policy = rewards.groupby("policy")
    policies = list(found.estimates.index)
    told = found.estimates.astype({"labels": int})

    used = rewards.loc[rewards["oracle_score"].notna(), "uid"]
    unseen = checked[~checked["uid"].isin(used)].groupby("policy")["oracle_score"]
    low, high = YAML(typ="safe").load(project / "params.yaml")["oracle_range"]
    prompts = psi["uid"].nunique()
    expected = {
        "raw_judge": by_policy["judge_raw"].mean(),
        "calibrated_judge": by_policy["calibrated_reward"].mean(),
        "labels": by_policy["oracle_score"].count(),
        "oracle_truth": (unseen.mean() - low) / (high - low),
        "se_truth": unseen.sem() / (high - low) * (prompts / (prompts - 1)) ** 0.5,
    }
    for name, values in expected.items():
        pd.testing.assert_series_equal(told[name], values[policies], **near)

    own = told.index[told["evidence"] == "own labels"]
    again = own_label_estimates(rewards, found.base)
    pd.testing.assert_frame_equal(told.loc[own, list(again)], again.loc[own], **near)
    assert len(own) >= 2

    wide = psi.pivot(index="uid", columns="policy", values="psi")
    pd.testing.assert_series_equal(told["v_hat"], wide.mean()[policies], **near)
    pairs = found.comparisons.set_index(["policy_a", "policy_b"])
    order = list(dict.fromkeys([a for pair in pairs.index for a in pair]))
    again = compared(wide[order]).loc[pairs.index, list(pairs)]
    pd.testing.assert_frame_equal(pairs, again, **near)


def metrics(repo: Path, name: str) -> dict:
    return json.loads((repo / f"metrics/{name}.json").read_text(encoding="utf-8"))


def test_results_have_the_form_that_users_know(repo):
    found = metrics(repo, "estimates")
    assert list(found["results"]) == ["better", "clone", "unhelpful", "base"]
    keys = {"v_hat", "se", "ci_low", "ci_high", "method", "evidence", "labels", "ess", "verdict"}
    for row in found["results"].values():
        assert keys <= set(row)
        assert 0 <= row["ci_low"] <= row["v_hat"] <= row["ci_high"] <= 1
    assert found["results"]["clone"]["ess"] == 1
    validation = metrics(repo, "validation")["results"]
    kept = [policy for policy, row in validation.items() if row["verdict"] != "refuse"]
    pairs = {f"{a} vs {b}" for a, b in combinations(kept, 2)}
    assert pairs <= set(found["p_values_corrected"])
    for row in validation.values():
        assert {"oracle_truth", "absolute_error", "covered"} <= set(row)
    assert found["best_policy"] == "better" and "unhelpful" not in found["best"].split(", ")
    rails = metrics(repo, "guard_rails")
    assert rails["violations"] == sum(rails["by_code"].values()) > 0
    table = (repo / "metrics/violations.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "policy,code,severity,message,remedy"
    assert len(table) == rails["violations"] + 1
    figures = ("calibration_curve", "estimates", "differences", "comparison_heatmap", "weights")
    for name in figures:
        assert (repo / f"plots/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_fails_leaves_the_last_metrics_and_nobody_takes_them_for_its_own(repo):
    folders = [repo / "metrics", repo / "plots"]
    kept = [path for folder in folders for path in folder.glob("*.[cj]s*")]
    before = {path: path.read_bytes() for path in kept}
    script = repo / "stages/validate.py"
    script.write_text("raise SystemExit('stopped')\n", encoding="utf-8")
    rerun(repo, ok=False, alpha=0.2)  # no other test's: DVC would have the check at hand
    after = {path.name for path in kept if path.exists() and path.read_bytes() == before[path]}
    assert {path.name for path in kept if not path.exists()} == set()
    assert {"summary.json", "validation.json", "violations.csv", "cost.json"} <= after
    assert "estimates.json" not in after
    with pytest.raises(CJEError, match="the results here are not those of the settings"):
        open_run(repo)


def test_a_second_run_does_nothing(repo):
    assert ran(run("dvc", "repro", cwd=repo)) == []
    assert run("git", "status", "--short", cwd=repo) == ""


@pytest.mark.parametrize(
    "changes, stage",
    [
        ({"folds": 10}, "calibrate"),
        ({"alpha": 0.1}, "estimate"),
        ({"oracle_samples": 40}, "validate"),
        ({"oracle_fraction": 0.5}, "oracle_label"),
        ({"target_labels": 30}, "oracle_label"),
        ({"guard_rails.refuse_ess": 0.1}, "estimate"),
    ],
)
def test_a_changed_setting_runs_what_depends_on_it_and_nothing_before(repo, changes, stage):
    stages = since(stage)
    first, *found = ran(rerun(repo, **changes))
    assert first == "check_settings"
    assert found == [stage for stage in stages if stage in found]
    assert found[0] == stages[0]
    assert set(stages) - set(found) <= {"validate", "cost"}  # whose inputs may be unchanged


def test_another_temperature_touches_all_that_sampling_touches(repo):
    before = metrics(repo, "estimates")["results"]["better"]["v_hat"]
    found = ran(rerun(repo, temperature=0.4))
    # The simulator makes no calls: their cost is unchanged.
    assert found == ["check_settings", *since("try_targets", "validate")]
    assert metrics(repo, "estimates")["results"]["better"]["v_hat"] != before
    assert "better.v_hat" in run("dvc", "metrics", "diff", cwd=repo)


def since(first: str, last: str = STAGES[-1]) -> list[str]:
    return STAGES[STAGES.index(first) : STAGES.index(last) + 1]


def edited(repo: Path, old: str, new: str) -> None:
    path = repo / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_no_part_of_the_run_uses_runs_nothing_but_the_check_of_the_settings(repo):
    before = metrics(repo, "estimates")
    (repo / "data/prompts/README.md").write_text("More about prompts.")
    (repo / "data/recordings/README.md").write_text("More about recordings.")
    (repo / "data/inputs/README.md").write_text("More about files.")
    run("dvc", "status", "-q", cwd=repo)
    edited(repo, "model: sim/flattering", "model: sim/terse")
    assert ran(run("dvc", "repro", cwd=repo)) == ["check_settings"]
    shutil.copy(ROOT / "stages/cje/judging/rubrics/default.j2", repo / "data/rubrics/mine.j2")
    assert ran(run("dvc", "repro", cwd=repo)) == ["check_settings"]
    changes = {"concurrency": 4, "max_cost_usd": 3, "proxy_rubric": "data/rubrics/mine.j2"}
    for name, value in changes.items():
        assert ran(rerun(repo, **{name: value})) == ["check_settings"]
    assert metrics(repo, "estimates") == before


@pytest.mark.parametrize(
    "change, words",
    [
        ({"concurrency": 0}, "concurrency: 0 is not allowed"),
        ({"max_retries": "many"}, 'max_retries: "many" is not allowed'),
        ({"+prices.x": "{input: -1, output: 2}"}, "prices: "),
        ({"+sede": 3}, "sede: unknown key; did you mean 'seed'?"),
        ({"+guard_rails.least": 3}, "guard_rails.least: unknown key"),
    ],
)
def test_a_setting_of_calls_or_an_unknown_one_is_checked_though_no_result_reads_it(
    repo, change, words
):
    output = rerun(repo, ok=False, **change)
    assert words in output and "Traceback" not in output
    assert ran(output) == ["check_settings"]


def test_another_list_of_targets_is_the_same_run_in_another_clone(repo, tmp_path):
    found = ran(rerun(repo, target_models="[clone,cooler]"))
    assert found == ["check_settings", "try_targets", *since("draw_targets", "validate")]
    run("git", "add", "-A", cwd=repo)
    run("git", "commit", "-q", "-m", "targets", cwd=repo)
    try:
        clone = tmp_path / "clone"
        run("git", "clone", "-q", str(repo), str(clone), cwd=tmp_path)
        assert ran(run("dvc", "repro", "--force", "--no-run-cache", cwd=clone)) == STAGES
        assert run("git", "status", "--short", cwd=clone) == ""
    finally:
        run("git", "reset", "-q", "--hard", "HEAD~1", cwd=repo)


def test_more_labels_contain_the_fewer(repo):
    from cje.data.tables import LOGGED, read_table

    def on_logs():
        labels = read_table(repo / "data/oracle_labels.parquet", "oracle_labels")
        return labels[labels["draw"] == LOGGED]

    few = set(on_logs()["uid"])
    rerun(repo, "oracle_label", oracle_fraction=0.4)
    more = on_logs()
    assert few < set(more["uid"]) and (more["oracle_prob"] == 0.4).all()


def test_no_answer_is_labelled_twice_and_some_are_on_every_policys(repo):
    from cje.data.tables import read_table

    used = read_table(repo / "data/oracle_labels.parquet", "oracle_labels")
    checked = read_table(repo / "data/validation_labels.parquet", "validation_labels")
    assert used.groupby("policy")["draw"].unique().map(list).to_dict() == {
        "base": [-1], "better": [0], "clone": [0], "unhelpful": [0]
    }  # fmt: skip
    assert checked.groupby("policy").size().to_dict() == dict.fromkeys(
        ("base", "better", "clone", "unhelpful"), 60
    )
    assert not set(used["uid"]) & set(checked["uid"])
    output = run("dvc", "repro", "--force", "--single-item", "validate", cwd=repo)
    assert "Validated 4 policies on 60 held-out labels each; coverage " in output
    output = run("dvc", "repro", "--force", "--single-item", "oracle_label", cwd=repo)
    assert "30 oracle labels on 120 logged answers, 120 on fresh answers of 3 policies" in output


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"target_models": "[clone,nobody]"}, '"nobody" is not defined'),
        ({"estimator": "magic"}, 'estimator: "magic" is not allowed'),
        ({"base_model": "sim/nope"}, "sim/nope is not a simulated policy"),
        ({"proxy_model": "acme/judge"}, "there is no provider 'acme'"),
        ({"prompts": "elsewhere/p.jsonl"}, "is not under data/prompts"),
        ({"prompts": "data/prompts/none.jsonl"}, "no such file"),
        ({"source": "files"}, "error: data/inputs"),
    ],
)
def test_a_bad_setting_stops_the_first_stage_with_words(repo, changes, words):
    output = rerun(repo, ok=False, **changes)
    assert words in output
    assert "Traceback" not in output
    assert set(ran(output)) <= {"check_settings", "load_prompts"}


def test_prompts_of_ones_own(repo):
    rows = [json.dumps({"prompt": f"Say {i % 30}.", "checks": {"n": i}}) for i in range(60)]
    (repo / "data/prompts/mine.jsonl").write_text("\n".join(rows), encoding="utf-8")
    rerun(repo, "load_prompts", prompts="data/prompts/mine.jsonl")  # all on it: test_graph.py
    assert metrics(repo, "inputs")["prompts"] == 60
    (repo / "data/prompts/mine.jsonl").write_text(rows[0] + '\n{"prompt": ""}', encoding="utf-8")
    assert "mine.jsonl:2: prompt: missing or empty" in run("dvc", "repro", cwd=repo, ok=False)


def test_a_missing_or_foreign_table_is_named(repo):
    (repo / "data/logs.parquet").unlink()
    output = run(sys.executable, "stages/calibrate.py", cwd=repo, ok=False)
    assert "\nerror: data/logs.parquet: no such file" in output and "dvc repro" in output
    shutil.copy(repo / "data/draws.parquet", repo / "data/logs.parquet")
    output = run(sys.executable, "stages/calibrate.py", cwd=repo, ok=False)
    assert "data/logs.parquet: column action: missing" in output


def test_the_summary_of_the_run(repo):
    output = run(sys.executable, "-m", "cje.results.console", cwd=repo)
    assert "Expected oracle utility by policy" in output and "remedy:" in output
    assert "better" in output.partition("\nrefused")[2]
    checked = metrics(repo, "validation")["results"]
    kept = [row for row in checked.values() if row["verdict"] != "refuse"]
    distance = sum(row["absolute_error"] for row in kept) / len(kept)
    assert f", estimate {distance:.3f}. " in " ".join(output.split())
    assert max(map(len, output.splitlines())) <= 100


def test_the_arena_sample_from_files(project, tmp_path):
    repo = tmp_path / "cje"
    shutil.copytree(project, repo, symlinks=True)
    copy_arena_sample(repo / "data/inputs")
    # Git ignores the files and takes what stands for them.
    files = [p for p in sorted((repo / "data/inputs").rglob("*.jsonl")) if p.is_file()]
    names = [str(path.relative_to(repo)) for path in files]
    run("dvc", "add", "-q", *names, cwd=repo)
    run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"), cwd=repo)
    commit(repo)
    scales = {"judge_range": "[0,1]", "oracle_range": "[0,1]", "max_samples": 1000}
    assert ran(rerun(repo, source="files", **scales)) == STAGES[:-1]
    found = metrics(repo, "estimates")["results"]
    labels = [
        json.loads(line)["oracle_label"]
        for line in next((repo / "data/inputs/probe_slice").glob("*.jsonl")).open(encoding="utf-8")
    ]
    audited = found["parallel_universe_prompt"]
    own = stdev(labels) / len(labels) ** 0.5
    assert (audited["evidence"], audited["labels"]) == ("own labels", 50)
    assert abs(audited["v_hat"] - mean(labels)) < 1.5 * own and audited["se"] < own
    assert audited["verdict"] != "refuse"
    assert found["clone"]["verdict"] == found["unhelpful"]["verdict"] == "refuse"
    assert found["base"]["labels"] == 480  # logged and drawn alike, counted once

    # A second clone, and a temporary experiment there, have them from the remote.
    commit(repo)
    run("dvc", "push", "-q", cwd=repo)
    run("git", "clone", "-q", "cje", "second", cwd=tmp_path)
    second = tmp_path / "second"
    assert not (second / names[0]).exists()
    output = run("dvc", "repro", "load_prompts", cwd=second, ok=False)
    assert "missing data 'source'" in output
    run("dvc", "pull", "-q", cwd=second)
    run("dvc", "status", "-q", cwd=second)
    output = run("dvc", "exp", "run", "--temp", "-S", "seed=7", "load_prompts", cwd=second)
    assert ran(output) == ["check_settings", "load_prompts"] and " logs and " in output
