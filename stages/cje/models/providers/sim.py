"""The provider `sim/...`: the simulated world of `simulation` behind the interface of providers.

Policies: sim/base, sim/better, sim/flattering, sim/terse, sim/unhelpful. Judges: sim/oracle,
sim/judge, sim/noisy-judge. Every probability is exact, so its log-probabilities are of what was
sampled, and any text can be scored.
"""

import numpy as np
import pandas as pd

from cje.data.schemas import NO_ANSWER
from cje.data.tables import prompt_uids
from cje.errors import CJEError
from cje.models.names import split_model
from cje.models.provider import Capability, Judging, Provider, Role
from cje.models.providers import simulation
from cje.models.providers.simulation import TOKEN_ID, UNKNOWN, Speaker
from cje.settings import Policy
from cje.vocabulary import counted

TASKS = (
    "Explain|Explain in plain words|Give three examples of|Summarise what is known about|"
    "Compare two views on|Write a short story about|Write a poem about|Plan a lesson on|"
    "List common mistakes with|Give me advice on|What should a beginner know about|"
    "Write an email about|Draft a talk on|Find the flaw in this argument about|"
    "How would you teach|What are the risks of|Translate into French a sentence about|"
    "Write a quiz on|Make a checklist for|Tell me something surprising about"
).split("|")
SUBJECTS = (
    "photosynthesis|compound interest|black holes|the French Revolution|sourdough bread|"
    "sorting algorithms|city gardens|sleep|chess openings|inflation|vaccines|wolves|bridges|"
    "job interviews|public speaking|the tides|old maps|electric cars|jazz|probability|"
    "remote work|marathon training|bees|Roman roads|recycling|tax returns|volcanoes|"
    "password managers|friendship|Shakespeare's sonnets|glaciers|coffee|sailing|"
    "unit tests|first aid|mountain weather|fermentation|negotiation|night trains|owls"
).split("|")
TURNS = (
    "for a child of ten|for an expert|in one paragraph|in a formal tone|with a joke|"
    "for my manager|without jargon|step by step|as a list|in under a hundred words|"
    "for a newsletter|with numbers|as a dialogue|with a warning|for a tired reader"
).split("|")


class SimulatedProvider(Provider):
    """See `cje.models.provider.Provider`."""

    logprob_kind = "sampling"

    def can(self, name: str) -> frozenset[Capability]:
        return frozenset({"score"})

    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        known = simulation.MODELS if role == "policy" else simulation.JUDGES
        simulation.check_known(name, known, role)

    def prompts(self, name: str, n: int, seed: int) -> pd.DataFrame:
        if name != "arena":
            raise CJEError(
                f"sim/{name} is not a simulated set of prompts; the only one is sim/arena"
            )
        total = len(TASKS) * len(SUBJECTS) * len(TURNS)
        if n > total:
            raise CJEError(
                f"max_samples: {n} is not allowed; sim/arena has {counted(total, 'prompt')}"
            )
        keys = simulation.sampling_keys(seed, [str(i) for i in range(total)], "prompts", 0)
        texts = []
        for i in np.argsort(keys, kind="stable")[:n]:
            rest, task = divmod(int(i), len(TASKS))
            turn, subject = divmod(rest, len(SUBJECTS))
            texts.append(f"{TASKS[task]} {SUBJECTS[subject]}, {TURNS[turn]}.")
        frame = pd.DataFrame({"uid": prompt_uids(texts), "prompt": texts, "source": "sim/arena"})
        return frame.assign(checks=None, reference=None)

    def generate(
        self,
        prompts: pd.DataFrame,
        policy: Policy,
        *,
        draw: int,
        seed: int,
        accept_cut: bool = False,
    ) -> pd.DataFrame:
        texts = prompts["prompt"].tolist()
        keys = simulation.sampling_keys(seed, prompts["uid"].tolist(), policy.name, draw)
        answers = _speaker(policy).sample(texts, keys, policy.max_tokens)
        tokens = simulation.token_strings(answers)
        return pd.DataFrame(
            {
                "uid": prompts["uid"].to_numpy(),
                "prompt": prompts["prompt"].to_numpy(),
                "answer": [simulation.join(row) for row in tokens],
                "tokens": tokens,
                "token_logprobs": _rows(answers.logps, answers.lengths),
                "sequence_logp": answers.logps.cumsum(axis=1)[:, -1],
                "logprob_kind": self.logprob_kind,
                "finish_reason": np.where(answers.finished, "stop", "length"),
                "model": policy.model,
                "prompt_tokens": [len(text.split()) for text in texts],
                "completion_tokens": answers.lengths,
                "token_ids": None,
                "reasoning": None,
                "reason": None,
            }
        )

    def score(self, answers: pd.DataFrame, policy: Policy, *, author: Policy) -> pd.DataFrame:
        rows = [[TOKEN_ID.get(token, UNKNOWN) for token in row] for row in answers["tokens"]]
        tokens, lengths = simulation.pad(rows)
        logps = _speaker(policy).score(answers["prompt"].tolist(), tokens, lengths)
        return pd.DataFrame(
            {
                "uid": answers["uid"].to_numpy(),
                "token_logprobs": _rows(logps, lengths),
                "sequence_logp": logps.cumsum(axis=1)[:, -1],
                "logprob_kind": self.logprob_kind,
            }
        )

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        low, high = how.score_range
        given = answers["answer"].notna().to_numpy()
        prompts, texts = (answers.loc[given, c].tolist() for c in ("prompt", "answer"))
        score = np.full(len(answers), np.nan)
        score[given] = low + (high - low) * simulation.judged(name, prompts, texts, how.seed)
        reason = [None if has else NO_ANSWER for has in given]
        return pd.DataFrame({"score": score, "reason": pd.Series(reason, dtype=object)})


def _speaker(policy: Policy) -> Speaker:
    """The policy as the simulator knows it; a setting left out is 1."""
    return Speaker(
        split_model(policy.model)[1],
        policy.system_prompt,
        1.0 if policy.temperature is None else policy.temperature,
        1.0 if policy.top_p is None else policy.top_p,
    )


def _rows(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return [row[:length] for row, length in zip(values, lengths, strict=True)]


PROVIDER = SimulatedProvider()
