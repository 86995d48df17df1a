"""params.yaml as one typed object, checked before any stage works."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cje.errors import CJEError
from cje.plugins import ESTIMATORS, plugins
from cje.thresholds import THRESHOLD_LIST, THRESHOLDS
from cje.vocabulary import EstimatorName, Intervals, Sampling, WeightChoice

MAX_LINES = 5  # of an error message
# The second alternative is the path of a model, local or as a server names it, which may begin at
# the root.
MODEL_REFERENCE = re.compile(
    r"[^/\s]+/[^/\s](\S*\S)?|(likelihood/)?(local|server)//\S+|(gpt-|claude-|o\d)\S*"
)
HUMAN = "human"  # in place of an oracle's model: people give the labels
MODEL_WORDS = "a model: provider/model as in sim/base or openai/gpt-5.4-mini, or gpt-*, claude-*"

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

TEMPERATURE_WORDS = "a number from 0 to 2, or null to leave it out of the calls"
TOP_P_WORDS = "a number above 0 and at most 1, or null to leave it out of the calls"
PROMPTS_WORDS = "sim/arena, hf:<owner>/<data set>, or a .jsonl, .csv or .parquet file"
HUB_DATA_SET = re.compile(r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?")
SHARE_WORDS = "a number from 0 to 1"
COUNT_WORDS = "a whole number, 0 or more"
POSITIVE_WORDS = "a whole number, 1 or more"
SAMPLES_WORDS = f"{COUNT_WORDS}, or auto"
RANGE_WORDS = "two numbers [low, high], low below high"
EXTRA_WORDS = "numbers of answers by policy, {unhelpful: 60}"
POLICY_WORDS = (
    "{model: ...} with, if wanted, system_prompt, temperature, top_p, max_tokens, "
    "reasoning_effort, base_url, chat_template and extra_body"
)
EFFORT_WORDS = (
    "none, minimal, low, medium, high, xhigh or max, or null to leave it out of the calls"
)
JUDGE_TOKENS_WORDS = "a whole number, 1 or more, or null for what lets the judge finish"
TEMPLATE_WORDS = "a tokenizer's folder, a .jinja file or the name of a template, or null"
ADDRESSES_WORDS = (
    "addresses by provider (openai, anthropic, azure, gemini, openrouter), "
    "{openai: https://proxy.example.org/v1}"
)
URL_WORDS = "an address such as http://localhost:8000/v1, or null"
LIMIT_WORDS = "a number above 0, or null for no limit"
LIMITS_WORDS = (
    "limits by provider, {openai: {concurrency: 32, requests_per_minute: 500, "
    "tokens_per_minute: 200000}}"
)
BODY_WORDS = "what is added to the body of a call, {safety_identifier: me}, or null"
BODIES_WORDS = "what is added to the body of calls, by provider, {server: {priority: 1}}"
HEADERS_WORDS = (
    "by provider, headers and the environment variables that hold their values, "
    "{server: {X-Team: TEAM_TOKEN}}"
)
RUBRIC_WORDS = "the name of a shipped rubric, or a file under data/rubrics"
OWN_RUBRIC_WORDS = f"{RUBRIC_WORDS}, or null for that of `rubric`"
PRICES_WORDS = "US dollars per million tokens, {openai/my-model: {input: 1.0, output: 4.0}}"
GUARD_RAIL_WORDS = "thresholds by name, {min_target_labels: 30, refuse_ess: 0.05}"


def show_value(value: Any) -> str:
    """A value as JSON and YAML have it, on one line, cut to 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        if not text.isprintable():  # line separators and half surrogate pairs
            text = json.dumps(value, default=str)
    except (TypeError, ValueError):  # keys that are no text, a list that holds itself
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_of(words: Iterable[str]) -> str:
    """The words of a list as an error offers them: a, b or c."""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _estimator(name: str) -> str:
    if name in list(EstimatorName):
        return EstimatorName(name)
    if name not in (added := plugins(ESTIMATORS)):
        known = one_of([*EstimatorName, *added])
        raise ValueError(f"{show_value(name)} is not allowed; give {known}")
    return name


def policy_name_problem(name: str) -> str | None:
    """Why `name` cannot name a policy, or None: a policy's name is also part of file names."""
    if not name:
        return "the name of a policy must not be empty"
    if any(c.isspace() or not c.isprintable() for c in name):
        return "the name of a policy has no white space or control characters"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a '/' in the name of a policy stands between two names, as in openai/gpt-5.4-mini"
    return None


def is_model_reference(text: str) -> bool:
    """Whether `text` names a model by itself: provider/model, gpt-*, claude-* or o<digit>*."""
    return MODEL_REFERENCE.fullmatch(text) is not None


def _model(text: str) -> str:
    if not is_model_reference(text):
        raise ValueError(f"{show_value(text)} is not allowed; give {MODEL_WORDS}")
    return text


def address_problem(text: str) -> str | None:
    """Why `text` cannot be the address of models, or None. An address stands in files, so it holds
    no credentials; the words do not repeat any."""
    if re.search(r"^[^/]*(//[^/]*)?@|[?#]", text):
        return (
            "user, password and what follows ? or # are not allowed in an address, which stands "
            "in files; give a key in the environment or a header by extra_headers"
        )
    if not re.fullmatch(r"https?://[^\s/]+\S*", text):
        return f"{show_value(text)} is not allowed; give {URL_WORDS}"
    return None


def _url(text: str) -> str:
    if problem := address_problem(text):
        raise ValueError(problem)
    return text


def _provider(model: str) -> str:
    """The provider in a model's name, or the one that a bare name implies."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "anthropic" if model.startswith("claude-") else "openai"


def _scale(value: tuple[float, float]) -> tuple[float, float]:
    lo, hi = value
    if not (lo < hi and math.isfinite(hi - lo)):
        raise ValueError(f"{show_value(value)} is not allowed; give {RANGE_WORDS}")
    return value


def _oracle(text: str) -> str:
    if text != HUMAN and not is_model_reference(text):
        raise ValueError(f"{show_value(text)} is not allowed; give {HUMAN}, or {MODEL_WORDS}")
    return text


Model = Annotated[str, AfterValidator(_model)]
Oracle = Annotated[str, AfterValidator(_oracle)]
Estimator = Annotated[str, AfterValidator(_estimator)]
Url = Annotated[str, AfterValidator(_url)]
Scale = Annotated[tuple[Real, Real], AfterValidator(_scale)]
FROZEN = ConfigDict(extra="forbid", frozen=True)


class Policy(BaseModel):
    """A policy: which model answers, and how it samples; None leaves a setting out of the calls."""

    model_config = FROZEN

    name: str
    model: Model
    system_prompt: str | None = None
    temperature: Temperature | None
    top_p: TopP | None
    max_tokens: Positive
    reasoning_effort: Effort | None = None
    base_url: Url | None = None
    chat_template: str | None = None
    template_sum: str | None = None  # of what the template holds, where the cast tells it
    extra_body: dict[str, Any] | None = None


class Limits(BaseModel):
    """How fast a provider may be called; None is no limit."""

    model_config = FROZEN

    concurrency: Positive | None = None
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None


class Prices(BaseModel):
    """What a model costs, in US dollars per million tokens."""

    model_config = FROZEN

    input: Annotated[Real, Field(ge=0)]
    output: Annotated[Real, Field(ge=0)]


@dataclass(frozen=True)
class Judge:
    """A judge, the proxy or the oracle: its model, the scale of its scores, and the rubric that a
    text judge is told; `setting` and `rubric_setting` name the keys that say so."""

    setting: str
    model: str
    score_range: tuple[float, float]
    rubric: str
    rubric_setting: str


class PolicyEntry(BaseModel):
    """An entry of `policies`; what it leaves out is taken from the global settings.

    So an absent temperature is the global one, and a null temperature is none at all.
    """

    model_config = FROZEN

    model: Model = Field(description=MODEL_WORDS)
    system_prompt: str | None = Field(None, description="text, or null for none")
    temperature: Temperature | None = Field(None, description=TEMPERATURE_WORDS)
    top_p: TopP | None = Field(None, description=TOP_P_WORDS)
    # Absent, never null: what is not set is left out of what is read.
    max_tokens: Positive = Field(None, description=POSITIVE_WORDS)  # type: ignore[assignment]
    reasoning_effort: Effort | None = Field(None, description=EFFORT_WORDS)
    base_url: Url | None = Field(None, description=URL_WORDS)
    chat_template: str | None = Field(None, description=TEMPLATE_WORDS)
    extra_body: dict[str, Any] | None = Field(None, description=BODY_WORDS)


class _GuardRailRules(BaseModel):
    """What the thresholds of the guard rails must be to each other."""

    model_config = ConfigDict(**FROZEN, validate_default=True)

    @field_validator("refuse_ess", check_fields=False)
    @classmethod
    def _refuse_ess(cls, value: float, info: ValidationInfo) -> float:
        caution = info.data.get("caution_ess")
        if caution is not None and value > caution:
            raise ValueError(f"{value:g} is not allowed; give at most caution_ess, {caution:g}")
        return value


KINDS = {"count": (Count, COUNT_WORDS), "share": (Share, SHARE_WORDS)}  # of thresholds


def _threshold_fields() -> dict[str, Any]:
    """A field for every threshold of the list, in its order."""
    fields = {}
    for threshold in THRESHOLD_LIST:
        kind, words = KINDS[threshold.kind]
        fields[threshold.name] = (kind, Field(threshold.default, description=words))
    return fields


if TYPE_CHECKING:  # to a type checker, a class that is made of a list is none
    GuardRails = _GuardRailRules
else:
    GuardRails = create_model(
        "GuardRails",
        __base__=_GuardRailRules,
        __doc__="The thresholds of the guard rails; what is left out has its default.",
        **_threshold_fields(),
    )


class Settings(BaseModel):
    """Every setting of an experiment; each field's description says what is allowed."""

    model_config = FROZEN

    source: Literal["models", "files"] = Field("models", description="models or files")
    prompts: str = Field("sim/arena", description=PROMPTS_WORDS)
    language: str | None = Field(None, description="a language's name, such as English, or null")
    max_samples: Positive = Field(1000, description=POSITIVE_WORDS)
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = Field(
        42, description="a whole number from 0 to 2^63 - 1"
    )

    # `policies` stands before the settings that name policies: their checks look into it.
    policies: dict[str, PolicyEntry] = Field(
        {}, description=f"policies by name, each {POLICY_WORDS}"
    )
    base_model: str = Field(description="a policy of `policies`, or a model")
    target_models: tuple[str, ...] = Field(description="a list of policies, [clone, better]")
    oracle_model: Oracle = Field("sim/oracle", description=f"{HUMAN}, or {MODEL_WORDS}")
    proxy_model: Model = Field("sim/judge", description=MODEL_WORDS)

    temperature: Temperature | None = Field(0.7, description=TEMPERATURE_WORDS)
    top_p: TopP | None = Field(0.9, description=TOP_P_WORDS)
    max_tokens: Positive = Field(40, description=POSITIVE_WORDS)
    reasoning_effort: Effort | None = Field(None, description=EFFORT_WORDS)
    draws_per_prompt: Positive = Field(1, description=POSITIVE_WORDS)
    base_url: Url | None = Field(None, description=URL_WORDS)
    addresses: dict[Addressed, Url] = Field({}, description=ADDRESSES_WORDS)
    chat_template: str | None = Field(None, description=TEMPLATE_WORDS)
    extra_body: dict[str, dict[str, Any]] = Field({}, description=BODIES_WORDS)
    judge_max_tokens: Positive | None = Field(None, description=JUDGE_TOKENS_WORDS)
    rubric: str = Field("default", description=RUBRIC_WORDS)
    proxy_rubric: str | None = Field(None, description=OWN_RUBRIC_WORDS)
    oracle_rubric: str | None = Field(None, description=OWN_RUBRIC_WORDS)

    # How calls are made: nothing that a reply depends on.
    concurrency: Positive = Field(16, description=POSITIVE_WORDS)
    requests_per_minute: Limit | None = Field(None, description=LIMIT_WORDS)
    tokens_per_minute: Limit | None = Field(None, description=LIMIT_WORDS)
    limits: dict[str, Limits] = Field({}, description=LIMITS_WORDS)
    extra_headers: dict[str, dict[str, Variable]] = Field({}, description=HEADERS_WORDS)
    timeout: Limit = Field(120.0, description="seconds, a number above 0")
    max_retries: Count = Field(6, description=COUNT_WORDS)
    max_failed_fraction: Share = Field(0.05, description=SHARE_WORDS)
    max_cost_usd: Annotated[Real, Field(ge=0)] | None = Field(
        None, description="US dollars, 0 or more, or null for no bound"
    )
    batch: bool = Field(False, description="true or false")
    prices: dict[str, Prices] = Field({}, description=PRICES_WORDS)

    oracle_fraction: Annotated[Real, Field(gt=0, le=1)] = Field(
        0.25, description="a number above 0 and at most 1"
    )
    target_labels: Count = Field(100, description=COUNT_WORDS)
    sampling: Sampling = Field(Sampling.UNIFORM, description=one_of(Sampling))
    extra_labels: dict[str, Count] = Field({}, description=EXTRA_WORDS)
    raters_overlap: Share = Field(0.0, description=SHARE_WORDS)
    oracle_samples: Count | Literal["auto"] = Field("auto", description=SAMPLES_WORDS)
    judge_range: Scale = Field((0.0, 10.0), description=RANGE_WORDS)
    oracle_range: Scale = Field((0.0, 10.0), description=RANGE_WORDS)
    on_bad_row: Literal["error", "skip"] = Field("error", description="error or skip")

    estimator: Estimator = Field(EstimatorName.DR_CPO, description=one_of(EstimatorName))
    weights: WeightChoice = Field(WeightChoice.AUTO, description=one_of(WeightChoice))
    folds: Annotated[Integer, Field(ge=2, le=50)] = Field(
        5, description="a whole number from 2 to 50"
    )
    alpha: Annotated[Real, Field(gt=0, lt=1)] = Field(
        0.05, description="a number above 0 and below 1"
    )
    intervals: Intervals = Field(Intervals.FIXED, description=one_of(Intervals))

    guard_rails: GuardRails = Field(GuardRails(), description=GUARD_RAIL_WORDS)

    @field_validator("prompts")
    @classmethod
    def _prompts(cls, value: str) -> str:
        known = value == "sim/arena" or HUB_DATA_SET.fullmatch(value)
        if not known and Path(value).suffix not in (".jsonl", ".csv", ".parquet"):
            raise ValueError(f"{show_value(value)} is not allowed; give {PROMPTS_WORDS}")
        return value

    @field_validator("policies")
    @classmethod
    def _policies(cls, value: dict[str, PolicyEntry]) -> dict[str, PolicyEntry]:
        for name in value:
            if problem := policy_name_problem(name):
                raise ValueError(f"{show_value(name)} is not allowed; {problem}")
        return value

    @field_validator("base_model")
    @classmethod
    def _base_model(cls, value: str, info: ValidationInfo) -> str:
        _check_policy(value, info.data.get("policies"))
        return value

    @field_validator("target_models")
    @classmethod
    def _target_models(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value:
            raise ValueError("[] is not allowed; name at least one policy")
        for name in value:
            _check_policy(name, info.data.get("policies"))
            if value.count(name) > 1:
                raise ValueError(f"{show_value(name)} is listed twice; name each policy once")
        return value

    def policy(self, name: str) -> Policy:
        """The policy of that name, with the global settings where its entry leaves them out."""
        entry = self.policies.get(name)
        own: dict[str, Any] = entry.model_dump(exclude_unset=True) if entry else {"model": name}
        keys = ["temperature", "top_p", "max_tokens"]
        keys += ["chat_template"] if own["model"].startswith("server/") else []
        keys += [] if own["model"].startswith(THOUGHTLESS) else ["reasoning_effort"]
        inherited = {k: getattr(self, k) for k in keys} | {"base_url": self.address(own["model"])}
        body = self.body(own["model"]) | (own.pop("extra_body", None) or {})
        return Policy(name=name, extra_body=body or None, **(inherited | own))

    def body(self, model: str) -> dict[str, Any]:
        """What is added to the body of every call of the model's provider."""
        return self.extra_body.get(_provider(model), {})

    def address(self, model: str) -> str | None:
        """Where a model is asked that has no address of its own."""
        provider = _provider(model)
        if provider == "server":
            return self.base_url
        return next((url for name, url in self.addresses.items() if name == provider), None)

    @property
    def base(self) -> Policy:
        """The policy that wrote the logs."""
        return self.policy(self.base_model)

    @property
    def targets(self) -> list[Policy]:
        """The policies to evaluate, in the order given."""
        return [self.policy(name) for name in self.target_models]

    @property
    def proxy(self) -> Judge:
        """The cheap judge, which scores every answer."""
        own = self.proxy_rubric
        rubric = (self.rubric, "rubric") if own is None else (own, "proxy_rubric")
        return Judge("proxy_model", self.proxy_model, self.judge_range, *rubric)

    @property
    def oracle(self) -> Judge:
        """The expensive judge, which is taken for the truth."""
        own = self.oracle_rubric
        rubric = (self.rubric, "rubric") if own is None else (own, "oracle_rubric")
        return Judge("oracle_model", self.oracle_model, self.oracle_range, *rubric)

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The judges that are models: the proxy, and the oracle unless people are."""
        return (self.proxy,) if self.asks_people else (self.proxy, self.oracle)

    @property
    def asks_people(self) -> bool:
        """Whether people give the oracle's labels."""
        return self.oracle_model == HUMAN

    def judged_by_itself(self, name: str) -> str | None:
        """judge or oracle, where that is the policy's own model; None else, and for files."""
        if self.source == "files":
            return None
        own = self.policy(name).model
        for role, model in (("oracle", self.oracle_model), ("judge", self.proxy_model)):
            if model.removeprefix("likelihood/") == own:
                return role
        return None

    @property
    def identical_policies(self) -> set[str]:
        """The targets that are the base policy under another name; none where files are read."""
        if self.source == "files":
            return set()
        base = self.base
        return {t.name for t in self.targets if t.model_copy(update={"name": base.name}) == base}

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of the guard rails by name."""
        found: dict[str, float] = self.guard_rails.model_dump()
        return found


THOUGHTLESS = ("local/", "sim/")  # models that take no reasoning_effort
CALL_SETTINGS = (
    "concurrency", "requests_per_minute", "tokens_per_minute", "limits", "extra_headers", "timeout",
    "max_retries", "max_failed_fraction", "max_cost_usd", "batch", "prices",
)  # fmt: skip


def load_settings(path: str | PathLike[str] = "params.yaml") -> Settings:
    """The settings in the YAML file `path`, read as DVC reads it (YAML 1.2).

    Raises one CJEError that lists what is wrong: each key, its value and what is allowed.
    """
    path = Path(path)
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CJEError(
            f"{path}: cannot be read ({error.strerror}); run this in the project's folder"
        ) from error
    except UnicodeDecodeError as error:
        raise CJEError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except YAMLError as error:
        raise CJEError(f"{path}{_yaml_problem(error)}") from error
    if not isinstance(values, Mapping):
        raise CJEError(f"{path}: must hold settings, one `key: value` a line")
    return parse_settings(values, str(path))


def parse_settings(values: Mapping[str, Any], where: str = "settings") -> Settings:
    """`values` as Settings; errors as from `load_settings`, with `where` in place of the file."""
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        problems: dict[str, str] = {}  # the first problem of each key, in the order of the keys
        for item in error.errors(include_url=False):
            key, words = _problem(item, values)
            problems.setdefault(key, f"{where}: {key}: {words}")
    lines = list(problems.values())
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more"]
    raise CJEError("\n".join(lines))


def _yaml_problem(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    problem = (getattr(error, "problem", None) or str(error)).splitlines()[0]
    if "duplicate key" in problem:
        return f"{place}: {problem.split(' with ')[0].replace('found ', '')}; keep one of them"
    return f"{place}: not valid YAML: {problem}"


def _problem(item: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, str]:
    """The dotted key of one of pydantic's errors, and words of ours for it."""
    loc, kind = item["loc"], item["type"]
    if loc[-1] == "[key]" and kind == "string_type":
        return loc[0], f"{show_value(loc[1])} is not allowed as a name; put it in quotes"
    path = loc[:1]  # not the place inside a list
    model: type[BaseModel] = Settings
    if loc[0] == "policies" and len(loc) > 1:
        path, model = loc[:3], PolicyEntry
    elif loc[0] == "guard_rails" and len(loc) > 1:
        path, model = loc[:2], GuardRails
    fields = model.model_fields
    key = ".".join(p if isinstance(p, str) and p.isprintable() else show_value(p) for p in path)
    if kind in ("extra_forbidden", "invalid_key"):
        if key in THRESHOLDS:
            return key, f"is now guard_rails.{key}"
        near = get_close_matches(str(path[-1]), fields, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(fields)}"
        return key, f"unknown key; {hint} (its value: {show_value(item['input'])})"
    if kind == "value_error":
        return key, str(item["ctx"]["error"])
    in_policies = loc[0] == "policies" and len(path) == 2
    allowed = POLICY_WORDS if in_policies else fields[path[-1]].description
    value: Any = values
    for part in path:
        if part not in value:
            return key, f"missing; give {allowed}"
        value = value[part]
    return key, f"{show_value(value)} is not allowed; give {allowed}"


def _check_policy(name: str, policies: Mapping[str, PolicyEntry] | None) -> None:
    """Raise ValueError unless `name` is defined or a model; None: `policies` is itself wrong."""
    if policies is None or name in policies:
        return
    if is_model_reference(name) and not policy_name_problem(name):
        return
    near = get_close_matches(name, policies, n=1)
    hint = f"; did you mean {show_value(near[0])}? Give" if near else "; give"
    defined = ", ".join(policies) or "none"
    raise ValueError(
        f"{show_value(name)} is not defined{hint} a defined policy ({defined}), "
        "or a model such as openai/gpt-5.4-mini"
    )
