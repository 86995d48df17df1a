"""Which answers people are asked to label, in which order, and by how many raters.

An answer is identified by its prompt and its text: equal answers of several policies are labelled
once, and a label stays with the text, whatever settings lead to it again. Prompts come in the order
of the sampling design, so that the finished part of the list is always a sample with known
probabilities, on the same prompts for all policies; the answers to a prompt come together, in
random order. Where the labels on the logs decide which prompts the targets are labelled on, the
logs come first, and the targets' answers follow when all logs are labelled.
"""

import hashlib
from collections.abc import Iterable

import pandas as pd

from cje.data.tables import LOGGED
from cje.pipeline.choice import (
    CHECKS,
    AnswerPool,
    chosen_for_estimates,
    chosen_for_validation,
    sample_order,
)
from cje.settings import Settings

LETTERS = "bcdfghjkmnpqrstvwxz"  # no digit: spreadsheets leave an id of letters alone
ID_LENGTH = 12
COLUMNS = ["id", "uid", "prompt", "reference", "answer", "raters", "policies"]


def answer_id(prompt: str, answer: str) -> str:
    """An id of an answer that does not reveal its policy: 12 letters, a hash of the prompt and the
    answer."""
    data = f"{len(prompt)}/{prompt}{answer}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
    letters = []
    for _ in range(ID_LENGTH):
        number, place = divmod(number, len(LETTERS))
        letters.append(LETTERS[place])
    return "".join(letters)


def task_list(settings: Settings, pool: AnswerPool) -> pd.DataFrame:
    """The answers to label, in order, one row per `id`: `uid`, `prompt`, `reference`, `answer`, how
    many `raters` it needs, and the `policies` that gave it, which raters do not see.

    First those that estimates use, in the order of the designs, then those that check them.
    """
    parts = [tasks_for_estimates(settings, pool), tasks_for_checks(settings, pool)]
    rows = pd.concat(parts, ignore_index=True)
    policies = rows.groupby("id")["policy"].agg(lambda names: tuple(sorted(set(names))))
    rows = rows.drop_duplicates("id", ignore_index=True)
    twice = [_unit(settings.seed, "raters", name) < settings.raters_overlap for name in rows["id"]]
    rows = rows.assign(raters=[2 if two else 1 for two in twice])
    return rows.assign(policies=rows["id"].map(policies))[COLUMNS]


def tasks_for_estimates(settings: Settings, pool: AnswerPool) -> pd.DataFrame:
    """The answers that estimates use, in the order in which they are to be labelled, with `id`,
    `policy`, `draw`, `prompt`, `reference`, `answer`, the `place` of their prompt, and whether they
    were on the list `before`, among the logs that are labelled first."""
    chosen, prompts, designs = chosen_for_estimates(settings, pool), pool.prompts, pool.designs
    if designs.learn is None or designs.own is None:
        return _in_order(chosen, prompts, designs.logged.order, settings.seed)
    logged = chosen["draw"] == LOGGED
    first = _in_order(chosen[logged], prompts, designs.logged.order, settings.seed)
    second = _in_order(chosen[~logged], prompts, designs.own.order, settings.seed)
    second = second.assign(before=second["id"].isin(first["id"]))
    return pd.concat([first, second], ignore_index=True)


def tasks_for_checks(settings: Settings, pool: AnswerPool) -> pd.DataFrame:
    """The same of the answers that check the estimates: of prompts that are not chosen for these,
    labelled or not."""
    used = chosen_for_estimates(settings, pool.provisional)
    chosen = chosen_for_validation(settings, pool, used)
    order = sample_order(pool.prompts["uid"], settings.seed, CHECKS)
    return _in_order(chosen, pool.prompts, order, settings.seed)


def _in_order(
    chosen: pd.DataFrame, prompts: pd.DataFrame, order: Iterable[int], seed: int
) -> pd.DataFrame:
    """The chosen answers that exist, in the order of their prompts, and in random order within a
    prompt."""
    chosen = chosen[chosen["answer"].notna()]
    found = chosen.merge(prompts[["uid", "prompt", "reference"]], how="left", on="uid")
    ids = [answer_id(p, a) for p, a in zip(found["prompt"], found["answer"], strict=True)]
    uids = prompts["uid"].to_numpy()
    place = {uids[i]: rank for rank, i in enumerate(order)}
    found = found.assign(
        id=ids,
        place=found["uid"].map(place),
        within=[_unit(seed, "within", name) for name in ids],
        before=False,
    )
    return found.sort_values(["place", "within"], kind="stable", ignore_index=True)


def _unit(seed: int, salt: str, name: str) -> float:
    """A random number from 0 to 1 that depends on the arguments alone."""
    digest = hashlib.blake2b(f"{seed}/{salt}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
