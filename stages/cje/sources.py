"""Where answers, scores and labels come from: models that are called, or the user's own files.

Both sources answer the same questions, so no stage asks which it has. The files were read and
checked by the first stage, and stand in data/checked as the tables that the stages hand on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from cje.errors import CJEError
from cje.models import check_model, provider_for, split_model
from cje.settings import Policy, Settings
from cje.tables import LOGGED, TABLES, prompt_uids, read_table, to_unit, write_table

CHECKED = Path("data/checked")
PROMPT_FILES = Path("data/prompts")
CHECKED_TABLES = (
    "logs", "draws", "target_logps", "proxy_scores", "oracle_labels", "validation_labels"
)  # fmt: skip


class Source(Protocol):
    """Whoever answers, judges and labels; each method gives the table of its name."""

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame: ...
    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame: ...
    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame: ...
    def proxy_scores(self, logs: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame: ...
    def oracle_labels(self, logs: pd.DataFrame) -> pd.DataFrame: ...
    def validation_labels(self, draws: pd.DataFrame) -> pd.DataFrame: ...


def open_source(settings: Settings) -> Source:
    """The source that the settings name; raises CJEError where one of its models does not exist."""
    return FileSource() if settings.source == "files" else ModelSource(settings)


class FileSource:
    """The user's own files, as the stage load_prompts left them in data/checked."""

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame:
        return _checked("logs")

    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame:
        return _checked("draws")

    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame:
        return _checked("target_logps")

    def proxy_scores(self, logs: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
        return _checked("proxy_scores")

    def oracle_labels(self, logs: pd.DataFrame) -> pd.DataFrame:
        return _checked("oracle_labels")

    def validation_labels(self, draws: pd.DataFrame) -> pd.DataFrame:
        return _checked("validation_labels")


class ModelSource:
    """The models that the settings name, called through their providers."""

    def __init__(self, settings: Settings):
        self.settings = settings
        check_model(settings.base.model, "policy", f"base_model: {settings.base_model}")
        for target in settings.targets:
            check_model(target.model, "policy", f"target_models: {target.name}")
        check_model(settings.oracle_model, "judge", "oracle_model")
        check_model(settings.proxy_model, "judge", "proxy_model")

    def logs(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """One answer of the base policy to each prompt."""
        base = self.settings.base
        return self._answers(prompts, base, LOGGED).assign(action=base.name)

    def draws(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """`draws_per_prompt` fresh answers of each target policy to each prompt."""
        frames = [
            self._answers(prompts, policy, draw).assign(policy=policy.name, draw=draw)
            for policy in self.settings.targets
            for draw in range(self.settings.draws_per_prompt)
        ]
        return pd.concat(frames, ignore_index=True)

    def target_logps(self, logs: pd.DataFrame) -> pd.DataFrame:
        """The log-probability of every logged answer under each target; null where the target's
        provider cannot score a given text."""
        frames = []
        for policy in self.settings.targets:
            provider = provider_for(policy.model)
            if "score" in provider.capabilities:
                scored = provider.score(logs, policy)
            else:
                nothing = {"token_logprobs": None, "sequence_logp": np.nan, "logprob_kind": None}
                scored = logs[["uid"]].assign(**nothing)
            frames.append(scored.assign(policy=policy.name))
        return pd.concat(frames, ignore_index=True)

    def proxy_scores(self, logs: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
        """The proxy's score of every answer, on [0, 1]."""
        settings = self.settings
        columns = ["uid", "policy", "draw", "prompt", "answer"]
        logged = logs.rename(columns={"action": "policy"}).assign(draw=LOGGED)
        answers = pd.concat([logged[columns], draws[columns]], ignore_index=True)
        scores = self._judge(answers, settings.proxy_model, settings.judge_range)
        unit = to_unit(scores["score"].to_numpy(dtype=float), settings.judge_range)
        return answers[columns[:3]].assign(judge_raw=unit, reason=scores["reason"].to_numpy())

    def oracle_labels(self, logs: pd.DataFrame) -> pd.DataFrame:
        """The oracle's score of a random `oracle_fraction` of the logs, at least one."""
        count = max(1, round(self.settings.oracle_fraction * len(logs)))
        chosen = logs[nested_sample(logs["uid"], count, self.settings.seed, "oracle")]
        chosen = chosen.rename(columns={"action": "policy"}).assign(draw=LOGGED)
        return self._labels(chosen, count / len(logs))

    def validation_labels(self, draws: pd.DataFrame) -> pd.DataFrame:
        """The oracle's score of the first draw of `oracle_samples` random prompts, by target."""
        first = draws[draws["draw"] == 0]
        prompts = first["uid"].nunique()
        count = min(self.settings.oracle_samples, prompts)
        frames = []
        for policy, rows in first.groupby("policy", sort=False):
            salt = f"validation/{policy}"
            chosen = rows[nested_sample(rows["uid"], count, self.settings.seed, salt)]
            frames.append(self._labels(chosen, count / prompts / self.settings.draws_per_prompt))
        return pd.concat(frames, ignore_index=True)

    def _answers(self, prompts: pd.DataFrame, policy: Policy, draw: int) -> pd.DataFrame:
        provider = provider_for(policy.model)
        return provider.generate(prompts, policy, draw=draw, seed=self.settings.seed)

    def _judge(
        self, answers: pd.DataFrame, model: str, score_range: tuple[float, float]
    ) -> pd.DataFrame:
        _, name = split_model(model)
        seed = self.settings.seed
        return provider_for(model).judge(answers, name, score_range=score_range, seed=seed)

    def _labels(self, answers: pd.DataFrame, probability: float) -> pd.DataFrame:
        """Labels of the answers; one that the oracle could not give is left out, and the others
        stand for it."""
        scores = self._judge(answers, self.settings.oracle_model, self.settings.oracle_range)
        score = scores["score"].to_numpy(dtype=float)
        given = np.isfinite(score)
        labels = answers[["uid", "policy", "draw"]].assign(oracle_score=score)[given]
        return labels.assign(oracle_prob=probability * given.mean() if len(given) else 1.0)


def nested_sample(uids: Iterable[str], count: int, seed: int, salt: str) -> np.ndarray:
    """A random `count` of the uids (n,), as a mask; a larger count contains every smaller one."""
    texts = [f"{seed}/{salt}/{uid}".encode() for uid in uids]
    keys = [hashlib.blake2b(text, digest_size=8).digest() for text in texts]
    mask = np.zeros(len(keys), dtype=bool)
    mask[sorted(range(len(keys)), key=keys.__getitem__)[:count]] = True
    return mask


def load_prompts(settings: Settings) -> pd.DataFrame:
    """The table prompts: from a provider's own set, or a file with a column `prompt`.

    Of more than `max_samples` a random part is kept, in the file's order.
    """
    if Path(settings.prompts).suffix not in (".jsonl", ".csv", ".parquet"):
        _, name = split_model(settings.prompts)
        provider = provider_for(settings.prompts)
        return provider.prompts(name, settings.max_samples, settings.seed)
    path = Path(settings.prompts)
    if PROMPT_FILES not in path.parents:
        raise CJEError(
            f"params.yaml: prompts: {path} is not under {PROMPT_FILES}, where a change of it "
            "would be seen; move it there"
        )
    rows = _prompt_rows(path)
    texts = [_prompt_text(path, line, row) for line, row in rows]
    checks = [row.get("checks") for _, row in rows]
    checks = [c if c is None or isinstance(c, str) else json.dumps(c) for c in checks]
    frame = pd.DataFrame(
        {"uid": prompt_uids(texts), "prompt": texts, "source": str(path), "checks": checks}
    )
    kept = nested_sample(frame["uid"], settings.max_samples, settings.seed, "prompts")
    return frame[kept].reset_index(drop=True)


def _prompt_rows(path: Path) -> list[tuple[int, Mapping]]:
    """Line number and columns of each row."""
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            return list(enumerate(frame.to_dict("records"), start=2))
        if path.suffix == ".parquet":
            return list(enumerate(pd.read_parquet(path).to_dict("records")))
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return [(i, json.loads(line)) for i, line in enumerate(lines, start=1) if line.strip()]
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file; see `prompts` in params.yaml") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CJEError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from error


def _prompt_text(path: Path, line: int, row: object) -> str:
    text = row.get("prompt") if isinstance(row, Mapping) else None
    if not isinstance(text, str) or not text.strip():
        raise CJEError(f"{path}:{line}: prompt: missing or empty; every row needs a prompt's text")
    return text


def write_checked(tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of the user's files to data/checked; those not given are empty."""
    for name in CHECKED_TABLES:
        empty = pd.DataFrame({column.name: [] for column in TABLES[name].columns})
        write_table(tables.get(name, empty), name, CHECKED / f"{name}.parquet")


def _checked(name: str) -> pd.DataFrame:
    return read_table(CHECKED / f"{name}.parquet", name)
