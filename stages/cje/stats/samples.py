"""From checked frames to the arrays that the estimators take.

Rows are put in the order of a hash of their uid, so that the order in which they come does not
change a bit of any result.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cje.errors import CJEError
from cje.stats.arrays import Array, Codes, Hashes, Kind, Mask, Names
from cje.stats.calibration import prompt_folds, prompt_hashes
from cje.vocabulary import LogprobKind, counted

ROW_COLUMNS = (
    "fold", "judge_raw", "calibrated_reward", "oracle_score", "oracle_prob", "answer"
)  # fmt: skip
SLACK = 1e-9  # labels that differ by no more are one label, rounded


@dataclass(frozen=True)
class Logs:
    """The logged answers, n rows: prompt index in 0..N-1, fold, judge score, calibrated reward,
    oracle utility (NaN where unlabelled), label weight omega (0 where unlabelled, mean 1), and
    lengths (n, 2) or None. `fitted_terms`: what the calibration fitted to the labels.
    `cluster` (N,) numbers the prompts' clusters."""

    folds: int
    cluster: Codes
    prompt: Codes
    fold: Codes
    score: Array
    reward: Array
    utility: Array
    label_weight: Array
    lengths: Array | None
    fitted_terms: int

    @property
    def prompts(self) -> int:
        return len(self.cluster)

    @property
    def labelled(self) -> Mask:
        return self.label_weight > 0

    @property
    def residual(self) -> Array:
        """y - f, (n,), 0 where unlabelled."""
        return np.where(self.labelled, self.utility - self.reward, 0.0)


@dataclass(frozen=True)
class Draws:
    """A target's fresh draws, m rows: prompt, judge score (NaN: none), calibrated reward; `share`
    (m,) sums to 1 and gives every prompt the same weight; fold, and lengths (m, 2) or None."""

    prompt: Codes
    score: Array
    reward: Array
    share: Array
    fold: Codes
    lengths: Array | None


@dataclass(frozen=True)
class Answers:
    """A policy's answers over all N prompts, those to one prompt averaged.

    `present` (N,): where it has any; `score` (N,): their judge scores, NaN where none was judged;
    `utility` (N,): their labels, NaN where unlabelled; `labelled_score` (N,): the scores of the
    labelled ones; `label_weight` (N,): 1 / inclusion probability, 0 where unlabelled.
    `rows`: how many answers there are; `logged`: whether they are the logged answers themselves.
    """

    present: Mask
    score: Array
    utility: Array
    labelled_score: Array
    label_weight: Array
    rows: int
    logged: bool

    @property
    def labelled(self) -> Mask:
        return self.label_weight > 0


def add_folds(frame: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """The frame with the `fold` of each row's cluster."""
    return frame.assign(fold=prompt_folds(clusters_of(frame), folds, seed))


def clusters_of(frame: pd.DataFrame) -> Names:
    """The cluster of each row, (n,) object: its `cluster`, or where there is none its uid."""
    uid: Names = frame["uid"].to_numpy(object)
    if "cluster" not in frame:
        return uid
    given = frame["cluster"].notna().to_numpy()
    names = np.array([f"cluster {name}" for name in frame["cluster"]], dtype=object)
    return np.where(given, names, uid)


def answer_lengths(logs: pd.DataFrame, draws: pd.DataFrame) -> tuple[Array | None, Array | None]:
    """[log(1 + length), length] of logged and fresh answers, (n, 2) and (m, 2), in standard units
    of the logs; None, None where an answer that has a score is not given, or all are as long.

    They help to guess the residuals of the logs under exact weights, which take out whatever the
    guess gets wrong, and enter nothing else.
    """
    logged, drawn = _characters(logs), _characters(draws) if len(draws) else np.zeros(0)
    if logged is None or drawn is None or np.ptp(logged) == 0:
        return None, None
    columns = []
    for form in (np.log1p, np.asarray):
        centre, scale = form(logged).mean(), form(logged).std()
        columns.append([(form(length) - centre) / scale for length in (logged, drawn)])
    own, fresh = (np.column_stack(pair) for pair in zip(*columns, strict=True))
    return own, fresh


def _characters(frame: pd.DataFrame) -> Array | None:
    """Characters of each answer; an answer that a failed call left out has no score either, and
    takes the mean length."""
    if "answer" not in frame:
        return None
    length: Array = frame["answer"].str.len().to_numpy(dtype=float)
    missing = np.isnan(length)
    if (missing & frame["judge_raw"].notna().to_numpy()).any() or missing.all():
        return None
    return np.where(missing, length[~missing].mean(), length)


@dataclass(frozen=True)
class Samples:
    """All arrays of one analysis, built once.

    `uids` (N,) names the prompts by index and `cluster` (N,) numbers their clusters; `base` is the
    policy that wrote the logs. `draws[policy]` is None where none is scored (the base's are the
    logged answers), `log_ratios[policy]`
    (n,) None without a log-probability of the sampling distribution; `raw` are the policies that
    have log-probabilities of another or an unknown kind. `answers` has every policy, the base too.
    """

    uids: Names
    cluster: Codes
    fold: Codes
    base: str
    logs: Logs
    draws: dict[str, Draws | None]
    log_ratios: dict[str, Array | None]
    raw: frozenset[str]
    answers: dict[str, Answers]

    @property
    def targets(self) -> list[str]:
        """The policies that were drawn or scored, but for the base."""
        return [policy for policy in self.draws if policy != self.base]


def build_samples(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    base: str,
    folds: int,
    seed: int,
    fitted_terms: int = 0,
) -> Samples:
    """Arrays from checked frames that have `fold` and `calibrated_reward`.

    `fitted_terms` are those of the calibration, for the degrees of freedom.
    """
    hashes = [prompt_hashes(frame["uid"].to_numpy(), seed) for frame in (logs, draws)]
    union, first = np.unique(np.concatenate(hashes), return_index=True)
    places = [column for column in ("uid", "fold", "cluster") if column in logs or column in draws]
    prompts = pd.concat([frame.reindex(columns=places) for frame in (logs, draws)]).iloc[first]
    uids, fold = prompts["uid"].to_numpy(object), prompts["fold"].to_numpy()
    cluster = pd.factorize(clusters_of(prompts))[0]
    lengths, draw_lengths = answer_lengths(logs, draws)
    order = np.argsort(hashes[0], kind="stable")
    prompt = np.searchsorted(union, hashes[0][order])
    logged = logs.iloc[order]
    sample = Logs(
        folds=folds,
        cluster=cluster,
        prompt=prompt,
        fold=logged["fold"].to_numpy(),
        score=logged["judge_raw"].to_numpy(),
        reward=logged["calibrated_reward"].to_numpy(),
        utility=logged["oracle_score"].to_numpy(),
        label_weight=_label_weights(logged),
        lengths=None if lengths is None else lengths[order],
        fitted_terms=fitted_terms,
    )
    raw = raw_policies(logs, target_logps)
    policies = sorted(set(draws["policy"]) | set(target_logps["policy"]))
    ratios = _log_ratios(logs, target_logps, hashes[0], order, policies, seed)
    drawn, answers = _by_policy(
        logged, prompt, draws, np.searchsorted(union, hashes[1]), draw_lengths, policies, base
    )
    drawn[base] = _draws(logged, prompt, sample.lengths)
    return Samples(
        uids=uids,
        cluster=cluster,
        fold=fold,
        base=base,
        logs=sample,
        draws=drawn,
        log_ratios={p: None if p in raw else ratio for p, ratio in ratios.items()},
        raw=frozenset(raw),
        answers={p: rows.averaged(len(union), own) for p, (rows, own) in answers.items()},
    )


def _by_policy(
    logged: pd.DataFrame,
    prompt: Codes,
    draws: pd.DataFrame,
    draw_prompt: Codes,
    lengths: Array | None,
    policies: list[str],
    base: str,
) -> tuple[dict[str, Draws | None], dict[str, tuple["_Rows", bool]]]:
    """By policy its scored draws; and its answers, with whether they are the logged ones: those of
    the base are the logged ones and more that were drawn of it."""
    codes = pd.Categorical(draws["policy"], categories=policies).codes
    number = draws["draw"].to_numpy()
    draws = draws[[column for column in draws if column in ROW_COLUMNS]]
    drawn: dict[str, Draws | None] = {}
    own, answers = _rows(logged, prompt), {}
    for code, policy in enumerate(policies):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.lexsort((number[rows], draw_prompt[rows]))]
        frame, place = draws.iloc[rows], draw_prompt[rows]
        drawn[policy] = _draws(frame, place, None if lengths is None else lengths[rows])
        fresh = _rows(frame, place)
        same = same_answers(own, fresh)
        answers[policy] = (own.with_labels_of(fresh) if same else fresh, same)
        if policy == base:
            own = answers[policy][0] if same else own.and_(fresh)
    return drawn, answers | {base: (own, True)}


@dataclass(frozen=True)
class _Rows:
    """A policy's answers by row, those that failed left out."""

    prompt: Codes
    score: Array
    utility: Array
    probability: Array
    text: pd.Series | None

    def with_labels_of(self, other: "_Rows") -> "_Rows":
        """The same answers with the labels that the other rows have of them."""
        place = np.searchsorted(self.prompt, other.prompt)
        new = np.isfinite(other.utility) & np.isnan(self.utility[place])
        utility, probability = self.utility.copy(), self.probability.copy()
        mine = np.isfinite(utility)
        utility[place[new]] = other.utility[new]
        chance = np.median(probability[mine]) if mine.any() else other.probability[new]
        probability[place[new]] = chance  # so that each label counts alike
        return _Rows(self.prompt, self.score, utility, probability, self.text)

    def and_(self, other: "_Rows") -> "_Rows":
        """These answers and the others, which are more of the same policy's."""
        order = np.argsort(np.concatenate([self.prompt, other.prompt]), kind="stable")

        def merged(mine: NDArray[Kind], more: NDArray[Kind]) -> NDArray[Kind]:
            return np.concatenate([mine, more])[order]

        return _Rows(
            merged(self.prompt, other.prompt),
            merged(self.score, other.score),
            merged(self.utility, other.utility),
            merged(self.probability, other.probability),
            text=None,
        )

    def averaged(self, prompts: int, logged: bool) -> Answers:
        """A prompt's answers averaged."""
        labelled = np.isfinite(self.utility)
        judged = np.isfinite(self.score)

        def mean(values: Array, rows: Mask) -> Array:
            count = np.bincount(self.prompt[rows], minlength=prompts)
            total = np.bincount(self.prompt[rows], values[rows], prompts)
            with np.errstate(invalid="ignore"):
                return total / count

        weight = mean(1 / self.probability, labelled)
        return Answers(
            present=np.bincount(self.prompt, minlength=prompts) > 0,
            score=mean(self.score, judged),
            utility=mean(self.utility, labelled),
            labelled_score=mean(self.score, labelled & judged),
            label_weight=np.where(np.isfinite(weight), weight, 0.0),
            rows=len(self.prompt),
            logged=logged,
        )


def answers_there(frame: pd.DataFrame) -> Mask:
    """Whether there is an answer in each row, (n,): of frames without `answer`, in every one."""
    if "answer" not in frame:
        return np.ones(len(frame), dtype=bool)
    there: Mask = frame[["answer", "judge_raw", "oracle_score"]].notna().any(axis=1).to_numpy()
    return there


def _rows(frame: pd.DataFrame, prompt: Codes) -> _Rows:
    """The rows (in the order of their prompts) whose answers are there."""
    score, utility = frame["judge_raw"].to_numpy(), frame["oracle_score"].to_numpy()
    known = answers_there(frame)
    text = frame["answer"].reset_index(drop=True) if "answer" in frame else None
    probability = frame["oracle_prob"].fillna(1.0).to_numpy()
    return _Rows(
        prompt[known],
        score[known],
        utility[known],
        probability[known],
        None if text is None else text[known].reset_index(drop=True),
    )


def same_answers(logged: _Rows, fresh: _Rows) -> bool:
    """Whether the fresh answers are the logged ones: the same prompts, judge scores, texts where
    both have them, and no label that differs."""
    if not len(fresh.prompt) or (np.diff(fresh.prompt) == 0).any():
        return False
    place = np.minimum(np.searchsorted(logged.prompt, fresh.prompt), len(logged.prompt) - 1)
    if not (logged.prompt[place] == fresh.prompt).all():
        return False
    if not np.array_equal(logged.score[place], fresh.score, equal_nan=True):
        return False
    gap = np.abs(logged.utility[place] - fresh.utility)
    if (gap[np.isfinite(gap)] > SLACK).any():
        return False
    if logged.text is not None and fresh.text is not None:
        own = logged.text.iloc[place].to_numpy(object)
        return bool((own == fresh.text.to_numpy(object)).all())
    return bool(np.ptp(fresh.score[np.isfinite(fresh.score)]) > 0)


def _label_weights(frame: pd.DataFrame) -> Array:
    """1 / inclusion probability of the labelled rows, scaled to mean 1; 0 elsewhere."""
    labelled = frame["oracle_score"].notna().to_numpy()
    if not labelled.any():
        return np.zeros(len(frame))
    probability = frame["oracle_prob"].fillna(1.0).to_numpy()
    weight: Array = np.where(labelled, 1 / probability, 0.0)
    return np.asarray(weight / weight.mean())


def _draws(frame: pd.DataFrame, prompt: Codes, lengths: Array | None) -> Draws | None:
    """The answers that are there; None where the judge has scored none of them."""
    if not frame["judge_raw"].notna().any():
        return None
    known = answers_there(frame)
    prompt = prompt[known]
    share = 1 / np.bincount(prompt)[prompt]
    return Draws(
        prompt=prompt,
        score=frame["judge_raw"].to_numpy()[known],
        reward=frame["calibrated_reward"].to_numpy()[known],
        share=share / share.sum(),
        fold=frame["fold"].to_numpy()[known],
        lengths=None if lengths is None else lengths[known],
    )


def raw_policies(logs: pd.DataFrame, target_logps: pd.DataFrame) -> set[str]:
    """The policies of which some ratio would hold a log-probability that is not known to be of the
    sampling distribution: raw, or of an unknown kind. They get no weights."""

    def raw(frame: pd.DataFrame) -> Mask:
        given: Mask = frame["sequence_logp"].notna().to_numpy()
        if "logprob_kind" not in frame:
            return given
        other: Mask = (frame["logprob_kind"] != LogprobKind.SAMPLING).to_numpy()
        return given & other

    if raw(logs).any():
        return set(target_logps["policy"])
    return set(target_logps["policy"][raw(target_logps)])


def _log_ratios(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    hashes: Hashes,
    order: Codes,
    policies: Iterable[str],
    seed: int,
) -> dict[str, Array | None]:
    """logp_target - logp_base of every log by policy; NaN where either is missing."""
    base = logs["sequence_logp"].to_numpy()[order]
    found = prompt_hashes(target_logps["uid"].to_numpy(), seed)
    ordered = hashes[order]
    place = np.searchsorted(ordered, found)
    place = np.minimum(place, len(ordered) - 1)
    known = ordered[place] == found
    if not known.all():
        uid = target_logps["uid"].iloc[int((~known).argmax())]
        rows = counted(int((~known).sum()), "such row")
        raise CJEError(f"target_logps: uid={uid!r} is not in the logs ({rows})")
    codes = pd.Categorical(target_logps["policy"], categories=policies).codes
    values = target_logps["sequence_logp"].to_numpy()
    ratios: dict[str, Array | None] = {}
    for code, policy in enumerate(policies):
        rows = codes == code
        target = np.full(len(base), np.nan)
        target[place[rows]] = values[rows]
        ratio = target - base
        ratios[policy] = None if np.isnan(ratio).all() else ratio
    return ratios
