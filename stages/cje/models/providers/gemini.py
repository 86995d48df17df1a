"""The provider `gemini/...`: Google's models at their OpenAI-compatible address; GEMINI_API_KEY.

The address takes no log-probabilities. What a model thinks is billed as what it writes and counts
towards max_tokens, but is counted in `total_tokens` alone.
"""

from cje.models.providers.chat import ChatBackend


class GeminiBackend(ChatBackend):
    """See `cje.models.providers.chat.ChatBackend`."""

    provider = "gemini"
    keys = ("GEMINI_API_KEY",)
    room = "max_tokens"

    def gives_logprobs(self, name: str, effort: str | None = None) -> bool:
        return False


BACKEND = GeminiBackend()
