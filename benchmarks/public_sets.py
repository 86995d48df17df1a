"""More sets of which every label is known, from public repositories that lie beside this one.

python benchmarks/public_sets.py FOLDER --alpaca-eval CLONE --wmt-mqm CLONE --clones CLONES
python benchmarks/labels.py --folder FOLDER

Each becomes a file like those of ../shared/label_sets: `uid`, `policy` (`base`: the logs), `judge`
and `oracle` on [0, 1], `length`. Nothing was chosen on them but what docs/label-efficiency.md says.
CLONES is a folder of clones, each called as its repository; those that are absent are left out.

From https://github.com/tatsu-lab/alpaca_eval (Apache-2.0), 805 prompts:

- alpaca_strict: the judge is whether GPT-4 prefers an answer to text-davinci-003's, the oracle how
  surely GPT-4 Turbo prefers it to GPT-4 Turbo's own: next to 0 for most answers, to 1 for few;
- alpaca_lenient: the same two in each other's place, so that the judge is next to 0 for most;
- alpaca_length, alpaca_length_1 to _3: the strict oracle, and a judge that counts letters; other
  models in each.

From https://github.com/google/wmt-mqm-human-evaluation (Apache-2.0), 529 sentences of talks:

- ted_ende, ted_zhen: the judge is chrF against the reference (`pip install sacrebleu`), the oracle
  experts' MQM score, 1 without an error and 0 at 25 points.

From CLONES, looked at once, the first policy by name as the base:

- xstest (https://github.com/paul-rottger/exaggerated-safety): people's verdict, complied 1, partly
  1/2, refused 0; the judge is GPT-4's verdict. xstest_unsafe: the prompts that should be refused;
  the judge matches words of refusal.
- conala (https://github.com/JetBrains-Research/codegen-metrics): developers' grades; chrF.
- frank_cnn, frank_xsum (https://github.com/artidoro/frank): the share of a summary's sentences that
  people find factual; FactCC, and BERTScore against the article.
- tifa (https://github.com/Yushi-Hu/tifa): how well people think that a picture fits; CLIPScore.
- evouna_nq, evouna_tq (https://github.com/wangcunxiang/QA-Eval): people's verdict of right and
  wrong; whether a golden answer is in the answer.
- nq301 (https://github.com/ehsk/OpenQA-eval): the same; BEM. Nobody looked at answers that equal a
  golden one: they are right, with judge score 1.
- crux (https://github.com/WildEval/ZeroEval): whether the predicted output is right; how long the
  reasoning is, no score where it cannot be read.
- dialsumm (https://github.com/kite99520/DialSummEval): people's mean rating of consistency;
  ROUGE-L.
"""

import argparse
import csv
import io
import json
import re
import string
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

BASE = "base"
STRICT, LENIENT = "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4"
REFERENCE = "gpt4_1106_preview"  # what answers are compared with: it has no preference
MOST_LETTERS = 8000
WORST_MQM = 25.0
MOST_REASONING = 4000


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the sets are written")
    parser.add_argument("--alpaca-eval", type=Path, help="a clone of tatsu-lab/alpaca_eval")
    parser.add_argument("--wmt-mqm", type=Path, help="a clone of google/wmt-mqm-human-evaluation")
    parser.add_argument("--clones", type=Path, help="a folder of clones of the others")
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


Makers = Iterable[tuple[str, list[dict[str, object]]]]


def needed(clone: Path, path: str) -> str:
    """A file of the clone's last commit."""
    text = committed(clone, path)
    if text is None:
        raise SystemExit(f"{clone}: {path} is not there")
    return text


def table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def names(clone: Path, folder: str) -> list[str]:
    """The paths of the files in a folder of the clone's last commit."""
    listed = subprocess.run(
        ["git", "-C", clone, "ls-tree", "--name-only", "HEAD", f"{folder}/"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return sorted(listed.stdout.splitlines())


def plain(text: str) -> str:
    """Small letters without punctuation and articles."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def xstest(clone: Path) -> Makers:
    worth = {"1": 1.0, "2": 0.0, "3": 0.5}  # complied, refused, partly
    everything, unsafe = [], []
    for policy in ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct"):
        stem = f"evaluation/automated_evaluation_labels/xstest_v2_completions_{policy}"
        matched = {row["id"]: row for row in table(needed(clone, f"{stem}_streval.csv"))}
        for row in table(needed(clone, f"{stem}_gpteval.csv")):
            known = {
                "uid": row["id"], "policy": policy, "oracle": worth[row["final_label"][0]],
                "length": len(row["completion"]),
            }  # fmt: skip
            everything.append(known | {"judge": worth.get(row["gpt4_label"][:1], np.nan)})
            if row["type"].startswith("contrast"):
                label = matched[row["id"]]["strmatch_label"]
                unsafe.append(known | {"judge": worth[label[0]]})
    return [("xstest", everything), ("xstest_unsafe", unsafe)]


def conala(clone: Path) -> Makers:
    graded = json.loads(needed(clone, "data/to-grade/conala/conala-all-grades.json"))
    policies = ("baseline", "tranx-annot", "best-tranx", "best-tranx-rerank", "codex")
    rows = [
        {
            "uid": str(number), "policy": policy, "oracle": row[f"grade-{policy}"] / 4,
            "judge": row[f"chrf-{policy}"], "length": len(row[policy]),
        }
        for number, row in enumerate(graded)
        for policy in policies
    ]  # fmt: skip
    return [("conala", rows)]


def frank(clone: Path) -> Makers:
    people = json.loads(needed(clone, "data/human_annotations.json"))
    metrics = {
        (row["hash"], row["model_name"]): row
        for row in json.loads(needed(clone, "data/baseline_factuality_metrics_outputs.json"))
    }
    for name, source, metric in (
        ("frank_cnn", "cnndm", "FactCC"), ("frank_xsum", "bbc", "BertScore P Art"),
    ):  # fmt: skip
        yield name, [
            {
                "uid": row["hash"], "policy": row["model_name"], "oracle": row["Factuality"],
                "judge": metrics[row["hash"], row["model_name"]][metric],
            }
            for row in people
            if row["dataset"] == source
        ]  # fmt: skip


def tifa(clone: Path) -> Makers:
    scores = json.loads(needed(clone, "human_annotations/human_annotations_with_scores.json"))
    rows = [
        {
            "uid": row["text_id"], "policy": name.removeprefix(f"{row['text_id']}_"),
            "oracle": (row["human_avg"] - 1) / 4, "judge": row["clipscore_vitb32"] / 100,
        }
        for name, row in scores.items()
    ]  # fmt: skip
    return [("tifa", rows)]


def evouna(clone: Path) -> Makers:
    for source in ("NQ", "TQ"):
        rows = []
        for number, row in enumerate(json.loads(needed(clone, f"EVOUNA/{source}.json"))):
            if row["improper"]:
                continue
            golden = [plain(one) for one in str(row["golden_answer"]).split("/")]
            for policy in ("fid", "gpt35", "chatgpt", "gpt4", "newbing"):
                right, answer = row[f"judge_{policy}"], row[f"answer_{policy}"]
                rows.append(
                    {
                        "uid": str(number), "policy": policy,
                        "oracle": np.nan if right is None or answer is None else float(right),
                        "judge": float(any(one in plain(answer or "") for one in golden)),
                        "length": len(answer or ""),
                    }
                )  # fmt: skip
        yield f"evouna_{source.lower()}", rows


def nq301(clone: Path) -> Makers:
    right = {
        (row["Question"], plain(row["Model answer"])): float(row["Acceptable?"].lower() == "yes")
        for row in table(needed(clone, "data/NQ301_human.tsv"), "\t")
    }
    alike = {
        (row["Question"], plain(row["Model answer"])): max(
            chance for _, chance in json.loads(row["BEM probs per gold answer"])
        )
        for row in table(needed(clone, "data/NQ301_BEM.tsv"), "\t")
    }
    asked, rows = {question for question, _ in right}, []
    for path in names(clone, "data/model_outputs"):
        for line in needed(clone, path).splitlines():
            row = json.loads(line)
            if row["question"] not in asked:
                continue
            answer = row["prediction"]
            answer = answer[0] if isinstance(answer, list) else answer
            pair = (row["question"], plain(answer))
            equal = 1.0 if pair[1] in map(plain, row["answer"]) else np.nan
            rows.append(
                {
                    "uid": row["question"], "policy": Path(path).stem, "length": len(answer),
                    "oracle": right.get(pair, equal), "judge": alike.get(pair, equal),
                }
            )  # fmt: skip
    return [("nq301", rows)]


def crux(clone: Path) -> Makers:
    paths = np.random.default_rng(7).choice(names(clone, "result_dirs/crux"), 13, replace=False)
    rows = []
    for path in sorted(paths.tolist()):
        for row in json.loads(needed(clone, path)):
            read = reasoning_and_answer(row["output"][0])
            wanted, oracle, judge = str(row["answer"]).strip("'\""), 0.0, np.nan
            if read is not None:
                oracle = float(read[1].strip("'\"").replace("\n", "\\n") == wanted)
                judge = min(np.log1p(len(read[0])) / np.log1p(MOST_REASONING), 1.0)
            rows.append(
                {
                    "uid": row["id"], "policy": Path(path).stem, "oracle": oracle, "judge": judge,
                    "length": len(row["output"][0]),
                }
            )  # fmt: skip
    return [("crux", rows)]


def reasoning_and_answer(text: str) -> tuple[str, str] | None:
    """Of a reply in JSON, well formed or not; None where no answer can be read."""
    found = re.search(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|[^\n}]*)', text)
    if not found:
        return None
    answer = found[1].strip().rstrip(",")
    if answer.startswith('"'):
        try:
            answer = str(json.loads(answer, strict=False))
        except ValueError:
            answer = answer.strip('"')
    _, known, reasoning = text[: found.start()].partition('"reasoning"')
    return reasoning.strip(' :",\n') if known else "", answer


def dialsumm(clone: Path) -> Makers:
    ratings: dict[str, list[dict]] = {}
    for line in needed(clone, "annotation_campus/human_judgment.jsonl").splitlines():
        row = json.loads(line)
        ratings.setdefault(row["model_id"], []).append(row)
    rows = []
    for policy, rated in ratings.items():
        rouge = table(needed(clone, f"reproduce/analysis/models_eval_new/{policy}/rouge.csv"))
        for row, scores in zip(rated, rouge, strict=True):
            mean = np.mean([one["consistency"] for one in row["annotations"]])
            rows.append(
                {
                    "uid": row["id"], "policy": policy, "oracle": (mean - 1) / 4,
                    "judge": float(scores["rouge-l"]), "length": len(row["summary"]),
                }
            )  # fmt: skip
    return [("dialsumm", rows)]


MAKERS: dict[str, Callable[[Path], Makers]] = {
    "exaggerated-safety": xstest,
    "codegen-metrics": conala,
    "frank": frank,
    "tifa": tifa,
    "QA-Eval": evouna,
    "OpenQA-eval": nq301,
    "ZeroEval": crux,
    "DialSummEval": dialsumm,
}


def others(clones: Path, folder: Path) -> None:
    """The sets of the clones that are there."""
    for repository, make in MAKERS.items():
        if not (clones / repository).exists():
            print(f"{clones / repository}: not there; its sets are left out")
            continue
        for name, rows in make(clones / repository):
            frame = pd.DataFrame(rows)
            frame = frame[frame["oracle"].notna()]
            write(frame, min(frame["policy"]), name, folder)


def write(rows: pd.DataFrame, base: str, name: str, folder: Path) -> None:
    """The prompts that every policy answered."""
    columns = ["uid", "policy", "judge", "oracle", "length"]
    rows = rows[[column for column in columns if column in rows]]
    rows = rows[rows.groupby("uid")["policy"].transform("nunique") == rows["policy"].nunique()]
    places = {uid: f"{name} {i}" for i, uid in enumerate(sorted(set(rows["uid"])))}
    rows = rows.assign(uid=rows["uid"].map(places), policy=rows["policy"].replace(base, BASE))
    folder.mkdir(parents=True, exist_ok=True)
    rows.sort_values(["policy", "uid"]).to_parquet(folder / f"{name}.parquet", index=False)
    print(f"{name}: {len(places):,} prompts, {rows['policy'].nunique()} policies")


if __name__ == "__main__":
    given = options()
    if given.alpaca_eval is None and given.wmt_mqm is None and given.clones is None:
        raise SystemExit("Give --alpaca-eval, --wmt-mqm, --clones, or some of them")
    if given.alpaca_eval is not None:
        alpaca(given.alpaca_eval, given.folder)
    if given.wmt_mqm is not None:
        for languages in ("ende", "zhen"):
            talks(given.wmt_mqm, languages, given.folder)
    if given.clones is not None:
        others(given.clones, given.folder)
