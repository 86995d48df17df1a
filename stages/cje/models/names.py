"""What a model's name says: `<provider>/<name>`, where some names imply their provider."""

import re

LIKELIHOOD = "likelihood"  # likelihood/<provider>/<name>: a judge made of a scoring model
IMPLIED = ((r"gpt-|o\d", "openai"), (r"claude-", "anthropic"))


def split_model(model: str) -> tuple[str, str]:
    """Provider and name of a model: `sim/base` is ("sim", "base"); gpt-* implies openai."""
    for pattern, provider in IMPLIED:
        if re.match(pattern, model):
            return provider, model
    provider, _, name = model.partition("/")
    return provider, name


def full_name(model: str) -> str:
    """The model with its provider: gpt-4o is openai/gpt-4o."""
    return "/".join(split_model(model))
