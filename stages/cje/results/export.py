"""A run as files for other people and programs: the run folder of the Arena Analysis guide, and the
files that the package cje-eval reads."""

import json
import math
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cje.errors import CJEError
from cje.results.figures import draw_comparisons, draw_differences, draw_estimates
from cje.results.provenance import checksums, git_state, versions
from cje.results.report import write_report
from cje.results.run import LOCK, RESULTS, Run
from cje.results.view import RunView
from cje.stats.guardrails import violations_frame

LOG, REPORT = "stochastic_log.jsonl", "report.html"
FIGURES = ("calibration_curve", "weights")  # beside those that validation may change
TABLES = (
    "prompts", "logs", "draws", "target_logps", "proxy_scores", "rewards", "oracle_labels",
    "validation_labels", "weights", "influence",
)  # fmt: skip
IMPOSSIBLE = -1e6  # JSON has no -inf: a log-probability whose weight is 0 whatever the base's is
CLOCK_SECONDS = 2.0  # between two times that every file system tells apart
EPOCH = (1980, 1, 1, 0, 0, 0)  # of a ZIP's entries: the same run gives the same bytes


def new_run_folder(runs: Path) -> Path:
    """`run_<date>_<time>` in `runs`, which does not exist yet."""
    name = f"run_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    names = (name, *(f"{name}-{count}" for count in range(2, 1000)))
    return next(runs / name for name in names if not (runs / name).exists())


def write_run_folder(view: RunView, folder: Path) -> Path:
    """Write the run folder, whole or not at all, and a ZIP beside it, whose path is returned.

    Raises CJEError where something is there already.
    """
    archive = folder.with_name(f"{folder.name}.zip")
    check_free(archive)
    with unfinished(folder) as new:
        copy_run(view, new)
        write_lines(logged_lines(view.run), new / LOG)
        write_report(view, new / REPORT)
        write_json(results(view, checksums(new)), new / RESULTS)
    write_zip(folder, archive)
    now = time.time()  # the folder is the newest entry, the ZIP older even where clocks are coarse
    os.utime(archive, (now - CLOCK_SECONDS, now - CLOCK_SECONDS))
    os.utime(folder, (now, now))
    return archive


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside it, which gets its name when all is written; else nothing is left."""
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as place:
        new = Path(place) / folder.name
        new.mkdir()
        yield new
        new.replace(folder)


def check_free(path: Path) -> None:
    """Raise CJEError where there is something already: an export replaces nothing."""
    if path.exists():
        raise CJEError(f"{path}: already exists; remove it, or give another --out")


def copy_run(view: RunView, folder: Path) -> None:
    """The settings, figures, metrics and tables of the run, laid out as in the project."""
    run = view.run
    (folder / "data").mkdir()
    shutil.copytree(run.folder / "metrics", folder / "metrics")
    for name in ("params.yaml", LOCK):
        shutil.copyfile(run.folder / name, folder / name)
    for name in FIGURES:
        shutil.copyfile(run.figure(name), folder / f"{name}.png")
    draw_estimates(view, folder / "estimates.png")
    draw_differences(view, folder / "differences.png")
    draw_comparisons(view, folder / "comparison_heatmap.png")
    for name in TABLES:
        shutil.copyfile(run.data / f"{name}.parquet", folder / "data" / f"{name}.parquet")


def logged_lines(run: Run) -> Iterator[dict[str, Any]]:
    """The logged answers: scores, rewards and labels on [0, 1], null where there is none."""
    for row in run.logs.itertuples(index=False):
        yield {
            "uid": row.uid,
            "prompt": row.prompt,
            "answer": row.answer,
            "token_logprobs": row.token_logprobs,
            "action": row.policy,
            "sequence_logp": row.sequence_logp,
            "pi0": math.exp(row.sequence_logp),  # NaN where unknown, and it underflows
            "oracle_score": row.oracle_score,
            "judge_raw": row.judge_raw,
            "calibrated_reward": row.calibrated_reward,
        }


def results(view: RunView, sums: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was found, the settings that it was found with, and where it comes from."""
    run, pairs = view.run, view.comparisons.to_dict("records")
    return {
        "results": view.table.to_dict("index"),
        "base_policy": view.base,
        "best_policy": view.best_policy,
        "best": view.best,
        "p_values_corrected": {
            f"{pair['policy_a']} vs {pair['policy_b']}": pair["p_value_corrected"] for pair in pairs
        },
        "comparisons": pairs,
        "guard_rail_violations": violations_frame(view.violations).to_dict("records"),
        "validation": {
            key: value for key, value in run.metrics("validation").items() if key != "results"
        },
        "calibration": run.metrics("calibration"),
        "diagnostics": run.metrics("diagnostics"),
        "cost": run.metrics("cost"),
        "settings": run.settings.model_dump(mode="json"),
        "versions": versions(),
        **git_state(run.folder),
        "checksums": dict(sums),
    }


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """A JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n")


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """One JSON object."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def plain(value: Any) -> Any:
    """What JSON can hold of a value: lists for arrays, null for what is missing or not finite."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def write_zip(folder: Path, archive: Path) -> None:
    """A ZIP of the folder, itself at the top; the same files give the same bytes."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unfinished-") as place:
        new = Path(place) / archive.name
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder.parent).as_posix()
                    entry = zipfile.ZipInfo(name, EPOCH)
                    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                    file.writestr(entry, path.read_bytes())
        new.replace(archive)


def write_cje_files(run: Run, folder: Path) -> None:
    """The files that cje-eval reads, of the estimates' own data: `logged_data.jsonl`, the logs with
    judge scores, oracle labels and log-probabilities, and `fresh_draws/<policy>_responses.jsonl`,
    the draws with judge scores and the labels that the estimates use.

    The labels that validate stay out: the estimates have not seen them. Rows without a judge score
    are left out. Versions from 0.4 on take the logs as `--calibration-data`; up to 0.3 they are the
    logged data of its doubly robust estimators.
    """
    logps = run.target_logps.pivot(index="uid", columns="policy", values="sequence_logp")
    names = file_names(run.draws["policy"].unique())
    with unfinished(folder) as new:
        (new / "fresh_draws").mkdir()
        write_lines(cje_logs(run, logps), new / "logged_data.jsonl")
        for policy, draws in run.draws.groupby("policy"):
            path = new / "fresh_draws" / f"{names[policy]}_responses.jsonl"
            write_lines(cje_draws(draws), path)


def file_names(policies: Iterable[str]) -> dict[str, str]:
    """A name that a file can have for every policy, no two alike."""
    names = {policy: re.sub(r"[^A-Za-z0-9._-]+", "_", policy) for policy in policies}
    taken = Counter(names.values())
    return {
        policy: name if taken[name] == 1 else f"{name}_{place}"
        for place, (policy, name) in enumerate(names.items())
    }


def cje_logs(run: Run, logps: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The logged answers under cje-eval's names."""
    for row in run.logs[run.logs["judge_raw"].notna()].itertuples(index=False):
        known = logps.loc[row.uid].dropna() if row.uid in logps.index else pd.Series(dtype=float)
        line = {
            "prompt_id": row.uid,
            "prompt": row.prompt,
            "response": row.answer,
            "base_policy_logprob": row.sequence_logp,
            "target_policy_logprobs": known.clip(lower=IMPOSSIBLE).to_dict(),
            "judge_score": row.judge_raw,
        }
        yield line if math.isnan(row.oracle_score) else line | {"oracle_label": row.oracle_score}


def cje_draws(draws: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A policy's fresh draws under cje-eval's names."""
    for row in draws[draws["judge_raw"].notna()].itertuples(index=False):
        line = {
            "prompt_id": row.uid,
            "target_policy": row.policy,
            "draw_idx": row.draw,
            "prompt": row.prompt,
            "response": row.answer,
            "judge_score": row.judge_raw,
        }
        yield line if math.isnan(row.oracle_score) else line | {"oracle_label": row.oracle_score}
