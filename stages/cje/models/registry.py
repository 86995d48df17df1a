"""The providers: one module each, found by the name before a model's slash."""

import importlib

from cje.models.names import split_model
from cje.models.provider import Backend

# Imported when first asked for. Computed: exact, free, nothing to keep. Asked: every reply is kept.
COMPUTED = {"sim": "cje.models.providers.sim", "checks": "cje.models.providers.checks"}
ASKED = {
    "openai": "cje.models.providers.openai",
    "anthropic": "cje.models.providers.anthropic",
    "azure": "cje.models.providers.azure",
    "gemini": "cje.models.providers.gemini",
    "openrouter": "cje.models.providers.openrouter",
    "server": "cje.models.providers.server",
    "local": "cje.models.local.provider",
}


def backend_for(model: str) -> Backend:
    """The backend of a model that is asked."""
    return importlib.import_module(ASKED[split_model(model)[0]]).BACKEND
