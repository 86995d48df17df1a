"""The guard rails, one function each, in one list, `RAILS`, which settings, report, documentation
and tests read.

Each looks at the facts of a policy, or of a whole run. What it finds has a severity: a policy with
something critical is refused, one with a warning is given with caution, a note changes nothing; a
finding about the run counts for every policy.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from shlex import quote
from typing import NamedTuple, TypeVar

from cje.stats.estimators import BENDS, DIFFERENT, FEWEST_LABELS, FEWEST_WEIGHTED
from cje.stats.facts import PolicyDiagnostics, PolicyValidation, RunDiagnostics, RunValidation
from cje.vocabulary import EstimatorName, Evidence, Severity, counted, percent

MOSTLY_ZERO = 0.9
MOSTLY_LOST = 0.25  # mean weight below which the logs miss most of a policy
HALF_WIDTH = 0.05  # of the interval that a remedy's number of labels would give
MOST_OF_THE_SCALE = 0.5  # width of an interval that says nothing
MOSTLY_UNSCORED = 0.5  # of the prompts
SAME_POLICY_SD = 0.01  # of the log-ratio between a policy and itself
SAMPLED = "sample at temperature 1 and top_p 1, or with a model that gives full logits"


class Finding(NamedTuple):
    """What a guard rail found."""

    severity: Severity
    message: str
    remedy: str


Subject = PolicyDiagnostics | RunDiagnostics | PolicyValidation | RunValidation
Limits = Mapping[str, float]
Check = TypeVar("Check", bound=Callable[..., Iterator[Finding]])  # of its subject and the limits


@dataclass(frozen=True)
class Rail:
    """A guard rail: its code, what it means, the thresholds that it reads, the kind of diagnostics
    that it looks at, and the check itself."""

    code: str
    meaning: str
    thresholds: tuple[str, ...]
    subject: type[Subject]
    check: Callable[..., Iterator[Finding]] = field(repr=False)


RAILS: list[Rail] = []


def rail(
    code: str, meaning: str, *thresholds: str, subject: type[Subject] = PolicyDiagnostics
) -> Callable[[Check], Check]:
    """Put a check into the list of guard rails."""

    def register(check: Check) -> Check:
        RAILS.append(Rail(code, meaning, thresholds, subject, check))
        return check

    return register


def share_rail(
    code: str,
    meaning: str,
    limit: str,
    share: Callable[[PolicyDiagnostics], float],
    what: str,
    remedy: str,
) -> None:
    """Put a guard rail into the list that warns where a share of a policy's answers is above the
    threshold `limit`; `what` goes on from "3.0 % of its"."""

    @rail(code, meaning, limit)
    def check(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
        if (found := share(d)) > limits[limit]:
            yield Finding(Severity.WARNING, f"{percent(found)} of its {what}", remedy)


def labels_needed(spread: float) -> int:
    """Oracle labels on a policy's own answers that give a 95 % half width of 0.05, at least 30."""
    return max(30, ceil((1.96 * spread / HALF_WIDTH) ** 2))


def label_answers(d: PolicyDiagnostics) -> str:
    """The remedy of more labels, with the command that draws them; it asks for more than there are,
    and for no more than there are answers."""
    wanted = labels_needed(d.spread)
    if d.labels >= wanted:
        wanted = 2 * d.labels
    more = wanted - d.labels
    if d.prompts_with_draws:
        more = min(more, d.prompts_with_draws - d.labels)
    if more <= 0:
        return "have more prompts answered (max_samples), and label them"
    whose = "the logged" if d.is_base else "its own"
    words = f"label {more:,} more of {whose} answers"
    if d.waiting >= more:
        return f"{words}, which wait on the list: cje label"
    command = f"cje label --policy {quote(d.policy)} --add {more - d.waiting}"
    return f"{words}: {command}" if d.adds_labels else words


def about_weights(
    check: Callable[[PolicyDiagnostics, Limits], Iterator[Finding]],
) -> Callable[[PolicyDiagnostics, Limits], Iterator[Finding]]:
    """A check of weights alone: it has nothing to say of a number that own labels carry alone."""

    def checked(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
        if d.evidence is not Evidence.LABELS and not d.is_base:
            yield from check(d, limits)

    return checked


@rail("nothing_checks_it", "no label on its own answers, and no exact weights that reach it")
def _nothing_checks_it(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.evidence is not Evidence.NONE:
        return
    if d.is_base:
        why = f"only {d.labels} of its answers are labelled"
    elif d.raw_logprobs:
        why = "its log-probabilities are not known to be of what really sampled"
    elif d.sequence_ess is None:
        why = "there are no log-probabilities of the logged answers under it"
    elif d.mean_is_off:
        why = f"its exact weights have mean {d.sequence_mean_weight:.2g}, not 1"
    elif d.sequence_ess >= limits["refuse_ess"] and d.effective_labels < FEWEST_WEIGHTED:
        why = (
            f"weighted to it, the labels on the logs count as {d.effective_labels:.3g}; "
            f"at least {FEWEST_WEIGHTED:g} are needed"
        )
    else:
        why = f"exact weights reach {percent(d.sequence_ess)} of the logs"
    labels = counted(d.labels, "own label") if d.labels else "it has no label on its own answers"
    message = why if d.is_base else f"{labels}, and {why}: the number is a projection of the judge"
    remedy = label_answers(d) if d.draws else "draw answers of it, and label them"
    yield Finding(Severity.CRITICAL, message, remedy)


@rail(
    "insufficient_oracle",
    "too few oracle labels to tell how wide the interval should be",
    "min_target_labels", "min_oracle_labels",
)  # fmt: skip
def _insufficient_oracle(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.own_labels and d.labels < limits["min_target_labels"]:
        few, narrow = d.labels < FEWEST_LABELS, labels_needed(d.spread)
        yield Finding(
            Severity.CRITICAL if few else Severity.WARNING,
            f"{counted(d.labels, 'label')} on its own answers; at least "
            f"{limits['min_target_labels']:g} are needed"
            + (f", {narrow:,} for ±{HALF_WIDTH:g}" if narrow > limits["min_target_labels"] else ""),
            label_answers(d),
        )
    elif d.evidence is Evidence.WEIGHTS and d.effective_labels < limits["min_oracle_labels"]:
        yield Finding(
            Severity.WARNING,
            f"weighted to it, the labels on the logs count as {d.effective_labels:.3g}; "
            f"at least {limits['min_oracle_labels']:g} are needed",
            f"raise oracle_fraction, or {label_answers(d)}",
        )


@rail("wide_interval", "the interval says little", "max_half_width")
def _wide_interval(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.evidence is Evidence.NONE or d.half_width <= limits["max_half_width"]:
        return
    most = 2 * d.half_width > MOST_OF_THE_SCALE
    yield Finding(
        Severity.CRITICAL if most else Severity.WARNING,
        f"its interval is {2 * d.half_width:.2f} wide",
        label_answers(d),
    )


@rail("skewed_labels", "the mean hangs on a few labelled answers", "max_label_skew")
def _skewed_labels(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    """The interval allows for the skewness that goes with a mean near an end of the scale; it is
    exact for labels of two values, whose skewness their mean tells."""
    if d.evidence is not Evidence.LABELS or d.label_values <= 2 or d.labels < FEWEST_LABELS:
        return
    if d.label_skew - d.interval_skew <= limits["max_label_skew"]:
        return
    what = f"their skewness over the root of their number is {d.label_skew:.2f}"
    yield Finding(
        Severity.WARNING,
        f"the mean hangs on a few of its {counted(d.labels, 'label')}: {what}",
        label_answers(d),
    )


@rail(
    "low_proxy_correlation",
    "the judge hardly orders answers as the oracle does",
    "min_proxy_correlation", "min_oracle_labels",
)  # fmt: skip
def _low_proxy_correlation(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    least = limits["min_proxy_correlation"]
    if d.evidence is Evidence.NONE or (d.spearman is not None and d.spearman >= least):
        return
    words = "is not defined" if d.spearman is None else f"is {d.spearman:.2f}"
    few = not d.own_labels or d.labels < limits["min_oracle_labels"]
    yield Finding(
        Severity.WARNING if few else Severity.NOTE,
        f"the rank correlation of judge and oracle {words}, and should be {least:g} or more: "
        "the labels do the work alone",
        "use a better proxy_model or rubric"
        + (f", or {label_answers(d)}" if few and not d.own_labels else ""),
    )


@rail(
    "poor_overlap",
    "few logged answers are likely under it",
    "caution_ess", "refuse_ess", "max_tail_index",
)  # fmt: skip
@about_weights
def _poor_overlap(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.sequence_ess is None or d.own_labels:
        return
    if d.sequence_ess < limits["caution_ess"]:
        severe = d.sequence_ess < limits["refuse_ess"]
        yield Finding(
            Severity.CRITICAL if severe else Severity.WARNING,
            f"the logs' effective sample for it is {percent(d.sequence_ess)} of them",
            label_answers(d),
        )
    tail = d.heaviest_tail
    if tail > limits["max_tail_index"]:
        yield Finding(
            Severity.WARNING,
            f"a few heavy logs carry its estimate (Pareto tail index {tail:.2f}; "
            f"the limit is {limits['max_tail_index']:g})",
            label_answers(d),
        )
    if abs(d.residual_bend) > BENDS:
        yield Finding(
            Severity.WARNING,
            "what the judge gets wrong grows faster than the log-ratio (by "
            f"{abs(d.residual_bend):.1f} standard errors): a few heavy logs carry its estimate",
            label_answers(d),
        )


@rail(
    "extreme_weights",
    "weights beyond reason, or of a mean that no true ratio has",
    "max_extreme_weight_share",
)
@about_weights
def _extreme_weights(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    share = d.sequence_extreme_share
    if share is not None and share > limits["max_extreme_weight_share"]:
        yield Finding(
            Severity.WARNING,
            f"{percent(share)} of its exact weights are above 1000 or below 0.001",
            "log with a policy nearer to it" + ("" if d.own_labels else f", or {label_answers(d)}"),
        )
    if d.mean_is_off > 0:
        yield Finding(
            Severity.WARNING,
            f"its mean weight is {d.sequence_mean_weight:.2f}, {d.sequence_mean_weight_z:.1f} "
            "standard errors above 1: no true ratio has such a mean, so the log-probabilities "
            "disagree with themselves",
            "score all answers with one version of the server and its settings"
            + ("" if d.own_labels else f", or {label_answers(d)}"),
        )


@rail("missing_support", "the logs cannot reach all of its answers")
@about_weights
def _missing_support(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    mean = d.sequence_mean_weight
    if mean is None or d.mean_is_off >= 0:
        return
    lost = mean < MOSTLY_LOST
    yield Finding(
        Severity.CRITICAL if lost else Severity.WARNING,
        f"its mean weight is {mean:.2g}, not 1: the logs cannot reach all of its answers",
        "log with a broader distribution than you evaluate (top_p 1, a higher temperature)"
        + ("" if d.own_labels else f", or {label_answers(d)}"),
    )


@rail("zero_weights", "most logged answers are impossible under it")
@about_weights
def _zero_weights(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    zeros = d.sequence_zero_share
    if zeros is None or zeros < MOSTLY_ZERO:
        return
    yield Finding(
        Severity.CRITICAL if zeros == 1 else Severity.WARNING,
        f"{percent(zeros)} of the logged answers are impossible under it",
        "log with a policy whose answers it can give"
        + ("" if d.own_labels else f", or {label_answers(d)}"),
    )


@rail("identical_policy_weights", "log-probabilities that should agree do not")
def _identical_policy_weights(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.identical and (d.log_ratio_sd or 0.0) > SAME_POLICY_SD:
        yield Finding(
            Severity.CRITICAL if d.leans_on_weights else Severity.NOTE,
            "it is the base policy, yet its log-ratios vary with standard deviation "
            f"{d.log_ratio_sd:.2g}: the log-probabilities cannot be right",
            "score the very tokens that were sampled, with the same settings",
        )
    if d.rescored_spread > SAME_POLICY_SD and d.leans_on_weights:
        yield Finding(
            Severity.CRITICAL,
            f"the base policy's own answers, scored again, differ by {d.rescored_spread:.2g} each "
            "(root mean square): the server samples and scores in different ways",
            "a server or a local/... model that scores as it samples"
            + ("" if d.own_labels else f", or {label_answers(d)}"),
        )


@rail(
    "calibration_out_of_range", "judge scores beyond those that were labelled", "max_out_of_range"
)
def _calibration_out_of_range(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.out_of_range > limits["max_out_of_range"]:
        yield Finding(
            Severity.NOTE if d.own_labels else Severity.WARNING,
            f"{percent(d.out_of_range)} of its judge scores lie outside those labelled",
            "raise oracle_fraction" + ("" if d.own_labels else f", or {label_answers(d)}"),
        )


@rail("transport_failure", "the judge or the logs disagree with the policy's own labels")
def _transport_failure(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.evidence is not Evidence.NONE and abs(d.transport_z) > DIFFERENT:
        uncorrected = d.method is EstimatorName.DIRECT
        yield Finding(
            Severity.CRITICAL if uncorrected else Severity.NOTE,
            f"calibrated on the base policy's labels, the judge says {-d.transport:+.3f} more than "
            f"the evidence ({abs(d.transport_z):.1f} standard errors)",
            "estimator: dr-cpo" if uncorrected else "none is needed: the estimate corrects it",
        )
    if d.gap_z is not None and abs(d.gap_z) > DIFFERENT:
        yield Finding(
            Severity.NOTE,
            f"exact weights and its own labels differ by {abs(d.gap_z):.1f} standard errors: the "
            "estimate stands on the labels alone",
            "see whether the log-probabilities are of what really sampled",
        )


@rail("uncorrected", "the estimator takes no correction from labels")
def _uncorrected(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.widened and d.evidence is not Evidence.NONE:
        yield Finding(
            Severity.WARNING,
            f"{d.method} does not use what checks it; its interval is widened to include the one "
            "that does",
            "estimator: dr-cpo",
        )


@rail("no_teacher_forcing", "some logged answers have no log-probability under it")
@about_weights
def _no_teacher_forcing(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if 0 < d.unscored_share < 1:
        yield Finding(
            Severity.WARNING,
            f"{percent(d.unscored_share)} of the logged answers have no log-probability under "
            "it; the others represent them",
            "score the missing ones again",
        )


@rail("raw_logprobs", "log-probabilities that are not known to be of what really sampled")
def _raw_logprobs(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.raw_logprobs:
        yield Finding(
            Severity.NOTE if d.own_labels else Severity.WARNING,
            "its log-probabilities, or the base policy's, are raw or of an unknown kind: no exact "
            "weights are made of them",
            f"{SAMPLED}; where they are of what really sampled, say so (logprob_kind: sampling)",
        )


@rail("no_fresh_draws", "no scored fresh answer of it")
def _no_fresh_draws(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if not d.draws:
        yield Finding(
            Severity.WARNING,
            "it has no scored fresh draws: the logs alone carry its estimate",
            "draw answers of it and score them",
        )


@rail("labels_not_random", "labelled answers are not like the others")
def _labels_not_random(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.labels_z is not None and abs(d.labels_z) > DIFFERENT:
        way = "higher" if d.labels_z > 0 else "lower"
        yield Finding(
            Severity.WARNING,
            f"its labelled answers have {way} judge scores than the others, by "
            f"{abs(d.labels_z):.1f} standard errors",
            "label a random part, or give each label's chance to be chosen (oracle_prob)",
        )


@rail("prompts_not_shared", "it answers other prompts than the base policy", "max_unparsed")
def _prompts_not_shared(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.base_prompts is None or d.shared_prompts is None:
        return
    lacking = d.base_prompts - d.shared_prompts
    what = f"it has answers to {d.shared_prompts:,} of the base policy's {d.base_prompts:,} prompts"
    if d.prompts_z is not None and abs(d.prompts_z) > DIFFERENT:
        way = "higher" if d.prompts_z > 0 else "lower"
        yield Finding(
            Severity.WARNING,
            f"{what}, where the base's judge scores are {way} than elsewhere, by "
            f"{abs(d.prompts_z):.1f} standard errors: the estimate is of those prompts",
            "have every policy answer the same prompts; a failed answer is a row without one",
        )
    elif lacking > (limits["max_unparsed"] + d.missing) * d.base_prompts:
        none = not d.shared_prompts
        yield Finding(
            Severity.WARNING if none else Severity.NOTE,
            f"{what}: the estimate is of its own",
            "give the same prompt the same uid for every policy"
            if none
            else "none is needed where those are a random part",
        )


@rail("skipped_labels", "people skipped answers that they were asked to label", "max_unparsed")
def _skipped_labels(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.skipped > limits["max_unparsed"]:
        yield Finding(
            Severity.WARNING,
            f"{percent(d.skipped)} of its answers that people came to were skipped: the estimate "
            "is of the others, and were all of them worth nothing, or all perfect, it would be "
            f"{d.value * d.skipped:.3f} lower or {(1 - d.value) * d.skipped:.3f} higher",
            "have somebody else label what was skipped: cje label",
        )


share_rail(
    "labels_out_of_order", "people passed over answers of their list", "max_unparsed",
    lambda d: d.passed_over,
    "answers that stand before the last one labelled have neither a label nor a reason: those "
    "labelled may not be a random sample",
    "label what was passed over, which comes first: cje label",
)  # fmt: skip
share_rail(
    "missing_answers", "its calls failed, or it gave no answer", "max_unparsed",
    lambda d: d.missing,
    "answers are missing: the estimate is of the others",
    "see column reason of the answers; dvc repro --force asks for these alone",
)  # fmt: skip
share_rail(
    "rows_left_out", "bad rows of its file were left out", "max_unparsed",
    lambda d: d.left_out,
    "rows were bad and left out: the estimate is of the others",
    "fix the rows that metrics/bad_rows.csv lists",
)  # fmt: skip
share_rail(
    "truncated_answers", "answers were cut at max_tokens, and judged as they were", "max_truncated",
    lambda d: d.truncated,
    "answers were cut at max_tokens",
    "raise max_tokens, if users would see whole answers",
)  # fmt: skip
share_rail(
    "unparsed_judgements", "the judge gave no score", "max_unparsed",
    lambda d: d.unparsed,
    "answers have no judge score, though others to the same prompts have one",
    "see column reason of the proxy scores; fix the rubric or the judge",
)  # fmt: skip


@rail("self_preference", "the judge, or the oracle, is the model that it judges")
def _self_preference(d: PolicyDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.self_preference is not None:
        yield Finding(
            Severity.NOTE if d.self_preference == "judge" and d.own_labels else Severity.WARNING,
            f"the {d.self_preference} is its own model, which may favour itself",
            f"take another model as the {d.self_preference}",
        )


@rail("range_not_used", "all labels lie in a corner of the stated scale", "min_range_used",
      subject=RunDiagnostics)  # fmt: skip
def _range_not_used(d: RunDiagnostics, limits: Limits) -> Iterator[Finding]:
    if d.all_labels >= FEWEST_LABELS and d.span < limits["min_range_used"] and not d.at_the_ends:
        yield Finding(
            Severity.WARNING,
            f"all oracle scores lie within {percent(d.span)} of oracle_range",
            "set oracle_range to the scale that the oracle uses",
        )


@rail("unscored_prompts", "prompts of which the judge scores no answer", subject=RunDiagnostics)
def _unscored_prompts(d: RunDiagnostics, limits: Limits) -> Iterator[Finding]:
    if not d.unscored_prompts:
        return
    most = d.unscored_prompts > MOSTLY_UNSCORED * d.prompts
    yield Finding(
        Severity.WARNING if most else Severity.NOTE,
        f"the judge has no score for any answer to {d.unscored_prompts:,} of {d.prompts:,} "
        "prompts: they are a stratum of their own, which labels alone speak for",
        "see column reason of the proxy scores; another judge"
        if most
        else "none is needed: the estimate allows for it",
    )


@rail("contradicted", "labels that the estimate did not use contradict it",
      subject=PolicyValidation)  # fmt: skip
def _contradicted(d: PolicyValidation, limits: Limits) -> Iterator[Finding]:
    if abs(d.gap_z) > DIFFERENT and d.evidence is not Evidence.NONE:
        on_labels = d.evidence in (Evidence.LABELS, Evidence.BOTH)
        yield Finding(
            Severity.WARNING if on_labels else Severity.CRITICAL,
            f"labels that it did not use contradict it, by {abs(d.gap_z):.1f} standard errors",
            "see whether the labels are of a random part of the answers"
            if on_labels
            else d.more_labels,
        )


@rail("poor_coverage", "intervals miss the oracle's truth", "min_truth_coverage",
      subject=RunValidation)  # fmt: skip
def _poor_coverage(d: RunValidation, limits: Limits) -> Iterator[Finding]:
    least = limits["min_truth_coverage"]
    if d.validated and d.covered / d.validated < least:
        yield Finding(
            Severity.WARNING,
            f"{d.covered} of {d.validated} intervals cover the oracle's truth; at least "
            f"{100 * least:g} % should",
            "check that the labels are of a random part of the answers; see what the judge misses",
        )
