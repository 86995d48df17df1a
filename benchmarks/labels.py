"""What labels are worth: CJE beside other estimators, at the same numbers of labels.

python benchmarks/labels.py --write docs/label-efficiency.md

The sets are real evaluations of which every label is known: those of ../shared/label_sets, and the
project's own recorded run (after `make repro`); what is absent is left out. Most labels are hidden;
every method estimates the policies' means from the rest, on the very same redraws. In a redraw

- the N prompts of the set are drawn N times with replacement, each time as a prompt of its own, so
  that the set's mean *is* the truth and an interval for prompts in general is judged fairly;
- a random quarter of the base policy's answers is labelled;
- of every target the same 50 (100) answers are labelled, on prompts of that quarter; where it has
  fewer, on all of them and on others.

A prompt may so occur twice, labelled and unlabelled, which a method could exploit that remembers
single scores. `--design fixed` is the check: the set's prompts as they are, the labels drawn again.
There the truth is the mean over the prompts at hand, and an interval for prompts in general covers
more often than it says. Numbers of labels that leave nothing unlabelled are left out.

`--useless-judge` shuffles the judge scores of every policy among its answers: who then uses them
must not do worse than who does not.

Where the judge gives no score (in the recorded run, to prompts without a check of form), the other
methods are given the policy's mean score; CJE is given none.

Each peer runs in an environment of its own, made under ~/.cache/cje-benchmarks; one that cannot be
made is left out by name. `--write` puts the tables of the design, or of the useless judge, into
their place on the page.
"""

import argparse
from pathlib import Path

import pandas as pd

from label_efficiency import methods, redraws, tables
from label_efficiency.environments import CACHE, ROOT
from label_efficiency.measures import completed, measures, verdict_measures
from label_efficiency.sets import RECORDED, LabelSet, label_sets, recorded_run
from pages import put_between

FOLDER = ROOT.parent / "shared" / "label_sets"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redraws", type=int, default=200)
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100], help="of each target")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--design", choices=redraws.DESIGNS, default="redrawn")
    parser.add_argument("--useless-judge", action="store_true")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the sets are")
    parser.add_argument("--sets", nargs="+", help=f"names of files there, or {RECORDED}")
    parser.add_argument("--peers", nargs="+", choices=methods.PEER_NAMES, help="default: all")
    parser.add_argument("--environments", type=Path, default=CACHE, help="where the peers are made")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the tables")
    return parser.parse_args()


def sets(folder: Path, names: list[str] | None) -> list[LabelSet]:
    """The sets that are here, of those asked for."""
    found = list(label_sets(folder, names))
    if names is None or RECORDED in names:
        if (ROOT / "data" / "proxy_scores.parquet").exists():
            found.append(recorded_run())
        else:
            print("The recorded run is left out: `make repro` makes its tables")
    if not found:
        raise SystemExit(f"There are no label sets in {folder}, and no recorded run")
    return found


def study(
    found: list[LabelSet], starts: dict[str, methods.Start], given: argparse.Namespace
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figures by set, number of labels and method; and the verdicts of CJE."""
    rows, verdicts = [], []
    print(f"set, labels, method, then {tables.HEAD}")
    for of in found:
        for labels in given.labels:
            if labels >= len(of.judge):
                print(f"{of.name}: {labels} labels leave nothing unlabelled")
                continue
            task = redraws.task(
                of, labels, given.redraws, given.design, useless_judge=given.useless_judge
            )
            answers = methods.run(task, starts, given.processes)
            place = {"set": of.name, "title": title(of), "labels": labels}
            for method, own in answers.items():
                whole = completed(own, answers["labels"])
                figures = measures(whole, answers["labels"], of.truth[1:])
                rows.append(place | {"method": method} | figures)
                words = f"{method:<16}{tables.cells(figures)}"
                print(f"{of.name:<12}{labels:>4}  {words}", flush=True)
            if "ours" in answers:
                verdicts.append(place | verdict_measures(answers["ours"], of.truth))
    if not rows:
        raise SystemExit("No set leaves anything unlabelled: ask for fewer --labels")
    return pd.DataFrame(rows), pd.DataFrame(verdicts)


def title(of: LabelSet) -> str:
    prompts, policies = of.judge.shape
    words = f"{prompts:,} prompts, {policies - 1} targets, rank correlation"
    return f"{of.name}: {words} {of.rank_correlation:.2f}"


def page(
    rows: pd.DataFrame, verdicts: pd.DataFrame, absent: dict[str, str], given: argparse.Namespace
) -> list[str]:
    """What belongs between the marks of this study."""
    notes = tables.notes(rows, given.redraws, absent)
    if given.useless_judge:
        return [*notes, "", *tables.useless(rows)]
    lines = [*notes, "", *tables.summary(rows)]
    if given.design == "redrawn":
        if len(verdicts):
            lines += ["", "What CJE says of its own numbers:", "", *tables.verdicts(verdicts)]
        lines += tables.by_set(rows)
    return lines


def main() -> None:
    given = options()
    asked = given.peers or (("labels", "cje") if given.useless_judge else methods.PEER_NAMES)
    starts, absent = methods.ready_peers({"labels", *asked}, given.environments)
    for name, reason in absent.items():
        print(f"{name} is left out: {reason}")
    rows, verdicts = study(sets(given.folder, given.sets), starts, given)
    text = "\n".join(page(rows, verdicts, absent, given))
    print(text)
    if given.write:
        part = "useless judge" if given.useless_judge else given.design
        put_between((f"<!-- {part} -->", f"<!-- end of {part} -->"), text, given.write)


if __name__ == "__main__":
    main()
