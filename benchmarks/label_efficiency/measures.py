"""How good a method's answers are, against the truth and against the labels' mean.

Only targets are counted: of the base policy, which has other numbers of labels, not every method
gives an estimate.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from label_efficiency.multiple import claims, pair_indices

Quantities = Mapping[str, np.ndarray]
RELIABLE = "reliable"
ENOUGH = 30  # reliable estimates of a target for its coverage to count alone


def completed(found: Quantities, labels: Quantities) -> dict[str, np.ndarray]:
    """A method's answers; where it gives none (NaN), the labels' mean is all that a user has. It
    stands in for the estimate, not for the interval. Claims, where the method makes none itself,
    are those of its estimates and standard errors."""
    whole = dict(found)
    if "claims" not in whole:
        whole["claims"] = z_test_claims(found["value"], found["se"])
    whole["value"] = np.where(np.isnan(found["value"]), labels["value"], found["value"])
    return whole


def z_test_claims(value: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Signs (R, T, T) of the significant differences, as a user gets them who takes estimates
    (R, T) for independent; no error at all is taken at its word."""
    targets = value.shape[1]
    first, second = pair_indices(targets)
    difference = value[:, first] - value[:, second]
    error = np.hypot(se[:, first], se[:, second])
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * ndtr(-np.abs(difference / error))
    p_values[(error == 0) & (difference == 0)] = 1.0
    rows = zip(difference, p_values, strict=True)
    return np.stack([claims(gap, p, targets) for gap, p in rows])


def measures(found: Quantities, labels: Quantities, truth: np.ndarray) -> dict[str, float]:
    """The figures of one method on one set; `truth` (T,) of the targets.

    error: mean over targets of mean squared error relative to the labels' mean's. error_se: its
    standard error over redraws. coverage, worst: of the intervals given, over all and of the
    target where it is lowest. width: mean over targets of mean width relative to the labels'
    t intervals'. claims: share of pairs called different; wrong: share of these that are equal in
    truth or differ the other way. regret: mean loss from choosing the target of highest estimate.
    missing: share of estimates that the method does not give.
    """
    squares, reference = (found["value"] - truth) ** 2, (labels["value"] - truth) ** 2
    ratio = squares.mean(axis=0) / reference.mean(axis=0)
    moves = ((squares - ratio * reference) / reference.mean(axis=0)).mean(axis=1)
    given = ~np.isnan(found["low"])
    covered = given & (found["low"] <= truth) & (truth <= found["high"])
    answered = given.any(axis=0)
    by_target = covered.sum(axis=0)[answered] / given.sum(axis=0)[answered]
    width = np.nanmean((found["high"] - found["low"])[:, answered], axis=0)
    labels_width = (labels["high"] - labels["low"]).mean(axis=0)[answered]
    first, second = pair_indices(len(truth))
    signs = found["claims"][:, first, second]
    wrong = (signs != 0) & (signs * (truth[first] - truth[second]) <= 0)
    made = int((signs != 0).sum())
    return {
        "error": float(ratio.mean()),
        "error_se": float(moves.std(ddof=1) / len(moves) ** 0.5),
        "coverage": float(covered.sum() / given.sum()),
        "worst": float(by_target.min()),
        "width": float((width / labels_width).mean()),
        "claims": made / signs.size,
        "wrong": float(wrong.sum()) / made if made else np.nan,
        "regret": float((truth.max() - truth[chosen(found)]).mean()),
        "missing": 1 - float(given.mean()),
    }


def chosen(found: Quantities) -> np.ndarray:
    """The target (R,) of the highest estimate, of those not refused where any is not."""
    value = found["value"]
    if "verdict" in found:
        believed = found["verdict"] != "refuse"
        believed |= ~believed.any(axis=1, keepdims=True)
        value = np.where(believed, value, -np.inf)
    return value.argmax(axis=1)


def verdict_measures(found: Quantities, truth: np.ndarray) -> dict[str, float]:
    """Shares of verdicts, and coverage over what is reliable, of all targets together and of the
    lowest that is so often enough; `truth` (1 + T,), the base policy's first. best_size: policies
    that none beats; best_holds: how often the truly best is among them."""
    verdict, own = found["verdict"], truth[1:]
    covered = (found["low"] <= own) & (own <= found["high"])
    reliable = verdict == RELIABLE
    counts = reliable.sum(axis=0)
    often = counts >= ENOUGH
    by_target = (covered & reliable).sum(axis=0)[often] / counts[often]
    return {
        **{word: float((verdict == word).mean()) for word in (RELIABLE, "caution", "refuse")},
        "coverage": float(covered[reliable].mean()) if reliable.any() else np.nan,
        "worst": float(by_target.min()) if len(by_target) else np.nan,
        "best_size": float(found["best"].sum(axis=1).mean()),
        "best_holds": float(found["best"][:, truth.argmax()].mean()),
    }
