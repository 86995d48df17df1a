"""From the frames that people pass to the arrays that the estimators take, with every check.

Rows are put in the order of a hash of their uid, so that the order in which they come does not
change a bit of any result.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.calibration import answer_covariates, prompt_folds, prompt_hashes
from cje.errors import CJEError

LOG_COLUMNS = ("uid", "judge_raw", "oracle_score")
DRAW_COLUMNS = ("uid", "policy", "draw", "judge_raw")
LOGP_COLUMNS = ("uid", "policy", "sequence_logp")
SLACK = 1e-9  # a score may be this far outside its range: sums of rounded terms are


@dataclass(frozen=True)
class Logs:
    """The logged answers, n rows: prompt index in 0..N-1, fold, judge score, calibrated reward,
    oracle utility (NaN where unlabelled), label weight omega (0 where unlabelled, mean 1), and
    covariates (n, d) or None. `fitted_terms`: what the calibration fitted to the labels."""

    prompts: int
    folds: int
    prompt: np.ndarray
    fold: np.ndarray
    score: np.ndarray
    reward: np.ndarray
    utility: np.ndarray
    label_weight: np.ndarray
    covariates: np.ndarray | None
    fitted_terms: int

    @property
    def labelled(self) -> np.ndarray:
        return self.label_weight > 0

    @property
    def residual(self) -> np.ndarray:
        """y - f, (n,), 0 where unlabelled."""
        return np.where(self.labelled, self.utility - self.reward, 0.0)


@dataclass(frozen=True)
class Draws:
    """A target's scored fresh draws, m rows: as in `Logs`; `share` (m,) sums to 1 and gives every
    prompt the same weight; `utility` is NaN where the oracle did not see the draw."""

    prompt: np.ndarray
    fold: np.ndarray
    score: np.ndarray
    reward: np.ndarray
    utility: np.ndarray
    label_weight: np.ndarray
    share: np.ndarray
    covariates: np.ndarray | None


def check_frames(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame | None,
    draws: pd.DataFrame | None,
    judge_range: tuple[float, float],
    oracle_range: tuple[float, float],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The frames with scores on [0, 1], and with `oracle_prob` where the logs had none.

    Raises CJEError that names frame, row and column: a missing column, no rows, a null or repeated
    key, a score outside its range, an impossible log-probability, too few labels.
    """
    logs = _columns(logs, LOG_COLUMNS, "logs", ("sequence_logp", "oracle_prob"))
    draws = _columns(draws, DRAW_COLUMNS, "draws", ("oracle_score", "oracle_prob"))
    target_logps = _columns(target_logps, LOGP_COLUMNS, "target_logps", ())
    if not len(logs):
        raise CJEError("logs: no rows; an estimate needs logged answers with oracle labels")
    if not len(draws) and not len(target_logps):
        raise CJEError("draws and target_logps: no rows; there is no policy to estimate")
    for frame, name, key in (
        (logs, "logs", ["uid"]),
        (draws, "draws", ["uid", "policy", "draw"]),
        (target_logps, "target_logps", ["uid", "policy"]),
    ):
        _check_key(frame, name, key)
    for frame, name in ((logs, "logs"), (draws, "draws")):
        frame["judge_raw"] = _unit(frame, "judge_raw", judge_range, name)
        frame["oracle_score"] = _unit(frame, "oracle_score", oracle_range, name)
        _check_probabilities(frame, name)
    for frame, name in ((logs, "logs"), (target_logps, "target_logps")):
        _check_logps(frame, name)
    labels = int(logs["oracle_score"].notna().sum())
    if labels < 2:
        has = "none of them has" if labels == 0 else "one of them has"
        raise CJEError(
            f"logs: {len(logs)} rows, and {has} an oracle_score: nothing ties the judge to the "
            "oracle.\nLabel at least 2 logged answers; 50 or more give a useful interval"
        )
    given = logs["oracle_prob"].notna() | logs["oracle_score"].isna()
    if not given.all():
        logs["oracle_prob"] = logs["oracle_prob"].fillna(labels / len(logs))
    return logs, target_logps, draws


def _columns(
    frame: pd.DataFrame | None, required: tuple[str, ...], name: str, optional: tuple[str, ...]
) -> pd.DataFrame:
    if frame is None:
        frame = pd.DataFrame({column: [] for column in required})
    if not isinstance(frame, pd.DataFrame):
        raise CJEError(f"{name}: a {type(frame).__name__}, not a DataFrame")
    missing = [column for column in required if column not in frame]
    if missing:
        raise CJEError(
            f"{name}: column {', '.join(missing)}: missing; needed are {', '.join(required)}"
        )
    frame = frame.copy(deep=False)
    for column in optional:
        if column not in frame:
            frame[column] = np.nan
    for column in ("judge_raw", "oracle_score", "oracle_prob", "sequence_logp"):
        if column in frame:
            frame[column] = _numbers(frame[column], name)
    return frame.reset_index(drop=True)


def _numbers(values: pd.Series, name: str) -> np.ndarray:
    try:
        return pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        numeric = pd.to_numeric(values, errors="coerce")
        row = int((numeric.isna() & values.notna()).to_numpy().argmax())
        raise CJEError(
            f"{name}: row {row}: {values.name}: {values.iloc[row]!r} is not a number"
        ) from None


def _check_key(frame: pd.DataFrame, name: str, key: list[str]) -> None:
    for column in key:
        nulls = frame[column].isna().to_numpy()
        if nulls.any():
            raise CJEError(f"{name}: row {int(nulls.argmax())}: {column}: null in the key")
    repeats = frame.duplicated(key).to_numpy()
    if repeats.any():
        row = int(repeats.argmax())
        words = ", ".join(f"{column}={frame[column].iloc[row]!r}" for column in key)
        raise CJEError(f"{name}: row {row}: {words}: a second row with this key; keep one of them")


def _unit(frame: pd.DataFrame, column: str, scale: tuple[float, float], name: str) -> np.ndarray:
    lo, hi = scale
    unit = (frame[column].to_numpy() - lo) / (hi - lo)
    bad = (unit < -SLACK) | (unit > 1 + SLACK)
    if bad.any():
        row = int(bad.argmax())
        setting = "judge_range" if column == "judge_raw" else "oracle_range"
        raise CJEError(
            f"{name}: row {row}: {column}: {frame[column].iloc[row]:g} is outside {setting} "
            f"[{lo:g}, {hi:g}] ({int(bad.sum())} of {len(bad)} rows); mend the score or the range"
        )
    return np.clip(unit, 0.0, 1.0)


def _check_probabilities(frame: pd.DataFrame, name: str) -> None:
    value = frame["oracle_prob"].to_numpy()
    labelled = frame["oracle_score"].notna().to_numpy()
    bad = labelled & ((value <= 0) | (value > 1))
    partial = labelled & np.isnan(value)
    if partial.any() and (labelled & ~partial).any():
        bad |= partial
    if bad.any():
        row = int(bad.argmax())
        raise CJEError(
            f"{name}: row {row}: oracle_prob: {value[row]:g}; a labelled row needs the "
            "probability, above 0 and at most 1, with which it was chosen"
        )


def _check_logps(frame: pd.DataFrame, name: str) -> None:
    value = frame["sequence_logp"].to_numpy()
    bad = value > 1e-6
    words = "must be at most 0"
    if name == "logs" and not bad.any():
        bad, words = np.isneginf(value), "the base policy gave this answer, so it cannot be -inf"
    if bad.any():
        row = int(bad.argmax())
        raise CJEError(f"{name}: row {row}: sequence_logp: {value[row]:g}; {words}")


def add_folds(frame: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """The frame with the `fold` of each row's prompt."""
    return frame.assign(fold=prompt_folds(frame["uid"].to_numpy(), folds, seed))


def answer_lengths(frame: pd.DataFrame) -> np.ndarray | None:
    """Characters of each `answer`, (n,); None where an answer that has a score is not there.

    An answer that a failed call left out has no score either, and takes the mean length.
    """
    if "answer" not in frame:
        return None
    missing = frame["answer"].isna()
    if (missing & frame["judge_raw"].notna()).any() or missing.all():
        return None
    lengths = frame["answer"].str.len()
    return lengths.fillna(lengths.mean()).to_numpy(dtype=float)


def covariates(
    logs: pd.DataFrame, draws: pd.DataFrame
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Answer-length covariates of logs and draws, in standard units of the logs; or None, None."""
    lengths = answer_lengths(logs)
    drawn = answer_lengths(draws) if len(draws) else np.zeros(0)
    if lengths is None or drawn is None or np.ptp(lengths) == 0:
        return None, None
    return answer_covariates(lengths), answer_covariates(drawn, lengths)


@dataclass(frozen=True)
class Samples:
    """All arrays of one analysis: the logs, and by policy the draws and the log-ratios.

    `draws[policy]` is None without a scored draw; `log_ratios[policy]` (n,) is None without a
    single log-probability. `uids` (N,) names the prompts by index.
    """

    uids: np.ndarray
    logs: Logs
    draws: dict[str, Draws | None]
    log_ratios: dict[str, np.ndarray | None]


def build_samples(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    draws: pd.DataFrame,
    folds: int,
    seed: int,
    fitted_terms: int = 0,
) -> Samples:
    """Arrays from checked frames that have `fold` and `calibrated_reward`.

    `fitted_terms` are those of the calibration, for the degrees of freedom.
    """
    log_columns, draw_columns = covariates(logs, draws)
    hashes = [prompt_hashes(frame["uid"].to_numpy(), seed) for frame in (logs, draws)]
    union, first = np.unique(np.concatenate(hashes), return_index=True)
    uids = np.concatenate([logs["uid"].to_numpy(object), draws["uid"].to_numpy(object)])[first]
    order = np.argsort(hashes[0], kind="stable")
    label_weight = _label_weights(logs)
    sample = Logs(
        prompts=len(union),
        folds=folds,
        prompt=np.searchsorted(union, hashes[0][order]),
        fold=logs["fold"].to_numpy()[order],
        score=logs["judge_raw"].to_numpy()[order],
        reward=logs["calibrated_reward"].to_numpy()[order],
        utility=logs["oracle_score"].to_numpy()[order],
        label_weight=label_weight[order],
        covariates=None if log_columns is None else log_columns[order],
        fitted_terms=fitted_terms,
    )
    policies = sorted(set(draws["policy"]) | set(target_logps["policy"]))
    draw_prompt = np.searchsorted(union, hashes[1])
    drawn = {}
    codes = pd.Categorical(draws["policy"], categories=policies).codes
    scored = draws["judge_raw"].notna().to_numpy()
    number = draws["draw"].to_numpy()
    kept = draws[["fold", "judge_raw", "calibrated_reward", "oracle_score", "oracle_prob"]]
    for code, policy in enumerate(policies):
        rows = np.flatnonzero((codes == code) & scored)
        rows = rows[np.lexsort((number[rows], draw_prompt[rows]))]
        drawn[policy] = _draws(kept.iloc[rows], draw_prompt[rows], draw_columns, rows)
    ratios = _log_ratios(logs, target_logps, hashes[0], order, policies, seed)
    return Samples(uids, sample, drawn, ratios)


def _label_weights(frame: pd.DataFrame) -> np.ndarray:
    """1 / inclusion probability of the labelled rows, scaled to mean 1; 0 elsewhere."""
    labelled = frame["oracle_score"].notna().to_numpy()
    if not labelled.any():
        return np.zeros(len(frame))
    probability = frame["oracle_prob"].fillna(1.0).to_numpy()
    weight = np.where(labelled, 1 / probability, 0.0)
    return weight / weight.mean()


def _draws(
    frame: pd.DataFrame, prompt: np.ndarray, columns: np.ndarray | None, rows: np.ndarray
) -> Draws | None:
    if not len(frame):
        return None
    count = np.bincount(prompt)
    share = 1 / count[prompt]
    return Draws(
        prompt=prompt,
        fold=frame["fold"].to_numpy(),
        score=frame["judge_raw"].to_numpy(),
        reward=frame["calibrated_reward"].to_numpy(),
        utility=frame["oracle_score"].to_numpy(),
        label_weight=_label_weights(frame),
        share=share / share.sum(),
        covariates=None if columns is None else columns[rows],
    )


def _log_ratios(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    hashes: np.ndarray,
    order: np.ndarray,
    policies: list[str],
    seed: int,
) -> dict[str, np.ndarray | None]:
    """logp_target - logp_base of every log by policy; NaN where either is missing."""
    base = logs["sequence_logp"].to_numpy()[order]
    found = prompt_hashes(target_logps["uid"].to_numpy(), seed)
    ordered = hashes[order]
    place = np.searchsorted(ordered, found)
    place = np.minimum(place, len(ordered) - 1)
    known = ordered[place] == found
    if not known.all():
        uid = target_logps["uid"].iloc[int((~known).argmax())]
        raise CJEError(f"target_logps: uid={uid!r} is not in the logs ({(~known).sum()} such rows)")
    codes = pd.Categorical(target_logps["policy"], categories=policies).codes
    values = target_logps["sequence_logp"].to_numpy()
    ratios: dict[str, np.ndarray | None] = {}
    for code, policy in enumerate(policies):
        rows = codes == code
        target = np.full(len(base), np.nan)
        target[place[rows]] = values[rows]
        ratio = target - base
        ratios[policy] = None if np.isnan(ratio).all() else ratio
    return ratios
