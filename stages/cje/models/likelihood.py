"""The judge `likelihood/<model>`: how much likelier an answer is for its prompt than for another.

    score = mean_t log p(a_t | prompt, a_<t) - mean_t log p(a_t | bland prompt, a_<t)

over the answer's tokens, under a model that can score a given text, at temperature 1. It asks the
model for no opinion, so that a small one can judge and nothing in the answer can persuade it;
what it measures is whether the answer belongs to the prompt. The difference, in nats a token, goes
to the judge's scale by a logistic curve, which keeps ranks.
"""

import numpy as np
import pandas as pd

from cje.data.schemas import NO_ANSWER
from cje.errors import CJEError
from cje.models.provider import Judging, Provider, Role
from cje.models.table_provider import TableProvider
from cje.settings import Policy

BLAND_PROMPT = "Say something."


class LikelihoodJudge(Provider):
    """See `cje.models.provider.Provider`; `scorer` is the provider of the model that scores."""

    def __init__(self, scorer: Provider):
        self.scorer = scorer

    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        if role != "judge":
            raise CJEError(f"likelihood/{name} judges answers and cannot write them")
        scorer = self._table_provider(name)
        place = (policy.base_url, policy.chat_template) if policy else (None, None)
        inner = _scoring_policy(name, *place)
        if "score" not in scorer.can(inner.model.partition("/")[2]):
            raise _cannot_score(name)
        scorer.check(name.partition("/")[2], "policy", inner)

    def _table_provider(self, name: str) -> TableProvider:
        if not isinstance(self.scorer, TableProvider):
            raise _cannot_score(name)
        return self.scorer

    def try_out(
        self, name: str, setting: str, base_url: str | None, chat_template: str | None
    ) -> None:
        """Raise CJEError where the model cannot score a given text, which is found out by asking it
        once."""
        scorer = self._table_provider(name)
        policy = self._with_body(_scoring_policy(name, base_url, chat_template))
        if scorer.scoring(policy) == "none":
            raise CJEError(
                f"{setting}: likelihood/{name}: {name} cannot score a given text, by echo or "
                "prompt_logprobs; set chat_template if its server has no /tokenize, or name "
                "another judge"
            )

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        scorer = self._table_provider(name)
        policy = self._with_body(_scoring_policy(name, how.base_url, how.chat_template))
        blank = np.array([isinstance(a, str) and not a.strip() for a in answers["answer"]], bool)
        given = answers[answers["answer"].notna() & ~blank]
        texts = given["answer"].tolist()
        found = {}
        for title, prompts in (
            ("given the prompt", given["prompt"].tolist()),
            ("given a bland one", [BLAND_PROMPT] * len(given)),
        ):
            found[title] = scorer.text_logprobs(prompts, texts, policy, f"{name}: {title}")
        low, high = how.score_range
        # A blank answer has no token to weigh, and belongs to no prompt.
        scores = pd.Series(np.where(blank, low, np.nan), index=answers.index, dtype=float)
        nothing = [None if none else NO_ANSWER for none in blank]
        reasons = pd.Series(nothing, index=answers.index, dtype=object)
        for row, (own, why), (bland, why_not) in zip(given.index, *found.values(), strict=True):
            reasons[row] = why or why_not
            if reasons[row] is None:
                gain = float(own.mean() - bland.mean())
                scores[row] = low + (high - low) / (1 + np.exp(-gain))
        frame = pd.DataFrame({"score": scores, "reason": reasons})
        return frame.reset_index(drop=True)

    def _with_body(self, policy: Policy) -> Policy:
        """The policy with what the settings add to the body of its provider's calls."""
        body = self._table_provider(policy.model).calls.settings.body(policy.model)
        return policy.model_copy(update={"extra_body": body or None})


def _scoring_policy(name: str, base_url: str | None, chat_template: str | None) -> Policy:
    """The scoring model as a policy: where its server is, and how it is prompted."""
    if not name.startswith("server/"):
        base_url = chat_template = None
    return Policy(
        name=f"likelihood/{name}", model=name, temperature=1.0, top_p=1.0, max_tokens=1,
        base_url=base_url, chat_template=chat_template,
    )  # fmt: skip


def _cannot_score(name: str) -> CJEError:
    words = f"likelihood/{name}: {name} cannot score a text; give local/... or server/..."
    return CJEError(words)
