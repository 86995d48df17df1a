"""A plan keeps what it promises, costs the least, and says what it assumed."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import cje
from cje.cli import main
from cje.commands.pilots import read_frame
from cje.commands.stopping import standing
from cje.errors import CJEError
from cje.results import answer
from cje.results.run import RESULTS, Run
from cje.results.view import RunView
from cje.settings import parse_settings
from cje.stats.planning import Aim, Planner, Prices, Size, guessed, pilot
from cje.stats.spreads import doubt, steadied
from reported import write_run
from worlds import models

PRICES = Prices(label=0.01, prompt=0.001)
FREE = Prices(0.0, 0.0)
SETTINGS = {"base_model": "sim/base", "target_models": ["sim/better"]}
GUESS = {"policies": 4, "mean": 0.6, "spread": 0.25, "judge": 0.6, "between": 0.4}


def half_widths(analysis: cje.Analysis) -> pd.Series:
    rows = analysis.estimates
    return (rows["ci_high"] - rows["ci_low"]) / 2


def frames(seed: int, labels: int) -> dict[str, pd.DataFrame]:
    logs, draws = models(seed, labels=labels)
    return {"logs": logs, "draws": draws}


def test_the_widths_reached_are_those_planned():
    planned, ranges, reached, detected = [], [], [], []
    for seed in range(12):
        found = pilot(**frames(seed, 40))
        planner = Planner(found, Aim(within=0.05))
        got = planner.reach(Size(400, 100, 80))
        ranges.append(planner.likely(Size(400, 100, 80)))
        planned.append(pd.Series(got.half_widths, found.policies))
        detected.append(got.detectable)
        later = cje.analyze(**frames(100 + seed, 80))
        reached.append(half_widths(later).reindex(found.policies))
    ratio = pd.DataFrame(reached).mean() / pd.DataFrame(planned).mean()
    assert ratio.between(0.9, 1.1).all(), ratio
    widest = pd.DataFrame(reached).max(axis=1).to_numpy()
    low, high = np.transpose(ranges)
    held = (low[:, None] <= widest) & (widest <= high[:, None])
    assert held.mean() > 0.85 and (high / low).mean() < 1.4, (held.mean(), high / low)
    assert 0 < np.mean(detected) < 0.3


def test_a_plan_reaches_its_aim_and_no_fewer_labels_do():
    planner = Planner(guessed(**GUESS), Aim(within=0.03))
    size = planner.plan(PRICES, 20_000)
    assert planner.reach(size).half_widths.max() <= 0.03
    fewer = Size(size.prompts, size.logged, size.own - 2)
    assert planner.reach(fewer).half_widths.max() > 0.03
    assert size.own <= size.logged <= size.prompts


def test_prices_decide_where_the_money_goes():
    planner = Planner(guessed(**GUESS), Aim(within=0.03))
    cheap_prompts = planner.plan(Prices(1.0, 0.001), 20_000)
    cheap_labels = planner.plan(Prices(0.001, 1.0), 20_000)
    assert cheap_prompts.prompts > cheap_labels.prompts
    assert cheap_prompts.labels(4) < cheap_labels.labels(4)
    assert planner.plan(FREE, 20_000).labels(4) <= 1.01 * cheap_prompts.labels(4)


def test_variances_are_drawn_together_as_far_as_they_are_noise():
    rng = np.random.default_rng(3)
    noise = 0.08 * (0.8 * np.eye(12) + 0.2)
    alike, apart, doubted = [], [], []
    for _ in range(200):
        errors = rng.multivariate_normal(np.zeros(12), noise)
        found, error = steadied(np.exp(errors), noise)
        alike.append([np.log(found).std(), errors.std()])
        doubted.append([np.log(found).mean() ** 2, error.mean()])
        true = np.where(np.arange(12) == 5, 3.0, 1.0)
        apart.append(np.log(steadied(true * np.exp(errors), noise)[0] / true)[5] - errors[5])
    assert np.divide(*np.mean(alike, axis=0)) < 0.6
    assert np.divide(*np.mean(doubted, axis=0)) == pytest.approx(1, abs=0.25)
    assert np.min(apart) >= -0.5 * 0.08**0.5 - 1e-9  # the one unlike all others is moved little
    two = np.array([0.1, 0.4])
    assert steadied(two, noise[:2, :2])[0] is two  # of two nothing tells which is the odd one


def test_kurtosis_says_how_well_a_variance_is_known():
    rng = np.random.default_rng(5)
    values = rng.standard_t(9, size=(4000, 40, 3))
    spread = np.log((values**2).mean(axis=1)).var(axis=0).mean()
    seen = np.mean([np.diag(doubt(v, np.ones((40, 3), bool)).known) for v in values[:400]])
    assert seen == pytest.approx(spread, rel=0.25)


def test_what_cannot_be_reached_has_no_plan():
    assert Planner(guessed(**GUESS), Aim(within=0.001)).plan(PRICES, 500) is None


def test_a_better_judge_and_policies_more_alike_need_fewer_labels():
    def labels(aim: Aim, **changes) -> int:
        return Planner(guessed(**GUESS | changes), aim).plan(FREE, 20_000).labels(4)

    assert labels(Aim(within=0.03), judge=0.9) < labels(Aim(within=0.03), judge=0.1)
    apart = Aim(apart=0.05)
    assert labels(apart, between=0.8) < labels(apart, between=0.1)
    assert labels(apart) < labels(Aim(apart=0.05, power=0.95))
    assert labels(apart) < labels(Aim(apart=0.05, anytime=True))


def test_the_power_is_that_which_was_planned():
    """Differences of paired means as the plan has them, told at Holm's first level."""
    found = guessed(**GUESS)
    planner = Planner(found, Aim(apart=0.05))
    size = planner.plan(FREE, 20_000)
    rng = np.random.default_rng(0)
    parts = [
        rng.multivariate_normal(np.zeros(4), cov / n, 4000)
        for cov, n in (
            (found.everywhere, size.prompts), (found.beyond, size.logged), (found.left, size.own),
        )
    ]  # fmt: skip
    estimates = sum(parts)
    gap = estimates[:, 1] + 0.05 - estimates[:, 2]
    power = (np.abs(gap) / gap.std() > 2.638).mean()  # alpha .05 over 6 pairs
    assert 0.77 < power < 0.9


def test_too_small_a_pilot_is_refused():
    with pytest.raises(CJEError, match="too few labels"):
        pilot(**frames(0, 5))


def told(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["plan", *words])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_command_plans_from_files_and_says_what_it_assumed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for name, frame in frames(0, 60).items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    files = ["--logs", str(tmp_path / "logs.csv"), "--draws", str(tmp_path / "draws.csv")]
    said = told(capsys, "--within", "0.03", "--minutes-a-label", "2", *files)
    for words in (
        "half the labels",
        "hours of labelling",
        "sampling: active",
        "Holm",
        "60 on each of",
    ):
        assert words in said
    assert "intervals: anytime" not in said  # widths may be looked at
    said = told(capsys, "--apart", "0.05", *files)
    assert "intervals: anytime" in said
    ids = {uid: f"{place:04}" for place, uid in enumerate(frames(0, 60)["logs"]["uid"])}
    for name, frame in frames(0, 60).items():
        named = frame.assign(uid=frame["uid"].map(ids))  # 0007 and 7 are two ids
        named.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
        assert read_frame(tmp_path / f"{name}.jsonl")["uid"].tolist() == named["uid"].tolist()
        assert read_frame(tmp_path / f"{name}.csv").notna().sum().sum() == frame.notna().sum().sum()


def test_a_plan_for_own_files_says_which_answers_to_label(tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path / "run", prompts=300, source="files", verdicts=("reliable",) * 4)
    (folder / RESULTS).touch()  # as in a run folder
    monkeypatch.setenv("COLUMNS", "100")
    said = " ".join(told(capsys, "--within", "0.04", "--run-dir", str(folder)).split())
    assert "300 prompts" in said and "at most 300 prompts, those in the files" in said
    assert re.search(r"In the files: label \(oracle_score\) \d+ more of ", said)
    for setting in ("--max-samples", "--oracle-fraction", "half the prompts", "sampling: active"):
        assert setting not in said
    with pytest.raises(
        SystemExit, match=r"cannot be reached with 300 .*\n.*add prompts to the files"
    ):
        main(["plan", "--within", "0.005", "--run-dir", str(folder)])
    more = ["--within", "0.04", "--most-prompts", "9000", "--prompt-price", "0"]
    assert re.search(
        r"In the files: add [\d,]+ prompts", told(capsys, *more, "--run-dir", str(folder))
    )


@pytest.mark.parametrize(
    "words, problem",
    [
        ([], "--within 0.03"),
        (["--within", "2"], "--within: 2 is not between 0 and 0.5"),
        (["--within", "0.03", "--logs", "x.csv"], "both, --logs and --draws"),
        (["--within", "0.03", "--logs", "x.csv", "--draws", "x.csv"], "x.csv: no such file"),
        (["--within", "0.001", "--spread", "0.3"], "cannot be reached with 10,000 prompts"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(words, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=problem):
        main(["plan", *words])


def test_a_run_that_has_reached_its_aim_is_told_to_stop(tmp_path):
    def said(run: Run, **aim) -> str:
        reached, lines = standing(RunView(run), Aim(**aim), None)
        assert reached == lines[0].startswith("You can stop: ")
        return " ".join(lines)

    run = Run(write_run(tmp_path / "run", verdicts=("reliable",)), parse_settings(SETTINGS))
    assert "at most 0.05 (the widest, of" in said(run, within=0.05)
    assert "You may look at widths after every batch" in said(run, within=0.05)
    assert "Do not stop yet: not every half width is at most 0.03" in said(run, within=0.03)
    words = said(run, apart=0.05)
    assert "the differences of all policies are clear" in words
    assert "a number of labels that was set" in words
    anytime = replace(run, settings=parse_settings(SETTINGS | {"intervals": "anytime"}))
    assert "valid at any time: you may look" in said(anytime, apart=0.05)
    pairs = run.folder / "metrics" / "comparisons.csv"
    pairs.write_text(pairs.read_text().replace("0.004", "0.4"))
    missing = said(Run(run.folder, run.settings), within=0.03, apart=0.05)
    assert "a difference of 0.05 would not be detected" in missing
    assert " and not every" not in missing
    refused = Run(write_run(tmp_path / "refused"), run.settings)
    assert "Do not stop yet: strange is refused" in said(refused, within=0.1)
    assert answer.looking(RunView(run)) == []
    (run.folder / "metrics" / "labels.json").write_text('{"waiting": 3}')
    assert "set beforehand" in answer.looking(RunView(Run(run.folder, run.settings)))[0]
