"""What every method is given and what it gives back: npz files between environments.

This module is all that a peer's environment needs beside the peer and NumPy.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Answers = Mapping[str, Mapping[str, np.ndarray]]  # by method, then by quantity


@dataclass(frozen=True)
class Redraw:
    """One data set as a user has it: n prompts, column 0 the base policy, then T targets.

    `judge` (n, 1 + T), NaN where the judge gave no score; `oracle` (n, 1 + T), NaN where
    unlabelled; `all_labels` (n, 1 + T), for methods that choose themselves which to see, as many as
    `oracle` has; `number`, a seed for those. `lengths` (n, 1 + T) of the answers, or None;
    `logged_logp` (n,) and `target_logps` (n, T) of the logged answers, or None.
    """

    number: int
    policies: tuple[str, ...]
    judge: np.ndarray
    oracle: np.ndarray
    all_labels: np.ndarray
    lengths: np.ndarray | None
    logged_logp: np.ndarray | None
    target_logps: np.ndarray | None

    @property
    def whole_judge(self) -> np.ndarray:
        """The judge scores, the policy's mean where one is missing: for methods that need all."""
        return np.where(np.isnan(self.judge), np.nanmean(self.judge, axis=0), self.judge)

    @property
    def labelled(self) -> np.ndarray:
        """The prompts (m,) on which every target has a label."""
        return np.flatnonzero(~np.isnan(self.oracle[:, 1]))


@dataclass(frozen=True)
class Task:
    """All redraws of a set: `rows` (R, n), the set's prompts that each is made of; `logged_labels`
    and `own_labels` (R, n), whether the logged answer and the targets' are labelled.

    `judge`, `oracle`, `lengths` and log-probabilities are the set's own. With `useless_judge` every
    redraw's judge scores are shuffled, policy by policy.
    """

    policies: np.ndarray
    judge: np.ndarray
    oracle: np.ndarray
    rows: np.ndarray
    logged_labels: np.ndarray
    own_labels: np.ndarray
    useless_judge: bool = False
    lengths: np.ndarray | None = None
    logged_logp: np.ndarray | None = None
    target_logps: np.ndarray | None = None

    def write(self, path: Path) -> None:
        np.savez(path, **{name: value for name, value in vars(self).items() if value is not None})

    @staticmethod
    def read(path: Path) -> "Task":
        with np.load(path) as found:
            return Task(**{name: found[name] for name in found.files})

    def redraws(self, first: int, last: int) -> Iterator[Redraw]:
        """The redraws from `first` up to, not including, `last`."""

        def chosen(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
            return None if values is None else values[rows]

        for number in range(first, last):
            rows = self.rows[number]
            judge, labels = self.judge[rows], self.oracle[rows]
            oracle = labels.copy()
            if self.useless_judge:
                judge = np.random.default_rng([number, 1]).permuted(judge, axis=0)
            oracle[~self.logged_labels[number], 0] = np.nan
            oracle[~self.own_labels[number], 1:] = np.nan
            yield Redraw(
                number=number,
                policies=tuple(self.policies),
                judge=judge,
                oracle=oracle,
                all_labels=labels,
                lengths=chosen(self.lengths, rows),
                logged_logp=chosen(self.logged_logp, rows),
                target_logps=chosen(self.target_logps, rows),
            )


def interval_answer(
    value: np.ndarray, se: np.ndarray, low: np.ndarray, high: np.ndarray, **more: np.ndarray
) -> dict[str, np.ndarray]:
    """A method's answer to one redraw: arrays (T,); NaN in all where it gives none."""
    return {"value": value, "se": se, "low": low, "high": high, **more}


def serve(answer: Callable[[Redraw], Answers]) -> None:
    """A peer's script: read the task, answer the asked redraws, write what came of them.

    Arguments: the task's file, the answers' file, the first redraw and the one after the last.
    The file of answers holds arrays (redraws, ...) named `method/quantity`.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("task", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    given = parser.parse_args()
    collected: dict[str, list[np.ndarray]] = {}
    for redraw in Task.read(given.task).redraws(given.first, given.last):
        for method, quantities in answer(redraw).items():
            for quantity, values in quantities.items():
                collected.setdefault(f"{method}/{quantity}", []).append(np.asarray(values))
    np.savez(given.answers, **{name: np.stack(values) for name, values in collected.items()})
