"""What a run would cost before it is started: calls, tokens and dollars by stage and model.

The stages' own code runs on the replies in the store, and the calls that it would make are counted,
not made. Where an answer does not exist yet, its judgement is counted as that of an answer of full
length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cje.models.lookup import provider_for
from cje.models.names import LIKELIHOOD, full_name, split_model
from cje.models.prices import price_of
from cje.models.registry import AnyBackend, is_asked
from cje.models.requests import CallFailed, Outcome, Reply, Request
from cje.models.retired import retirement_of
from cje.models.runner.calls import Calls
from cje.pipeline.cast import cast_of, check_cast
from cje.pipeline.choice import checked_prompts, chosen_for_estimates, chosen_for_validation
from cje.pipeline.designs import answer_pool
from cje.pipeline.sources import ModelSource
from cje.settings import Policy, Settings

BYTES_PER_TOKEN = 4  # of common tokenizers on English text
RUBRIC_TOKENS = 400  # of the shipped rubric around what is judged
VERDICT_TOKENS = 80  # of a verdict with its short reason
ORACLE_DOLLARS, PROXY_DOLLARS = 0.01, 0.0005  # a call, by the Arena Analysis guide
NOT_CALLED = CallFailed("not called: this is a forecast")


@dataclass
class Expected:
    """The calls of one stage to one model: how many it needs, how many of them are in the store,
    and the tokens of the others."""

    calls: int = 0
    kept: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, count: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Count calls that would have to be made."""
        self.calls += count
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


class Forecast(Calls):
    """Counts the calls that would be made, and makes none; `expected` is by stage and model."""

    makes_calls = False

    def __init__(self, settings: Settings):
        super().__init__(settings, "forecast")
        self.expected: dict[tuple[str, str], Expected] = {}
        self.seen: set[str] = set()

    def require_ready(self, models: Iterable[str]) -> None:
        """A forecast needs no key."""

    def say(self, words: str) -> None:
        """A forecast reports nothing."""

    def replies(
        self, requests: Sequence[Request], backend: AnyBackend, title: str, **how: Any
    ) -> Iterator[Outcome]:
        """The stored reply to each request; `how` the others would be called changes no count."""
        for request in requests:
            kept = self.store.get(request)
            if request.key not in self.seen:
                self.seen.add(request.key)
                self._count(request, kept is not None)
            if kept is not None:
                yield kept.reply
            elif request.options and ("probe", "1") in request.options:
                yield Reply(text="echo")  # assume that it can score: the more expensive case
            else:
                yield NOT_CALLED

    def row(self, model: str) -> Expected:
        """The row of a model in the stage that is being counted."""
        return self.expected.setdefault((self.stage, full_name(model)), Expected())

    def _count(self, request: Request, kept: bool) -> None:
        row = self.row(request.model)
        if kept:
            row.calls, row.kept = row.calls + 1, row.kept + 1
            return
        text = sum(len(content.encode()) for _, content in request.messages)
        text += len((request.answer or "").encode()) + len(request.schema or "")
        new = {"answer": request.max_tokens or 0, "judgement": VERDICT_TOKENS, "score": 0}
        row.add(1, text // BYTES_PER_TOKEN + 1, new[request.kind])


def forecast(settings: Settings, prompts: pd.DataFrame) -> dict[tuple[str, str], Expected]:
    """The calls that these settings would make for the prompts, by stage and model; providers that
    compute make none."""
    if settings.source == "files":
        return {}
    calls = Forecast(settings)
    check_cast(settings, calls)
    source = ModelSource(settings, calls, cast_of(settings))
    calls.stage = "generate_logs"
    logs = source.logs(prompts)
    calls.stage = "draw_targets"
    draws = source.draws(prompts)
    source.target_logps(logs)
    unknown = prompts[logs["answer"].isna().to_numpy()]
    for policy in settings.targets:
        if _scores(policy):
            tokens = _tokens(unknown) + len(unknown) * settings.base.max_tokens
            calls.row(policy.model).add(len(unknown), tokens, 0)
    source.rescored(logs)
    calls.stage = "proxy_score"
    scores = source.proxy_scores(prompts, logs, draws)
    answers = pd.concat([logs[["uid", "answer"]], draws[["uid", "answer"]]])
    _count_judgements(calls, prompts, settings.proxy_model, answers)
    if settings.asks_people:
        return calls.expected
    calls.stage = "oracle_label"
    pool = answer_pool(settings, prompts, logs, draws, scores)
    source.oracle_labels(pool)
    used = chosen_for_estimates(settings, pool.provisional)
    _count_judgements(calls, prompts, settings.oracle_model, used)
    calls.stage = "validate"
    source.validation_labels(pool, used)
    checked = chosen_for_validation(settings, pool, used)
    _count_judgements(calls, prompts, settings.oracle_model, checked)
    return calls.expected


def dollars(model: str, row: Expected, settings: Settings) -> float | None:
    """What a row would cost, with calls of its mean length; None if there are calls to make and the
    model's price is unknown or the model has been shut down."""
    count = row.calls - row.kept
    if count == 0:
        return 0.0
    price, end = price_of(model, settings.prices), retirement_of(model, settings.address(model))
    if price is None or (end is not None and end.over):
        return None
    batch = settings.batch and "batch" in provider_for(model).can(split_model(model)[1])
    return count * price.cost(row.prompt_tokens / count, row.completion_tokens / count, batch)


def rule_of_thumb(settings: Settings, prompts: int) -> tuple[float, float]:
    """Dollars by the Arena Analysis guide, a cent per oracle call and a twentieth of that per proxy
    call: of the whole run, and of the labels in it that check the estimates."""
    targets = len(settings.targets)
    logged = prompts * settings.oracle_fraction
    drawn = min(settings.target_labels, prompts)
    unused = prompts - max(round(logged), drawn)
    checks = (targets + 1) * checked_prompts(settings, unused) * ORACLE_DOLLARS
    labels = (logged + targets * drawn) * ORACLE_DOLLARS
    return labels + checks + prompts * PROXY_DOLLARS, checks


def _scores(policy: Policy) -> bool:
    _, name = split_model(policy.model)
    return is_asked(policy.model) and "score" in provider_for(policy.model).can(name)


def _count_judgements(
    calls: Forecast, prompts: pd.DataFrame, model: str, answers: pd.DataFrame
) -> None:
    """Count the judgements of answers that do not exist yet."""
    inner = model.removeprefix(f"{LIKELIHOOD}/")
    if not is_asked(inner):
        return
    missing = answers[answers["answer"].isna()][["uid"]].merge(prompts, on="uid")
    texts = _tokens(missing) + len(missing) * calls.settings.max_tokens
    if inner != model:
        calls.row(inner).add(2 * len(missing), 2 * texts, 0)
    else:
        tokens = texts + len(missing) * RUBRIC_TOKENS
        calls.row(model).add(len(missing), tokens, len(missing) * VERDICT_TOKENS)


def _tokens(prompts: pd.DataFrame) -> int:
    return sum(len(text.encode()) // BYTES_PER_TOKEN + 1 for text in prompts["prompt"])
