"""The provider `azure/<deployment>`: OpenAI's models on Azure; AZURE_OPENAI_API_KEY.

The resource is `base_url` or AZURE_OPENAI_ENDPOINT, https://<resource>.openai.azure.com. Calls go
to its interface v1; where OPENAI_API_VERSION is set, to that of that date. A deployment may have
any name, so what its model takes is found out by the first calls.
"""

import os
from typing import TYPE_CHECKING, Any

from cje.errors import CJEError
from cje.models.addresses import VARIABLES, address_of
from cje.models.provider import Role
from cje.models.providers.chat import ChatBackend
from cje.settings import Policy

if TYPE_CHECKING:
    import openai

DATED = "OPENAI_API_VERSION"


class AzureBackend(ChatBackend):
    """See `cje.models.providers.chat.ChatBackend`."""

    provider = "azure"
    keys = ("AZURE_OPENAI_API_KEY",)
    bills_filtered = True

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        super().check(name, role, policy)
        self.place(policy.base_url if policy else None)

    def place(self, base_url: str | None) -> str:
        found = address_of("azure/", base_url)
        if not found:
            words = f"azure/...: set {VARIABLES['azure']} to https://<resource>.openai.azure.com"
            raise CJEError(words)
        return found.rstrip("/").removesuffix("/openai/v1")

    def client(self, base_url: str | None, **made: Any) -> "openai.AsyncOpenAI":
        import openai

        endpoint = base_url or self.place(None)
        key, version = os.environ.get(self.keys[0], "").strip(), os.environ.get(DATED, "").strip()
        if version:
            return openai.AsyncAzureOpenAI(
                api_key=key, api_version=version, azure_endpoint=endpoint, **made
            )
        made["default_headers"] = {"api-key": key, **(made["default_headers"] or {})}
        return openai.AsyncOpenAI(api_key=key, base_url=f"{endpoint}/openai/v1/", **made)


BACKEND = AzureBackend()
