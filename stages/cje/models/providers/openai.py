"""The provider `openai/...`: chat completions through OpenAI's SDK; OPENAI_API_KEY holds the key.

Log-probabilities are of the sampled tokens alone, so no given text can be scored, and the end
token has none. OpenAI does not say what temperature does to them; they are taken to be those of
the model before temperature and top_p, and are the sampling ones only where both are 1. A value of
-9999.0 means "very unlikely" and is not a number: an answer with one has no log-probabilities.
"""

import re

from cje.errors import CJEError
from cje.models.provider import Capability, Role
from cje.models.providers.chat import ChatBackend
from cje.settings import Policy

# By OpenAI's guides: reasoning models take no temperature, top_p or logprobs; of GPT-5.1, 5.2 and
# 5.4 they do with reasoning_effort none. Later families think always, or refuse them all the same.
UNTHINKING = re.compile(r"gpt-5\.(1|2|4)(-mini|-nano)?(-\d{4}-\d\d-\d\d)?")
REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)(?!\d)(?!.*-chat)")
NO_LOGPROBS = re.compile(r"gpt-([5-9]|\d\d)(?!\d).*-chat")
NO_CHAT = re.compile(r".*-instruct|(davinci|babbage)-002")


class OpenAIBackend(ChatBackend):
    """See `cje.models.provider.Backend`."""

    provider = "openai"
    keys = ("OPENAI_API_KEY",)

    def can(self, name: str) -> frozenset[Capability]:
        return frozenset({"batch"})

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if NO_CHAT.match(_family(name)):
            raise CJEError(f"openai/{name} has no chat interface; name a chat model")
        super().check(name, role, policy)
        if policy is None:
            return
        effort = policy.reasoning_effort
        if effort is not None and not REASONING.match(_family(name)):
            raise CJEError(f"openai/{name} takes no reasoning_effort; set reasoning_effort: null")
        if not self.refuses_sampling(name, effort):
            return
        for setting in ("temperature", "top_p"):
            if getattr(policy, setting) is not None:
                raise CJEError(f"openai/{name} refuses {setting}; set {setting}: null for it")

    def refuses_sampling(self, name: str, effort: str | None = None) -> bool:
        family = _family(name)
        spared = UNTHINKING.fullmatch(family) and effort in (None, "none")
        return bool(REASONING.match(family)) and not spared

    def thinks(self, name: str) -> bool:
        return self.refuses_sampling(name)

    def gives_logprobs(self, name: str, effort: str | None = None) -> bool:
        return not self.refuses_sampling(name, effort) and not NO_LOGPROBS.match(_family(name))

    def effort(self, name: str, effort: str | None) -> str | None:
        unthinking = effort is None and UNTHINKING.fullmatch(_family(name))
        return "none" if unthinking else effort


def _family(name: str) -> str:
    """The model's name without the mark of a fine-tuned one."""
    return name.removeprefix("ft:")


BACKEND = OpenAIBackend()
