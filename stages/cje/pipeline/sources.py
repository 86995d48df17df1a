"""Where answers, scores and labels come from: models that are called, or the user's own files.

Both have the same methods, so that no stage needs to know which of them it uses. The stage
load_prompts has read and checked the files, and left them in data/checked as tables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED, empty_table, read_table, to_unit, write_table
from cje.models.likelihood import LikelihoodJudge
from cje.models.lookup import provider_for
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import Judging
from cje.models.runner.calls import Calls
from cje.models.table_provider import TableProvider
from cje.pipeline.cast import Cast, CastJudge, KeptCast
from cje.pipeline.choice import (
    AnswerPool,
    all_answers,
    chosen_for_estimates,
    chosen_for_validation,
    given_labels,
)
from cje.settings import Policy, Settings

CHECKED = Path("data/checked")
RESCORED = 16  # logged answers that the base policy scores again
CHECKED_TABLES = (
    "logs", "draws", "target_logps", "proxy_scores", "oracle_labels", "validation_labels"
)  # fmt: skip


class Recorded(Protocol):
    """A source that keeps a record of its calls."""

    def call_table(self) -> pd.DataFrame:
        """Table calls: the calls that the tables of this stage rest on."""


class AnswerSource(Recorded, Protocol):
    """A source of the policies' answers and their log-probabilities."""

    def try_targets(self, prompts: pd.DataFrame) -> int:
        """Raise CJEError where a target gives no answers at all, or a judge that must score given
        texts cannot: called before the first answer is paid for. How many targets were called."""

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """Table logs: one answer of the base policy to each prompt."""

    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """Table draws: fresh answers of each target policy."""

    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame:
        """Table target_logps: the log-probability of every logged answer under each target."""

    def rescored(self, logs: pd.DataFrame) -> pd.DataFrame:
        """Table rescored: some logged answers scored again under the base policy."""


class JudgeSource(Recorded, Protocol):
    """A source of the proxy's scores."""

    def proxy_scores(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame
    ) -> pd.DataFrame:
        """Table proxy_scores: the proxy's score of every answer, on [0, 1]."""


class LabelSource(Recorded, Protocol):
    """A source of the oracle's labels."""

    def oracle_labels(self, pool: AnswerPool) -> pd.DataFrame:
        """Table oracle_labels: the labels that estimates use."""

    def validation_labels(self, pool: AnswerPool, used: pd.DataFrame) -> pd.DataFrame:
        """Table validation_labels: labels on prompts without one in `used`, the labels that
        estimates use."""


class Source(AnswerSource, JudgeSource, LabelSource, Protocol):
    """A source of answers, scores and labels."""


def open_source(settings: Settings, stage: str) -> Source:
    """The source that the settings name, for a stage."""
    if settings.source == "files":
        return FileSource()
    return ModelSource(settings, Calls(settings, stage), KeptCast())


class FileSource:
    """The user's own files, as the stage load_prompts left them in data/checked."""

    def try_targets(self, prompts: pd.DataFrame) -> int:
        """Nothing is called."""
        return 0

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame:
        return _checked("logs")

    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame:
        return _checked("draws")

    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame:
        return _checked("target_logps")

    def rescored(self, logs: pd.DataFrame) -> pd.DataFrame:
        return empty_table("rescored")

    def proxy_scores(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame
    ) -> pd.DataFrame:
        return _checked("proxy_scores")

    def oracle_labels(self, pool: AnswerPool) -> pd.DataFrame:
        return _checked("oracle_labels")

    def validation_labels(self, pool: AnswerPool, used: pd.DataFrame) -> pd.DataFrame:
        return _checked("validation_labels")

    def call_table(self) -> pd.DataFrame:
        return empty_table("calls")


class ModelSource:
    """The models of the cast, called through their providers."""

    def __init__(self, settings: Settings, calls: Calls, cast: Cast):
        self.settings, self.calls, self.cast = settings, calls, cast

    def try_targets(self, prompts: pd.DataFrame) -> int:
        """Ask each target policy that is called over HTTP for its first draw, which its draws then
        reuse: a setting that a model refuses shows up before anything else is paid for. A first
        prompt that fails for a reason of its own is not an error here; it counts when the draws are
        made. A model in this process costs nothing, and was checked with the settings. A judge that
        must score given texts is tried as well, since not every server can."""
        for setting, judge in self.cast.scorers.items():
            name = judge.model.removeprefix(f"{LIKELIHOOD}/")
            scorer = LikelihoodJudge(provider_for(name, self.calls))
            scorer.try_out(name, setting, judge.base_url, judge.chat_template)
        tried = 0
        for policy in self.cast.targets:
            provider = provider_for(policy.model, self.calls)
            if isinstance(provider, TableProvider) and not provider.in_process:
                provider.try_out(prompts, policy, seed=self.settings.seed)
                tried += 1
        return tried

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """One answer of the base policy to each prompt."""
        base = self.cast.base
        return self._answers(prompts, base, LOGGED).assign(action=base.name)

    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """`draws_per_prompt` fresh answers of each target policy to each prompt."""
        frames = [
            self._answers(prompts, policy, draw).assign(policy=policy.name, draw=draw)
            for policy in self.cast.targets
            for draw in range(self.settings.draws_per_prompt)
        ]
        return pd.concat(frames, ignore_index=True)

    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame:
        """The log-probability of every logged answer under each target; null where the target's
        provider cannot score a given text. An answer that followed on reasoning has none: it was
        drawn given that reasoning, which another policy would not have had."""
        logs = logs[logs["answer"].notna() & logs["reasoning"].isna()]
        frames = [
            provider_for(policy.model, self.calls)
            .score(logs, policy, author=self.cast.base)
            .assign(policy=policy.name)
            for policy in self.cast.targets
        ]
        return pd.concat(frames, ignore_index=True)

    def rescored(self, logs: pd.DataFrame) -> pd.DataFrame:
        """The first logged answers scored again under the base policy that gave them."""
        base = self.cast.base
        known = logs["answer"].notna() & logs["sequence_logp"].notna() & logs["reasoning"].isna()
        first = logs[known].head(RESCORED)
        scored = provider_for(base.model, self.calls).score(first, base, author=base)
        rows = []
        for log, found in zip(first.itertuples(), scored.itertuples(), strict=True):
            if pd.notna(found.sequence_logp):
                gaps = np.abs(np.asarray(found.token_logprobs) - np.asarray(log.token_logprobs))
                tokens, logp = len(log.token_logprobs), log.sequence_logp
                largest = float(gaps.max(initial=0.0))
                rows.append((log.uid, tokens, logp, found.sequence_logp, largest))
        columns = ["uid", "tokens", "sequence_logp", "rescored_logp", "largest_gap"]
        return pd.DataFrame(rows, columns=columns)

    def proxy_scores(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame
    ) -> pd.DataFrame:
        """The proxy's score of every answer, on [0, 1]."""
        settings = self.settings
        answers = all_answers(logs, draws)
        scores = self._judge(prompts, answers, self.cast.proxy, settings.judge_range)
        unit = to_unit(scores["score"].to_numpy(dtype=float), settings.judge_range)
        reason = scores["reason"].to_numpy()
        return answers[["uid", "policy", "draw"]].assign(judge_raw=unit, reason=reason)

    def oracle_labels(self, pool: AnswerPool) -> pd.DataFrame:
        """The oracle's score of the answers that `chosen_for_estimates` gives; the logs come first
        where their labels decide which of the targets' answers are chosen."""
        chosen = chosen_for_estimates(self.settings, pool)
        labels = self._labels(pool.prompts, chosen)
        if pool.designs.own is not None:
            return labels
        chosen = chosen_for_estimates(self.settings, pool.with_labels(labels))
        own = chosen[chosen["draw"] != LOGGED]
        if own.empty:
            return labels
        return pd.concat([labels, self._labels(pool.prompts, own)], ignore_index=True)

    def validation_labels(self, pool: AnswerPool, used: pd.DataFrame) -> pd.DataFrame:
        """The oracle's score of the answers that `chosen_for_validation` gives; `used`: the labels
        that estimates use."""
        return self._labels(pool.prompts, chosen_for_validation(self.settings, pool, used))

    def call_table(self) -> pd.DataFrame:
        """The calls that the tables of this stage rest on."""
        return self.calls.table()

    def _answers(self, prompts: pd.DataFrame, policy: Policy, draw: int) -> pd.DataFrame:
        provider = provider_for(policy.model, self.calls)
        return provider.generate(
            prompts, policy,
            draw=draw, seed=self.settings.seed,
            accept_cut=self.settings.thresholds["max_truncated"] >= 1,
        )  # fmt: skip

    def _judge(
        self,
        prompts: pd.DataFrame,
        answers: pd.DataFrame,
        judge: CastJudge,
        score_range: tuple[float, float],
    ) -> pd.DataFrame:
        """`score` and `reason` of the answers, judged with their prompt's text, checks and
        reference."""
        brought = prompts[["uid", "prompt", "checks", "reference"]]
        known = answers.drop(columns="prompt", errors="ignore").merge(brought, how="left", on="uid")
        _, name = split_model(judge.model)
        return provider_for(judge.model, self.calls).judge(
            known, name,
            Judging(
                score_range, self.settings.seed, judge.rubric, judge.base_url, judge.chat_template
            ),
        )  # fmt: skip

    def _labels(self, prompts: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
        """Labels of the chosen answers. A failed answer is never sent to the oracle."""
        chosen = chosen[chosen["answer"].notna()].reset_index(drop=True)
        scores = self._judge(prompts, chosen, self.cast.oracle, self.settings.oracle_range)
        found = {"oracle_score": scores["score"].to_numpy(dtype=float)}
        labels = chosen.assign(**found, reason=scores["reason"].to_numpy())
        return given_labels(labels).drop(columns="answer")


def write_checked(tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of the user's files to data/checked; those not given are empty."""
    for name in CHECKED_TABLES:
        table = tables[name] if name in tables else empty_table(name)
        write_table(table, name, CHECKED / f"{name}.parquet")


def _checked(name: str) -> pd.DataFrame:
    return read_table(CHECKED / f"{name}.parquet", name)
