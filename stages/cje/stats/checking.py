"""Every check of the frames that people pass, before anything is computed."""

from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
import pandas as pd

from cje.errors import CJEError
from cje.stats.arrays import Array
from cje.vocabulary import FINISH_REASONS, LEAST_PROBABILITY, SCORE_SLACK, counted

LOG_COLUMNS = ("uid", "judge_raw", "oracle_score")
DRAW_COLUMNS = ("uid", "policy", "draw", "judge_raw")
LOGP_COLUMNS = ("uid", "policy", "sequence_logp")
SENTINEL = -9999.0  # what servers write for a log-probability that they did not compute
WHOLE = 2.0**53  # from which on a real number does not tell neighbouring whole ones apart


def check_frames(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame | None,
    draws: pd.DataFrame | None,
    judge_range: tuple[float, float],
    oracle_range: tuple[float, float],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The frames with scores on [0, 1], and with `oracle_prob` where the logs had none.

    Ids that are whole numbers in one frame and text or real numbers in another are made alike, and
    every row gets the cluster that some row gives its prompt. Raises CJEError that names frame, row
    and column: a missing or repeated column, no rows, a null or repeated key, a prompt in two
    clusters, a word that is not known, a score outside its range, an impossible log-probability,
    fewer than two labels in all.
    """
    logs = _columns(logs, LOG_COLUMNS, "logs", ("sequence_logp", "oracle_prob"))
    draws = _columns(draws, DRAW_COLUMNS, "draws", ("oracle_score", "oracle_prob"))
    target_logps = _columns(target_logps, LOGP_COLUMNS, "target_logps", ())
    if not len(logs):
        raise CJEError("logs: no rows; an estimate needs logged answers with oracle labels")
    if not len(draws) and not len(target_logps):
        raise CJEError("draws and target_logps: no rows; there is no policy to estimate")
    named = (logs, "logs"), (draws, "draws"), (target_logps, "target_logps")
    _same_ids(named, "uid")
    _same_ids(named[:2], "cluster")
    _same_names(named[1:], "policy")
    _same_clusters(named[:2])
    for frame, name in named:
        if "logprob_kind" in frame:  # a word that is not known counts as raw
            kinds = frame["logprob_kind"].astype(object)
            frame["logprob_kind"] = kinds.where(kinds.notna(), None)
        _check_words(frame, name, "finish_reason", FINISH_REASONS)
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
    if labels + int(draws["oracle_score"].notna().sum()) < 2:
        has = "none of them has" if labels == 0 else "one of them has"
        raise CJEError(
            f"logs: {counted(len(logs), 'row')}, and {has} an oracle_score, nor has a draw: "
            "nothing ties the judge to the oracle.\n"
            "Label 100 fresh draws of every policy, or logged answers"
        )
    given = logs["oracle_prob"].notna() | logs["oracle_score"].isna()
    if not given.all():
        logs["oracle_prob"] = logs["oracle_prob"].fillna(labels / len(logs))
    labelled = draws["oracle_score"].notna()
    share = labelled.groupby(draws["policy"]).transform("mean")
    draws["oracle_prob"] = draws["oracle_prob"].fillna(share).where(labelled)
    return logs, target_logps, draws


def _columns(
    frame: pd.DataFrame | None, required: tuple[str, ...], name: str, optional: tuple[str, ...]
) -> pd.DataFrame:
    if frame is None:
        frame = pd.DataFrame({column: [] for column in required})
    if not isinstance(frame, pd.DataFrame):
        raise CJEError(f"{name}: a {type(frame).__name__}, not a DataFrame")
    if twice := sorted({str(c) for c in frame.columns[frame.columns.duplicated()]}):
        raise CJEError(f"{name}: column {', '.join(twice)}: there twice; keep one of them")
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


def _numbers(values: pd.Series, name: str) -> Array:
    if isinstance(values.dtype, pd.ArrowDtype):  # of decimals pandas makes a shorter column
        values = values.astype(object)
    try:
        numbers: Array = pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)
        return numbers
    except (TypeError, ValueError):
        numeric = pd.to_numeric(values, errors="coerce")
        row = int((numeric.isna() & values.notna()).to_numpy().argmax())
        raise CJEError(
            f"{name}: row {row}: {values.name}: {values.iloc[row]!r} is not a number"
        ) from None


def _same_ids(frames: Iterable[tuple[pd.DataFrame, str]], column: str) -> None:
    """Make the ids of all frames alike: 7, 7.0 and "7" are one id. Of whole numbers all stay whole
    numbers; where some are text, so are all."""
    given = [(frame, name) for frame, name in frames if column in frame and len(frame)]
    as_given = {pd.api.types.infer_dtype(frame[column], skipna=True) for frame, _ in given}
    if len(as_given - {"empty"}) <= 1 and as_given <= {"string", "integer", "empty"}:
        return
    for frame, name in given:
        ids = frame[column].astype(object)
        frame[column] = _whole_ids(ids.where(ids.notna(), None), name)
    every = pd.concat([frame[column].dropna() for frame, _ in given] or [pd.Series(dtype=object)])
    if pd.api.types.infer_dtype(every) in ("string", "integer", "empty"):
        return
    kinds = {type(value) for value in every}
    if any(issubclass(kind, str) for kind in kinds):
        for frame, _ in given:
            ids = frame[column]
            whole = ids.map(lambda value: isinstance(value, Integral)).to_numpy(dtype=bool)
            frame[column] = ids.where(~whole, ids.astype(str))


def _whole_ids(ids: pd.Series, name: str) -> pd.Series:
    """The ids with real numbers that are whole as whole numbers."""
    if pd.api.types.infer_dtype(ids, skipna=True) in ("string", "integer", "empty"):
        return ids
    found: list[object] = list(ids)
    for row, value in enumerate(found):
        if isinstance(value, Real) and not isinstance(value, Integral):
            number = float(value)
            if abs(number) >= WHOLE:
                raise CJEError(
                    f"{name}: row {row}: {ids.name}: {number!r}: its last digits are lost; read "
                    "ids as text"
                )
            found[row] = int(number) if number == int(number) else value
    return pd.Series(found, ids.index, dtype=object)


def _same_names(frames: Iterable[tuple[pd.DataFrame, str]], column: str) -> None:
    """Names that are text in some rows and numbers in others are text in all."""
    frames = list(frames)
    kinds = {
        isinstance(value, str) for frame, _ in frames for value in frame[column].dropna().unique()
    }
    for frame, name in frames:
        if (frame[column] == "").any():
            row = int((frame[column] == "").to_numpy().argmax())
            raise CJEError(f"{name}: row {row}: {column}: empty; give it a name")
        if len(kinds) > 1:
            names = frame[column].astype(object)
            frame[column] = names.where(names.isna(), names.astype(str))


def _same_clusters(frames: Iterable[tuple[pd.DataFrame, str]]) -> None:
    """Give every row the cluster that some row, of whichever frame, gives its prompt."""
    frames = list(frames)
    known: dict[object, object] = {}
    for frame, name in frames:
        if "cluster" in frame:
            there = np.flatnonzero(frame["cluster"].notna())
            named = zip(there, frame["uid"].iloc[there], frame["cluster"].iloc[there], strict=True)
            for row, uid, cluster in named:
                if known.setdefault(uid, cluster) != cluster:
                    raise CJEError(
                        f"{name}: row {row}: cluster: {cluster!r}, but {known[uid]!r} in another "
                        f"row of uid={uid!r}; a prompt is in one cluster"
                    )
    if known:
        for frame, _ in frames:
            found = [known.get(uid) for uid in frame["uid"]]
            frame["cluster"] = pd.Series(found, frame.index, dtype=object)


def _check_words(frame: pd.DataFrame, name: str, column: str, allowed: Iterable[str]) -> None:
    """Raise CJEError for a word that is not `allowed`; no word is None."""
    if column not in frame:
        return
    words = frame[column].astype(object)
    frame[column] = words = words.where(words.notna(), None)
    bad = (words.notna() & ~words.isin(list(allowed))).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise CJEError(
            f"{name}: row {row}: {column}: {words.iloc[row]!r} is not {' or '.join(allowed)}; "
            "give one of them, or null where it is not known"
        )


def _check_key(frame: pd.DataFrame, name: str, key: list[str]) -> None:
    for column in key:
        nulls = frame[column].isna().to_numpy()
        if nulls.any():
            raise CJEError(f"{name}: row {int(nulls.argmax())}: {column}: null in the key")
    repeats = frame.duplicated(key).to_numpy()
    if repeats.any():
        row = int(repeats.argmax())
        found = {column: frame[column].iloc[[row]].tolist()[0] for column in key}
        words = ", ".join(f"{column}={value!r}" for column, value in found.items())
        raise CJEError(f"{name}: row {row}: {words}: a second row with this key; keep one of them")


def _unit(frame: pd.DataFrame, column: str, scale: tuple[float, float], name: str) -> Array:
    lo, hi = scale
    unit: Array = (frame[column].to_numpy() - lo) / (hi - lo)
    bad = (unit < -SCORE_SLACK) | (unit > 1 + SCORE_SLACK)
    if bad.any():
        row = int(bad.argmax())
        setting = "judge_range" if column == "judge_raw" else "oracle_range"
        raise CJEError(
            f"{name}: row {row}: {column}: {float(frame[column].iloc[row])!r} is outside {setting} "
            f"[{lo:g}, {hi:g}] ({int(bad.sum())} of {len(bad)} rows); fix the score or the range"
        )
    return np.clip(unit, 0.0, 1.0)


def _check_probabilities(frame: pd.DataFrame, name: str) -> None:
    value = frame["oracle_prob"].to_numpy()
    labelled = frame["oracle_score"].notna().to_numpy()
    bad = labelled & ((value < LEAST_PROBABILITY) | (value > 1))
    partial = labelled & np.isnan(value)
    if partial.any() and (labelled & ~partial).any():
        bad |= partial
    if bad.any():
        row = int(bad.argmax())
        raise CJEError(
            f"{name}: row {row}: oracle_prob: {value[row]:g}; a labelled row needs the "
            f"probability, {LEAST_PROBABILITY:g} to 1, with which it was chosen"
        )


def _check_logps(frame: pd.DataFrame, name: str) -> None:
    value = frame["sequence_logp"].to_numpy()
    bad = value > 1e-6
    words = "must be at most 0"
    if name == "logs" and not bad.any():
        bad, words = np.isneginf(value), "the base policy gave this answer, so it cannot be -inf"
    if not bad.any():
        bad, words = value == SENTINEL, "a server's sign for one that it did not compute; use null"
    if bad.any():
        row = int(bad.argmax())
        raise CJEError(f"{name}: row {row}: sequence_logp: {value[row]:g}; {words}")
