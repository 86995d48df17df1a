"""The settings that the results depend on, and the policies, as a page shows them."""

import json
from typing import Any

from cje.results.report.redaction import redacted
from cje.results.run import Run
from cje.results.words import short
from cje.settings import CALL_SETTINGS

TEXTS = ("system_prompt",)


def settings_shown(run: Run) -> list[tuple[str, str]]:
    """Key and value; how calls are made is left out, as no result depends on it."""
    left_out = {"policies", "guard_rails", *CALL_SETTINGS}
    values = run.settings.model_dump(mode="json", exclude=left_out)
    values |= {f"guard_rails.{key}": value for key, value in run.settings.thresholds.items()}
    return [(key, shown(value)) for key, value in values.items()]


def policies_shown(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """The base policy and the targets, each with what it sets; none where files were read."""
    if run.settings.source == "files":
        return []
    names = dict.fromkeys([run.settings.base_model, *run.settings.target_models])
    return [(name, policy_shown(run, name)) for name in names]


def policy_shown(run: Run, name: str) -> list[tuple[str, str]]:
    """What a policy is, its system prompt word for word."""
    values = run.settings.policy(name).model_dump(mode="json", exclude={"name"})
    return [
        (key, value if key in TEXTS else shown(value))
        for key, value in values.items()
        if value is not None
    ]


def shown(value: Any) -> str:
    """A setting's value in few words, without what names the machine."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return short(value) if isinstance(value, float) else json.dumps(value)


def about(run: Run, policy: str) -> str:
    """What the policy is: the base policy, and where settings say so its model and temperature."""
    words = ["wrote the logs"] if policy == run.base else []
    if run.settings.source == "files":
        return "".join(words)
    meant = run.settings.policy(policy)
    if meant.model != policy:
        words.append(redacted(meant.model))
    if meant.temperature is not None:
        words.append(f"temperature {short(meant.temperature)}")
    if meant.system_prompt:
        words.append("with a system prompt")
    return ", ".join(words)
