"""How many labels, how many prompts, how good a judge? python benchmarks/sizes.py

Mean half widths of dr-cpo's 95 % intervals in the worlds of coverage.py: of policies that are other
models, by labels on their own answers and prompts, and by the judge's signal and the oracle's form;
and of a policy whom the logs reach, by how far it is from them, without own labels and with.
`--write docs/choosing.md` puts the tables there.
"""

import argparse
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from coverage import Models, Reweighted, replications
from pages import put_between

MARKS = ("<!-- tables -->", "<!-- end of tables -->")
LABELS, PROMPTS = (30, 50, 100, 250, 500), (500, 1000, 3000)
SIGNALS = (0.0, 0.3, 0.5, 0.7, 0.9)  # the judge's correlation with an answer's quality
FORMS = {
    "a scale": Models(),
    "passes, half of them": Models("pass", rate=0.5),
    "passes, nine of ten": Models("pass", rate=0.9),
}
SHIFTS, FOOL, OWN = (0.0, 0.4, 0.7, 1.0, 1.5), 0.1, 100  # sd of the log-weights


def cell(world: Models | Reweighted, count: int, pool: ProcessPoolExecutor) -> str:
    """Mean half width, and how often the truth was held; a dash where the policy is refused."""
    rows = replications(world, count, pool)
    kept = rows[rows["verdict"] != "refuse"]
    if len(kept) < len(rows) / 2:
        return "-"
    return f"±{kept['half'].mean():.3f} ({kept['covered'].mean():.0%})"


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table in Markdown, with an empty line before it."""
    head = list(head)
    yield from ("", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
    yield from (f"| {' | '.join(row)} |" for row in rows)


def tables(count: int, processes: int) -> Iterator[str]:
    """The three tables in Markdown."""
    with ProcessPoolExecutor(processes) as pool:
        yield f"Mean half widths of {count} replications; in brackets how often the truth was held."
        yield from grid(
            ["labels of its own", *(f"{prompts:,} prompts" for prompts in PROMPTS)],
            (
                [f"{m}", *(cell(Models(labels=m, prompts=n), count, pool) for n in PROMPTS)]
                for m in LABELS
            ),
        )
        yield from grid(
            ["judge's correlation with quality", *FORMS],
            (
                [f"{signal:g}"]
                + [cell(replace(world, judge=signal), count, pool) for world in FORMS.values()]
                for signal in SIGNALS
            ),
        )
        yield from grid(
            ["sd of the log-weights", "250 labels on the logs", f"and {OWN} of its own"],
            (
                [f"{sd:g}"]
                + [cell(Reweighted(sd, FOOL, own=own), 2 * count, pool) for own in (0, OWN)]
                for sd in SHIFTS
            ),
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--replications", type=int, default=50)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    text = "\n".join(tables(given.replications, given.processes))
    print(text)
    if given.write:
        put_between(MARKS, text, given.write)


if __name__ == "__main__":
    main()
