"""Which answers are labelled: for the estimates, and to check them."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED
from cje.models.registry import is_computed
from cje.settings import Settings

PAID_CHECKS = 100  # prompts that check the estimates if oracle_samples is auto and labels cost
CHECKS = "validation"  # salt of the order in which prompts are labelled that check the estimates
ANSWER_KEY = ["uid", "policy", "draw", "answer"]


class Design(Protocol):
    """Which prompts are labelled, and with what probability; `cje.stats.sampling` has the
    designs."""

    @property
    def order(self) -> np.ndarray: ...
    def chosen(self, count: int) -> np.ndarray: ...
    def probability(self, count: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Designs:
    """`logged`: the design by which prompts are labelled in the logs; `own`: that for the targets'
    fresh answers. `own` is None until it can be learned from the labels on the logs, which `learn`
    takes by uid."""

    logged: Design
    own: Design | None
    learn: Callable[[pd.Series], Design] | None = None

    def with_labels(self, labels: pd.DataFrame) -> "Designs":
        """The designs after learning from the labels on the logs (rows with `uid` and
        `oracle_score`)."""
        if self.learn is None:
            return self
        known = labels.drop_duplicates("uid").set_index("uid")["oracle_score"]
        return replace(self, own=self.learn(known))

    @property
    def provisional(self) -> "Designs":
        """The designs before learning: the same number of prompts, the same for all policies."""
        return Designs(self.logged, self.logged)


@dataclass(frozen=True)
class AnswerPool:
    """The answers that can be labelled: `prompts` and `logs` (a row each per prompt), the fresh
    `draws` of the targets, and the `designs` that say which of them are labelled, and with what
    probability. `cje.pipeline.designs.answer_pool` makes one."""

    prompts: pd.DataFrame
    logs: pd.DataFrame
    draws: pd.DataFrame
    designs: Designs

    @property
    def answers(self) -> pd.DataFrame:
        """All answers in one frame; see `all_answers`."""
        return all_answers(self.logs, self.draws)

    def with_labels(self, labels: pd.DataFrame) -> "AnswerPool":
        """The pool whose designs have learned from the labels on the logs."""
        return replace(self, designs=self.designs.with_labels(labels))

    @property
    def provisional(self) -> "AnswerPool":
        """The pool with its provisional designs."""
        return replace(self, designs=self.designs.provisional)


def all_answers(logs: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """The logged and the fresh answers in one frame."""
    logged = logs.rename(columns={"action": "policy"}).assign(draw=LOGGED)
    return pd.concat([logged[ANSWER_KEY], draws[ANSWER_KEY]], ignore_index=True)


def chosen_for_estimates(settings: Settings, pool: AnswerPool) -> pd.DataFrame:
    """The answers to label for the estimates: the logged answers to `oracle_fraction` of the
    prompts, at least one, and every target's first draws for `target_labels` of them; for a policy
    in `extra_labels`, that many more.

    All targets share their prompts, which are among the labelled prompts of the logs as far as
    those suffice, and a larger number contains every smaller one. While the targets' design is
    still to be learned, none of their answers are chosen.
    """
    answers, designs = pool.answers, pool.designs
    logged, own = label_counts(settings, len(pool.prompts))
    chosen = []
    for draw, count, design in ((LOGGED, logged, designs.logged), (0, own, designs.own)):
        if design is None:
            continue
        rows = answers[answers["draw"] == draw]
        for extra, policies in _by_extra(rows["policy"].unique(), settings):
            mask, chance = design.chosen(count + extra), design.probability(count + extra)
            chosen.append(_chosen(rows[rows["policy"].isin(policies)], pool.prompts, mask, chance))
    return pd.concat(chosen, ignore_index=True)


def label_counts(settings: Settings, prompts: int) -> tuple[int, int]:
    """How many of this many prompts are labelled in the logs, and how many for each target."""
    return max(1, round(settings.oracle_fraction * prompts)), settings.target_labels


def _by_extra(policies: Iterable[str], settings: Settings) -> list[tuple[int, list[str]]]:
    """The policies by the number of their extra labels, fewest first."""
    found: dict[int, list[str]] = {}
    for policy in policies:
        found.setdefault(settings.extra_labels.get(policy, 0), []).append(policy)
    return sorted(found.items())


def chosen_for_validation(settings: Settings, pool: AnswerPool, used: pd.DataFrame) -> pd.DataFrame:
    """The logged answers and every target's first draws for `oracle_samples` of the prompts without
    a row in `used`, the same for all policies; all such prompts if there are fewer. The probability
    of a prompt is that of being left over, times that of then being chosen."""
    prompts, logs, draws = pool.prompts, pool.logs, pool.draws
    uids = unused_prompts(prompts, used)["uid"]
    count = checked_prompts(settings, len(uids))
    mask = np.zeros(len(prompts), dtype=bool)
    mask[uids.index[nested_sample(uids, count, settings.seed, CHECKS)]] = True
    logged, own = label_counts(settings, len(prompts))
    most = max(settings.extra_labels.get(p, 0) + own for p in draws["policy"].unique())
    most = max(most, *(logged + settings.extra_labels.get(p, 0) for p in logs["action"].unique()))
    left = 1 - pool.designs.logged.probability(most)
    # Prompts whose labels could not be obtained are left over as well.
    chance = left * (mask.sum() / left.sum()) if left.sum() > 0 else np.ones(len(prompts))
    answers = pool.answers
    return _chosen(answers[answers["draw"] <= 0], prompts, mask, np.clip(chance, 1e-9, 1))


def checked_prompts(settings: Settings, unused: int) -> int:
    """How many of the `unused` prompts check the estimates: `oracle_samples`; auto means all of
    them where the oracle is a program, whose labels cost nothing, none where people label, and 100
    otherwise."""
    if settings.oracle_samples != "auto":
        return min(settings.oracle_samples, unused)
    if settings.asks_people:
        return 0
    return unused if is_computed(settings.oracle_model) else min(PAID_CHECKS, unused)


def unused_prompts(prompts: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame:
    """The prompts without a labelled answer in `used`."""
    return prompts[~prompts["uid"].isin(used["uid"])]


def _chosen(
    answers: pd.DataFrame, prompts: pd.DataFrame, mask: np.ndarray, chance: np.ndarray
) -> pd.DataFrame:
    """The answers to the prompts in the mask (N,), with the probability (N,) of each prompt to be
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
    """The indices of the uids (n,) in a random order, in which each is placed by a hash of its
    own."""
    texts = [f"{seed}/{salt}/{uid}".encode() for uid in uids]
    keys = [hashlib.blake2b(text, digest_size=8).digest() for text in texts]
    return sorted(range(len(keys)), key=keys.__getitem__)


def given_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels that were obtained. They represent the missing ones of the same policy and draw:
    `oracle_prob` is multiplied by the share that was obtained."""
    groups = labels.groupby(["policy", "draw"])["oracle_score"]
    share = groups.transform(lambda scores: scores.notna().mean())
    found = labels.assign(oracle_prob=labels["oracle_prob"] * share)
    return found[found["oracle_score"].notna()]
