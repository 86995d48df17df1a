"""What is known of each policy's estimate beside the number: the facts that guard rails look at."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from cje.stats.arrays import Array, Codes, Mask
from cje.stats.calibration import spearman
from cje.stats.estimators import Case, Estimate
from cje.stats.facts import PolicyDiagnostics, RunDiagnostics
from cje.stats.rails import MOSTLY_LOST
from cje.stats.rewards import FitReport
from cje.stats.samples import Answers, Samples, answers_there
from cje.stats.weights import WeightSummary, off_one, weight_summary
from cje.thresholds import GOOD_ESS
from cje.vocabulary import EstimatorName, Evidence, Reach, Status, WeightKind

NO_WEIGHTS = WeightSummary(0.0, 1.0, 0.0, 0.0, -np.inf, 0.0, 0.0)


def diagnose(
    case: Case,
    estimate: Estimate,
    interval: tuple[float, float],
    report: FitReport,
    limits: Mapping[str, float],
    **known: Any,
) -> PolicyDiagnostics:
    """The diagnostics of one policy; `known`: fields that its answers and the settings tell, and
    the estimator that was asked for."""
    samples, answers = case.samples, case.samples.answers[case.policy]
    exact, ratio = case.exact_summary, case.log_ratio
    used = used_summary(estimate, exact)
    is_base = case.policy == samples.base
    labels = answers.utility[answers.labelled]
    transport, transport_z = correction_of_judge(case, estimate)
    return PolicyDiagnostics(
        policy=case.policy,
        is_base=is_base,
        logged=answers.logged,
        method=estimate.method,
        evidence=estimate.evidence,
        value=estimate.value,
        half_width=(interval[1] - interval[0]) / 2,
        widened=estimate.checked is not None and estimate.method is not EstimatorName.DR_CPO,
        spread=float(labels.std()) if len(labels) > 1 else report["utility_sd"],
        weights=estimate.kind,
        why=estimate.why,
        status=Status.GOOD if is_base else overlap(used, exact, case.reach, limits),
        **({"ess": 1.0} | vars(NO_WEIGHTS) | {"ess": 1.0} if is_base else vars(used)),
        sequence_ess=None if exact is None else exact.ess,
        sequence_mean_weight=None if exact is None else exact.mean_weight,
        sequence_mean_weight_z=None if exact is None else exact.mean_weight_z,
        sequence_zero_share=None if exact is None else exact.zero_share,
        sequence_tail_index=None if exact is None else exact.tail_index,
        sequence_extreme_share=None if exact is None else exact.extreme_share,
        residual_tail_index=None if exact is None else case.residual_tail,
        residual_bend=case.residual_bend,
        reach=case.reach,
        log_ratio_sd=log_ratio_spread(ratio),
        unscored_share=0.0 if is_base else 1.0 if ratio is None else float(np.isnan(ratio).mean()),
        raw_logprobs=case.policy in samples.raw and not is_base,
        labels=len(np.unique(samples.cluster[answers.labelled]))
        if case.own is None
        else case.own.labels,
        effective_labels=estimate.labels,
        label_skew=0.0 if case.own is None else case.own.skew,
        power=None if case.own is None else case.own.power,
        label_values=0 if case.own is None else case.own.values,
        spearman=own_spearman(answers, report),
        out_of_range=out_of_range(answers, report),
        labels_z=labels_z(answers, samples.cluster),
        transport=transport,
        transport_z=transport_z,
        gap_z=gap_z(case),
        draws=answers.rows,
        prompts_with_draws=int(answers.present.sum()),
        **shared_prompts(samples, answers),
        **known,
    )


def used_summary(estimate: Estimate, exact: WeightSummary | None) -> WeightSummary:
    """The summary of the weights that the estimate used."""
    if estimate.weight is None:
        return NO_WEIGHTS
    if exact is not None and estimate.kind is WeightKind.SEQUENCE:
        return exact
    return weight_summary(estimate.weight)


def overlap(
    used: WeightSummary, exact: WeightSummary | None, reach: Reach, limits: Mapping[str, float]
) -> Status:
    """The overlap of the logs with the policy at a glance: of exact weights where there are any,
    used or not, else of those that were used. GOOD takes at least half of the logs as effective
    sample: less is no reason for a verdict, and worth knowing."""
    summary = used if exact is None else exact
    off = off_one(summary.mean_weight, summary.mean_weight_z)
    if summary.ess < limits["refuse_ess"] or (off < 0 and summary.mean_weight < MOSTLY_LOST):
        return Status.CRITICAL
    good = (
        exact is not None
        and reach is Reach.STANDS
        and summary.ess >= max(GOOD_ESS, limits["caution_ess"])
    )
    return Status.GOOD if good and not off else Status.WARNING


def log_ratio_spread(ratio: Array | None) -> float | None:
    """The standard deviation of the log-ratios; infinite where some answers are impossible."""
    if ratio is None:
        return None
    finite = ratio[np.isfinite(ratio)]
    return float(finite.std()) if len(finite) == (~np.isnan(ratio)).sum() else float("inf")


def own_spearman(answers: Answers, report: FitReport) -> float | None:
    """The judge's rank correlation with the policy's own labels; with few of them the report's."""
    both = answers.labelled & np.isfinite(answers.labelled_score)
    if both.sum() < 10:
        return report["spearman"]
    return spearman(answers.labelled_score[both], answers.utility[both])


def out_of_range(answers: Answers, report: FitReport) -> float:
    """The share of the policy's judge scores outside those that the calibration saw."""
    low, high, score = report["score_low"], report["score_high"], answers.score
    seen = np.isfinite(score)
    if low is None or high is None or not seen.any():
        return 0.0
    return float(((score[seen] < low) | (score[seen] > high)).mean())


def labels_z(answers: Answers, cluster: Codes) -> float | None:
    """How far the labelled answers' judge scores, weighted, are from those of all answers, in
    standard errors by cluster; None where that says nothing."""
    return chosen_z(answers, answers.labelled, answers.label_weight, cluster)


def chosen_z(answers: Answers, chosen: Mask, weight: Array, cluster: Codes) -> float | None:
    """How far the judge scores of the answers to the `chosen` prompts (N,), weighted, are from
    those of all answers, in standard errors by cluster; None where that says nothing."""
    scored = np.isfinite(answers.score) & answers.present
    rows = chosen & scored
    few = len(np.unique(cluster[rows])) < 10 or len(np.unique(cluster[scored & ~rows])) < 10
    if few or np.ptp(answers.score[scored]) == 0:
        return None
    weight = np.where(rows, weight, 0.0)
    share = weight / weight.sum() - scored / scored.sum()
    score = np.where(scored, answers.score, 0.0)
    centred = np.where(scored, score - score[scored].mean(), 0.0)
    error = np.sqrt((np.bincount(cluster, share * centred) ** 2).sum())
    return float(share @ centred / error) if error > 1e-12 else None


def shared_prompts(samples: Samples, answers: Answers) -> dict[str, Any]:
    """How many prompts the base policy has answers to, on how many of those the policy has some,
    and how these differ from all by the base's judge scores; nothing where it has all of them."""
    base = samples.answers[samples.base]
    both = base.present & answers.present
    if not answers.rows or both.sum() == base.present.sum():
        return {}
    return {
        "base_prompts": int(base.present.sum()),
        "shared_prompts": int(both.sum()),
        "prompts_z": chosen_z(base, both, np.ones(len(both)), samples.cluster),
    }


def correction_of_judge(case: Case, estimate: Estimate) -> tuple[float, float]:
    """What the evidence says less the calibrated judge's mean, and in standard errors."""
    if case.projection is None or estimate.evidence is Evidence.NONE:
        return 0.0, 0.0
    checked = estimate.influence if estimate.checked is None else estimate.checked
    if estimate.method not in (EstimatorName.DR_CPO, EstimatorName.PPI, EstimatorName.DIRECT):
        return 0.0, 0.0
    gap = checked - case.projection
    error = gap.se
    return float(gap.value), float(gap.value / error) if error > 1e-9 else 0.0


def gap_z(case: Case) -> float | None:
    """Exact weights' estimate less own labels', in standard errors; None without both."""
    own, exact = case.checking, case.reached
    if own is None or exact is None:
        return None
    gap = exact - own.influence
    return float(gap.value / gap.se) if gap.se > 1e-9 else 0.0


def diagnose_run(samples: Samples, unscored: Collection[str] = ()) -> RunDiagnostics:
    """The diagnostics of all policies together; `unscored` as `unscored_prompts` gives it."""
    labels = [a.utility[a.labelled] for p, a in samples.answers.items()]
    every = np.concatenate(labels)
    return RunDiagnostics(
        span=float(np.ptp(every)) if len(every) else 0.0,
        at_the_ends=bool(np.isin(every, (0.0, 1.0)).all()),
        all_labels=len(every),
        prompts=len(samples.uids),
        unscored_prompts=len(unscored),
    )


def unscored_prompts(logs: pd.DataFrame, draws: pd.DataFrame) -> frozenset[str]:
    """The prompts (uid) with two answers or more of which the judge has scored none: it has no
    score for such a prompt, whoever answers."""
    both = pd.concat([frame[["uid", "judge_raw"]][answers_there(frame)] for frame in (logs, draws)])
    scores = both.groupby("uid")["judge_raw"].agg(["size", "count"])
    return frozenset(scores.index[(scores["size"] > 1) & (scores["count"] == 0)])


def reply_facts(frame: pd.DataFrame, unscored: Collection[str] = ()) -> dict[str, float]:
    """Shares of a policy's answers that were cut, that are missing, and that have no judgement
    although the judge has scored another answer to the prompt: of a frame with `judge_raw` and,
    where they are known, `answer` and `finish_reason`; `unscored`: as `unscored_prompts` gives it.
    """
    if not len(frame):
        return {}
    facts = {}
    if "finish_reason" in frame:
        facts["truncated"] = float((frame["finish_reason"] == "length").mean())
    if "answer" in frame:
        missing = frame["answer"].isna()
        facts["missing"] = float(missing.mean())
        unjudged = frame["judge_raw"].isna() & ~missing
        if len(unscored):
            unjudged &= ~frame["uid"].isin(unscored)
        facts["unparsed"] = float(unjudged.mean())
    return facts
