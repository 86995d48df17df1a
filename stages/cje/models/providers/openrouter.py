"""The provider `openrouter/<maker>/<model>`: models of many makers; OPENROUTER_API_KEY.

`extra_body: {openrouter: {provider: {require_parameters: true}}}` keeps a request from those who
would pass over a setting of it.
"""

from typing import Any

from cje.models.providers.chat import ChatBackend


class OpenRouterBackend(ChatBackend):
    """See `cje.models.providers.chat.ChatBackend`."""

    provider = "openrouter"
    keys = ("OPENROUTER_API_KEY",)
    room = "max_tokens"

    def thought_arguments(self, effort: str | None) -> dict[str, Any]:
        return {"reasoning": None if effort is None else {"effort": effort}}


BACKEND = OpenRouterBackend()
