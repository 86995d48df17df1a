"""Inference from influence functions: standard errors, intervals, comparisons.

An estimate is a mean over prompts of contributions, and its influence function says what each
prompt contributed. Prompts are the clusters: all answers to one prompt are summed before any
variance is taken, and two policies are compared on the same prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Influence:
    """An estimate and its centred influence function over all prompts, `psi` (N,), mean 0.

    `bias` is what may be left of it, as a root mean square; `variance` what the influence function
    does not hold. Both widen the interval. Linear: estimates add and scale with their functions.
    """

    value: float
    psi: np.ndarray
    bias: float = 0.0
    variance: float = 0.0

    def __add__(self, other: "Influence") -> "Influence":
        return Influence(
            self.value + other.value,
            self.psi + other.psi,
            float(np.hypot(self.bias, other.bias)),
            self.variance + other.variance,
        )

    def __sub__(self, other: "Influence") -> "Influence":
        return self + (-1.0) * other

    def __rmul__(self, factor: float) -> "Influence":
        return Influence(
            factor * self.value, factor * self.psi, abs(factor) * self.bias,
            factor**2 * self.variance,
        )  # fmt: skip

    def widened(self, *, bias: float = 0.0, variance: float = 0.0) -> "Influence":
        """The same estimate with more doubt."""
        return replace(
            self, bias=float(np.hypot(self.bias, bias)), variance=self.variance + variance
        )

    @property
    def sampling_error(self) -> float:
        """The standard error of sampling prompts, answers and labels; 0 for a single prompt."""
        n = len(self.psi)
        return float(np.sqrt((self.psi @ self.psi) / (n * max(n - 1, 1))))

    @property
    def se(self) -> float:
        """The whole root-mean-square error: sampling, extra variance, and possible bias."""
        return float(np.sqrt(self.sampling_error**2 + self.variance + self.bias**2))

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's: the fewer prompts carry the estimate, the fewer they are.

        A mean of squares with fourth moment kappa is worth 2 / (kappa - 1) of its n terms; for
        normal contributions this is n - 1.
        """
        n = len(self.psi)
        square = self.psi**2
        total = square.sum()
        if n < 3 or total <= 0:
            return float(max(n - 1, 1))
        excess = (square**2).sum() - total**2 / n
        if excess <= 0:
            return float(n - 1)
        return float(np.clip(2 * total**2 / excess, 1, n - 1))

    def interval(self, alpha: float) -> tuple[float, float]:
        """The t interval of level 1 - alpha."""
        half = stdtrit(self.degrees_of_freedom, 1 - alpha / 2) * self.se
        return float(self.value - half), float(self.value + half)

    def p_value(self) -> float:
        """Two-sided, of the estimate's being 0; 1 where nothing varies and nothing differs."""
        if self.se <= 0:
            return float(abs(self.value) <= 1e-12)
        return float(2 * stdtr(self.degrees_of_freedom, -abs(self.value) / self.se))


def mean_influence(
    values: np.ndarray, prompt: np.ndarray, prompts: int, share: np.ndarray | None = None
) -> Influence:
    """The weighted mean of `values` (m,), whose rows belong to prompts `prompt` (m,) of N.

    `share` (m,): weights, sum 1 (default: equal). Prompts without a row contribute nothing, and
    the others more for it.
    """
    share = np.full(len(values), 1 / len(values)) if share is None else share
    value = float(share @ values)
    psi = prompts * np.bincount(prompt, share * (values - value), prompts)
    return Influence(value, psi)


def paired_comparisons(estimates: Mapping[str, Influence], alpha: float) -> pd.DataFrame:
    """Every pair of policies once, compared on the same prompts.

    A row a pair: `policy_a`, `policy_b`, `difference` (a minus b), its `se`, `ci_low`, `ci_high`
    (of level 1 - alpha, each by itself), `p_value`, and `p_value_corrected` (Holm, over all pairs).
    """
    rows = []
    for (a, one), (b, other) in combinations(estimates.items(), 2):
        difference = one - other
        interval = difference.interval(alpha)
        rows.append((a, b, difference.value, difference.se, *interval, difference.p_value()))
    columns = ["policy_a", "policy_b", "difference", "se", "ci_low", "ci_high", "p_value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_value_corrected=holm(frame["p_value"].to_numpy(float)))


def square(comparisons: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """A column of `paired_comparisons`, policy by policy: `difference` is row minus column and 0
    on the diagonal; of p-values both halves are the same and the diagonal is 1."""
    signed = column == "difference"
    frame = pd.DataFrame(0.0 if signed else 1.0, index=names, columns=names)
    for row in comparisons.to_dict("records"):
        frame.loc[row["policy_a"], row["policy_b"]] = row[column]
        frame.loc[row["policy_b"], row["policy_a"]] = -row[column] if signed else row[column]
    return frame


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction of p-values (k,), in their order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * p_values[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
