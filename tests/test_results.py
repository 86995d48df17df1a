"""A finished run read back: the screen, the run folder, cje-eval's files, the notebook."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.color import Color
from rich.console import Console

from cje.cli import main, parser
from cje.errors import CJEError
from cje.results import console as screen_words
from cje.results import theme
from cje.results.answer import title
from cje.results.export import file_names
from cje.results.notebook import ArenaAnalyzer
from cje.results.opening import newest_run, open_run
from cje.results.run import RESULTS, Run
from cje.results.view import RunView
from cje.results.words import VERDICTS
from cje.settings import load_settings
from pipeline import ROOT, finished_project, run
from reported import write_run


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A simulated project, run once. Nothing here may change it."""
    return finished_project(tmp_path_factory)


@pytest.fixture
def here(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def copy(project, tmp_path, monkeypatch) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(project, tmp_path / "cje", ignore=shutil.ignore_patterns(".git", "cache"))
    monkeypatch.chdir(tmp_path / "cje")
    return tmp_path / "cje"


def cje(*arguments: str) -> int | str | None:
    """The command, in this process; what it exits with."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code


def opened() -> RunView:
    """The run here."""
    return RunView(open_run())


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_has_the_numbers_of_its_metrics(here):
    run, found = open_run(), opened()
    metrics = {
        name: json.loads((here / f"metrics/{name}.json").read_text())
        for name in ("estimates", "validation", "diagnostics")
    }
    assert set(found.policies) == {"clone", "better", "unhelpful", "base"}
    for policy, row in found.table.iterrows():
        for key in ("v_hat", "se", "ci_low", "ci_high", "method", "evidence", "labels"):
            assert row[key] == metrics["estimates"]["results"][policy][key]
        assert row["truth_labels"] == metrics["validation"]["results"][policy]["labels"]
        for key in ("verdict", "oracle_truth", "absolute_error", "covered"):
            assert row[key] == metrics["validation"]["results"][policy][key]
    kept = found.table[found.table["verdict"] != "refuse"]
    assert found.best_policy == kept["v_hat"].idxmax()
    refused = list(found.table["verdict"] == "refuse")
    assert refused == sorted(refused) == [row.refused for row in found.estimates]
    for row, (policy, cells) in zip(found.estimates, found.table.iterrows(), strict=True):
        assert row.policy == policy and row.v_hat == cells["v_hat"] and row.se == cells["se"]
        assert row.truth.oracle_truth == cells["oracle_truth"]
        assert row.truth.labels == cells["truth_labels"] and row.labels == cells["labels"]
    assert set(found.best) == set(metrics["estimates"]["best"].split(", "))
    assert [found.best_policy, *found.rivals] == found.best and found.base == "base"
    judged = run.logs["calibrated_reward"].mean()
    assert found.table.loc["base", "calibrated_judge"] == pytest.approx(judged, abs=1e-6)
    for policy in found.policies:
        for other in found.policies:
            there, back = found.difference(policy, other), found.difference(other, policy)
            if policy == other or not {policy, other} <= set(kept.index):
                assert there is None and back is None
                continue
            assert there == back.reversed and there.difference == -back.difference
            assert there.ci_low == -back.ci_high and there.p_value == back.p_value
    weights = run.weights
    used = found.table.index[found.table["weights"] != "none"]
    assert list(weights.columns) == sorted(used) and "clone" in weights
    assert weights.mean().to_numpy() == pytest.approx(np.ones(len(used)), abs=1e-6)
    assert set(weights.index) == set(run.logs["uid"])


def test_comparisons_are_paired_differences_of_the_estimates(here):
    found = opened()
    psi = pq.read_table(here / "data/influence.parquet").to_pandas()
    psi = psi.pivot(index="uid", columns="policy", values="psi")
    for row in found.comparisons.itertuples():
        values = found.table["v_hat"]
        gap = values[row.policy_a] - values[row.policy_b]
        assert row.difference == pytest.approx(gap, abs=2e-6)
        difference = psi[row.policy_a] - psi[row.policy_b]
        assert row.se >= difference.std() / len(difference) ** 0.5 * 0.999
        assert row.ci_low < row.difference < row.ci_high
        assert row.p_value <= row.p_value_corrected <= 1


def refuse(policy: str) -> None:
    """Have validation refuse a policy, in the run here, as a run folder's."""
    Path(RESULTS).touch()  # no check of what the last run made
    path = Path("metrics/validation.json")
    found = json.loads(path.read_text())
    found["results"][policy]["verdict"] = "refuse"
    path.write_text(json.dumps(found))
    Path("metrics/violations.csv").write_text(
        "policy,code,severity,message,remedy\n"
        f"{policy},self_preference,note,the judge is its own model,take another\n"
        f"{policy},contradicted,critical,labels say otherwise,label its own answers\n"
    )


def test_what_validation_refuses_is_in_no_comparison(copy, capsys):
    refuse("better")
    found, analyzer = opened(), ArenaAnalyzer(".")
    assert found.refused == ["better"] == found.policies[-1:]
    assert "better" not in [found.best_policy, *found.best]
    assert len(found.comparisons) == 3 == len(found.differences)
    assert [one.severity for one in found.violations] == ["critical", "note"]
    with pytest.raises(CJEError, match="label its own answers"):
        analyzer.compare("better", "clone")
    assert "<s>" in analyzer._repr_html_()
    capsys.readouterr()
    assert cje("analyze", "--run-dir", ".") == 0
    text = capsys.readouterr().out
    assert "Refused, so in no comparison: better" in text
    assert "1 of 4 policies was refused, so do not rely on its number: better" in text
    known = found.table.drop("better")
    words = " ".join(text.split())
    assert f", estimate {known['absolute_error'].mean():.3f}. " in words
    assert f"Largest distance of an estimate: {known['absolute_error'].max():.3f}" in words
    for picture in (analyzer.plot_estimates(), analyzer.plot_comparisons()):
        assert picture._repr_png_().startswith(b"\x89PNG")
    text = printed(80)
    assert "contradicted critical" in text and "remedy: label its own answers" in text
    issues, notes = text.split("Notes, which change no verdict")
    assert "self_preference" in notes and "self_preference" not in issues


def test_a_run_whose_estimates_use_no_weights(copy):
    Path(RESULTS).touch()
    path = Path("metrics/diagnostics.json")
    facts = json.loads(path.read_text())
    for row in facts.values():
        row["weights"] = "none"
        row.pop("sequence_ess", None)
    path.write_text(json.dumps(facts))
    weights = pq.read_table("data/weights.parquet")
    pq.write_table(weights.slice(0, 0), "data/weights.parquet")
    assert "Importance weights: none." in screen_words.weights_table(opened(), 100)
    assert len(ArenaAnalyzer(".").answers("base")) == 120


@pytest.mark.parametrize(
    "then, now, words",
    [
        ("folds: 5", "folds: 7", "folds was 5 and is 7"),
        ("refuse_ess: 0.05", "refuse_ess: 0.1", "guard_rails.refuse_ess was 0.05 and is 0.1"),
    ],
)
def test_results_of_other_settings_are_refused_with_the_setting(copy, then, now, words):
    params = copy / "params.yaml"
    params.write_text(params.read_text().replace(then, now))
    assert cje("analyze") == (
        f"error: the results here are not those of the settings: {words}; "
        "run dvc repro (what was paid for is kept)"
    )


def test_results_that_another_hand_changed_are_refused(copy):
    path = copy / "metrics/estimates.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    assert "metrics/estimates.json is not as the last run wrote it" in cje("export")


def test_a_folder_without_a_run_says_so(copy, tmp_path):
    assert cje("analyze", "--run-dir", "nowhere") == (
        "error: nowhere: no such folder; cje export makes one"
    )
    assert "give the project's folder" in cje("analyze", "--run-dir", str(tmp_path))
    shutil.rmtree("metrics")
    assert "metrics/validation.json: no such file; run dvc repro" in cje("analyze")


def test_the_run_folder_has_what_the_guide_promises(copy):
    assert cje("export") == 0
    folder = newest_run()
    assert re.fullmatch(r"run_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    logs = lines(folder / "stochastic_log.jsonl")
    run, found = open_run(), opened()
    assert list(logs[0]) == [
        "uid", "prompt", "answer", "token_logprobs", "action", "sequence_logp", "pi0",
        "oracle_score", "judge_raw", "calibrated_reward",
    ]  # fmt: skip
    assert len(logs) == 120
    for line, row in zip(logs, run.logs.itertuples(), strict=True):
        assert line["uid"] == row.uid and line["answer"] == row.answer
        assert sum(line["token_logprobs"]) == pytest.approx(line["sequence_logp"])
        assert line["pi0"] == pytest.approx(np.exp(line["sequence_logp"]))
        assert (line["oracle_score"] is None) == np.isnan(row.oracle_score)
    results = json.loads((folder / "token_level_cje_results.json").read_text())
    assert set(results["results"]) == {"better", "clone", "unhelpful", "base"}
    assert results["base_policy"] == "base" and results["best"] == found.best
    for row in results["results"].values():
        assert {"evidence", "labels", "truth_labels"} <= set(row)
        assert {"v_hat", "se", "ci_low", "ci_high", "oracle_truth", "absolute_error"} <= set(row)
        assert row["absolute_error"] == pytest.approx(
            abs(row["v_hat"] - row["oracle_truth"]), abs=1e-5
        )
    assert len(results["p_values_corrected"]) == len(found.comparisons) == 6
    assert len(results["guard_rail_violations"]) == len(found.violations)
    assert results["settings"]["max_samples"] == 120
    assert {"python", "cje-pipeline", "numpy", "pandas", "dvc"} <= set(results["versions"])
    names = ("calibration_curve.png", "comparison_heatmap.png", "params.yaml", "report.html")
    for name in names:
        assert name in results["checksums"]
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        names = {name.removeprefix(f"{folder.name}/") for name in archive.namelist()}
        on_disk = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
        assert names == on_disk
    assert not list(folder.parent.glob(".unfinished*"))


def test_a_run_folder_reads_as_the_project_does_and_gives_the_same_bytes_again(copy):
    assert cje("export", "--out", "kept/one") == 0
    for name in ("estimates", "comparisons", "violations", "weights"):
        pd.testing.assert_frame_equal(
            getattr(open_run("kept/one"), name), getattr(open_run(), name)
        )
    shutil.move("kept", "away")
    assert cje("export", "--out", "kept/one") == 0
    assert Path("kept/one.zip").read_bytes() == Path("away/one.zip").read_bytes()
    shutil.rmtree("metrics")
    shutil.move("kept/one", "outputs/arena_runs/run_2001-01-01_00-00-00")
    assert open_run().folder == Path("outputs/arena_runs/run_2001-01-01_00-00-00")


def test_an_export_replaces_nothing_and_leaves_nothing_half_done(copy, monkeypatch):
    assert cje("export", "--out", "kept/one") == 0
    assert cje("export", "--out", "kept/one") == (
        "error: kept/one.zip: already exists; remove it, or give another --out"
    )

    def full(*_):
        raise OSError(28, "No space left on device", "kept/two/x")

    monkeypatch.setattr("cje.results.export.write_json", full)
    assert "the disk is full" in cje("export", "--out", "kept/two")
    assert sorted(path.name for path in Path("kept").iterdir()) == ["one", "one.zip"]


def test_the_files_for_cje_eval(copy):
    assert cje("export", "--to", "cje") == 0
    logs = lines(Path("outputs/cje-eval/logged_data.jsonl"))
    found = open_run()
    labels = found.logs.set_index("uid")["oracle_score"].dropna()
    assert {line["prompt_id"] for line in logs if "oracle_label" in line} == set(labels.index)
    exact = found.target_logps.set_index(["uid", "policy"])["sequence_logp"]
    for line in logs[:20]:
        for policy, value in line["target_policy_logprobs"].items():
            assert value == max(exact[line["prompt_id"], policy], -1e6)
    draws = lines(Path("outputs/cje-eval/fresh_draws/better_responses.jsonl"))
    own = found.draws[found.draws["policy"] == "better"]
    assert [line["judge_score"] for line in draws] == list(own["judge_raw"])
    told = [line.get("oracle_label", np.nan) for line in draws]  # labels that validate stay out
    np.testing.assert_array_equal(told, own["oracle_score"])
    assert own["oracle_score"].notna().sum() == 40 and own["validation_score"].notna().any()


def test_file_names_of_policies_never_collide():
    names = file_names(["a/b", "a_b", "server/x:y", "plain"])
    assert len(set(names.values())) == 4 and names["plain"] == "plain"
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names.values())


def printed(width: int, **options) -> str:
    page = Console(width=width, highlight=False, **options)
    with page.capture() as captured:
        screen_words.print_summary(opened(), page)
    return captured.get()


@pytest.mark.parametrize("width", [60, 72, 80, 100, 160])
def test_the_screen_fits(here, width):
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    table = text[text.index("Expected oracle utility") :]
    for row in opened().estimates:
        line = next(x for x in table.splitlines() if x.startswith(f"{row.policy} "))
        shown = (row.raw_judge, row.calibrated_judge, row.v_hat, row.ci_low, row.ci_high)
        assert re.findall(r"\d\.\d{3}", line)[:5] == [f"{value:.3f}" for value in shown]
        assert f"{row.truth.oracle_truth:.3f}" in line and VERDICTS[row.verdict] in line
    hints = ("Next: cje report", "Change a setting: cje run")
    for words in ("Verdicts", "Notes, which change no verdict", *hints):
        assert words in text


def test_the_screen_says_what_it_took_and_why(here):
    text = printed(160)
    found = opened()
    for verdict, word in VERDICTS.items():
        assert f"{word} {(found.table['verdict'] == verdict).sum()} of 4" in text
    for one in found.issues:
        assert one.message in text and one.remedy in text
    assert f"This used {found.answers.labels} labels" in text
    assert "labelling every answer would have taken 480" in text
    assert "Mean distance to the truth" in text and "intervals agree with the truth" in text
    for row in found.against_base:
        if row.conclusion != "same":
            assert f"{row.policy_a} (by {abs(row.difference):.3f}, " in text


def test_a_policy_is_better_than_the_base_whichever_way_the_pair_stands(here):
    found = opened()
    pairs = found.comparisons.set_index(["policy_a", "policy_b"])
    for row in found.against_base:
        sign = 1 if (row.policy_a, found.base) in pairs.index else -1
        pair = pairs.loc[(row.policy_a, found.base) if sign == 1 else (found.base, row.policy_a)]
        assert row.difference == sign * pair["difference"]
        assert row.ci_low < row.difference < row.ci_high
        assert (row.conclusion == "same") == (pair["p_value_corrected"] >= 0.05)
        assert row.conclusion == "same" or (row.conclusion == "better") == (row.difference > 0)


def test_no_colour_where_none_is_wanted(here):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages"), "COLUMNS": "80"}
    command = [sys.executable, "-m", "cje.results.console"]
    piped = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
    assert "\x1b[" not in piped and "This used" in piped
    assert max(map(len, piped.splitlines())) <= 80
    coloured = printed(80, force_terminal=True, color_system="256")
    plain = printed(80, force_terminal=True, color_system="256", no_color=True)
    assert "38;5;" in coloured and "38;5;" not in plain


def luminance(colour: tuple[int, int, int]) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [c / 255 for c in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["BLUE", "GREEN", "ORANGE", "RED", "GREY"])
def test_colours_read_on_dark_and_on_light(name):
    value = luminance(Color.parse(getattr(theme, f"SCREEN_{name}")).get_truecolor())
    assert 1.05 / (value + 0.05) > 3 and (value + 0.05) / 0.05 > 3


def test_analyze_tells_everything_and_writes_what_was_asked_for(here, tmp_path, capsys):
    csv, figure = tmp_path / "deep/p.csv", tmp_path / "deep/p.png"
    assert cje("analyze", "--csv", str(csv), "--plot", str(figure)) == 0
    text = capsys.readouterr().out
    found = opened()
    rank = json.loads((here / "metrics/calibration.json").read_text())["spearman"]
    assert f"rank correlation (Spearman) of judge and oracle: {rank:.3f}" in text
    assert title(found) in " ".join(text.split())  # however wide the screen is
    assert "intervals agree with the truth" in " ".join(text.split())
    assert text.count(" - ") >= 3  # the pairs
    table = pd.read_csv(csv)
    assert list(table["policy"]) == found.policies
    assert table["v_hat"].to_numpy() == pytest.approx(found.table["v_hat"].to_numpy())
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [60, 72, 80, 120])
def test_tables_cut_no_names_on_a_narrow_screen(here, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert cje("analyze") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    found = opened()
    for policy in found.policies:  # estimates, intervals, truth, weights
        assert sum(line.startswith(f"{policy} ") for line in lines) >= 4
    for pair in found.differences:
        assert any(line.startswith(f"{pair.policy_a} - {pair.policy_b} ") for line in lines)


def test_an_interval_is_drawn_where_it_is():
    assert screen_words.line(50, 0, 10, 20, 15).rstrip() == "-" * 10 + "o" + "----x-----"
    assert screen_words.line(50, 5, 7, 9, 7).rstrip() == "     --*--"
    assert len(screen_words.line(20, 0, 0, 0, None)) == 20


def test_the_analyzer(here):
    analyzer = ArenaAnalyzer()
    assert analyzer.estimates.equals(opened().table)
    there, back = analyzer.compare("better", "clone"), analyzer.compare("clone", "better")
    assert there["difference"] == -back["difference"] and there["ci_low"] == -back["ci_high"]
    assert there["p_value"] == back["p_value"]
    assert (there["conclusion"], back["conclusion"]) in {
        ("better", "worse"), ("worse", "better"), ("same", "same")
    }  # fmt: skip
    with pytest.raises(CJEError, match="'nobody' is no policy of this run; there are"):
        analyzer.compare("better", "nobody")
    with pytest.raises(CJEError, match="itself"):
        analyzer.compare("better", "better")
    drawn = analyzer.answers("better")
    assert len(drawn) == 120 and drawn["oracle_score"].notna().sum() == 40
    assert drawn["validation_score"].notna().sum() == 60
    assert not (drawn["oracle_score"].notna() & drawn["validation_score"].notna()).any()
    logged = analyzer.answers("base")
    assert (logged["draw"] == -1).all() and logged["weight_clone"].notna().all()
    assert len(analyzer.answers()) == 4 * 120
    with pytest.raises(CJEError, match="no policy"):
        analyzer.answers("nobody")
    weights = analyzer.diagnose_weights()
    assert set(weights["status"]) <= {"GOOD", "WARNING", "CRITICAL", "not used"}
    assert weights.loc["base", "status"] == "not used"
    assert weights.loc["clone", "ess"] == 1 and weights.loc["clone", "issues"] == "none"
    for picture in (
        analyzer.plot_weight_diagnostics(), analyzer.plot_estimates(), analyzer.plot_differences(),
        analyzer.plot_comparisons(), analyzer.plot_calibration(),
    ):  # fmt: skip
        assert picture._repr_png_().startswith(b"\x89PNG")
    page = analyzer._repr_html_()
    assert page.count("<tr>") == 5 and "own labels" in page


def test_names_of_policies_are_no_markup_on_the_screen(tmp_path, capsys):
    names = ("a[x]b", ":eyes:", "c[/]")
    folder = write_run(tmp_path / "run", policies=names, verdicts=("reliable", "caution"))
    view = RunView(Run(folder, load_settings(folder / "params.yaml")))
    screen_words.print_summary(view, screen_words.screen())
    told = capsys.readouterr().out
    assert all(told.count(name) >= 2 for name in names)


def test_policies_names_are_text_in_html(here, monkeypatch):
    analyzer = ArenaAnalyzer()
    name = "<script>alert(1)</script>"
    rows = [
        replace(row, policy=name) if row.policy == "better" else row
        for row in analyzer.view.estimates
    ]
    analyzer.view.__dict__["estimates"] = rows
    assert "&lt;script&gt;" in analyzer._repr_html_()
    assert "<script>" not in analyzer._repr_html_()


def test_the_notebook_runs(here):
    (here / "examples").mkdir(exist_ok=True)
    notebook = nbformat.read(ROOT / "examples/arena_interactive.ipynb", 4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(here / "examples")}}
    )
    client.execute()
    kinds = [set(o["data"]) for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in kind for kind in kinds) == 4
    assert sum("text/html" in kind for kind in kinds) >= 4


def test_the_example_script_writes_table_and_figure(copy):
    shutil.copytree(ROOT / "examples", "examples", dirs_exist_ok=True)
    output = run(sys.executable, "examples/analyze_arena_results.py", cwd=copy)
    assert "No clear difference" in output or "Better than" in output
    assert Path("outputs/policies.csv").exists() and Path("outputs/intervals.png").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command(shell, capsys):
    cje("completion", shell)
    script = capsys.readouterr().out
    for word in ("run", "cost", "store", "analyze", "export", "completion", "--run-dir"):
        assert word in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_command_has_help(capsys):
    actions = next(a for a in parser()._actions if isinstance(a.choices, dict))
    for name in actions.choices:
        assert cje(name, "--help") == 0
        assert f"cje {name}" in capsys.readouterr().out
