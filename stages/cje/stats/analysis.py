"""One call from frames to estimates, intervals, comparisons and verdicts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from cje import plugins
from cje.errors import CJEError
from cje.stats import guardrails
from cje.stats.bootstrap import bootstrap_intervals
from cje.stats.checking import check_frames
from cje.stats.diagnostics import diagnose, diagnose_run, reply_facts, unscored_prompts
from cje.stats.estimators import ESTIMATORS, Case, Estimate, estimator_named, label_dispersion
from cje.stats.facts import PolicyDiagnostics
from cje.stats.inference import (
    Ends,
    anytime_level,
    nearness,
    paired_comparisons,
    square,
    unbeaten,
)
from cje.stats.own_labels import own_label_estimate
from cje.stats.predictor import predict
from cje.stats.rewards import FitReport, calibrate, fit_labels
from cje.stats.samples import build_samples
from cje.thresholds import THRESHOLDS
from cje.vocabulary import VERDICTS, Evidence, Intervals, Verdict, WeightChoice

FEWEST_REPLICATES = 20  # of a bootstrap: fewer give no standard error


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    estimates: indexed by policy, the base policy last: `v_hat`, `se`, `ci_low`, `ci_high`,
    `method`, `evidence` (what checks the number), `labels` (on its own answers), `weights`, `ess`
    (share of the logs), `verdict`. comparisons: a row a pair of policies that are not refused (see
    `inference.paired_comparisons`). best: the policies that no other beats. diagnostics: indexed by
    policy. violations: `policy`, `code`, `severity`, `message`, `remedy`. influence: prompts (uid)
    by policies, the contributions whose means are the estimates before those are held to [0, 1].
    importance_weights: logs (uid) by policies, mean 1, for those that used any. calibration: the
    report on the labels of the logs.
    """

    estimates: pd.DataFrame
    comparisons: pd.DataFrame
    best: list[str]
    diagnostics: pd.DataFrame
    violations: pd.DataFrame
    influence: pd.DataFrame
    importance_weights: pd.DataFrame
    calibration: FitReport

    @property
    def p_values(self) -> pd.DataFrame:
        """Holm-corrected p-values of all pairs, policy by policy; NaN with a refused one."""
        return square(self.comparisons, "p_value_corrected", list(self.estimates.index))

    @property
    def differences(self) -> pd.DataFrame:
        """Row policy's estimate minus column policy's; NaN with a refused one."""
        return square(self.comparisons, "difference", list(self.estimates.index))

    @property
    def best_policy(self) -> str | None:
        """The policy of the highest estimate that is not refused; None if all are."""
        return guardrails.best_policy(self.estimates)

    def summary(self) -> str:
        """The estimates with their verdicts, what the guard rails found, and the best, in text."""
        columns = ["v_hat", "ci_low", "ci_high", "evidence", "labels", "verdict"]
        lines = [self._for_people[columns].round(3).to_string(), ""]
        for row in self.violations.itertuples():
            whose = "all policies" if pd.isna(row.policy) else row.policy
            lines += [f"{row.severity}: {whose}: {row.message}", f"    remedy: {row.remedy}"]
        names = ", ".join(self.best)
        lines.append(f"No other policy beats: {names}" if names else "Every policy is refused.")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The estimates as a table, for notebooks."""
        table: str = self._for_people.to_html(float_format="{:.3f}".format)
        return table

    @property
    def _for_people(self) -> pd.DataFrame:
        """The estimates with the words for verdicts."""
        return self.estimates.assign(verdict=self.estimates["verdict"].map(VERDICTS))


def analyze(
    logs: pd.DataFrame,
    draws: pd.DataFrame | None = None,
    target_logps: pd.DataFrame | None = None,
    *,
    base: str = "base",
    estimator: str = "dr-cpo",
    weights: str = "auto",
    alpha: float = 0.05,
    intervals: str = "fixed-time",
    folds: int = 5,
    seed: int = 42,
    judge_range: tuple[float, float] = (0, 1),
    oracle_range: tuple[float, float] = (0, 1),
    thresholds: Mapping[str, float] | None = None,
    identical: Collection[str] = (),
    bootstrap: int = 0,
) -> Analysis:
    """Estimate every policy's expected oracle utility on [0, 1], the base policy's too.

    Parameters
    ----------
    logs : `uid`, `judge_raw`, `oracle_score` (NaN where unlabelled), optional `oracle_prob`
        (default: the labelled share), `cluster` (of the prompt: a conversation, a user; default:
        its own), `answer`, `finish_reason`, `sequence_logp` with `logprob_kind` (exact weights are
        made of sampling ones alone; unknown counts as raw). One row a prompt.
    draws : fresh answers: `uid`, `policy`, `draw`, `judge_raw` (NaN: not judged), optional
        `oracle_score` and `oracle_prob` (labels on draws are the evidence of the estimate),
        `cluster`, `answer`, `finish_reason`.
    target_logps : `uid`, `policy`, `sequence_logp` of the logged answer under the policy (NaN: it
        cannot be had; -inf: impossible), `logprob_kind`.
    base : the name of the policy that wrote the logs.
    estimator : dr-cpo, ppi, direct, ips, snips or calibrated-ips.
    weights : auto, sequence, or marginal (learned: a diagnostic, which checks nothing).
    intervals : fixed-time, for one look at a number of labels set before; or anytime: intervals
        and p-values valid at every number of labels at once, for those who look and go on.
    alpha, folds, seed : level 1 - alpha; folds of the cross-fit; seed of the folds.
    judge_range, oracle_range : lowest and highest score.
    thresholds : of the guard rails, where they differ from `thresholds.THRESHOLDS`.
    identical : policies known to be the base policy under another name.
    bootstrap : replicates of a cluster bootstrap that refits everything; 0 for none. Its
        standard errors and intervals then stand in for those of the influence functions.

    Raises CJEError, with frame, row and column, where the input cannot be what it should be.
    """
    draws, target_logps = _by_columns(draws, target_logps)
    check_options(estimator, weights, alpha, folds, judge_range, oracle_range, intervals)
    if not isinstance(seed, Integral):
        raise CJEError(f"seed: {seed!r} is not allowed; give a whole number")
    if bootstrap != 0 and not (isinstance(bootstrap, Integral) and bootstrap >= FEWEST_REPLICATES):
        raise CJEError(
            f"bootstrap: {bootstrap!r} is not allowed; give 200, no fewer than "
            f"{FEWEST_REPLICATES}, or 0 for none"
        )
    identical = {identical} if isinstance(identical, str) else set(identical)
    if bootstrap and intervals == Intervals.ANYTIME:
        raise CJEError("bootstrap: its intervals are for one look; give intervals='fixed-time'")
    logs, target_logps, draws = check_frames(logs, target_logps, draws, judge_range, oracle_range)
    policies = {*draws["policy"], *target_logps["policy"], base}
    if unknown := sorted(map(str, identical - policies)):
        raise CJEError(
            f"identical: {', '.join(unknown)}: no such policy; there are "
            f"{', '.join(sorted(map(str, policies)))}"
        )

    def calibrated(logs: pd.DataFrame, logps: pd.DataFrame, draws: pd.DataFrame) -> Analysis:
        fit = calibrate(logs, draws, folds=folds, seed=seed)
        return estimate(
            fit.logs, logps, fit.draws, base=base, estimator=estimator, weights=weights,
            alpha=alpha, intervals=intervals, folds=folds, seed=seed, thresholds=thresholds,
            known={policy: {"identical": True} for policy in identical},
        )  # fmt: skip

    found = calibrated(logs, target_logps, draws)
    if not bootstrap:
        return found
    ends = bootstrap_intervals(
        logs, target_logps, draws, lambda *frames: calibrated(*frames).estimates["v_hat"],
        alpha=alpha, replicates=bootstrap, seed=seed,
    )  # fmt: skip
    return replace(found, estimates=found.estimates.assign(**ends))


def estimate(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    base: str,
    estimator: str = "dr-cpo",
    weights: str = "auto",
    alpha: float = 0.05,
    intervals: str = "fixed-time",
    folds: int = 5,
    seed: int = 42,
    thresholds: Mapping[str, float] | None = None,
    known: Mapping[str, Mapping[str, object]] | None = None,
) -> Analysis:
    """Estimate every policy from calibrated frames (`fold`, `calibrated_reward`, unit scores).

    `known`: by policy, fields of `PolicyDiagnostics` that the frames do not tell.
    """
    limits = THRESHOLDS | dict(thresholds or {})
    if unknown := sorted(set(limits) - set(THRESHOLDS)):
        allowed = ", ".join(THRESHOLDS)
        raise CJEError(f"thresholds: {', '.join(unknown)}: not known; there are {allowed}")
    for name, limit in limits.items():
        if not (isinstance(limit, Real) and np.isfinite(float(limit))):
            raise CJEError(f"thresholds: {name}: {limit!r} is not allowed; give a number")
    fit, report = fit_labels(logs, draws, folds)
    samples = build_samples(
        logs, target_logps, draws, base=base, folds=folds, seed=seed, fitted_terms=fit.overall.terms
    )
    predictions = predict(samples)
    anytime = Intervals(intervals) is Intervals.ANYTIME
    facts: dict[str, PolicyDiagnostics] = {}
    rows: dict[str, dict[str, object]] = {}
    ends: dict[str, Ends] = {}
    unscored = unscored_prompts(logs, draws)
    replies = {p: reply_facts(own, unscored) for p, own in draws.groupby("policy")}
    replies[base] = reply_facts(logs, unscored)
    cases = {
        policy: Case(
            samples, policy, fit, own_label_estimate(samples, policy, predictions[policy]),
            WeightChoice(weights), limits,
        )
        for policy in [*samples.targets, base]
    }  # fmt: skip
    found = {policy: estimator_named(estimator)(case) for policy, case in cases.items()}
    spread = label_dispersion(found.values())
    for policy, case in cases.items():
        level = anytime_level(alpha, found[policy].labels) if anytime else alpha
        interval = found[policy].interval(level, spread)
        rest: dict[str, Any] = {"estimator": str(estimator), "identical": False}
        rest |= replies.get(policy, {}) | dict((known or {}).get(policy, {}))
        facts[policy] = diagnose(case, found[policy], interval, report, limits, **rest)
        rows[policy] = _row(found[policy], interval, facts[policy])
        if found[policy].evidence is Evidence.LABELS:
            value = found[policy].value
            ends[policy] = Ends(value, *interval, nearness(value, found[policy].labels))
    violations = guardrails.find(diagnose_run(samples, unscored), limits)
    for policy in found:
        violations += guardrails.find(facts[policy], limits)
    for policy, row in rows.items():
        row["verdict"] = str(guardrails.verdict(policy, violations))
    kept = {p: e for p, e in found.items() if rows[p]["verdict"] != Verdict.REFUSE}
    floors = {p: 1 / max(e.labels, 1.0) for p, e in kept.items()}
    compared = paired_comparisons(
        {p: e.compared for p, e in kept.items()}, floors, alpha, anytime, ends
    )
    return Analysis(
        estimates=pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy"),
        comparisons=compared,
        best=unbeaten(compared, list(kept), alpha),
        diagnostics=_facts_frame(facts),
        violations=guardrails.violations_frame(violations),
        influence=pd.DataFrame(
            {
                p: e.influence.value + e.influence.psi - e.influence.psi.mean()
                for p, e in found.items()
            },
            index=pd.Index(samples.uids, name="uid"),
        ),
        importance_weights=pd.DataFrame(
            {policy: e.weight for policy, e in found.items() if e.weight is not None},
            index=pd.Index(samples.uids[samples.logs.prompt], name="uid"),
        ),
        calibration=report,
    )


def _by_columns(
    draws: pd.DataFrame | None, target_logps: pd.DataFrame | None
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """The two frames in their places, whichever came first: draws have judge scores."""

    def logps(frame: object) -> bool:
        return (
            isinstance(frame, pd.DataFrame)
            and {"sequence_logp"} <= set(frame.columns)
            and ("judge_raw" not in frame)
        )

    if logps(draws) or (isinstance(target_logps, pd.DataFrame) and "judge_raw" in target_logps):
        return target_logps, draws
    return draws, target_logps


def check_options(
    estimator: str,
    weights: str,
    alpha: float,
    folds: int,
    judge_range: tuple[float, float],
    oracle_range: tuple[float, float],
    intervals: str = "fixed-time",
) -> None:
    """Raise CJEError for an option that is not allowed."""
    for name, value, allowed in (
        ("estimator", estimator, [*ESTIMATORS, *plugins.plugins(plugins.ESTIMATORS)]),
        ("weights", weights, list(WeightChoice)),
        ("intervals", intervals, list(Intervals)),
    ):
        if value not in allowed:
            raise CJEError(f"{name}: {value!r} is not allowed; give {', '.join(allowed)}")
    if not (isinstance(alpha, Real) and 0 < alpha < 1):
        raise CJEError(f"alpha: {alpha!r} is not allowed; give a number above 0 and below 1")
    if not (isinstance(folds, Integral) and folds >= 2):
        raise CJEError(f"folds: {folds!r} is not allowed; give a whole number, 2 or more")
    for name, scale in (("judge_range", judge_range), ("oracle_range", oracle_range)):
        ends = list(scale) if isinstance(scale, Iterable) else [scale]
        numbers = len(ends) == 2 and all(isinstance(end, Real) for end in ends)
        if not (numbers and ends[0] < ends[1] and np.isfinite(float(ends[1]) - float(ends[0]))):
            words = f"[{', '.join(map(repr, ends))}]"
            raise CJEError(f"{name}: {words} is not allowed; give (low, high), low below high")


def _row(
    found: Estimate, interval: tuple[float, float], facts: PolicyDiagnostics
) -> dict[str, object]:
    return {
        "v_hat": found.value, "se": found.se, "ci_low": interval[0], "ci_high": interval[1],
        "method": str(found.method), "evidence": str(found.evidence), "labels": facts.labels,
        "weights": str(found.kind), "ess": facts.ess,
    }  # fmt: skip


def _facts_frame(facts: Mapping[str, PolicyDiagnostics]) -> pd.DataFrame:
    rows = {policy: vars(found) for policy, found in facts.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy")
    return frame.drop(columns="policy")
