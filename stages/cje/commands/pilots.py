"""What a plan is made from: a pilot run, a pilot in files, or guesses."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cje.errors import CJEError, Waiting
from cje.results.words import count, counted
from cje.vocabulary import Intervals

if TYPE_CHECKING:
    import pandas as pd

    from cje.results.view import RunView
    from cje.stats.planning import Pilot

LABELLING = ("oracle_label", "validate")  # stages that pay for labels
ANSWERING = ("generate_logs", "draw_targets", "proxy_score")  # those that pay for answers


@dataclass(frozen=True)
class Basis:
    """The pilot with its number of prompts, and what it says of the run to plan: the level and the
    kind of its intervals, what a label and a prompt's answers cost (None where that is not known),
    and the run itself where it is one. `words` say all of that."""

    pilot: "Pilot"
    prompts: int
    words: list[str]
    alpha: float = 0.05
    anytime: bool = False
    label_price: float | None = None
    prompt_price: float | None = None
    view: "RunView | None" = None

    @property
    def files(self) -> bool:
        """Whether the pilot is a run on the user's own files, which have all its prompts."""
        return self.view is not None and self.view.run.settings.source == "files"

    @property
    def labels_in_files(self) -> bool:
        """Whether its labels are in those files too, and no setting draws more."""
        return self.view is not None and self.view.labels_in_files


def basis_of(given: argparse.Namespace) -> Basis:
    """What the options name; raises CJEError where it is too little for a plan."""
    if given.spread is not None:
        return from_guesses(given)
    return from_run(given) if given.logs is None else from_files(given.logs, given.draws)


def from_guesses(given: argparse.Namespace) -> Basis:
    """A pilot that is guessed."""
    from cje.stats.planning import guessed

    words = (
        f"guesses: utility {given.mean:g}, standard deviation {given.spread:g}; correlation of "
        f"judge and oracle {given.judge:g}, of two policies on a prompt {given.between:g}; "
        f"{counted(given.policies, 'policy', 'policies')} with the base"
    )
    pilot = guessed(given.policies, given.mean, given.spread, given.judge, given.between)
    return Basis(pilot, 1000, [words])


def from_files(logs: Path, draws: Path) -> Basis:
    """A pilot in files."""
    from cje.stats.planning import pilot

    answers, fresh = read_frame(logs), read_frame(draws)
    found = pilot(answers, fresh)
    words = f"the pilot is {logs} and {draws}: {counted(len(answers), 'prompt')}"
    return Basis(found, len(answers), [words, *label_facts(found, answers, fresh)])


def from_run(given: argparse.Namespace) -> Basis:
    """A finished run as the pilot."""
    from cje.commands.stopping import pilot_of, standing
    from cje.data.frames import rewarded_frames
    from cje.results.opening import open_run
    from cje.results.view import RunView
    from cje.stats.planning import Aim

    run = open_run(given.run_dir)
    view, prompts = RunView(run), len(run.prompts)
    try:
        found = pilot_of(view)
    except CJEError as problem:  # too few labels
        aim = Aim(given.within, given.apart, given.power, run.settings.alpha)
        raise Waiting("\n".join([*standing(view, aim, None)[1], str(problem)])) from None
    label_price, prompt_price = prices_paid(view, prompts)
    where = "this project's last run" if run.folder == Path() else str(run.folder)
    words = f"the pilot is {where}: {counted(prompts, 'prompt')}"
    return Basis(
        found, prompts, [words, *label_facts(found, *rewarded_frames(run.data, run.settings))],
        alpha=run.settings.alpha, anytime=run.settings.intervals is Intervals.ANYTIME,
        label_price=label_price, prompt_price=prompt_price, view=view,
    )  # fmt: skip


def prices_paid(view: "RunView", prompts: int) -> tuple[float | None, float | None]:
    """What a run paid for a label and for the answers to a prompt, in dollars; None where no model
    was called for labels."""
    labelling = [row for row in view.cost.by_stage if row.name in LABELLING]
    labels = sum(row.calls for row in labelling)
    if not labels:
        return None, None
    answering = sum(row.usd for row in view.cost.by_stage if row.name in ANSWERING)
    return sum(row.usd for row in labelling) / labels, answering / prompts


def label_facts(pilot: "Pilot", logs: "pd.DataFrame", draws: "pd.DataFrame") -> list[str]:
    """How many labels a pilot has, and how widely utilities are spread."""
    import numpy as np

    labels = draws["oracle_score"].notna().groupby(draws["policy"]).sum()
    known = labels[[policy for policy in pilot.policies[1:] if policy in labels]]
    whole = np.diag(pilot.everywhere + pilot.beyond + pilot.left) ** 0.5
    rest = np.diag(pilot.left)[1:] ** 0.5
    low, high = count(known.min()), count(known.max())
    own = low if low == high else f"{low} to {high}"
    return [
        f"its labels: {count(logs['oracle_score'].notna().sum())} on the logs, {own} on each of "
        f"{counted(len(known), 'target')}",
        f"standard deviation of the utility: {whole.min():.2f} to {whole.max():.2f}; of what judge "
        f"and base label do not explain: {rest.min():.2f} to {rest.max():.2f}",
    ]


def read_frame(path: Path) -> "pd.DataFrame":
    """A table of a pilot, ids as they are written; raises CJEError where the file or a row cannot
    be read."""
    import pandas as pd

    from cje.data.readers.bad_rows import BadRow
    from cje.data.readers.conversations import stands_for_nothing
    from cje.data.readers.user_files import SUFFIXES, raw_rows

    if path.suffix not in SUFFIXES:
        raise CJEError(f"{path}: give a file that ends in {', '.join(SUFFIXES)}")
    if not path.exists():
        raise CJEError(f"{path}: no such file")
    rows = []
    for line, row in raw_rows(path):
        if isinstance(row, BadRow):
            raise CJEError(f"{path}:{line}: {row}")
        rows.append({k: None if stands_for_nothing(v) else v for k, v in row.items()})
    return pd.DataFrame(rows)
