"""What the value of a setting may be: types with their checks, and words for what is allowed."""

import json
import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict

from cje.plugins import ESTIMATORS, plugins
from cje.vocabulary import EstimatorName

FROZEN = ConfigDict(extra="forbid", frozen=True)

# The second alternative is the path of a model, local or as a server names it, which may begin at
# the root.
MODEL_REFERENCE = re.compile(
    r"[^/\s]+/[^/\s](\S*\S)?|(likelihood/)?(local|server)//\S+|(gpt-|claude-|o\d)\S*"
)
HUB_DATA_SET = re.compile(r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?")
HUMAN = "human"  # instead of an oracle's model: people give the labels

MODEL_WORDS = "a model: provider/model as in sim/base or openai/gpt-5.4-mini, or gpt-*, claude-*"
PROMPTS_WORDS = "sim/arena, hf:<owner>/<data set>, or a .jsonl, .csv or .parquet file"
TEMPERATURE_WORDS = "a number from 0 to 2, or null to leave it out of the calls"
TOP_P_WORDS = "a number above 0 and at most 1, or null to leave it out of the calls"
EFFORT_WORDS = (
    "none, minimal, low, medium, high, xhigh or max, or null to leave it out of the calls"
)
TEMPLATE_WORDS = "a tokenizer's folder, a .jinja file or the name of a template, or null"
URL_WORDS = "an address such as http://localhost:8000/v1, or null"
SHARE_WORDS = "a number from 0 to 1"
COUNT_WORDS = "a whole number, 0 or more"
POSITIVE_WORDS = "a whole number, 1 or more"
RANGE_WORDS = "two numbers [low, high], low below high"
LIMIT_WORDS = "a number above 0, or null for no limit"
RUBRIC_WORDS = "the name of a shipped rubric, or a file under data/rubrics"
OWN_RUBRIC_WORDS = f"{RUBRIC_WORDS}, or null for that of `rubric`"


def show_value(value: Any) -> str:
    """A value as JSON and YAML have it, on one line, cut to 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        if not text.isprintable():  # line separators and half surrogate pairs
            text = json.dumps(value, default=str)
    except (TypeError, ValueError):  # keys that are not text, a list that contains itself
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_of(words: Iterable[str]) -> str:
    """The words of a list as an error offers them: a, b or c."""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def policy_name_problem(name: str) -> str | None:
    """Why `name` cannot name a policy, or None: a policy's name is also part of file names."""
    if not name:
        return "the name of a policy must not be empty"
    if any(c.isspace() or not c.isprintable() for c in name):
        return "the name of a policy has no white space or control characters"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a '/' in the name of a policy must separate two names, as in openai/gpt-5.4-mini"
    return None


def is_model_reference(text: str) -> bool:
    """Whether `text` names a model by itself: provider/model, gpt-*, claude-* or o<digit>*."""
    return MODEL_REFERENCE.fullmatch(text) is not None


def provider_of(model: str) -> str:
    """The provider in a model's name, or the one that a bare name implies."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "anthropic" if model.startswith("claude-") else "openai"


def address_problem(text: str) -> str | None:
    """Why `text` cannot be the address of models, or None. An address is written to files, so it
    must not contain credentials; the words do not repeat any."""
    if re.search(r"^[^/]*(//[^/]*)?@|[?#]", text):
        return (
            "user, password and what follows ? or # are not allowed in an address, which is "
            "written to files; give a key in the environment or a header by extra_headers"
        )
    if not re.fullmatch(r"https?://[^\s/]+\S*", text):
        return f"{show_value(text)} is not allowed; give {URL_WORDS}"
    return None


def _estimator(name: str) -> str:
    if name in list(EstimatorName):
        return EstimatorName(name)
    if name not in (added := plugins(ESTIMATORS)):
        known = one_of([*EstimatorName, *added])
        raise ValueError(f"{show_value(name)} is not allowed; give {known}")
    return name


def _model(text: str) -> str:
    if not is_model_reference(text):
        raise ValueError(f"{show_value(text)} is not allowed; give {MODEL_WORDS}")
    return text


def _oracle(text: str) -> str:
    if text != HUMAN and not is_model_reference(text):
        raise ValueError(f"{show_value(text)} is not allowed; give {HUMAN}, or {MODEL_WORDS}")
    return text


def _url(text: str) -> str:
    if problem := address_problem(text):
        raise ValueError(problem)
    return text


def _scale(value: tuple[float, float]) -> tuple[float, float]:
    lo, hi = value
    if not (lo < hi and math.isfinite(hi - lo)):
        raise ValueError(f"{show_value(value)} is not allowed; give {RANGE_WORDS}")
    return value


Integer = Annotated[int, Strict()]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Share = Annotated[Real, Field(ge=0, le=1)]
Temperature = Annotated[Real, Field(ge=0, le=2)]
TopP = Annotated[Real, Field(gt=0, le=1)]
Count = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Integer, Field(ge=1)]
Limit = Annotated[Real, Field(gt=0)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]  # of the environment
Addressed = Literal["openai", "anthropic", "azure", "gemini", "openrouter"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Model = Annotated[str, AfterValidator(_model)]
Oracle = Annotated[str, AfterValidator(_oracle)]
Estimator = Annotated[str, AfterValidator(_estimator)]
Url = Annotated[str, AfterValidator(_url)]
Scale = Annotated[tuple[Real, Real], AfterValidator(_scale)]
