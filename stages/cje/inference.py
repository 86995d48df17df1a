"""Inference from influence functions: standard errors, intervals, comparisons.

An estimate is a mean over prompts of contributions, and its influence function says what each
prompt contributed. Prompts are the clusters: all answers to one prompt are summed before any
variance is taken, and two policies are compared on the same prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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


def paired_differences(
    estimates: Mapping[str, Influence],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Row policy minus column policy, and the Holm-corrected p-values of all pairs.

    Both are square frames, policy by policy; on the diagonal the difference is 0 and p is 1.
    """
    names = list(estimates)
    differences = pd.DataFrame(0.0, index=names, columns=names)
    p_values = pd.DataFrame(1.0, index=names, columns=names)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    raw = []
    for a, b in pairs:
        difference = estimates[a] - estimates[b]
        raw.append(difference.p_value())
        differences.loc[a, b], differences.loc[b, a] = difference.value, -difference.value
    for (a, b), p in zip(pairs, holm(np.array(raw)), strict=True):
        p_values.loc[a, b] = p_values.loc[b, a] = p
    return differences, p_values


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction of p-values (k,), in their order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * p_values[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
