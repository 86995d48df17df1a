"""Estimates from own labels and their differences, computed anew from the tables alone, without the
library: docs/method.md as plainly as it can be written down. For one draw a prompt, uniform
sampling and no clusters."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import betaincinv, ndtri, stdtr, stdtrit


def own_label_estimates(rewards: pd.DataFrame, base: str) -> pd.DataFrame:
    """`v_hat`, `se`, `ci_low`, `ci_high` by policy."""
    policies = [base, *(p for p in rewards["policy"].unique() if p != base)]
    wide = rewards.pivot(index="uid", columns="policy")
    score, y = (wide[c][policies].to_numpy().T for c in ("judge_raw", "oracle_score"))
    fold = rewards.groupby("uid")["fold"].first().to_numpy()
    x = judge_features(score)
    f = predicted(x, y, fold)
    h = beyond_the_judge(y - f, fold)
    peer = [0 * h] + [h] * (len(y) - 1)
    found = [estimate(*of, np.isfinite(y[0])) for of in zip(y, f, peer, x, strict=True)]
    return pd.DataFrame(found, policies, ["v_hat", "se", "ci_low", "ci_high"])


def judge_features(score: np.ndarray) -> np.ndarray:
    """Own score, its rank, the prompt's mean rank, the base's rank, no score: (policies, N, d)."""
    rank = pd.Series(score.ravel()).rank(pct=True).to_numpy().reshape(score.shape)
    known = np.isfinite(score)
    mean_rank = np.where(known.any(0), np.nansum(rank, 0) / np.maximum(known.sum(0), 1), np.nan)
    x = []
    for p in range(len(score)):
        columns = [score[p], rank[p], mean_rank, rank[0] if p else 0 * rank[0]]
        columns += [] if known.all() else [1.0 * ~known[p]]
        columns = [np.where(np.isfinite(c), c, np.nanmean(c)) for c in columns]
        x.append(np.column_stack([c - c.mean() for c in columns]))
    return np.array(x) / np.sqrt(np.mean(np.square(x), axis=(0, 1)))


def predicted(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """f: common slopes, an intercept a policy, cross-fitted, shrunk by their Wald statistic."""
    labelled = np.isfinite(y)
    whole = np.where(labelled, 1 / (1 + 0.3 * (labelled.sum(0) - 1)), 0.0)
    f = np.zeros(y.shape)
    for k in np.unique(fold):
        weight = whole * (fold != k)
        share = weight / weight.sum(1, keepdims=True)
        z = x - np.einsum("pn,pnd->pd", share, x)[:, None]
        of = np.nan_to_num(y) - (share * np.nan_to_num(y)).sum(1, keepdims=True)
        gram, moment = np.einsum("pn,pni,pnj", weight, z, z), np.einsum("pn,pni,pn", weight, z, of)
        b = np.linalg.solve(gram + 1e-3 * np.diag(gram).mean() * np.eye(len(gram)), moment)
        by_prompt = np.einsum("pn,pni->ni", weight * (of - z @ b), z)
        wald = moment @ np.linalg.solve(by_prompt.T @ by_prompt, moment)
        f[:, fold == k] = x[:, fold == k] @ b * max(0.0, 1 - len(b) / wald)
    return f


def beyond_the_judge(error: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """h: what the base's label says of a prompt beside f, cross-fitted; 0 where it has none."""
    base, both = error[0] - np.nanmean(error[0]), np.isfinite(error[0] + error[1:])
    others = np.where(both, error[1:], np.nan)
    shared = both.any(0)
    residual = np.nanmean((others - np.nanmean(others, 1, keepdims=True))[:, shared], 0)
    h = np.zeros(len(base))
    for k in np.unique(fold):
        train = fold[shared] != k
        a, b = base[shared][train], residual[train]
        c, noise = slope(b - b.mean(), a - a.mean())
        h[fold == k] = np.nan_to_num(base[fold == k]) * c * max(0.0, 1 - noise / c**2)
    return h


def slope(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Of y on x, both centred, and its squared standard error."""
    c = x @ y / (x @ x)
    return c, ((y - c * x) ** 2).sum() / (len(x) - 2) / (x @ x)


def estimate(y, f, h, x, known) -> tuple[float, float, float, float]:
    """V_own of a policy, its standard error, and its 95 % interval."""
    rows, s = np.isfinite(y), x[:, 0]
    m, n, both = rows.sum(), len(y), rows & known
    value, left, part = y[rows].mean(), y[rows] - y[rows].mean(), both.sum() / m
    beyond = part * np.where(known, h - h[known].mean(), 0) / known.sum()
    guessed = f[rows] - f[rows].mean() + np.where(known, h - h[both].mean(), 0)[rows]
    ahead = f[rows].mean() - f.mean() + part * (h[both].mean() - h[known].mean())
    signals = [
        (guessed, ahead, (f - f.mean()) / n + beyond, 1.0),
        (s[rows] - s[rows].mean(), s[rows].mean() - s.mean(), (s - s.mean()) / n, 0.0),
    ]
    psi, leverage = np.zeros(n), 0.0
    for here, gap, everywhere, claimed in signals:
        power, noise = slope(left, here)
        kept = max(0.0, 1 - 2 * noise / (power - claimed) ** 2)
        power = max(claimed + kept * (power - claimed), 0.0)
        value, left, psi = value - power * gap, left - power * here, psi + power * everywhere
        leverage = leverage + kept * here**2 / (here @ here)
    psi[rows] += left * np.sqrt(m / (m - 1) / (1 - leverage)) / m
    se = np.sqrt(((psi - psi.mean()) ** 2).sum() * n / (n - 1))
    passes = len(np.unique(y[rows])) <= 2
    ratio = 1 if passes else ndtri(0.975) / stdtrit(m - 1, 0.975)
    size, more, less = value * (1 - value) / se**2 * ratio**2, *((1, 0) if passes else (0.5, 0.5))
    low = betaincinv(size * value + less, size * (1 - value) + more, 0.025)
    high = betaincinv(size * value + more, size * (1 - value) + less, 0.975)
    return value, se, low, high


def compared(psi: pd.DataFrame) -> pd.DataFrame:
    """Every pair of columns: difference, t interval with Satterthwaite's degrees of freedom, p."""
    found = {}
    for a, b in combinations(psi.columns, 2):
        gap, n = psi[a] - psi[b], len(psi)
        square = (gap - gap.mean()) ** 2
        se, total = np.sqrt(square.sum() / n / (n - 1)), square.sum()
        df = min(2 * total**2 / ((square**2).sum() - total**2 / n), n - 1)
        half = stdtrit(df, 0.975) * se
        p = 2 * stdtr(df, -abs(gap.mean()) / se)
        found[a, b] = (gap.mean(), se, gap.mean() - half, gap.mean() + half, p)
    columns = ["difference", "se", "ci_low", "ci_high", "p_value"]
    frame = pd.DataFrame(found, index=columns).T.sort_values("p_value")
    holm = (frame["p_value"] * np.arange(len(frame), 0, -1)).clip(upper=1).cummax()
    return frame.assign(p_value_corrected=holm)
