"""With the same labels, CJE's estimates are closer to the truth than the labels' mean, and its
intervals hold it: on real evaluations of which every label is known, most of them hidden."""

import sys

import numpy as np
import pytest

from pipeline import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from label_efficiency import redraws
from label_efficiency.measures import completed, measures
from label_efficiency.multiple import claims, holm
from label_efficiency.peers import with_cje, with_labels
from label_efficiency.sets import LabelSet, label_sets

FOLDER = ROOT.parent / "shared" / "label_sets"
SMALL = ("realsumm", "wildbench")
REDRAWS, LABELS = 20, 50


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the sets of ../shared/label_sets are not here")
@pytest.mark.parametrize("name", SMALL)
def test_labels_are_used_well(name):
    (of,) = label_sets(FOLDER, [name])
    found, labels = [], []
    for redraw in redraws.task(of, LABELS, REDRAWS, "redrawn").redraws(0, REDRAWS):
        found.append(with_cje.answer(redraw)["ours"])
        labels.append(with_labels.answer(redraw)["labels"])
    of_labels = stacked(labels)
    figures = measures(completed(stacked(found), of_labels), of_labels, of.truth[1:])
    assert figures["error"] <= 1.0
    assert 0.9 <= figures["coverage"] <= 1.0


def stacked(answers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def small_set(prompts: int = 80, targets: int = 3) -> LabelSet:
    rng = np.random.default_rng(0)
    oracle = rng.random((prompts, 1 + targets))
    judge = oracle + 0.1 * rng.normal(size=oracle.shape)
    return LabelSet("made", ("base", "a", "b", "c")[: 1 + targets], judge, oracle)


@pytest.mark.parametrize("labels", (10, 50))
def test_targets_are_labelled_on_the_same_prompts_nested_in_the_logs_labels(labels):
    task = redraws.task(small_set(), labels, 3, "redrawn")
    logged, own = task.logged_labels.sum(axis=1), task.own_labels.sum(axis=1)
    assert (logged == 20).all() and (own == labels).all()
    both = (task.logged_labels & task.own_labels).sum(axis=1)
    assert (both == min(20, labels)).all()
    for redraw in task.redraws(0, 3):
        hidden = np.isnan(redraw.oracle[:, 1:])
        assert (hidden == hidden[:, :1]).all() and len(redraw.labelled) == labels


def test_redraws_are_the_same_for_every_number_of_labels_and_of_redraws():
    few = redraws.task(small_set(), 10, 2, "redrawn")
    many = redraws.task(small_set(), 50, 3, "redrawn")
    assert (few.rows == many.rows[:2]).all()
    assert not (few.own_labels & ~many.own_labels[:2]).any()


def test_a_useless_judge_keeps_its_scores_and_loses_its_sense():
    of = small_set(2000)
    (redraw,) = redraws.task(of, 1999, 1, "fixed", useless_judge=True).redraws(0, 1)
    assert (np.sort(redraw.judge, axis=0) == np.sort(of.judge, axis=0)).all()
    assert abs(np.corrcoef(redraw.judge[:, 1], of.oracle[:, 1])[0, 1]) < 0.1


def test_a_task_survives_its_file(tmp_path):
    task = redraws.task(small_set(), 10, 2, "redrawn", useless_judge=True)
    task.write(tmp_path / "task.npz")
    again = type(task).read(tmp_path / "task.npz")
    for one, other in zip(task.redraws(0, 2), again.redraws(0, 2), strict=True):
        assert one.policies == other.policies
        np.testing.assert_array_equal(one.judge, other.judge)
        np.testing.assert_array_equal(one.oracle, other.oracle)


def test_figures_of_a_method_half_as_far_off():
    truth = np.array([0.4, 0.5, 0.6])
    gap = np.array([[0.1, -0.1, 0.05], [-0.1, 0.1, -0.05]])
    signs = claims(np.array([1.0, 1.0, -1.0]), np.array([0.001, 0.9, 0.002]), 3)
    claimed = np.stack([signs, signs])
    labels = {"value": truth + gap, "low": truth + gap - 0.2, "high": truth + gap + 0.2}
    better = {
        "value": truth + gap / 2,
        "low": truth + gap / 2 - 0.1,
        "high": truth + gap / 2 + 0.1,
        "claims": claimed,
    }
    better["low"][0, 0] = truth[0] + 0.01
    figures = measures(completed(better, labels), labels, truth)
    assert figures["error"] == pytest.approx(0.25)
    assert figures["coverage"] == pytest.approx(5 / 6)
    assert figures["worst"] == pytest.approx(0.5)
    assert figures["claims"] == pytest.approx(2 / 3)
    assert figures["wrong"] == pytest.approx(0.5)  # a is called better than b, and is worse
    assert figures["regret"] == 0


def test_holm_leaves_out_what_was_not_tested():
    corrected = holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(corrected, [0.03, np.nan, 0.06, 0.06])


def test_other_methods_are_given_the_mean_score_where_the_judge_gave_none():
    whole = small_set()
    judge = np.clip(whole.judge, 0, 1)
    judge[:20, 1] = np.nan
    gappy = LabelSet(whole.name, whole.policies, judge, whole.oracle)
    (redraw,) = redraws.task(gappy, 20, 1, "fixed").redraws(0, 1)
    assert np.isnan(redraw.judge[:20, 1]).all()
    assert redraw.whole_judge[:20, 1] == pytest.approx(np.full(20, judge[20:, 1].mean()))
    assert np.isfinite(with_cje.answer(redraw)["ours"]["value"]).all()
