"""Where answers, scores and labels come from: models that are called, or the user's own files.

Both sources answer the same questions, so no stage asks which it has. The files were read and
checked by the first stage, and stand in data/checked as the tables that the stages hand on.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cje.cast import Cast, CastJudge, KeptCast
from cje.conversations import (
    CLUSTERS,
    TURNS,
    cluster_of,
    first_user_text,
    grouping,
    prompt_turns,
    repeats,
    says_more,
)
from cje.errors import CJEError
from cje.metadata import metadata_of
from cje.models import COMPUTED, LIKELIHOOD, provider_for, split_model
from cje.models.asked import AskedProvider
from cje.models.calls import Calls
from cje.parts import Needs
from cje.settings import Policy, Settings
from cje.tables import LOGGED, empty_table, prompt_uids, read_table, to_unit, write_table

CHECKED = Path("data/checked")
PROMPT_FILES = Path("data/prompts")
HUB = "hf:"
PROMPT_COLUMNS = ("checks", "reference", *TURNS, *CLUSTERS)  # the others are metadata
PAID_CHECKS = 100  # prompts that check the estimates where oracle_samples is auto and labels cost
RESCORED = 16  # logged answers that the base policy is asked to score anew
CHECKS = "validation"  # salt of the order in which prompts are labelled that check the estimates
ANSWER_KEY = ["uid", "policy", "draw", "answer"]
CHECKED_TABLES = (
    "logs", "draws", "target_logps", "proxy_scores", "oracle_labels", "validation_labels"
)  # fmt: skip


class Design(Protocol):
    """Which prompts are labelled, and with what chance; `cje.stats.sampling` has the designs."""

    def chosen(self, count: int) -> np.ndarray: ...
    def probability(self, count: int) -> np.ndarray: ...


class Source(Protocol):
    """Whoever answers, judges and labels; each method gives the table of its name. Before the first
    is paid for, `try_targets` raises CJEError where a target gives no answers at all, or a judge
    that must score given texts cannot."""

    def try_targets(self, prompts: pd.DataFrame) -> None: ...
    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame: ...
    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame: ...
    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame: ...
    def rescored(self, logs: pd.DataFrame) -> pd.DataFrame: ...
    def proxy_scores(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame
    ) -> pd.DataFrame: ...
    def oracle_labels(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> pd.DataFrame: ...
    def validation_labels(
        self,
        prompts: pd.DataFrame,
        logs: pd.DataFrame,
        draws: pd.DataFrame,
        used: pd.DataFrame,
        design: Design,
    ) -> pd.DataFrame: ...
    def call_table(self) -> pd.DataFrame: ...


def open_source(settings: Settings, stage: str) -> Source:
    """The source that the settings name, for a stage."""
    if settings.source == "files":
        return FileSource()
    return ModelSource(settings, Calls(settings, stage), KeptCast())


class FileSource:
    """The user's own files, as the stage load_prompts left them in data/checked."""

    def try_targets(self, prompts: pd.DataFrame) -> None:
        """Nothing is asked."""

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

    def oracle_labels(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> pd.DataFrame:
        return _checked("oracle_labels")

    def validation_labels(
        self,
        prompts: pd.DataFrame,
        logs: pd.DataFrame,
        draws: pd.DataFrame,
        used: pd.DataFrame,
        design: Design,
    ) -> pd.DataFrame:
        return _checked("validation_labels")

    def call_table(self) -> pd.DataFrame:
        return empty_table("calls")


class ModelSource:
    """The models that play the parts of the cast, called through their providers."""

    def __init__(self, settings: Settings, calls: Calls, cast: Cast):
        self.settings, self.calls, self.cast = settings, calls, cast

    def try_targets(self, prompts: pd.DataFrame) -> None:
        """Ask each target policy that is called over a wire for its first draw, in a call that its
        draws then need no more: a setting that a model refuses shows before anything else is paid
        for. A first prompt that fails by itself ends nothing: it counts where the draws are asked
        for. A model in this process costs nothing, and was checked with the settings. A judge that
        must score given texts is tried too: not every server can."""
        for setting, judge in self.cast.scorers.items():
            name = judge.model.removeprefix(f"{LIKELIHOOD}/")
            provider = provider_for(judge.model, self.calls)
            provider.try_out(name, setting, judge.base_url, judge.chat_template)
        for policy in self.cast.targets:
            provider = provider_for(policy.model, self.calls)
            if isinstance(provider, AskedProvider) and not provider.backend.in_process:
                provider.try_out(prompts, policy, seed=self.settings.seed)

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
        provider cannot score a given text. An answer that was thought out has none: it is drawn
        given its thought, which another policy would not have had."""
        logs = logs[logs["answer"].notna() & logs["reasoning"].isna()]
        frames = [
            provider_for(policy.model, self.calls)
            .score(logs, policy, author=self.cast.base)
            .assign(policy=policy.name)
            for policy in self.cast.targets
        ]
        return pd.concat(frames, ignore_index=True)

    def rescored(self, logs: pd.DataFrame) -> pd.DataFrame:
        """The first logged answers scored anew under the base policy that gave them."""
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

    def oracle_labels(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> pd.DataFrame:
        """The oracle's score of the answers that `chosen_for_estimates` gives."""
        chosen = chosen_for_estimates(self.settings, prompts, logs, draws, design)
        return self._labels(prompts, chosen)

    def validation_labels(
        self,
        prompts: pd.DataFrame,
        logs: pd.DataFrame,
        draws: pd.DataFrame,
        used: pd.DataFrame,
        design: Design,
    ) -> pd.DataFrame:
        """The oracle's score of the answers that `chosen_for_validation` gives; `used`: the labels
        that estimates use."""
        chosen = chosen_for_validation(self.settings, prompts, logs, draws, used, design)
        return self._labels(prompts, chosen)

    def call_table(self) -> pd.DataFrame:
        """The calls that the tables of this stage rest on."""
        return self.calls.table()

    def _answers(self, prompts: pd.DataFrame, policy: Policy, draw: int) -> pd.DataFrame:
        provider = provider_for(policy.model, self.calls)
        return provider.generate(prompts, policy, draw=draw, seed=self.settings.seed)

    def _judge(
        self,
        prompts: pd.DataFrame,
        answers: pd.DataFrame,
        judge: CastJudge,
        score_range: tuple[float, float],
    ) -> pd.DataFrame:
        """`score` and `reason` of answers, which get what their prompts bring for a judge."""
        brought = prompts[["uid", "prompt", "checks", "reference"]]
        known = answers.drop(columns="prompt", errors="ignore").merge(brought, how="left", on="uid")
        _, name = split_model(judge.model)
        return provider_for(judge.model, self.calls).judge(
            known, name, score_range=score_range, seed=self.settings.seed, rubric=judge.rubric,
            base_url=judge.base_url, chat_template=judge.chat_template,
        )  # fmt: skip

    def _labels(self, prompts: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
        """Labels of the chosen answers. One that failed is never sent to the oracle."""
        chosen = chosen[chosen["answer"].notna()].reset_index(drop=True)
        scores = self._judge(prompts, chosen, self.cast.oracle, self.settings.oracle_range)
        found = {"oracle_score": scores["score"].to_numpy(dtype=float)}
        labels = chosen.assign(**found, reason=scores["reason"].to_numpy())
        return given_labels(labels).drop(columns="answer")


def given_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels without those that were not given, for which the others of the policy and draw
    stand: `oracle_prob` is multiplied by the share of them that was."""
    groups = labels.groupby(["policy", "draw"])["oracle_score"]
    share = groups.transform(lambda scores: scores.notna().mean())
    found = labels.assign(oracle_prob=labels["oracle_prob"] * share)
    return found[found["oracle_score"].notna()]


def check_prompts(prompts: pd.DataFrame, needs: Needs) -> None:
    """Raise CJEError where a judge needs what a prompt does not bring."""
    if needs.rules:
        from cje.models import checks

        checks.check_prompts(prompts, needs.rules)
    lacking = prompts[prompts["reference"].isna()]
    for setting, rubric in needs.references if len(lacking) else ():
        raise CJEError(
            f"params.yaml: {setting}: {rubric} needs a reference answer, and "
            f"{len(lacking):,} prompts have none, such as uid {lacking['uid'].iloc[0]}; "
            "add a column `reference` to the prompts, or take another rubric"
        )


def all_answers(logs: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """The logged and the fresh answers in one frame."""
    logged = logs.rename(columns={"action": "policy"}).assign(draw=LOGGED)
    return pd.concat([logged[ANSWER_KEY], draws[ANSWER_KEY]], ignore_index=True)


def chosen_for_estimates(
    settings: Settings,
    prompts: pd.DataFrame,
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    design: Design,
) -> pd.DataFrame:
    """The logged answers to `oracle_fraction` of the prompts, at least one, and every target's
    first draws for `target_labels` of them, to be labelled; of a policy in `extra_labels` so many
    more.

    All are the first prompts of one order, the design's: the targets share theirs, and the fewer
    are among the more.
    """
    answers = all_answers(logs, draws)
    logged, own = _counts(settings, prompts)
    chosen = []
    for draw, count in ((LOGGED, logged), (0, own)):
        rows = answers[answers["draw"] == draw]
        for extra, policies in _by_extra(rows["policy"].unique(), settings):
            mask, chance = design.chosen(count + extra), design.probability(count + extra)
            chosen.append(_chosen(rows[rows["policy"].isin(policies)], prompts, mask, chance))
    return pd.concat(chosen, ignore_index=True)


def _counts(settings: Settings, prompts: pd.DataFrame) -> tuple[int, int]:
    """On how many of the prompts the logs are to be labelled, and each target."""
    return max(1, round(settings.oracle_fraction * len(prompts))), settings.target_labels


def _by_extra(policies: Iterable[str], settings: Settings) -> list[tuple[int, list[str]]]:
    """The policies by the number of labels that they have beyond the others, fewest first."""
    found: dict[int, list[str]] = {}
    for policy in policies:
        found.setdefault(settings.extra_labels.get(policy, 0), []).append(policy)
    return sorted(found.items())


def chosen_for_validation(
    settings: Settings,
    prompts: pd.DataFrame,
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    used: pd.DataFrame,
    design: Design,
) -> pd.DataFrame:
    """The logged answers and every target's first draws for `oracle_samples` of the prompts without
    a row in `used`, the same for all policies; all such prompts where they are fewer. The chance of
    a prompt is that of being left over, times that of being chosen then."""
    uids = unused_prompts(prompts, used)["uid"]
    count = checked_prompts(settings, len(uids))
    mask = np.zeros(len(prompts), dtype=bool)
    mask[uids.index[nested_sample(uids, count, settings.seed, CHECKS)]] = True
    logged, own = _counts(settings, prompts)
    most = max(settings.extra_labels.get(p, 0) + own for p in draws["policy"].unique())
    most = max(most, *(logged + settings.extra_labels.get(p, 0) for p in logs["action"].unique()))
    left = 1 - design.probability(most)
    # Those whose labels could not be had are left over as well.
    chance = left * (mask.sum() / left.sum()) if left.sum() > 0 else np.ones(len(prompts))
    answers = all_answers(logs, draws)
    return _chosen(answers[answers["draw"] <= 0], prompts, mask, np.clip(chance, 1e-9, 1))


def checked_prompts(settings: Settings, unused: int) -> int:
    """On how many of the prompts without a label the estimates are checked: `oracle_samples`; auto
    takes all where a program is the oracle, whose labels cost nothing, none where people are, and
    100 else."""
    if settings.oracle_samples != "auto":
        return min(settings.oracle_samples, unused)
    if settings.asks_people:
        return 0
    free = split_model(settings.oracle_model)[0] in COMPUTED
    return unused if free else min(PAID_CHECKS, unused)


def unused_prompts(prompts: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame:
    """The prompts of which no answer has a label in `used`."""
    return prompts[~prompts["uid"].isin(used["uid"])]


def _chosen(
    answers: pd.DataFrame, prompts: pd.DataFrame, mask: np.ndarray, chance: np.ndarray
) -> pd.DataFrame:
    """The answers to the prompts of the mask (N,), with the chance (N,) that each had to be
    chosen."""
    known = pd.Series(chance[mask], prompts["uid"][mask])
    found = answers[answers["uid"].isin(known.index)]
    return found.assign(oracle_prob=known.reindex(found["uid"]).to_numpy())


def nested_sample(uids: Iterable[str], count: int, seed: int, salt: str) -> np.ndarray:
    """A random `count` of the uids (n,), as a mask; a larger count contains every smaller one."""
    order = sample_order(uids, seed, salt)
    mask = np.zeros(len(order), dtype=bool)
    mask[order[:count]] = True
    return mask


def sample_order(uids: Iterable[str], seed: int, salt: str) -> list[int]:
    """The places of the uids (n,) in a random order that no other uid influences."""
    texts = [f"{seed}/{salt}/{uid}".encode() for uid in uids]
    keys = [hashlib.blake2b(text, digest_size=8).digest() for text in texts]
    return sorted(range(len(keys)), key=keys.__getitem__)


def load_prompts(settings: Settings, notes: list[str] | None = None) -> pd.DataFrame:
    """The table prompts: from a provider's own set, the Hugging Face hub, or a file with a column
    `prompt`, or conversations as the hub's sets have them.

    Of more than `max_samples` a random part is kept, in the file's order. `notes` gets what people
    should know of the file, and where there are fewer.
    """
    notes = [] if notes is None else notes
    prompts = _prompts(settings, notes)
    if len(prompts) < settings.max_samples:
        notes.append(
            f"{settings.prompts}: there are {len(prompts):,} prompts, fewer than max_samples "
            f"({settings.max_samples:,}): all of them are taken"
        )
    return prompts


def _prompts(settings: Settings, notes: list[str]) -> pd.DataFrame:
    """The table prompts, of whatever source."""
    if settings.prompts.startswith(HUB):
        from cje.hub import hub_prompts

        frame = hub_prompts(settings.prompts.removeprefix(HUB), settings.language)
        return _sampled(frame.assign(checks=None, reference=None), settings)
    if Path(settings.prompts).suffix not in (".jsonl", ".csv", ".parquet"):
        _, name = split_model(settings.prompts)
        provider = provider_for(settings.prompts)
        return provider.prompts(name, settings.max_samples, settings.seed)
    path = Path(settings.prompts)
    if PROMPT_FILES not in path.parents:
        raise CJEError(
            f"params.yaml: prompts: {path} is not under {PROMPT_FILES}, where a change of it "
            "would be seen; move it there"
        )
    rows = _prompt_rows(path)
    if not rows:
        raise CJEError(f"{path}: there is no row; every row needs a prompt's text")
    asked = [_prompt_turns(path, line, row) for line, row in rows]
    texts = [turns if isinstance(turns, str) else first_user_text(turns) for turns in asked]
    if more := sum(map(says_more, asked)):
        notes.append(
            f"{path}: the first user turn is the prompt; {more:,} of {len(asked):,} rows hold "
            "more, later turns or a system message, which is left out"
        )
    checks = [row.get("checks") for _, row in rows]
    checks = [c if c is None or isinstance(c, str) else json.dumps(c) for c in checks]
    references = [row.get("reference") or None for _, row in rows]
    uids = prompt_uids(texts)
    given = grouping([cluster_of(row) for _, row in rows])
    clusters = [cluster or same for cluster, same in zip(given, repeats(uids), strict=True)]
    frame = pd.DataFrame({"uid": uids, "prompt": texts, "source": str(path)})
    languages = [row.get("language") for _, row in rows]
    metadata = [metadata_of(row, PROMPT_COLUMNS) for _, row in rows]
    frame = frame.assign(checks=checks, reference=references, cluster=clusters, metadata=metadata)
    return _sampled(frame[_in_language(languages, settings, path)], settings)


def _sampled(frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    kept = nested_sample(frame["uid"], settings.max_samples, settings.seed, "prompts")
    return frame[kept].reset_index(drop=True)


def _in_language(languages: list, settings: Settings, path: Path) -> np.ndarray:
    """Which rows of a file are in the language asked for."""
    wanted = (settings.language or "").casefold()
    if not wanted:
        return np.ones(len(languages), dtype=bool)
    kept = np.array([str(found).casefold() == wanted for found in languages], dtype=bool)
    if not kept.any():
        raise CJEError(
            f"params.yaml: language: no row of {path} has {settings.language} in a column "
            "`language`; give null for all rows"
        )
    return kept


def _prompt_rows(path: Path) -> list[tuple[int, Mapping]]:
    """Line number and columns of each row."""
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            return list(enumerate(frame.to_dict("records"), start=2))
        if path.suffix == ".parquet":
            return list(enumerate(pq.read_table(path).to_pylist()))
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
        return [(i, _json_row(path, i, row)) for i, row in enumerate(lines, 1) if row.strip()]
    except CJEError:
        raise
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file; see `prompts` in params.yaml") from None
    except UnicodeDecodeError as error:
        raise CJEError(f"{path}: not UTF-8 text: {error.reason}; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        words = f"cannot be read as {path.suffix[1:]}: {reason}"
        raise CJEError(f"{path}: {words}; make the file anew, or give another") from error


def _json_row(path: Path, line: int, row: bytes) -> object:
    try:
        return json.loads(row.decode("utf-8"))
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: {error.reason} at byte {error.start}; save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not valid JSON: {error.msg} at character {error.pos}; mend the line"
    raise CJEError(f"{path}:{line}: {problem}")


def _prompt_turns(path: Path, line: int, row: object) -> str | list:
    """A row's prompt, text or turns; raises CJEError without a first user turn that is text."""
    turns = prompt_turns(row) if isinstance(row, Mapping) else None
    if not isinstance(turns, str) and first_user_text(turns) is None:
        raise CJEError(f"{path}:{line}: prompt: missing or empty; every row needs a prompt's text")
    return turns


def write_checked(tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of the user's files to data/checked; those not given are empty."""
    for name in CHECKED_TABLES:
        table = tables[name] if name in tables else empty_table(name)
        write_table(table, name, CHECKED / f"{name}.parquet")


def _checked(name: str) -> pd.DataFrame:
    return read_table(CHECKED / f"{name}.parquet", name)
