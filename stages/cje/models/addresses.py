"""Where models are asked: the address that a policy has, else what the environment says, else the
provider's own.

A reply depends on it, so requests and tables contain it. Requests leave out the provider's own
address, as those of earlier versions did.
"""

import os

from cje.errors import CJEError
from cje.models.names import split_model
from cje.settings import address_problem

OWN = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai/",
    "openrouter": "https://openrouter.ai/api/v1",
}
VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "azure": "AZURE_OPENAI_ENDPOINT",
    "gemini": "GEMINI_BASE_URL",
    "openrouter": "OPENROUTER_BASE_URL",
}


def address_of(model: str, given: str | None = None) -> str | None:
    """The address at which the model is asked, `given` or not; None where it runs in this process,
    or nothing says where it is. Raises CJEError for a variable that contains no valid address."""
    provider, _ = split_model(model)
    if given or provider not in VARIABLES:
        return given
    return _set_address(provider) or OWN.get(provider)


def request_address(model: str, given: str | None = None) -> str | None:
    """The address as a request to the model has it: None for the provider's own."""
    address = address_of(model, given)
    return None if _is_own(split_model(model)[0], address) else address


def answering_address(model: str, requested: str | None) -> str | None:
    """The address that answers a request with the address `requested`."""
    return requested or OWN.get(split_model(model)[0])


def _set_address(provider: str) -> str | None:
    """The address that the environment sets for a provider's models, if any."""
    variable = VARIABLES[provider]
    found = os.environ.get(variable, "").strip()
    if found and (problem := address_problem(found)):
        raise CJEError(f"{variable}: {problem.removesuffix(', or null')}")
    return found or None


def _is_own(provider: str, address: str | None) -> bool:
    return _plain(address) == _plain(OWN.get(provider, "none"))


def _plain(address: str | None) -> str:
    return (address or "").rstrip("/").removesuffix("/v1").lower()
