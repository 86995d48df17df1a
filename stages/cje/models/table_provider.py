"""The provider that a backend becomes: tables into requests, and replies into tables.

See `cje.models.provider.Provider`. A backend says how one request looks; here is what all of them
share: every reply is kept, equal requests are sent once, and what fails is null with a reason.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cje.data.schemas import NO_ANSWER
from cje.errors import CJEError
from cje.judging import Rubric, load_rubric, score_schema
from cje.models.addresses import address_of
from cje.models.exactness import Exactness
from cje.models.first_replies import (
    FIRST_ANSWERS,
    FIRST_VERDICTS,
    LEAST_VERDICTS,
    useless_answers,
    useless_verdicts,
)
from cje.models.names import full_name, split_model
from cje.models.provider import Capability, InProcessBackend, JudgePrompt, Judging, Provider, Role
from cje.models.registry import AnyBackend
from cje.models.requests import CallFailed, Outcome, Reply, Request, Requests, required
from cje.models.rows import (
    AnswerRow,
    ScoreRow,
    SharedStrings,
    Verdict,
    answer_row,
    is_spent,
    read_verdict,
    rows_frame,
    score_row,
)
from cje.models.runner.attempts import TRIALS
from cje.models.runner.calls import Calls, Look
from cje.settings import Policy
from cje.vocabulary import LogprobKind, counted

SCORED_COLUMNS = ("prompt", "answer", "tokens", "token_ids", "finish_reason")


class TableProvider(Provider):
    """The provider of one backend; `calls` is None where only `can` and `check` are wanted."""

    def __init__(self, backend: AnyBackend, calls: Calls | None):
        self.backend, self._calls = backend, calls
        self._strings = SharedStrings()

    @property
    def in_process(self) -> bool:
        """Whether its models run in this process."""
        return isinstance(self.backend, InProcessBackend)

    @property
    def calls(self) -> Calls:
        """What makes and keeps the calls; raises RuntimeError where it was given none."""
        if self._calls is None:
            raise RuntimeError("this provider was made to be checked, and makes no calls")
        return self._calls

    def can(self, name: str) -> frozenset[Capability]:
        return self.backend.can(name)

    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        self.backend.check(name, role, policy)

    def generate(
        self,
        prompts: pd.DataFrame,
        policy: Policy,
        *,
        draw: int,
        seed: int,
        accept_cut: bool = False,
    ) -> pd.DataFrame:
        requests = self.answer_requests(prompts, policy, draw=draw, seed=seed)
        replayed = all(map(self.calls.store.holds, requests))
        address = address_of(policy.model, policy.base_url)
        if address is None and requests:
            address = requests[0].base_url  # of a backend that brings its own
        rows: list[AnswerRow] = []
        empty: list[int] = []
        missing: Counter[str | None] = Counter()

        def look(found: list[Outcome]) -> str | None:
            return useless_answers(found, policy, accept_cut)

        first = 0 if self.in_process else FIRST_ANSWERS
        title = f"{policy.name}: answers"
        for place, outcome in enumerate(self._replies(requests, title, first, look)):
            rows.append(answer_row(outcome, policy, address, self._strings))
            if isinstance(outcome, Reply) and outcome.is_empty:
                empty.append(place)
            elif isinstance(outcome, Reply) and outcome.text is None:
                missing[rows[-1].reason] += 1
        again = [requests[place].again() for place in empty]
        title = f"{policy.name}: empty answers, asked once more"
        for place, outcome in zip(empty, self._replies(again, title), strict=True):
            rows[place] = answer_row(outcome, policy, address, self._strings)
            missing[rows[place].reason] += rows[place].answer is None
        for reason, count in missing.items():
            if count:
                self.calls.say(f"{policy.name}: {count:,} of {len(rows):,} answers: {reason}")
        models = Counter(row.model for row in rows if row.model is not None)
        if len(models) > 1:
            named = ", ".join(f"{model} ({count:,})" for model, count in sorted(models.items()))
            self.calls.say(
                f"{policy.name}: its answers are of {len(models)} models, {named}: what a name "
                "stands for may change; ask for one model by its dated name"
            )
        frame = rows_frame(rows, AnswerRow._fields)
        known = frame["token_logprobs"].notna()
        if known.any() and (exactness := self.exactness(policy, replayed)) is not None:
            frame["logprob_kind"] = self._kinds(frame["logprob_kind"], known, exactness, policy)
        given = {column: prompts[column].to_numpy() for column in ("uid", "prompt")}
        return pd.concat([pd.DataFrame(given), frame], axis=1)

    def answer_requests(
        self, prompts: pd.DataFrame, policy: Policy, *, draw: int, seed: int
    ) -> Requests:
        """What `generate` asks, row for row."""
        model, uids, texts = full_name(policy.model), prompts["uid"].array, prompts["prompt"].array

        def make(row: int) -> Request:
            request = with_body(self.backend.answer(policy, texts[row]), policy.extra_body)
            return replace(request, model=model, uid=uids[row], seed=seed, draw=draw)

        return Requests(len(prompts), make)

    def score(self, answers: pd.DataFrame, policy: Policy, *, author: Policy) -> pd.DataFrame:
        uids = pd.DataFrame({"uid": answers["uid"].to_numpy()})
        scoring = self.scoring(policy) if len(answers) else "none"
        if scoring == "none":
            return pd.concat([uids, rows_frame([ScoreRow()] * len(uids), ScoreRow._fields)], axis=1)
        same_tokens = full_name(author.model) == full_name(policy.model)
        rows = [answers[column].array for column in SCORED_COLUMNS]

        def make(row: int) -> Request:
            return self._score_request(policy, scoring, same_tokens, *(c[row] for c in rows))

        requests = Requests(len(answers), make)
        replayed = all(map(self.calls.store.holds, requests))
        outcomes = list(self._replies(requests, f"{policy.name}: log-probabilities"))
        reasons = Counter(o.note for o in outcomes if isinstance(o, Reply) and o.note)
        for reason, count in reasons.items():
            words = f"{count:,} of {len(outcomes):,} logged answers have no score: {reason}"
            self.calls.say(f"{policy.name}: {words}")
        frame = rows_frame(map(score_row, outcomes), ScoreRow._fields)
        known = frame["token_logprobs"].notna()
        if known.any() and (exactness := self.exactness(policy, replayed)) is not None:
            kind = exactness.kind(policy.temperature, policy.top_p, scored=True)
            frame["logprob_kind"] = frame["logprob_kind"].mask(known, kind)
        return pd.concat([uids, frame], axis=1)

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        given = answers[answers["answer"].notna()]
        score_range, rubric = how.score_range, how.rubric or load_rubric("default")
        requests = self._judgements(given, name, score_range, rubric, how.base_url)
        verdicts, unclear = self._verdicts(requests, name, score_range, look=True)
        retried = [requests[place].again() for place in unclear]
        again, _ = self._verdicts(retried, name, score_range)
        for place, verdict in zip(unclear, again, strict=True):
            verdicts[place] = verdict
        enough = self.calls.makes_calls and len(verdicts) >= LEAST_VERDICTS
        if enough and all(verdict.score is None for verdict in verdicts):
            raise CJEError(useless_verdicts(name, verdicts, []))
        found, none = iter(verdicts), Verdict(None, NO_ANSWER)
        rows = [next(found) if has else none for has in answers["answer"].notna()]
        return rows_frame(rows, Verdict._fields)

    def scoring(self, policy: Policy) -> str | None:
        """How the policy's server scores given texts: "none" where it cannot, None where it needs
        no asking. It is found out by one request, whose reply is kept, and stated."""
        if "score" not in self.can(split_model(policy.model)[1]):
            return "none"
        probe = self.backend.probe(policy)
        if probe is None:
            return None
        probe = replace(with_body(probe, policy.extra_body), model=full_name(policy.model))
        (outcome,) = self._replies([probe], f"{policy.name}: can it score a given text?")
        if isinstance(outcome, CallFailed):
            raise CJEError(f"{policy.model}: {outcome.reason}")
        words = outcome.text
        if words == "none":
            words = "it cannot score a given text"
            if policy.chat_template is None:
                words += "; where the server has no /tokenize, setting chat_template may help"
        self.calls.say(f"{policy.name}: teacher forcing: {words}")
        return outcome.text

    def exactness(self, policy: Policy, replayed: bool) -> Exactness | None:
        """Whether the policy's server samples by the log-probabilities that it reports; None where
        its replies state their kind. Found out by one request, whose reply is kept, and stated.
        Where all replies are `replayed` and nobody answers any more, it is in doubt."""
        probe = self.backend.exactness(policy)
        if probe is None:
            return None
        if policy.extra_body:
            return Exactness("unknown", "nobody knows what extra_body does to how it samples")
        probe = replace(probe, model=full_name(policy.model))
        replayed = replayed or not self.calls.makes_calls
        if probe.key in self.calls.unanswered:
            return self.calls.unanswered[probe.key]
        title = f"{policy.name}: does it draw by its log-probabilities?"
        try:
            (outcome,) = self._replies([probe], title)
        except CJEError as error:
            if not replayed:
                raise
            outcome = CallFailed(str(error).splitlines()[0])
        if isinstance(outcome, Reply):
            found = Exactness.from_json(required(outcome.text))
        else:
            found = Exactness("unknown", f"it cannot be asked how it samples: {outcome.reason}")
            self.calls.unanswered[probe.key] = found
        self.calls.say(f"{policy.model}: {found.words}")
        return found

    def _kinds(
        self, stated: pd.Series, known: pd.Series, exactness: Exactness, policy: Policy
    ) -> pd.Series:
        """Of each answer's log-probabilities. What a reply states was stated by an earlier version,
        which left a server some of its own ways, or is raw for a reason of its own."""
        kind = exactness.kind(policy.temperature, policy.top_p, scored=False)
        old = stated.eq(LogprobKind.SAMPLING)
        if kind == LogprobKind.SAMPLING and old.any():
            self.calls.say(
                f"{policy.name}: {counted(int(old.sum()), 'answer')} sampled before servers' "
                "penalties were switched off by all of their names: the log-probabilities count "
                f"as raw. `cje store prune --model {policy.model} --yes` has them asked again"
            )
        return stated.mask(known & stated.isna(), kind).mask(old, LogprobKind.RAW.value)

    def text_logprobs(
        self, prompts: list[str], answers: list[str], policy: Policy, title: str
    ) -> list[tuple[np.ndarray | None, str | None]]:
        """Log-probabilities of each answer's tokens after its prompt, or None and the reason."""
        scoring = self.scoring(policy)
        if scoring == "none":
            raise CJEError(f"{policy.model}: cannot score a given text")
        model = full_name(policy.model)

        def make(row: int) -> Request:
            request = self.backend.score(policy, prompts[row], scoring)
            request = with_body(request, policy.extra_body)
            return replace(request, model=model, answer=answers[row])

        return [
            (None, outcome.reason)
            if isinstance(outcome, CallFailed)
            else (None, outcome.note)
            if outcome.token_logprobs is None
            else (np.array(outcome.token_logprobs, dtype=float), None)
            for outcome in self._replies(Requests(len(prompts), make), title)
        ]

    def try_out(self, prompts: pd.DataFrame, policy: Policy, *, seed: int) -> None:
        """Ask for the first draw to one prompt, and to the next where that may be the prompt's
        fault. Raises CJEError where the model gives none and another prompt would not help."""
        requests, failures = self.answer_requests(prompts, policy, draw=0, seed=seed), []
        for place in range(min(TRIALS, len(requests))):
            title = f"{policy.name}: a first answer"
            (outcome,) = self._replies([requests[place]], title, trial=True)
            if isinstance(outcome, Reply):
                return
            failures.append(outcome)
        if len(failures) == TRIALS and all(failure.doubtful for failure in failures):
            raise CJEError(f"{policy.model}: {failures[0].reason}")

    def _replies(
        self,
        requests: Sequence[Request],
        title: str,
        first: int = 0,
        look: Look | None = None,
        trial: bool = False,
    ) -> Iterator[Outcome]:
        """As `Calls.replies`; `look` is called where the `first` are some."""
        look = look if first else None
        return self.calls.replies(
            requests, self.backend, title, first=first, look=look, trial=trial
        )

    def _score_request(
        self,
        policy: Policy,
        scoring: str | None,
        same: bool,
        prompt: str,
        answer: str,
        tokens: Sequence[str] | None,
        token_ids: Sequence[int] | None,
        finish_reason: str,
    ) -> Request:
        """The request to score a row of table logs; its token numbers mean something to the same
        model only, and a model in process then needs no strings."""
        numbers = tuple(map(int, token_ids)) if same and token_ids is not None else None
        spelt = None if tokens is None or (numbers and self.in_process) else tuple(tokens)
        return replace(
            with_body(self.backend.score(policy, prompt, scoring), policy.extra_body),
            model=full_name(policy.model),
            answer=answer,
            tokens=spelt,
            token_ids=numbers,
            ended=finish_reason == "stop",
        )  # fmt: skip

    def _judgements(
        self,
        answers: pd.DataFrame,
        name: str,
        score_range: tuple[float, float],
        rubric: Rubric,
        base_url: str | None,
    ) -> Requests:
        schema = score_schema(score_range)
        room = self.calls.settings.judge_max_tokens
        prompts, texts = answers["prompt"].array, answers["answer"].array
        references = answers["reference"].array if "reference" in answers else None

        def make(row: int) -> Request:
            reference = None if references is None else references[row]
            messages = rubric.messages(prompts[row], texts[row], reference, score_range)
            prompt = JudgePrompt(messages, schema, base_url, room)
            request = self.backend.judgement(name, prompt)
            request = with_body(request, self.calls.settings.body(request.model))
            for tokens in self.backend.judged_before if room is None else ():
                before = replace(request, max_tokens=tokens)
                if self.calls.store.holds(before):
                    return before
            return request

        return Requests(len(answers), make)

    def _verdicts(
        self,
        requests: Sequence[Request],
        name: str,
        score_range: tuple[float, float],
        look: bool = False,
    ) -> tuple[list[Verdict], list[int]]:
        """What each judgement said, and the places of those whose reply contains no score."""
        verdicts: list[Verdict] = []
        unclear: list[int] = []
        first = FIRST_VERDICTS.get(self.calls.stage, 10) if look else 0

        def dead(outcomes: list[Outcome]) -> str | None:
            found = [
                read_verdict(outcome, request, score_range)
                for outcome, request in zip(outcomes, requests, strict=False)
            ]
            if len(found) < LEAST_VERDICTS or any(v.score is not None for v in found):
                return None
            replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
            return useless_verdicts(name, found, replies)

        for outcome in self._replies(requests, f"{name}: judgements", first, dead):
            place = len(verdicts)
            verdicts.append(read_verdict(outcome, requests[place], score_range))
            unread = verdicts[-1].score is None and isinstance(outcome, Reply)
            if unread and not is_spent(outcome):
                unclear.append(place)
        return verdicts, unclear


def with_body(request: Request, body: dict[str, Any] | None) -> Request:
    """The request with what the settings add to its body."""
    if not body:
        return request
    given = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return request.with_options(extra_body=given)
