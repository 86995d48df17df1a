"""The estimate that stands on oracle labels on a policy's own answers.

    V = mean_m y + lambda (mean_n f - mean_m f + mean_n1 h - mean_m h) + mu (mean_n s - mean_m s)

n prompts with an answer, n1 of them with the base policy's label, m with the policy's own; f is
what judge scores predict in all policies alike, h = g - f what the base policy's label on the
prompt adds (`predictor`), s the policy's own judge score. Three-phase regression (Cochran 1977,
Sampling Techniques, section 12.9); with one signal it is prediction-powered inference
(Angelopoulos, Duchi and Zrnic 2023, equation 3). Unbiased whatever the judge does, as far as the
labelled prompts are a random part of all: the powers lambda and mu say only how much of the
signals is believed. Unless a policy's own labels say otherwise beyond chance, lambda is 1 and mu 0.
"""

from dataclasses import dataclass

import numpy as np

from cje.stats.arrays import Array, Codes, totals
from cje.stats.inference import Influence
from cje.stats.predictor import Prediction
from cje.stats.samples import Answers, Samples
from cje.stats.slopes import LEAST_SPREAD

DOUBT = 2.0  # variances of itself by which a power must differ from what it is taken for
MOST_LEVERAGE = 0.9


@dataclass(frozen=True)
class OwnLabels:
    """The estimate; its `power`; `labels`, the clusters that have one; `effective`, Kish's number
    of them; `skew`, the skewness of their errors over the root of their number, which is how far
    from normal their mean is (Berry and Esseen); `values`, how many different ones there are.

    What the estimate is a sum of, over all N prompts and about its mean: `predicted`, which is
    known of every answer, `peer`, of those whose prompt has a label of the base policy, `left`, of
    the labelled ones; 0 elsewhere."""

    influence: Influence
    power: float
    labels: int
    effective: float
    skew: float
    values: int
    predicted: Array
    peer: Array
    left: Array


def own_label_estimate(samples: Samples, policy: str, prediction: Prediction) -> OwnLabels | None:
    """The estimate from a policy's own labels; None where fewer than two clusters have any."""
    answers, base = samples.answers[policy], samples.answers[samples.base]
    rows = np.flatnonzero(answers.labelled)
    clusters = len(np.unique(samples.cluster[rows]))
    if clusters < 2:
        return None
    share = _shares(answers.label_weight)[rows]
    mean = float(share @ answers.utility[rows])
    left, value, psi = answers.utility[rows] - mean, mean, np.zeros(len(samples.uids))
    leverage, powers = np.zeros(len(rows)), []
    for signal, claimed in (
        (_predicted(answers, base, prediction, rows, share), 1.0),
        (_judged(answers, prediction, rows, share), 0.0),
    ):
        least = LEAST_SPREAD * signal.spread * float(share @ share)
        power, own_leverage = tuned_power(share * left, share * signal.here, claimed, least)
        left, value = left - power * signal.here, value - power * signal.gap
        psi, leverage = psi + power * signal.elsewhere, leverage + own_leverage
        powers.append(power)
    leverage = np.minimum(leverage, MOST_LEVERAGE)
    left = left * np.sqrt(clusters / (clusters - 1) / (1 - leverage))
    psi[rows] += share * left
    psi -= psi.mean()  # the leverages are not all alike
    by_cluster = np.bincount(samples.cluster[rows], share)
    whole = powers[0] * prediction.whole + powers[1] * prediction.score
    residual = np.zeros(len(psi))
    residual[rows] = left
    return OwnLabels(
        influence=Influence(value, len(psi) * psi, samples.cluster),
        power=powers[0],
        labels=clusters,
        effective=float(1 / (by_cluster @ by_cluster)),
        skew=_skew(totals(samples.cluster[rows], share * left)),
        values=len(np.unique(answers.utility[rows])),
        predicted=_centred(whole, answers.present.astype(float)),
        peer=_centred(powers[0] * prediction.peer, base.label_weight),
        left=residual,
    )


@dataclass(frozen=True)
class Signal:
    """What is known of all prompts and goes with utility: `here` (m,), of the labelled rows, about
    its mean over them; `gap`, how much higher that mean is than over all prompts; `elsewhere` (N,),
    the influence of the mean over all prompts; `spread`, the variance over all prompts."""

    here: Array
    gap: float
    elsewhere: Array
    spread: float


def _centred(values: Array, weight: Array) -> Array:
    """The values (N,) about their weighted mean, 0 where the weight is 0."""
    if not weight.any():
        return np.zeros(len(values))
    centred: Array = np.where(weight > 0, values - _shares(weight) @ values, 0.0)
    return centred


def _shares(weight: Array) -> Array:
    """The weights (N,), not negative, with sum 1."""
    shares: Array = weight / weight.sum()
    return shares


def _signal(here: Array, share: Array, everywhere: Array, whole: Array) -> Signal:
    mean_here, mean = float(share @ here), float(everywhere @ whole)
    centred = whole - mean
    return Signal(
        here - mean_here, mean_here - mean, everywhere * centred, float(everywhere @ centred**2)
    )


def _judged(answers: Answers, prediction: Prediction, rows: Codes, share: Array) -> Signal:
    """The policy's own judge score."""
    everywhere = _shares(answers.present.astype(float))
    return _signal(prediction.labelled_score[rows], share, everywhere, prediction.score)


def _predicted(
    answers: Answers, base: Answers, prediction: Prediction, rows: Codes, share: Array
) -> Signal:
    """f, and h where the base policy's answer to the prompt is labelled."""
    everywhere = _shares(answers.present.astype(float))
    f = _signal(prediction.labelled[rows], share, everywhere, prediction.whole)
    known = base.labelled[rows]
    part = float(share @ known)
    if part == 0 or not prediction.peer.any():
        return f
    beyond = _shares(base.label_weight)
    h = _signal(prediction.peer[rows], share * known / part, beyond, prediction.peer)
    return Signal(
        f.here + np.where(known, h.here, 0.0),
        f.gap + part * h.gap,
        f.elsewhere + part * h.elsewhere,
        f.spread,
    )


def tuned_power(
    error: Array, signal: Array, claimed: float, least: float = 0.0
) -> tuple[float, Array]:
    """The power of least variance and each row's leverage on it; error, signal (m,) by share.

    The least-squares power is believed as far as it differs from the claimed one by more than its
    own noise: claimed + k (power - claimed), k = max(0, 1 - 2 se^2 / (power - claimed)^2); below 0
    it is never taken. `least`: the sum of squares that the signal counts for at least. A residual
    over the root of 1 - leverage has the variance of its error (HC2; MacKinnon and White 1985).
    """
    spread = max(float(signal @ signal), least)
    if len(error) < 4 or spread <= 1e-20:
        return claimed, np.zeros(len(error))
    step = signal @ (error - claimed * signal) / spread
    noise = ((error - (claimed + step) * signal) ** 2).sum() / (len(error) - 2) / spread
    kept = max(0.0, 1 - DOUBT * noise / step**2) if step else 0.0
    return float(max(claimed + kept * step, 0.0)), kept * signal**2 / spread


def _skew(influence: Array) -> float:
    """|sum x^3| / (sum x^2)^1.5 of the influences x by cluster (C,); 0 where they do not vary."""
    total = (influence**2).sum()
    return float(abs((influence**3).sum()) / total**1.5) if total > 0 else 0.0
