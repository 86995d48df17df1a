"""The estimate that stands on oracle labels on a policy's own answers.

    V = mean_m y + lambda ((mean_n f - mean_m f) + (mean_n1 h - mean_m h))

n prompts with an answer, n1 of them with the base policy's label, m with the policy's own; f is
what the judge's scores predict, h = g - f what the base policy's label on the prompt adds
(`predictor`).
Three-phase regression (Cochran 1977, Sampling Techniques, section 12.9); with f alone it is
prediction-powered inference (Angelopoulos, Duchi and Zrnic 2023, equation 3). Unbiased whatever the
judge does, as far as the labelled prompts are a random part of all: lambda, the power, says only
how much of the predictions is believed.
"""

from dataclasses import dataclass

import numpy as np

from cje.stats.inference import Influence
from cje.stats.predictor import Prediction
from cje.stats.samples import Answers, Samples

DOUBT = 2.0  # variances of itself by which the power must differ from 1 to leave it
POWERS = (0.0, 1.25)
MOST_LEVERAGE = 0.9


@dataclass(frozen=True)
class OwnLabels:
    """The estimate; its `power`; `labels`, the clusters that have one; `effective`, Kish's number
    of them; `skew`, the skewness of their errors over the root of their number, which is how far
    from normal their mean is (Berry and Esseen); `values`, how many different ones there are."""

    influence: Influence
    power: float
    labels: int
    effective: float
    skew: float
    values: int


def own_label_estimate(samples: Samples, policy: str, prediction: Prediction) -> OwnLabels | None:
    """The estimate from a policy's own labels; None where fewer than two clusters have any."""
    answers, base = samples.answers[policy], samples.answers[samples.base]
    rows = np.flatnonzero(answers.labelled)
    clusters = len(np.unique(samples.cluster[rows]))
    if clusters < 2:
        return None
    share = _shares(answers.label_weight)[rows]
    mean = float(share @ answers.utility[rows])
    signal, gap, elsewhere = _predicted(answers, base, prediction, rows, share)
    error = answers.utility[rows] - mean
    power, leverage = tuned_power(share * error, share * signal)
    left = (error - power * signal) / np.sqrt(1 - leverage) * np.sqrt(clusters / (clusters - 1))
    psi = power * elsewhere
    psi[rows] += share * left
    by_cluster = np.bincount(samples.cluster[rows], share)
    return OwnLabels(
        influence=Influence(mean - power * gap, len(psi) * psi, samples.cluster),
        power=power,
        labels=clusters,
        effective=float(1 / (by_cluster @ by_cluster)),
        skew=_skew(np.bincount(samples.cluster[rows], share * left)),
        values=len(np.unique(answers.utility[rows])),
    )


def _shares(weight: np.ndarray) -> np.ndarray:
    """The weights (N,), not negative, with sum 1."""
    return weight / weight.sum()


def _predicted(
    answers: Answers, base: Answers, prediction: Prediction, rows: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """What is predicted of the labelled rows (m,), about its mean over them; how much higher that
    mean is than over all prompts; and the influence (N,) of the mean over all prompts."""
    f, everywhere = prediction.labelled[rows], _shares(answers.present.astype(float))
    f_here, f_all = float(share @ f), float(everywhere @ prediction.whole)
    signal, gap = f - f_here, f_here - f_all
    elsewhere = everywhere * (prediction.whole - f_all)
    known = base.labelled[rows]
    part = float(share @ known)
    if part > 0 and prediction.peer.any():
        h, beyond = prediction.peer[rows], _shares(base.label_weight)
        h_here, h_all = float(share @ (known * h)) / part, float(beyond @ prediction.peer)
        signal = signal + np.where(known, h - h_here, 0.0)
        gap += part * (h_here - h_all)
        elsewhere = elsewhere + part * beyond * (prediction.peer - h_all)
    return signal, gap, elsewhere


def tuned_power(error: np.ndarray, signal: np.ndarray) -> tuple[float, np.ndarray]:
    """The power of least variance and each row's leverage on it; error, signal (m,) by share.

    The least-squares power is believed as far as it differs from 1, what the predictions claim of
    themselves, by more than its own noise: 1 + k (power - 1), k = max(0, 1 - 2 se^2 / (power -
    1)^2). A residual over the root of 1 - leverage has the variance of its error (HC2; MacKinnon
    and White 1985).
    """
    spread = signal @ signal
    if len(error) < 4 or spread <= 1e-20:
        return 1.0, np.zeros(len(error))
    step = signal @ (error - signal) / spread
    noise = ((error - (1 + step) * signal) ** 2).sum() / (len(error) - 2) / spread
    kept = max(0.0, 1 - DOUBT * noise / step**2) if step else 0.0
    leverage = np.minimum(kept * signal**2 / spread, MOST_LEVERAGE)
    return float(np.clip(1 + kept * step, *POWERS)), leverage


def _skew(influence: np.ndarray) -> float:
    """|sum x^3| / (sum x^2)^1.5 of the influences x by cluster (C,); 0 where they do not vary."""
    total = (influence**2).sum()
    return float(abs((influence**3).sum()) / total**1.5) if total > 0 else 0.0
