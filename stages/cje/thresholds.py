"""The thresholds of the guard rails: settings under `guard_rails`, documentation and the rails
themselves read this list."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A guard rail's setting: its name, its default, and what it bounds. `kind`: "count" for a
    whole number, 0 or more; "share" for a number from 0 to 1."""

    name: str
    default: float
    words: str
    kind: str = "share"


THRESHOLD_LIST = (
    Threshold(
        "min_oracle_labels", 50, "oracle labels on the logs, where weights use them", "count"
    ),
    Threshold("min_target_labels", 30, "oracle labels on a policy's own answers", "count"),
    Threshold("min_proxy_correlation", 0.3, "rank correlation of judge and oracle"),
    Threshold("caution_ess", 0.3, "effective sample size as a share of the logs"),
    Threshold("refuse_ess", 0.05, "the same, below which weights check nothing"),
    Threshold("max_extreme_weight_share", 0.01, "share of weights above 1000 or below 0.001"),
    Threshold("max_tail_index", 0.7, "Pareto tail index of weights, and of weighted residuals"),
    Threshold("max_label_skew", 0.3, "skewness of the labels over the root of their number"),
    Threshold("max_half_width", 0.15, "half width of the interval"),
    Threshold("max_out_of_range", 0.05, "share of scores outside the calibrated range"),
    Threshold("min_range_used", 0.1, "share of the stated range that the labels span"),
    Threshold("max_truncated", 0.2, "share of answers cut at max_tokens"),
    Threshold("max_unparsed", 0.02, "share of missing answers, of judgements without a score"),
    Threshold("min_truth_coverage", 0.8, "share of policies whose interval covers the truth"),
)
GOOD_ESS = 0.5  # from here on overlap is GOOD at a glance; no rail, so no setting
THRESHOLDS = {threshold.name: threshold.default for threshold in THRESHOLD_LIST}
