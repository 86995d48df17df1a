"""One call from frames to estimates, intervals, comparisons and verdicts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cje import diagnostics, estimators
from cje.bootstrap import bootstrap_intervals
from cje.calibration import CrossFit
from cje.diagnostics import Violation
from cje.errors import CJEError
from cje.estimators import Correction
from cje.inference import Influence, paired_comparisons, square
from cje.rewards import calibrate, fit_labels
from cje.samples import Draws, Logs, Samples, build_samples, check_frames, covariates
from cje.weights import SequenceWeights, weight_summary

ESTIMATORS = ("dr-cpo", "direct", "ips", "snips", "calibrated-ips")
WEIGHTS = ("auto", "sequence", "marginal")


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    estimates: indexed by policy: `v_hat`, `se`, `ci_low`, `ci_high`, `method`, `weights`, `ess`
    (share of the logs), `verdict`; with oracle labels on draws also `v_audited`, `se_audited`,
    `ci_low_audited`, `ci_high_audited`. comparisons: a row a pair of policies (see
    `inference.paired_comparisons`). diagnostics: indexed by policy. violations: `policy`, `code`,
    `severity`, `message`, `remedy`. influence: prompts (uid) by policies, the contributions whose
    means are the estimates before those are held to [0, 1]. importance_weights: logs (uid) by
    policies, mean 1, for those that used any. calibration: the report on the labelled logs.
    """

    estimates: pd.DataFrame
    comparisons: pd.DataFrame
    diagnostics: pd.DataFrame
    violations: pd.DataFrame
    influence: pd.DataFrame
    importance_weights: pd.DataFrame
    calibration: dict[str, float | str | None]

    def with_violations(self, found: Iterable[Violation]) -> "Analysis":
        """The same analysis with more violations, and the verdicts that follow."""
        violations = [*diagnostics.violations_list(self.violations), *found]
        verdicts = [diagnostics.verdict(policy, violations) for policy in self.estimates.index]
        return replace(
            self,
            violations=diagnostics.violations_frame(violations),
            estimates=self.estimates.assign(verdict=verdicts),
        )

    @property
    def p_values(self) -> pd.DataFrame:
        """Holm-corrected p-values of all pairs, policy by policy."""
        return square(self.comparisons, "p_value_corrected", list(self.estimates.index))

    @property
    def differences(self) -> pd.DataFrame:
        """Row policy's estimate minus column policy's."""
        return square(self.comparisons, "difference", list(self.estimates.index))

    @property
    def best_policy(self) -> str | None:
        """The policy of the highest estimate that is not refused; None if all are."""
        return diagnostics.best_policy(self.estimates)


def analyze(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame | None,
    draws: pd.DataFrame | None,
    *,
    estimator: str = "dr-cpo",
    weights: str = "auto",
    alpha: float = 0.05,
    folds: int = 5,
    seed: int = 42,
    judge_range: tuple[float, float] = (0, 1),
    oracle_range: tuple[float, float] = (0, 1),
    thresholds: Mapping[str, float] | None = None,
    identical: Collection[str] = (),
    bootstrap: int = 0,
) -> Analysis:
    """Calibrate the judge and estimate every policy's expected oracle utility on [0, 1].

    Parameters
    ----------
    logs : `uid`, `judge_raw`, `oracle_score` (NaN where unlabelled), optional `sequence_logp`,
        `oracle_prob` (default: the labelled share), `answer` (its length becomes a covariate),
        `logprob_kind`. One row a prompt.
    target_logps : `uid`, `policy`, `sequence_logp` of the logged answer under the policy (NaN: it
        cannot be had; -inf: impossible), optional `logprob_kind`. None where there are none.
    draws : `uid`, `policy`, `draw`, `judge_raw` (NaN: unparsed), optional `oracle_score`,
        `oracle_prob`, `answer`.
    estimator : dr-cpo, direct, ips, snips or calibrated-ips.
    weights : sequence, marginal, or auto, which decides by policy.
    alpha, folds, seed : level 1 - alpha; folds of the cross-fit; seed of the folds.
    judge_range, oracle_range : lowest and highest score.
    thresholds : of the guard rails, where they differ from `diagnostics.THRESHOLDS`.
    identical : policies known to be the base policy under another name.
    bootstrap : replicates of a prompt-cluster bootstrap that refits everything; 0 for none. Its
        standard errors and intervals then stand in for those of the influence functions.

    Raises CJEError, with frame, row and column, where the input cannot be what it should be.
    """
    _check_options(estimator, weights, alpha, folds, judge_range, oracle_range)
    logs, target_logps, draws = check_frames(logs, target_logps, draws, judge_range, oracle_range)
    calibration = calibrate(logs, draws, folds=folds, seed=seed)
    return estimate(
        calibration.logs,
        target_logps,
        calibration.draws,
        estimator=estimator,
        weights=weights,
        alpha=alpha,
        folds=folds,
        seed=seed,
        thresholds=thresholds,
        identical=identical,
        bootstrap=bootstrap,
    )


def estimate(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    estimator: str = "dr-cpo",
    weights: str = "auto",
    alpha: float = 0.05,
    folds: int = 5,
    seed: int = 42,
    thresholds: Mapping[str, float] | None = None,
    identical: Collection[str] = (),
    bootstrap: int = 0,
) -> Analysis:
    """Estimate every policy from calibrated frames (`fold`, `calibrated_reward`, unit scores)."""
    limits = diagnostics.THRESHOLDS | dict(thresholds or {})
    if unknown := sorted(set(limits) - set(diagnostics.THRESHOLDS)):
        allowed = ", ".join(diagnostics.THRESHOLDS)
        raise CJEError(f"thresholds: {', '.join(unknown)}: not known; there are {allowed}")
    raw = raw_policies(logs, target_logps)
    log_columns, _ = covariates(logs, draws)
    fit, report = fit_labels(logs, log_columns, folds)
    samples = build_samples(logs, target_logps, draws, folds, seed, fit.overall.terms)
    violations = diagnostics.oracle_violations(report, limits)
    found = {}
    for policy in samples.draws:
        ratio = None if policy in raw else samples.log_ratios[policy]
        found[policy] = _estimate_policy(
            samples.logs, samples.draws[policy], ratio, fit, estimator, weights, policy
        )
    intervals = {}
    if bootstrap:

        def again(logs: Logs, policy: str, draws: Draws | None, ratio, refit: CrossFit) -> float:
            ratio = None if policy in raw else ratio
            found = _estimate_policy(logs, draws, ratio, refit, estimator, weights, policy)
            return found[2].value

        intervals = bootstrap_intervals(samples, fit.form, again, alpha, bootstrap, seed)
    rows, facts, influence = {}, {}, {}
    for policy, (method, part, result) in found.items():
        drawn = samples.draws[policy]
        row = _row(result, method, part, intervals.get(policy), alpha)
        audit = None if drawn is None else estimators.audited(samples.logs, drawn, alpha)
        facts[policy] = _facts(samples, policy, part, method, report, limits)
        facts[policy] |= {
            "raw_logprobs": policy in raw,
            "identical": policy in identical,
            "estimator": estimator,
            "spread": report["utility_sd"],
            "audit_z": _audit_z(row, audit),
        }
        violations += diagnostics.policy_violations(policy, facts[policy], limits)
        rows[policy] = row | _audit_columns(audit)
        influence[policy] = result
    for policy, row in rows.items():
        row["verdict"] = diagnostics.verdict(policy, violations)
    estimates = pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy")
    if estimates["v_audited"].isna().all():
        estimates = estimates.drop(columns=[c for c in estimates if c.endswith("_audited")])
    used = {p: part.weight for p, (_, part, _) in found.items() if part.weight is not None}
    kept = [key for key in next(iter(facts.values())) if key not in ("spread", "estimator")]
    return Analysis(
        estimates=estimates[[c for c in COLUMN_ORDER if c in estimates]],
        comparisons=paired_comparisons(influence, alpha),
        diagnostics=pd.DataFrame.from_dict(facts, orient="index")[kept].rename_axis("policy"),
        violations=diagnostics.violations_frame(violations),
        influence=pd.DataFrame(
            {policy: result.value + result.psi for policy, result in influence.items()},
            index=pd.Index(samples.uids, name="uid"),
        ),
        importance_weights=pd.DataFrame(
            used, index=pd.Index(samples.uids[samples.logs.prompt], name="uid")
        ),
        calibration=report,
    )


COLUMN_ORDER = (
    *("v_hat", "se", "ci_low", "ci_high", "method", "weights", "ess", "verdict"),
    *("v_audited", "se_audited", "ci_low_audited", "ci_high_audited"),
)


def _check_options(
    estimator: str,
    weights: str,
    alpha: float,
    folds: int,
    judge_range: tuple[float, float],
    oracle_range: tuple[float, float],
) -> None:
    for name, value, allowed in (
        ("estimator", estimator, ESTIMATORS),
        ("weights", weights, WEIGHTS),
    ):
        if value not in allowed:
            raise CJEError(f"{name}: {value!r} is not allowed; give {', '.join(allowed)}")
    if not 0 < alpha < 1:
        raise CJEError(f"alpha: {alpha!r} is not allowed; give a number above 0 and below 1")
    if not (isinstance(folds, int) and folds >= 2):
        raise CJEError(f"folds: {folds!r} is not allowed; give a whole number, 2 or more")
    for name, (lo, hi) in (("judge_range", judge_range), ("oracle_range", oracle_range)):
        if not (np.isfinite([lo, hi]).all() and lo < hi):
            raise CJEError(f"{name}: [{lo}, {hi}] is not allowed; give (low, high), low below high")


def raw_policies(logs: pd.DataFrame, target_logps: pd.DataFrame) -> set[str]:
    """The policies of which some ratio would hold a raw log-probability: they get no weights."""
    if "logprob_kind" in logs and (logs["logprob_kind"] == "raw").any():
        return set(target_logps["policy"])
    if "logprob_kind" not in target_logps:
        return set()
    return set(target_logps.loc[target_logps["logprob_kind"] == "raw", "policy"])


def _estimate_policy(
    logs: Logs,
    draws: Draws | None,
    log_ratio: np.ndarray | None,
    fit: CrossFit,
    estimator: str,
    weights: str,
    policy: str,
) -> tuple[str, Correction, Influence]:
    """Method, correction and estimate of one policy."""
    if draws is None and log_ratio is None:
        raise CJEError(
            f"policy {policy!r} has neither scored draws nor log-probabilities: nothing is known "
            "of it.\nDraw and score answers of it, or leave it out"
        )
    part = estimators.correction(logs, draws, log_ratio, weights)
    if estimator in ("direct", "dr-cpo") and draws is None:
        estimator = "snips"  # stated: in `method`, and by the guard rail no_fresh_draws
    elif estimator not in ("direct", "dr-cpo") and part.weight is None:
        estimator = "direct"  # stated: in `method`, and by no_teacher_forcing or raw_logprobs
    if estimator == "direct" or (estimator == "dr-cpo" and part.weight is None):
        return "direct", part, estimators.direct(logs, draws, fit)
    if estimator == "dr-cpo":
        return estimator, part, estimators.dr_cpo(logs, draws, part)
    sequence = part.kind == "sequence"
    scored = np.isfinite(part.weight) if not sequence else ~np.isnan(log_ratio)
    if estimator == "calibrated-ips":
        return estimator, part, estimators.calibrated_ips(logs, part.weight, scored)
    plain = estimator == "ips" and sequence
    weight = SequenceWeights.from_log_ratio(log_ratio).ratio if plain else part.weight
    return estimator, part, estimators.weighted_logs(logs, weight, scored, normalised=not plain)


def _row(
    result: Influence,
    method: str,
    part: Correction,
    interval: tuple[float, float, float] | None,
    alpha: float,
) -> dict[str, object]:
    se, (low, high) = result.se, result.interval(alpha)
    if interval is not None:
        se, low, high = interval
    ess = 0.0 if part.weight is None else weight_summary(part.weight)["ess"]
    value, low, high = np.clip([result.value, low, high], 0.0, 1.0)  # where utilities are
    return {
        "v_hat": value, "se": se, "ci_low": low, "ci_high": high, "method": method,
        "weights": "none" if method == "direct" else part.kind, "ess": ess,
    }  # fmt: skip


def _audit_columns(audit: tuple[float, float, float, float] | None) -> dict[str, float]:
    names = ("v_audited", "se_audited", "ci_low_audited", "ci_high_audited")
    return dict(zip(names, audit or (np.nan,) * 4, strict=True))


def _audit_z(
    row: Mapping[str, float], audit: tuple[float, float, float, float] | None
) -> float | None:
    if audit is None:
        return None
    error = np.hypot(row["se"], audit[1])
    return float((audit[0] - row["v_hat"]) / error) if error > 0 else 0.0


def _facts(
    samples: Samples,
    policy: str,
    part: Correction,
    method: str,
    report: Mapping[str, float | None],
    limits: Mapping[str, float],
) -> dict[str, object]:
    """The diagnostics of one policy."""
    logs, draws, ratio = samples.logs, samples.draws[policy], samples.log_ratios[policy]
    facts: dict[str, object] = {"weights": part.kind, "why": part.why, "lambda": 1.0}
    if method == "direct":
        facts["lambda"] = 0.0
    exact = {}
    log_ratio_sd = None
    if ratio is not None:
        sequence = SequenceWeights.from_log_ratio(ratio)
        exact = weight_summary(sequence.weight[sequence.scored], sequence.ratio[sequence.scored])
        finite = ratio[np.isfinite(ratio)]
        log_ratio_sd = float(finite.std()) if len(finite) == sequence.scored.sum() else np.inf
    if part.weight is None:
        used = dict.fromkeys(weight_summary(np.ones(1)), 0.0)
        facts["status"] = "CRITICAL"
    else:
        used = exact if part.kind == "sequence" else weight_summary(part.weight)
        facts["status"] = diagnostics.weight_status(used, exact, limits)
    facts |= used
    facts |= {f"sequence_{key}": exact.get(key) for key in ("ess", "mean_weight", "mean_weight_z")}
    facts["sequence_zero_share"] = exact.get("zero_share")
    facts["sequence_share"] = part.sequence_share
    facts["log_ratio_sd"] = log_ratio_sd
    facts["unscored_share"] = 1.0 if ratio is None else float(np.isnan(ratio).mean())
    facts["covariates"] = logs.covariates is not None
    error = part.influence.sampling_error
    facts["transport"] = part.influence.value
    facts["transport_z"] = part.influence.value / error if error > 0 else 0.0
    facts["draws"] = 0 if draws is None else len(draws.score)
    facts["prompts_with_draws"] = 0 if draws is None else len(np.unique(draws.prompt))
    low, high = report["score_low"], report["score_high"]
    outside = draws is not None and low is not None
    facts["out_of_range"] = (
        float(((draws.score < low) | (draws.score > high)).mean()) if outside else 0.0
    )
    return facts
