"""Guard rails: when not to believe a number, why, and what would mend it.

A violation has a code, a severity, a message and a remedy. A policy with a critical violation is
refused, one with a warning is given with caution; a violation without a policy counts for all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.estimators import STANDS_TAIL, mean_weight_off

THRESHOLDS = {
    "min_oracle_labels": 50,
    "min_proxy_correlation": 0.3,
    "caution_ess": 0.3,
    "refuse_ess": 0.05,
    "max_extreme_weight_share": 0.01,
    "max_out_of_range": 0.05,
    "max_truncated": 0.2,
    "max_unparsed": 0.02,
    "min_truth_coverage": 0.8,
}
TOO_FEW_LABELS = 10
MOSTLY_ZERO = 0.9
MOSTLY_LOST = 0.25  # mean weight below which the logs miss most of a target
HALF_WIDTH = 0.05  # of the interval that a remedy's number of labels would give
DIFFERENT = 3.0  # standard errors
SAME_POLICY_SD = 0.01  # of the log-ratio between a policy and itself
VERDICTS = ("reliable", "caution", "refuse")
COLUMNS = ["policy", "code", "severity", "message", "remedy"]


@dataclass(frozen=True)
class Violation:
    """One guard rail passed; `policy` is None where it concerns all of them."""

    policy: str | None
    code: str
    severity: str
    message: str
    remedy: str


def violations_frame(violations: Iterable[Violation]) -> pd.DataFrame:
    """The violations as the table of that name."""
    return pd.DataFrame([vars(v) for v in violations], columns=COLUMNS)


def violations_list(frame: pd.DataFrame) -> list[Violation]:
    """The rows of such a table as violations."""
    rows = frame.astype(object).where(frame.notna(), None)
    return [Violation(**row) for row in rows.to_dict("records")]


def verdict(policy: str, violations: Iterable[Violation]) -> str:
    """refuse with a critical violation of the policy or of all, caution with a warning."""
    severities = {v.severity for v in violations if v.policy in (policy, None)}
    if "critical" in severities:
        return "refuse"
    return "caution" if severities else "reliable"


def best_policy(estimates: pd.DataFrame) -> str | None:
    """The policy of the highest `v_hat` whose verdict is not refuse; None if there is none."""
    kept = estimates[estimates["verdict"] != "refuse"]
    return None if kept.empty else str(kept["v_hat"].idxmax())


def labels_needed(spread: float) -> int:
    """Oracle labels on a policy's own draws that give a 95 % half width of 0.05, at least 30."""
    return max(30, int(np.ceil((1.96 * spread / HALF_WIDTH) ** 2)))


def oracle_violations(
    report: Mapping[str, float | None], thresholds: Mapping[str, float]
) -> list[Violation]:
    """What the calibration's report gives reason to doubt."""
    found = []
    labels, wanted = int(report["labels"]), int(thresholds["min_oracle_labels"])
    if labels < wanted:
        severity = "critical" if labels < TOO_FEW_LABELS else "warning"
        found.append(
            Violation(
                None,
                "insufficient_oracle",
                severity,
                f"{labels} oracle labels on the logs; {wanted} are the least for a calibration",
                "raise oracle_fraction or max_samples",
            )
        )
    rank, least = report["spearman"], thresholds["min_proxy_correlation"]
    if rank is None or rank < least:
        words = "is not defined (constant scores)" if rank is None else f"is {rank:.2f}"
        found.append(
            Violation(
                None,
                "low_proxy_correlation",
                "warning",
                f"the rank correlation of judge and oracle {words}; {least:g} is the least",
                "use a better proxy_model or rubric; until then more labels must do its work",
            )
        )
    return found


def weight_status(
    used: Mapping[str, float], exact: Mapping[str, float], thresholds: Mapping[str, float]
) -> str:
    """GOOD, WARNING or CRITICAL, of the summaries of the weights used and of the exact ones.

    `exact` is empty without log-probabilities.
    """
    off = mean_weight_off(exact["mean_weight"], exact["mean_weight_z"]) if exact else 0
    if used["ess"] < thresholds["refuse_ess"] or (off < 0 and exact["mean_weight"] < MOSTLY_LOST):
        return "CRITICAL"
    least = min(used["ess"], exact["ess"]) if exact else used["ess"]
    if off or least < thresholds["caution_ess"] or used["tail_index"] > STANDS_TAIL:
        return "WARNING"
    return "GOOD"


def policy_violations(
    policy: str, facts: Mapping[str, object], thresholds: Mapping[str, float]
) -> list[Violation]:
    """The guard rails that a policy's diagnostics `facts` pass.

    `facts`: a row of `Analysis.diagnostics`, with `estimator` and `spread` (of the utilities).
    """
    found: list[Violation] = []

    def add(code: str, severity: str, message: str, remedy: str) -> None:
        found.append(Violation(policy, code, severity, message, remedy))

    label_draws = (
        f"label {labels_needed(facts['spread'])} of its fresh draws with the oracle "
        "(the audited estimate needs no overlap)"
    )
    ess, kind = facts["ess"], facts["weights"]
    exact = facts.get("sequence_ess")
    caution = thresholds["caution_ess"]
    if kind != "none" and ess < caution:
        severity = "critical" if ess < thresholds["refuse_ess"] else "warning"
        add(
            "poor_overlap",
            severity,
            f"the logs' effective sample for it is {100 * ess:.2g} % of them ({kind} weights)",
            label_draws,
        )
    elif kind in ("marginal", "combination") and exact is not None and exact < caution:
        seen = "judge score and length" if facts["covariates"] else "judge score"
        add(
            "poor_overlap",
            "warning",
            f"exact weights reach {100 * exact:.2g} % of the logs; the learned ones that "
            f"stand in see a shift only in {seen}",
            label_draws,
        )
    if kind != "none" and facts["extreme_share"] > thresholds["max_extreme_weight_share"]:
        add(
            "extreme_weights",
            "warning",
            f"{100 * facts['extreme_share']:.2g} % of its weights are above 1000 or below 0.001",
            "log with a policy nearer to it, or " + label_draws,
        )
    mean, z = facts.get("sequence_mean_weight"), facts.get("sequence_mean_weight_z")
    off = 0 if mean is None else mean_weight_off(mean, z)
    if off > 0:
        add(
            "extreme_weights",
            "warning",
            f"its mean weight is {mean:.2f}, {z:.1f} standard errors above 1: no true ratio has "
            "such a mean, so the log-probabilities disagree with themselves",
            "score all answers with one version of the server and its settings, or " + label_draws,
        )
    if off < 0:
        severity = "critical" if mean < MOSTLY_LOST else "warning"
        add(
            "missing_support",
            severity,
            f"its mean weight is {mean:.2g}, not 1: the logs cannot reach all of its answers",
            "log wider than you evaluate (top_p 1, a warmer base), or " + label_draws,
        )
    zeros = facts.get("sequence_zero_share")
    if zeros is not None and zeros >= MOSTLY_ZERO and kind in ("sequence", "combination"):
        severity = "critical" if zeros == 1 else "warning"
        add(
            "zero_weights",
            severity,
            f"{100 * zeros:.3g} % of the logged answers are impossible under it",
            "log with a policy whose answers it can give, or " + label_draws,
        )
    if facts["identical"] and (facts["log_ratio_sd"] or 0.0) > SAME_POLICY_SD:
        severity = "warning" if kind == "marginal" else "critical"
        add(
            "identical_policy_weights",
            severity,
            "it is the base policy, yet its log-ratios vary with standard deviation "
            f"{facts['log_ratio_sd']:.2g}: the log-probabilities cannot be right",
            "score the very tokens that were sampled, with the same settings; or weights: marginal",
        )
    if facts["out_of_range"] > thresholds["max_out_of_range"]:
        add(
            "calibration_out_of_range",
            "warning",
            f"{100 * facts['out_of_range']:.2g} % of its judge scores lie outside those labelled",
            "raise oracle_fraction, or " + label_draws,
        )
    if facts["estimator"] == "direct" and abs(facts["transport_z"]) > DIFFERENT:
        add(
            "transport_failure",
            "critical",
            f"judged as under the base policy it is off by {facts['transport']:+.3f} "
            f"({abs(facts['transport_z']):.1f} standard errors)",
            "estimator: dr-cpo, or " + label_draws,
        )
    if facts["estimator"] != "direct":
        if facts["unscored_share"] == 1 and not facts["raw_logprobs"]:
            add(
                "no_teacher_forcing",
                "warning",
                "no log-probability of the logged answers under it and the base policy",
                "serve it where text can be scored, or " + label_draws,
            )
        elif 0 < facts["unscored_share"] < 1:
            add(
                "no_teacher_forcing",
                "warning",
                f"{100 * facts['unscored_share']:.2g} % of the logged answers have no "
                "log-probability under it; the others stand for them",
                "score the missing ones again",
            )
    if facts["raw_logprobs"]:
        add(
            "raw_logprobs",
            "warning",
            "its log-probabilities, or the base policy's, are raw, not of what really sampled",
            "sample at temperature 1 and top_p 1, or with a model that gives full logits",
        )
    if facts["audit_z"] is not None and abs(facts["audit_z"]) > DIFFERENT:
        add(
            "transport_failure",
            "critical",
            f"oracle labels on its own draws say otherwise by {abs(facts['audit_z']):.1f} "
            "standard errors",
            "read the audited estimate in place of this one",
        )
    if not facts["draws"]:
        add(
            "no_fresh_draws",
            "warning",
            "it has no scored fresh draws: the logs alone carry its estimate",
            "draw answers of it and score them",
        )
    return found


def reply_violations(
    policy: str | None,
    truncated: float,
    missing: float,
    unparsed: float,
    thresholds: Mapping[str, float],
) -> list[Violation]:
    """Guard rails on the answers and judgements themselves; shares of a policy's draws or logs."""
    whose = "the logged answers" if policy is None else "its answers"
    rails = (
        (
            "missing_answers", missing, "max_unparsed", "are missing: their calls failed",
            "see column reason of the answers; dvc repro --force asks for these alone",
        ),
        (
            "truncated_answers", truncated, "max_truncated", "were cut at max_tokens",
            "raise max_tokens",
        ),
        (
            "unparsed_judgements", unparsed, "max_unparsed", "have no judge score",
            "see column reason of the proxy scores; mend the rubric or the judge",
        ),
    )  # fmt: skip
    return [
        Violation(policy, code, "warning", f"{100 * share:.3g} % of {whose} {words}", remedy)
        for code, share, threshold, words, remedy in rails
        if share > thresholds[threshold]
    ]


def reply_shares(
    logs: pd.DataFrame, draws: pd.DataFrame
) -> dict[str | None, tuple[float, float, float]]:
    """Shares of truncated answers, of missing answers, and of answers without a judgement: of the
    logs (None), by policy.

    Frames with `answer`, `finish_reason` (null: not known, counted as whole) and `judge_raw`.
    """
    groups = [(None, logs), *draws.groupby("policy")]
    return {
        policy: (
            float((rows["finish_reason"] == "length").mean()),
            float(rows["answer"].isna().mean()),
            float((rows["judge_raw"].isna() & rows["answer"].notna()).mean()),
        )
        for policy, rows in groups
    }


def rescored_violations(rescored: pd.DataFrame, weights: Mapping[str, str]) -> list[Violation]:
    """What the base policy's own answers, scored anew, say of the log-probabilities.

    `rescored`: table of that name. `weights`: kind of weights by policy. A server that samples and
    scores in different ways ruins a ratio over many tokens: what is weighted by it is refused.
    """
    if not len(rescored):
        return []
    gaps = rescored["rescored_logp"] - rescored["sequence_logp"]
    spread = float(np.sqrt((gaps**2).mean()))
    if spread <= SAME_POLICY_SD:
        return []
    message = (
        f"the base policy's own {len(rescored)} answers, scored anew, differ by {spread:.2g} each "
        f"(root mean square; {rescored['largest_gap'].max():.2g} at the most in one token): the "
        "server samples and scores in different ways"
    )
    remedy = "weights: marginal, or a server or a local/... model that scores as it samples"
    return [
        Violation(
            policy,
            "identical_policy_weights",
            "critical" if kind in ("sequence", "combination") else "warning",
            message,
            remedy,
        )
        for policy, kind in weights.items()
        if kind != "none"
    ]
