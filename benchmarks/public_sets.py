"""More sets of which every label is known, from public repositories that lie beside this one.

python benchmarks/public_sets.py FOLDER --alpaca-eval CLONE --wmt-mqm CLONE
python benchmarks/labels.py --folder FOLDER

Each becomes a file like those of ../shared/label_sets: `uid`, `policy` (`base`: the logs), `judge`
and `oracle` on [0, 1], `length`. Nothing was chosen on them but what docs/label-efficiency.md says.

From https://github.com/tatsu-lab/alpaca_eval (Apache-2.0), 805 prompts:

- alpaca_strict: the judge is whether GPT-4 prefers an answer to text-davinci-003's, the oracle how
  surely GPT-4 Turbo prefers it to GPT-4 Turbo's own: next to 0 for most answers, to 1 for few;
- alpaca_lenient: the same two in each other's place, so that the judge is next to 0 for most;
- alpaca_length, alpaca_length_1 to _3: the strict oracle, and a judge that counts letters; other
  models in each.

From https://github.com/google/wmt-mqm-human-evaluation (Apache-2.0), 529 sentences of talks:

- ted_ende, ted_zhen: the judge is chrF against the reference (`pip install sacrebleu`), the oracle
  experts' MQM score, 1 without an error and 0 at 25 points.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

BASE = "base"
STRICT, LENIENT = "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4"
REFERENCE = "gpt4_1106_preview"  # what answers are compared with: it has no preference
MOST_LETTERS = 8000
WORST_MQM = 25.0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the sets are written")
    parser.add_argument("--alpaca-eval", type=Path, help="a clone of tatsu-lab/alpaca_eval")
    parser.add_argument("--wmt-mqm", type=Path, help="a clone of google/wmt-mqm-human-evaluation")
    return parser.parse_args()


def committed(clone: Path, path: str) -> str | None:
    """A file of the clone's last commit; None where it has none, or not its content."""
    found = subprocess.run(["git", "-C", clone, "show", f"HEAD:{path}"], capture_output=True)
    return found.stdout.decode("utf-8") if found.returncode == 0 else None


def preferences(clone: Path, model: str, annotator: str) -> pd.DataFrame | None:
    """By instruction, how surely the model's answer is preferred, and its length."""
    text = committed(clone, f"results/{model}/{annotator}/annotations.json")
    if text is None:
        return None
    rows = [
        (row["instruction"], row["preference"] - 1, len(row["output_2"]))
        for row in json.loads(text)
        if row.get("preference") is not None and row["preference"] >= 1
    ]
    frame = pd.DataFrame(rows, columns=["uid", "preference", "length"])
    return frame.drop_duplicates("uid", keep="last").set_index("uid")


def alpaca(clone: Path, folder: Path) -> None:
    """The sets of AlpacaEval."""
    listed = subprocess.run(
        ["git", "-C", clone, "ls-tree", "--name-only", "HEAD", "results/"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    models = sorted(line.split("/")[1] for line in listed.stdout.splitlines())
    strict, lenient = {}, {}
    for model in models:
        if model != REFERENCE and (found := preferences(clone, model, STRICT)) is not None:
            strict[model] = found
            if (other := preferences(clone, model, LENIENT)) is not None:
                lenient[model] = other
    both = pd.concat(
        strict[model]
        .join(lenient[model]["preference"].rename("other"), how="inner")
        .assign(policy=model)
        .reset_index()
        for model in lenient
    )
    for name, judge, oracle in (
        ("alpaca_strict", "other", "preference"), ("alpaca_lenient", "preference", "other"),
    ):  # fmt: skip
        write(
            both.assign(judge=both[judge], oracle=both[oracle]), "gpt-3.5-turbo-1106", name, folder
        )
    whole = [model for model, found in strict.items() if len(found) >= 803]
    first = sorted(np.random.default_rng(7).choice(whole, 20, replace=False).tolist())
    rest = [model for model in whole if model not in first]
    chosen = {"alpaca_length": (first, first[9])}
    for number in (1, 2, 3):
        drawn = np.random.default_rng(100 + number).choice(rest, 13, replace=False).tolist()
        chosen[f"alpaca_length_{number}"] = (drawn, drawn[0])
    for name, (policies, base) in chosen.items():
        rows = pd.concat(strict[model].assign(policy=model).reset_index() for model in policies)
        letters = np.clip(np.log1p(rows["length"]) / np.log1p(MOST_LETTERS), 0, 1)
        write(rows.assign(judge=letters, oracle=rows["preference"]), base, name, folder)


def talks(clone: Path, pair: str, folder: Path) -> None:
    """The set of a pair of languages."""
    from sacrebleu.metrics import CHRF

    stem = f"ted/{pair}/mqm_ted_{pair}"
    texts, scores = committed(clone, f"{stem}.tsv"), committed(clone, f"{stem}.avg_seg_scores.tsv")
    if texts is None or scores is None:
        raise SystemExit(f"{clone}: {stem}.tsv and its scores are not there")
    target = {}
    for line in texts.splitlines()[1:]:
        system, _, _, segment, _, _, text = line.split("\t")[:7]
        target.setdefault((system, segment), text.replace("<v>", "").replace("</v>", ""))
    chrf, rows = CHRF(), []
    for line in scores.splitlines()[1:]:
        system, score, segment = line.split()
        if system.startswith("ref") or score == "None":
            continue
        own, reference = target[system, segment], target["ref", segment]
        judge = chrf.sentence_score(own, [reference]).score / 100
        oracle = np.clip(1 + float(score) / WORST_MQM, 0, 1)
        rows.append((segment, system, judge, oracle, len(own)))
    frame = pd.DataFrame(rows, columns=["uid", "policy", "judge", "oracle", "length"])
    write(frame, "Online-W", f"ted_{pair}", folder)


def write(rows: pd.DataFrame, base: str, name: str, folder: Path) -> None:
    """The prompts that every policy answered."""
    rows = rows[["uid", "policy", "judge", "oracle", "length"]]
    rows = rows[rows.groupby("uid")["policy"].transform("nunique") == rows["policy"].nunique()]
    places = {uid: f"{name} {i}" for i, uid in enumerate(sorted(set(rows["uid"])))}
    rows = rows.assign(uid=rows["uid"].map(places), policy=rows["policy"].replace(base, BASE))
    folder.mkdir(parents=True, exist_ok=True)
    rows.sort_values(["policy", "uid"]).to_parquet(folder / f"{name}.parquet", index=False)
    print(f"{name}: {len(places):,} prompts, {rows['policy'].nunique()} policies")


if __name__ == "__main__":
    given = options()
    if given.alpaca_eval is None and given.wmt_mqm is None:
        raise SystemExit("Give --alpaca-eval, --wmt-mqm, or both")
    if given.alpaca_eval is not None:
        alpaca(given.alpaca_eval, given.folder)
    if given.wmt_mqm is not None:
        for languages in ("ende", "zhen"):
            talks(given.wmt_mqm, languages, given.folder)
