"""Every guard rail: when it speaks, how gravely and what it asks for; and the verdicts."""

import re
from dataclasses import replace

import pandas as pd
import pytest

import cje
from cje.stats import guardrails
from cje.stats.facts import (
    PolicyDiagnostics,
    PolicyValidation,
    RunDiagnostics,
    RunValidation,
    finite_facts,
)
from cje.stats.guardrails import Violation, best_policy, verdict, violations_frame, violations_list
from cje.stats.rails import RAILS, label_answers, labels_needed
from cje.thresholds import THRESHOLD_LIST, THRESHOLDS
from cje.vocabulary import EstimatorName, Evidence, Reach, Severity, Status, Verdict, WeightKind
from worlds import models

NOTE, WARNING, CRITICAL = Severity.NOTE, Severity.WARNING, Severity.CRITICAL
LABELS = PolicyDiagnostics(
    policy="t", is_base=False, logged=False, widened=False,
    estimator=EstimatorName.DR_CPO, method=EstimatorName.DR_CPO,
    evidence=Evidence.LABELS, value=0.6, half_width=0.03, spread=0.2, weights=WeightKind.NONE,
    why="100 own labels", status=Status.WARNING, ess=0.0, mean_weight=1.0, mean_weight_z=0.0,
    max_share=0.0, tail_index=float("-inf"), zero_share=0.0, extreme_share=0.0, sequence_ess=None,
    sequence_mean_weight=None, sequence_mean_weight_z=None, sequence_zero_share=None,
    sequence_tail_index=None, sequence_extreme_share=None, residual_tail_index=None,
    residual_bend=0.0, reach=Reach.NONE, log_ratio_sd=None, unscored_share=1.0,
    raw_logprobs=False, identical=False, labels=100, effective_labels=100.0, label_skew=0.02,
    power=1.0, label_values=80, spearman=0.6, out_of_range=0.0, labels_z=0.5, transport=0.0,
    transport_z=0.0, gap_z=None, draws=1000, prompts_with_draws=1000,
)  # fmt: skip
EXACT = replace(
    LABELS, evidence=Evidence.WEIGHTS, weights=WeightKind.SEQUENCE, status=Status.GOOD, ess=0.8,
    sequence_ess=0.8, sequence_mean_weight=1.0, sequence_mean_weight_z=0.1,
    sequence_zero_share=0.0, sequence_tail_index=0.1, sequence_extreme_share=0.0,
    residual_tail_index=0.2, reach=Reach.STANDS, log_ratio_sd=0.4, unscored_share=0.0, labels=0,
    effective_labels=200.0, label_values=0, labels_z=None, power=None,
)  # fmt: skip
BOTH = replace(EXACT, evidence=Evidence.BOTH, labels=100, effective_labels=200.0, label_values=80)
NOTHING = replace(LABELS, evidence=Evidence.NONE, labels=0, labels_z=None, power=None)
BASE = replace(LABELS, policy="base", is_base=True, ess=1.0, unscored_share=0.0, labels=250)
SOUND = {"labels": LABELS, "exact": EXACT, "both": BOTH, "base": BASE}


def found(subject, **limits) -> dict[str, Severity]:
    """The codes found and the gravest severity of each."""
    codes: dict[str, Severity] = {}
    order = [NOTE, WARNING, CRITICAL]
    for violation in guardrails.find(subject, THRESHOLDS | limits):
        known = codes.get(violation.code, NOTE)
        codes[violation.code] = max(known, violation.severity, key=order.index)
    return codes


@pytest.mark.parametrize("subject", SOUND.values(), ids=SOUND)
def test_where_nothing_is_wrong_no_rail_speaks(subject):
    assert found(subject) == {}


# What is wrong, with what; what it is called, how grave it is; the same on the right side.
SHARED = {"base_prompts": 1000, "shared_prompts": 900}
MORE = "label 30 more of its own answers"
CASES = [
    (NOTHING, {}, "nothing_checks_it", CRITICAL, None),
    (LABELS, {"labels": 29}, "insufficient_oracle", WARNING, {"labels": 30}),
    (LABELS, {"labels": 9}, "insufficient_oracle", CRITICAL, None),
    (BASE, {"labels": 29}, "insufficient_oracle", WARNING, {"labels": 30}),
    (EXACT, {"effective_labels": 49.9}, "insufficient_oracle", WARNING, {"effective_labels": 50.0}),
    (LABELS, {"half_width": 0.16}, "wide_interval", WARNING, {"half_width": 0.15}),
    (LABELS, {"half_width": 0.26}, "wide_interval", CRITICAL, None),
    (LABELS, {"value": 0.5, "label_skew": 0.31}, "skewed_labels", WARNING,
     {"value": 0.5, "label_skew": 0.3}),
    (LABELS, {"value": 0.5, "label_skew": 0.6}, "skewed_labels", WARNING,
     {"value": 0.04, "label_skew": 0.6}),
    (LABELS, {"value": 0.97, "half_width": 0.03, "label_skew": 0.9}, "skewed_labels", WARNING,
     {"value": 0.97, "half_width": 0.03, "label_skew": 0.7}),
    (EXACT, {"spearman": 0.29}, "low_proxy_correlation", WARNING, {"spearman": 0.3}),
    (EXACT, {"spearman": None}, "low_proxy_correlation", WARNING, None),
    (LABELS, {"spearman": 0.1}, "low_proxy_correlation", NOTE, None),
    (LABELS, {"spearman": 0.1, "labels": 40}, "low_proxy_correlation", WARNING, None),
    (EXACT, {"sequence_ess": 0.29}, "poor_overlap", WARNING, {"sequence_ess": 0.3}),
    (EXACT, {"sequence_ess": 0.04}, "poor_overlap", CRITICAL, None),
    (EXACT, {"sequence_tail_index": 0.71}, "poor_overlap", WARNING, {"sequence_tail_index": 0.7}),
    (EXACT, {"residual_tail_index": 0.71}, "poor_overlap", WARNING, {"residual_tail_index": 0.7}),
    (EXACT, {"residual_bend": -2.1}, "poor_overlap", WARNING, {"residual_bend": -1.9}),
    (EXACT, {"sequence_extreme_share": 0.011}, "extreme_weights", WARNING,
     {"sequence_extreme_share": 0.01}),
    (BOTH, {"sequence_extreme_share": 0.011}, "extreme_weights", WARNING, None),
    (EXACT, {"sequence_mean_weight": 1.3, "sequence_mean_weight_z": 4.0}, "extreme_weights",
     WARNING, {"sequence_mean_weight": 1.3, "sequence_mean_weight_z": 2.0}),
    (EXACT, {"sequence_mean_weight": 0.8, "sequence_mean_weight_z": -4.0}, "missing_support",
     WARNING, {"sequence_mean_weight": 0.95, "sequence_mean_weight_z": -4.0}),
    (EXACT, {"sequence_mean_weight": 0.2, "sequence_mean_weight_z": -9.0}, "missing_support",
     CRITICAL, None),
    (EXACT, {"sequence_zero_share": 0.93}, "zero_weights", WARNING, {"sequence_zero_share": 0.8}),
    (EXACT, {"sequence_zero_share": 1.0}, "zero_weights", CRITICAL, None),
    (EXACT, {"identical": True}, "identical_policy_weights", CRITICAL,
     {"identical": True, "log_ratio_sd": 0.0}),
    (LABELS, {"identical": True, "log_ratio_sd": 0.4}, "identical_policy_weights", NOTE, None),
    (EXACT, {"rescored_spread": 0.02}, "identical_policy_weights", CRITICAL,
     {"rescored_spread": 0.01}),
    (BOTH, {"rescored_spread": 0.02}, "identical_policy_weights", CRITICAL, None),
    (EXACT, {"out_of_range": 0.06}, "calibration_out_of_range", WARNING, {"out_of_range": 0.05}),
    (LABELS, {"out_of_range": 0.06}, "calibration_out_of_range", NOTE, None),
    (LABELS, {"transport_z": -3.1}, "transport_failure", NOTE, {"transport_z": -2.9}),
    (LABELS, {"transport_z": 3.1, "method": EstimatorName.DIRECT}, "transport_failure", CRITICAL,
     None),
    (LABELS, {"gap_z": 3.1}, "transport_failure", NOTE, {"gap_z": 2.9}),
    (EXACT, {"widened": True}, "uncorrected", WARNING, {"widened": False}),
    (EXACT, {"unscored_share": 0.04}, "no_teacher_forcing", WARNING, {"unscored_share": 0.0}),
    (NOTHING, {"raw_logprobs": True}, "raw_logprobs", WARNING, {"raw_logprobs": False}),
    (LABELS, {"raw_logprobs": True}, "raw_logprobs", NOTE, None),
    (EXACT, {"draws": 0}, "no_fresh_draws", WARNING, {"draws": 1}),
    (LABELS, {"labels_z": 3.1}, "labels_not_random", WARNING, {"labels_z": 2.9}),
    (LABELS, {"labels_z": -3.1}, "labels_not_random", WARNING, {"labels_z": None}),
    (LABELS, SHARED | {"prompts_z": -3.1}, "prompts_not_shared", WARNING,
     SHARED | {"prompts_z": -2.9, "missing": 0.09}),
    (LABELS, SHARED | {"shared_prompts": 0}, "prompts_not_shared", WARNING, None),
    (LABELS, SHARED, "prompts_not_shared", NOTE, SHARED | {"shared_prompts": 980}),
    (LABELS, {"skipped": 0.021}, "skipped_labels", WARNING, {"skipped": 0.02}),
    (LABELS, {"passed_over": 0.021}, "labels_out_of_order", WARNING, {"passed_over": 0.02}),
    (LABELS, {"missing": 0.021}, "missing_answers", WARNING, {"missing": 0.02}),
    (LABELS, {"left_out": 0.021}, "rows_left_out", WARNING, {"left_out": 0.02}),
    (LABELS, {"truncated": 0.21}, "truncated_answers", WARNING, {"truncated": 0.2}),
    (LABELS, {"unparsed": 0.021}, "unparsed_judgements", WARNING, {"unparsed": 0.02}),
    (LABELS, {"self_preference": "judge"}, "self_preference", NOTE, None),
    (EXACT, {"self_preference": "judge"}, "self_preference", WARNING, None),
    (LABELS, {"self_preference": "oracle"}, "self_preference", WARNING, None),
    (RunDiagnostics(0.5, False, 100), {"span": 0.09}, "range_not_used", WARNING, {"span": 0.1}),
    (RunDiagnostics(0.5, False, 100, 1000), {"unscored_prompts": 1}, "unscored_prompts", NOTE,
     {"unscored_prompts": 0}),
    (RunDiagnostics(0.5, False, 100, 1000), {"unscored_prompts": 501}, "unscored_prompts", WARNING,
     None),
    (PolicyValidation("t", Evidence.LABELS, 0.0, MORE), {"gap_z": 3.1}, "contradicted", WARNING,
     {"gap_z": 2.9}),
    (PolicyValidation("t", Evidence.BOTH, 0.0, MORE), {"gap_z": -3.1}, "contradicted", WARNING,
     None),
    (PolicyValidation("t", Evidence.WEIGHTS, 0.0, MORE), {"gap_z": -3.1}, "contradicted", CRITICAL,
     None),
    (RunValidation(10, 10), {"covered": 7}, "poor_coverage", WARNING, {"covered": 8}),
]  # fmt: skip


@pytest.mark.parametrize("sound, wrong, code, severity, right", CASES)
def test_a_rail_speaks_where_it_should_and_not_beside_it(sound, wrong, code, severity, right):
    assert found(replace(sound, **wrong)).get(code) == severity
    if right is not None:
        assert code not in found(replace(sound, **right))


def test_every_rail_has_its_cases():
    assert {case[2] for case in CASES} == {rail.code for rail in RAILS}
    assert len({rail.code for rail in RAILS}) == len(RAILS)
    assert all(rail.meaning for rail in RAILS)


@pytest.mark.parametrize(
    "wrong",
    [{"sequence_ess": 0.01}, {"sequence_mean_weight": 0.1, "sequence_mean_weight_z": -9.0},
     {"sequence_zero_share": 1.0}, {"sequence_extreme_share": 0.5}, {"unscored_share": 0.5},
     {"sequence_tail_index": 0.9}, {"residual_bend": 5.0}],
)  # fmt: skip
def test_weights_that_are_not_used_say_nothing_of_a_number_that_labels_carry(wrong):
    carried = replace(EXACT, evidence=Evidence.LABELS, labels=100, label_values=80)
    assert found(replace(carried, **wrong)) == {}
    assert found(replace(EXACT, **wrong)) != {}


@pytest.mark.parametrize("values, value", [(2, 0.02), (1, 0.0), (2, 0.99)])
def test_labels_of_two_values_have_an_exact_interval_and_no_skew(values, value):
    assert found(replace(LABELS, label_values=values, value=value, label_skew=0.9)) == {}


def test_pass_and_fail_use_the_whole_scale_however_few_fail():
    assert found(RunDiagnostics(span=0.0, at_the_ends=True, all_labels=100)) == {}
    assert found(RunDiagnostics(span=0.0, at_the_ends=False, all_labels=9)) == {}


def test_of_no_policy_validated_coverage_says_nothing():
    assert found(RunValidation(0, 0)) == {}


class Watched(dict):
    """Limits that remember which were read."""

    def __init__(self):
        super().__init__(THRESHOLDS)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self.read.add(name)
        return super().__getitem__(name)


def test_each_threshold_is_read_by_the_rails_that_name_it_and_by_no_other():
    subjects = [replace(sound, **(wrong or {})) for sound, wrong, *_ in CASES] + [
        replace(sound, **right) for sound, _, _, _, right in CASES if right
    ]
    for rail in RAILS:
        limits = Watched()
        for subject in subjects:
            if isinstance(subject, rail.subject):
                list(rail.check(subject, limits))
        assert limits.read == set(rail.thresholds), rail.code
    assert {name for rail in RAILS for name in rail.thresholds} == set(THRESHOLDS)


@pytest.mark.parametrize("threshold", THRESHOLD_LIST, ids=lambda threshold: threshold.name)
def test_every_threshold_moves_a_finding(threshold):
    """At its loosest something is silent that speaks at its strictest."""
    top = 1e6 if threshold.kind == "count" else 1.0
    subjects = [replace(sound, **wrong) for sound, wrong, *_ in CASES]
    subjects += [replace(LABELS, label_skew=0.9)]
    one, other = (
        [found(subject, **{threshold.name: value}) for subject in subjects] for value in (0, top)
    )
    assert one != other


def test_a_threshold_that_is_not_known_is_an_error_that_lists_them():
    with pytest.raises(cje.CJEError, match="thresholds: nonsense: not known; there are min_oracle"):
        cje.analyze(*models(0), thresholds={"nonsense": 1})


def test_a_threshold_given_decides():
    strict = cje.analyze(*models(0), thresholds={"max_half_width": 0.01})
    assert set(strict.estimates["verdict"]) == {"caution"}
    lax = cje.analyze(*models(0, labels=20), thresholds={"min_target_labels": 15})
    assert "insufficient_oracle" not in set(lax.violations["code"])


def numbers(remedy: str) -> list[int]:
    return [int(n.replace(",", "")) for n in re.findall(r"label ([\d,]+)", remedy)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[2]} {case[3]}")
@pytest.mark.parametrize("labels", [0, 5, 29, 100, 5000])
def test_a_remedy_asks_for_more_labels_than_there_are_or_for_none(case, labels):
    sound, wrong, *_ = case
    if not isinstance(sound, PolicyDiagnostics):
        return
    subject = replace(sound, **(wrong | ({"labels": labels} if "labels" not in wrong else {})))
    for violation in guardrails.find(subject, THRESHOLDS):
        assert all(more > 0 for more in numbers(violation.remedy))
        assert violation.message and violation.remedy
        for text in (violation.message, violation.remedy):
            assert not text.endswith(".") and "None" not in text and "nan" not in text


def test_a_remedy_asks_for_labels_that_are_not_there_and_ends_in_the_command_that_draws_them():
    here = replace(LABELS, labels=10, adds_labels=True)
    assert label_answers(replace(here, adds_labels=False)) == "label 52 more of its own answers"
    assert label_answers(here).endswith(": cje label --policy t --add 52")
    assert label_answers(replace(here, labels=400)).endswith("--add 400")
    assert label_answers(replace(here, labels=900)).endswith("--add 100")  # all that there are
    assert "max_samples" in label_answers(replace(here, labels=1000))
    assert label_answers(replace(here, waiting=20)).endswith("--policy t --add 32")
    assert label_answers(replace(here, waiting=52)).endswith("which wait on the list: cje label")
    assert label_answers(replace(here, policy="a b", labels=400)).endswith("'a b' --add 400")
    base = replace(BASE, labels=10, adds_labels=True)
    assert label_answers(base).startswith("label 52 more of the logged answers: cje label")
    undrawn = guardrails.find(replace(NOTHING, draws=0), THRESHOLDS)
    assert "draw answers of it, and label them" in {v.remedy for v in undrawn}


def test_the_remedys_labels_give_the_half_width_that_they_promise():
    assert 1.96 * 0.25 / labels_needed(0.25) ** 0.5 == pytest.approx(0.05, abs=1e-3)
    assert labels_needed(0.0) == 30


def violation(policy: str | None, severity: Severity) -> Violation:
    return Violation(policy, "some_code", severity, "a message", "a remedy")


def test_a_verdict_is_the_worst_of_a_policys_own_and_of_the_general_violations():
    general, own = violation(None, WARNING), violation("a", CRITICAL)
    assert verdict("a", [general, own]) is Verdict.REFUSE
    assert verdict("b", [general, own]) is Verdict.CAUTION
    assert verdict("b", [own]) is Verdict.RELIABLE
    assert verdict("b", [violation(None, CRITICAL)]) is Verdict.REFUSE


def test_a_note_changes_no_verdict():
    assert verdict("a", [violation("a", NOTE), violation(None, NOTE)]) is Verdict.RELIABLE
    assert verdict("a", [violation("a", NOTE), violation("a", WARNING)]) is Verdict.CAUTION
    assert verdict("a", []) is Verdict.RELIABLE


def test_violations_are_the_same_from_their_table():
    listed = [violation("a", NOTE), violation(None, CRITICAL), violation("b", WARNING)]
    assert violations_list(violations_frame(listed)) == listed
    empty = violations_frame([])
    assert violations_list(empty) == []
    assert list(empty.columns) == ["policy", "code", "severity", "message", "remedy"]


def test_the_best_policy_is_not_a_refused_one():
    table = pd.DataFrame({"v_hat": [0.9, 0.5, 0.6], "verdict": ["refuse", "caution", "reliable"]},
                         index=["a", "b", "c"])  # fmt: skip
    assert best_policy(table) == "c"
    assert best_policy(table.head(1)) is None


def test_facts_are_told_without_what_is_not_defined():
    facts = finite_facts(pd.DataFrame([vars(LABELS)]).set_index("policy"))
    assert facts["t"]["labels"] == 100 and facts["t"]["spearman"] == 0.6
    assert {"tail_index", "sequence_ess", "gap_z"} & set(facts["t"]) == set()
