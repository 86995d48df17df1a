"""Opening a run: the project's last one, or a run folder, where its results are those of its
settings."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cje.errors import CJEError
from cje.results.run import LOCK, RERUN, RESULTS, Run
from cje.settings import CALL_SETTINGS, load_settings

RUNS = Path("outputs/arena_runs")


def open_run(folder: Path | str | None = None) -> Run:
    """The run in a folder; without one that of the project here, else the newest run folder.

    Raises CJEError where there is none, and where the project's results are not those of its
    settings.
    """
    if folder is None:
        here = Path()
        if not (here / "metrics" / "validation.json").exists() and (newest := newest_run()):
            here = newest
    else:
        here = Path(folder)
    if not here.is_dir():
        known = (
            f"; the newest is {newest}" if (newest := newest_run()) else "; cje export makes one"
        )
        raise CJEError(f"{here}: no such folder{known}")
    if not (here / "metrics" / "validation.json").exists():
        words = RERUN if folder is None else "give the project's folder or one that cje export made"
        raise CJEError(f"{here / 'metrics/validation.json'}: no such file; {words}")
    if not (here / RESULTS).exists() and (reasons := stale(here)):
        raise CJEError(f"the results here are not those of the settings: {reasons[0]}; {RERUN}")
    return Run(here, load_settings(here / "params.yaml"))


def newest_run(runs: Path = RUNS) -> Path | None:
    """The run folder with the latest name; None where there is none."""
    return max((path.parent for path in runs.glob(f"run_*/{RESULTS}")), default=None)


def stale(project: Path) -> list[str]:
    """Why the project's results are not those of its settings, a reason a line; none if they are.

    Compares what `dvc.lock` says that the last run used and made with what is there now. The
    library's own code is left to `dvc status`.
    """
    try:
        stages = locked_stages(project)
        settings = YAML(typ="safe").load((project / "params.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return [f"{error.filename} is missing"]
    reasons = []
    now = settings_of_results(settings)
    for stage in stages.values():
        then = settings_of_results(stage.get("params", {}).get("params.yaml", {}))
        for name, value in then.items():
            reasons += changes(name, value, now.get(name))
    for stage in stages.values():
        for out in stage.get("outs", []):
            reasons += other_output(project, out)
    return list(dict.fromkeys(reasons))


def other_output(project: Path, out: Mapping[str, Any]) -> list[str]:
    """Why a file is not the output `out` of the last run; none if it is, or if it is a folder."""
    path = project / out["path"]
    if path.is_dir():
        return []
    if not path.exists():
        return [f"{out['path']} is missing"]
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != out["md5"]:
        return [f"{out['path']} is not as the last run wrote it"]
    return []


def settings_of_results(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that results depend on: not how calls are made, and of the policies those that
    take part."""
    found = {name: value for name, value in settings.items() if name not in CALL_SETTINGS}
    if {"base_model", "target_models", "policies"} <= set(found):
        taking_part = {found["base_model"], *found["target_models"]}
        policies = (found["policies"] or {}).items()
        found["policies"] = {name: policy for name, policy in policies if name in taking_part}
    return found


def changes(name: str, then: Any, now: Any) -> list[str]:
    """How a setting differs from what it was, key by key where it holds others."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*then, *now])
        return [words for k in keys for words in changes(f"{name}.{k}", then.get(k), now.get(k))]
    return [] if now == then else [f"{name} was {brief(then)} and is {brief(now)}"]


def locked_stages(folder: Path) -> dict[str, Any]:
    """What `dvc.lock` says of each stage: its `params`, `deps` and `outs`. Raises FileNotFoundError
    where there is none."""
    lock: dict[str, dict[str, Any]] = YAML(typ="safe").load((folder / LOCK).read_text("utf-8"))
    return lock["stages"]


def brief(value: Any) -> str:
    """A setting's value in few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "\N{HORIZONTAL ELLIPSIS}"
