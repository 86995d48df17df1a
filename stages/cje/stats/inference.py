"""Inference from influence functions: standard errors, intervals, comparisons.

An estimate is a mean over prompts of contributions, and its influence function says what each
prompt contributed. Prompts that share a cluster (a conversation, a user, a document) are summed
before any variance is taken, and two policies are compared on the same prompts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import betaincinv, lambertw, ndtr, ndtri, stdtr, stdtrit

from cje.stats.arrays import Array, Codes, totals

ROUNDING = 1e-9  # a standard error below this is that of no label's noise, but of arithmetic
ANYTIME_AT = 100  # labels at which intervals valid at any time are shortest
LEAST_COUNT = 0.5  # effective labels unlike the others below which a mean is next to an end
MOST_COUNTED = 1e12  # effective labels: with more the incomplete beta function is inexact
FULL_LABELS = 5.0  # labels of the scale's whole width below which a mean is near an end
NO_FOLDS = np.zeros(0)


@dataclass(frozen=True)
class Influence:
    """An estimate and its centred influence function over all prompts, `psi` (N,), mean 0.

    `cluster` (N,) numbers the prompts' clusters. `fitted` (K,): what the estimate owes to a fit
    that the influence function does not hold, as jackknife deviations by fold, whose sum of squares
    is a variance. Linear: estimates add and scale with both, so that what two policies share
    cancels in their difference.
    """

    value: float
    psi: Array
    cluster: Codes
    fitted: Array = field(default_factory=lambda: NO_FOLDS)

    def __add__(self, other: "Influence") -> "Influence":
        return Influence(
            self.value + other.value,
            self.psi + other.psi,
            self.cluster,
            _padded_sum(self.fitted, other.fitted),
        )

    def __sub__(self, other: "Influence") -> "Influence":
        return self + (-1.0) * other

    def __rmul__(self, factor: float) -> "Influence":
        return Influence(factor * self.value, factor * self.psi, self.cluster, factor * self.fitted)

    def inflated(self, factor: float) -> "Influence":
        """The same estimate, its influence function times `factor`."""
        return replace(self, psi=factor * self.psi)

    @property
    def by_cluster(self) -> Array:
        """The influence function summed within clusters, (C,)."""
        return totals(self.cluster, self.psi)

    @property
    def variance(self) -> float:
        """Of the estimate, prompts redrawn by cluster; 0 for a single cluster."""
        return self.covariance(self)

    def covariance(self, other: "Influence") -> float:
        """Of two estimates on the same prompts."""
        mine = self.by_cluster
        theirs = mine if other is self else other.by_cluster
        n, clusters = len(self.psi), len(mine)
        shared = min(len(self.fitted), len(other.fitted))
        fitted = self.fitted[:shared] @ other.fitted[:shared]
        return float(mine @ theirs / n**2 * clusters / max(clusters - 1, 1) + fitted)

    def correlation(self, other: "Influence") -> float:
        """Of two estimates on the same prompts; 0 where one does not vary."""
        scale = self.se * other.se
        if scale <= ROUNDING**2:
            return 0.0
        return float(np.clip(self.covariance(other) / scale, -1.0, 1.0))

    @property
    def se(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.variance))

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's: the fewer clusters carry the estimate, the fewer they are.

        A mean of squares with fourth moment kappa is worth 2 / (kappa - 1) of its n terms; for
        normal contributions this is n - 1.
        """
        square = self.by_cluster**2
        n, total = len(square), square.sum()
        if n < 3 or total <= 0:
            return float(max(n - 1, 1))
        excess = (square**2).sum() - total**2 / n
        if excess <= 0:
            return float(n - 1)
        return float(np.clip(2 * total**2 / excess, 1, n - 1))

    def difference_interval(self, alpha: float, floor: float) -> tuple[float, float]:
        """The t interval of level 1 - alpha of a difference, within [-1, 1].

        `floor`: the least standard error that the labels' number admits, used where the
        contributions do not vary.
        """
        half = stdtrit(self.degrees_of_freedom, 1 - alpha / 2) * self._honest_se(floor)
        return max(self.value - half, -1.0), min(self.value + half, 1.0)

    def p_value(self, floor: float) -> float:
        """Two-sided, of the difference's being 0."""
        z = abs(self.value) / self._honest_se(floor)
        return float(2 * stdtr(self.degrees_of_freedom, -z))

    def _honest_se(self, floor: float) -> float:
        return self.se if self.se > ROUNDING else floor


def _padded_sum(one: Array, other: Array) -> Array:
    size = max(len(one), len(other))
    return np.pad(one, (0, size - len(one))) + np.pad(other, (0, size - len(other)))


def mean_influence(
    values: Array,
    prompt: Codes,
    cluster: Codes,
    share: Array | None = None,
) -> Influence:
    """The weighted mean of `values` (m,), whose rows belong to prompts `prompt` (m,) of N.

    `share` (m,): weights, sum 1 (default: equal). Prompts without a row contribute nothing, and
    the others more for it.
    """
    prompts = len(cluster)
    share = np.full(len(values), 1 / len(values)) if share is None else share
    value = float(share @ values)
    psi = prompts * totals(prompt, share * (values - value), prompts)
    return Influence(value, psi, cluster)


def dispersion(means: Iterable[tuple[float, float, float]]) -> float:
    """How large variances near the ends of [0, 1] are beside those of labels of two values: c of
    c V (1 - V), the variance function of a quasi-binomial mean (Wedderburn 1974), from all policies
    whose mean is near an end.

    `means`: by policy its mean, standard error and number of labels. One more label of two values
    is counted with them, which is all that is known where none has seen a rare one.
    """
    variance = most = 1.0
    for value, se, labels in means:
        near = nearness(value, labels)
        variance += near * (labels * se) ** 2
        most += near * labels * value * (1 - value)
    return min(variance / most, 1.0)


def nearness(value: float, labels: float) -> float:
    """How near an end of [0, 1] a mean of so many labels is: 1 where it is below five labels of the
    scale's whole width, 0 from ten on."""
    return min(max(2 - labels * min(value, 1 - value) / FULL_LABELS, 0.0), 1.0)


def bounded_interval(
    value: float,
    se: float,
    labels: float,
    freedom: float,
    alpha: float,
    steps: bool,
    common_dispersion: float = 0.0,
) -> tuple[float, float]:
    """The interval of level 1 - alpha of a mean on [0, 1].

    V (1 - V) / se^2 is an effective number of labels, and the interval is that of Clopper and
    Pearson for so many (Korn and Graubard 1998, section 3): never of width 0, never beyond the
    scale. Where labels take more than two values (`steps` false), the number is multiplied by the
    ratio of squared normal and t quantiles; and as their mean moves by no steps of a label, of the
    label that Clopper and Pearson allow at each end half is left, as in Jeffreys's interval. Where
    nothing varies, or next to an end of the scale, it is the exact one for a share of answers that
    `labels` (their effective number) could have missed: at most 1 - (alpha / 2)^(1 / labels), worth
    anything from 0 to 1; or the t interval, where that is wider.

    Near an end labels do not know their own variance: until one of the rare ones that the mean
    hangs on is among them, it is much too small. There the effective number is at most `labels` /
    `common_dispersion` (`dispersion` of all policies; 0: not known), as far as the mean is near
    (`nearness`); the interval is never shorter for it.
    """
    value = min(max(value, 0.0), 1.0)
    size = value * (1 - value) / se**2 if se > ROUNDING else 0.0
    sizes = [size]
    if common_dispersion * size > labels:
        sizes.append(size * (labels / common_dispersion / size) ** nearness(value, labels))
    ends = [_share_interval(value, se, n, labels, freedom, alpha, steps) for n in sizes]
    low, high = zip(*ends, strict=True)
    return min(low), max(high)


def _share_interval(
    value: float,
    se: float,
    size: float,
    labels: float,
    freedom: float,
    alpha: float,
    steps: bool,
) -> tuple[float, float]:
    """The `bounded_interval` of an effective number `size` of labels."""
    if size * min(value, 1 - value) < LEAST_COUNT:
        unseen = 1 - (alpha / 2) ** (1 / max(labels, 1.0))
        low, high = value * (1 - unseen), value * (1 - unseen) + unseen
        quantile = stdtrit(freedom, 1 - alpha / 2)
        return max(0.0, min(low, value - quantile * se)), min(1.0, max(high, value + quantile * se))
    ratio = 1.0 if steps else ndtri(alpha / 2) / stdtrit(freedom, alpha / 2)
    size = min(size * ratio**2, MOST_COUNTED)
    near, far = (0.0, 1.0) if steps else (0.5, 0.5)
    low = betaincinv(size * value + near, size * (1 - value) + far, alpha / 2)
    high = betaincinv(size * value + far, size * (1 - value) + near, 1 - alpha / 2)
    return float(min(low, value)), float(max(high, value))


def anytime_level(alpha: float, labels: float) -> float:
    """The level of the fixed-time interval that is as wide as the asymptotic confidence sequence of
    level alpha at so many labels (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, theorem
    2.2, as asymptotic two-sided sequence):

        V +- se sqrt(2 (1 + 1 / r) log(sqrt(r + 1) / alpha)),  r = rho^2 labels

    which holds the truth at all numbers of labels at once with probability 1 - alpha. rho is the
    one with the shortest interval at 100 labels (their equation 11).
    """
    r = _mixture(alpha, labels)
    return float(2 * ndtr(-np.sqrt(2 * (1 + 1 / r) * np.log(np.sqrt(r + 1) / alpha))))


def anytime_p_value(p_value: float, alpha: float, labels: float) -> float:
    """The p-value valid at any time of a fixed-time one: the least level of the sequence that
    leaves 0 out, rho as that of level alpha."""
    r = _mixture(alpha, labels)
    square = ndtri(max(p_value, 1e-300) / 2) ** 2
    return float(min(1.0, np.sqrt(r + 1) * np.exp(-square / (2 * (1 + 1 / r)))))


def _mixture(alpha: float, labels: float) -> float:
    best = -lambertw(-(alpha**2) / np.e, -1).real - 1
    return float(best * max(labels, 1.0) / ANYTIME_AT)


def combined(own: Influence, logs: Influence) -> tuple[Influence, float]:
    """The combination own + kappa (logs - own) of least variance, and kappa in [0, 1]."""
    gap = logs - own
    spread = gap.variance
    if spread <= 0:
        return own, 0.0
    kappa = float(np.clip(-own.covariance(gap) / spread, 0, 1))
    return own + kappa * gap, kappa


@dataclass(frozen=True)
class Ends:
    """The interval `low` to `high` of one policy's mean `value`, and how near an end of the scale
    that is (`nearness`)."""

    value: float
    low: float
    high: float
    near: float


def recovered_interval(one: Ends, other: Ends, correlation: float) -> tuple[float, float]:
    """The interval of one mean less another from their own intervals: the method of variance
    estimates recovery (Zou and Donner 2008; for shares, Newcombe 1998). Variances near an end are
    not those of the labels at hand, and are not the same upward and downward; the intervals know.
    """

    def root(mine: float, theirs: float) -> float:
        return float(np.sqrt(max(mine**2 + theirs**2 - 2 * correlation * mine * theirs, 0.0)))

    gap = one.value - other.value
    down = root(one.value - one.low, other.high - other.value)
    up = root(one.high - one.value, other.value - other.low)
    return max(gap - down, -1.0), min(gap + up, 1.0)


def paired_comparisons(
    estimates: Mapping[str, Influence],
    floors: Mapping[str, float],
    alpha: float,
    anytime: bool = False,
    ends: Mapping[str, Ends] | None = None,
) -> pd.DataFrame:
    """Every pair of policies once, compared on the same prompts.

    `floors`: by policy, the least standard error that its labels admit. A row a pair: `policy_a`,
    `policy_b`, `difference` (a minus b), its `se`, `ci_low`, `ci_high` (of level 1 - alpha, each by
    itself), `p_value`, and `p_value_corrected` (Holm, over all pairs). `anytime`: intervals and
    p-values valid at any number of labels. `ends`: the policies' own intervals of that level; as
    far as a mean of a pair is near an end, the pair's interval reaches as far as the recovered one.
    """
    ends = ends or {}
    rows = []
    for (a, one), (b, other) in combinations(estimates.items(), 2):
        gap, floor = one - other, max(floors[a], floors[b])
        level, p_value = alpha, gap.p_value(floor)
        if anytime:
            level = anytime_level(alpha, 1 / floor)
            p_value = anytime_p_value(p_value, alpha, 1 / floor)
        low, high = gap.difference_interval(level, floor)
        if a in ends and b in ends and (near := max(ends[a].near, ends[b].near)) > 0:
            own = recovered_interval(ends[a], ends[b], one.correlation(other))
            low, high = low - near * max(low - own[0], 0.0), high + near * max(own[1] - high, 0.0)
        rows.append((a, b, gap.value, gap.se, low, high, p_value))
    columns = ["policy_a", "policy_b", "difference", "se", "ci_low", "ci_high", "p_value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_value_corrected=holm(frame["p_value"].to_numpy(float)))


def unbeaten(comparisons: pd.DataFrame, names: Sequence[str], alpha: float) -> list[str]:
    """Those of `names` that no other beats significantly (Holm-corrected p below alpha)."""
    clear = comparisons[comparisons["p_value_corrected"] < alpha]
    losers = np.where(clear["difference"] < 0, clear["policy_a"], clear["policy_b"])
    return [name for name in names if name not in set(losers)]


def square(comparisons: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """A column of `paired_comparisons`, policy by policy, NaN for a pair that is not there.

    `difference` is row minus column and 0 on the diagonal; of p-values both halves are the same
    and the diagonal is 1.
    """
    signed = column == "difference"
    frame = pd.DataFrame(np.nan, index=names, columns=names)
    for name in names:
        frame.loc[name, name] = 0.0 if signed else 1.0
    for row in comparisons.to_dict("records"):
        frame.loc[row["policy_a"], row["policy_b"]] = row[column]
        frame.loc[row["policy_b"], row["policy_a"]] = -row[column] if signed else row[column]
    return frame


def holm(p_values: Array) -> Array:
    """Holm's (1979) step-down correction of p-values (k,), in their order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * p_values[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
