"""Every setting of an experiment: its type, its default and what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    ValidationInfo,
    field_validator,
)

from cje.settings.guard_rails import GuardRails
from cje.settings.values import (
    COUNT_WORDS,
    EFFORT_WORDS,
    FROZEN,
    HUB_DATA_SET,
    HUMAN,
    LIMIT_WORDS,
    MODEL_WORDS,
    OWN_RUBRIC_WORDS,
    POSITIVE_WORDS,
    PROMPTS_WORDS,
    RANGE_WORDS,
    RUBRIC_WORDS,
    SHARE_WORDS,
    TEMPERATURE_WORDS,
    TEMPLATE_WORDS,
    TOP_P_WORDS,
    URL_WORDS,
    Addressed,
    Count,
    Effort,
    Estimator,
    Integer,
    Limit,
    Model,
    Oracle,
    Positive,
    Real,
    Scale,
    Share,
    Temperature,
    TopP,
    Url,
    Variable,
    is_model_reference,
    one_of,
    policy_name_problem,
    provider_of,
    show_value,
)
from cje.vocabulary import EstimatorName, Intervals, Sampling, WeightChoice

CALLS_ONLY: dict[str, Any] = {"calls_only": True}  # marks the settings of `call_setting`
THOUGHTLESS = ("local/", "sim/")  # models that take no reasoning_effort
POLICY_WORDS = (
    "{model: ...} and optionally system_prompt, temperature, top_p, max_tokens, "
    "reasoning_effort, base_url, chat_template and extra_body"
)


def call_setting(default: Any, words: str) -> Any:
    """A setting of how calls are made, on which no result depends."""
    return Field(default, description=words, json_schema_extra=CALLS_ONLY)


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
    template_sum: str | None = None  # checksum of the template, set in the cast
    extra_body: dict[str, Any] | None = None


class Limits(BaseModel):
    """How fast a provider may be called; None means no limit."""

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
    """A judge, the proxy or the oracle: its model, the scale of its scores, and the rubric of a
    text judge; `setting` and `rubric_setting` are the keys in params.yaml that set them."""

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
    extra_body: dict[str, Any] | None = Field(
        None, description="what is added to the body of a call, {safety_identifier: me}, or null"
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
    addresses: dict[Addressed, Url] = Field(
        {},
        description=(
            "addresses by provider (openai, anthropic, azure, gemini, openrouter), "
            "{openai: https://proxy.example.org/v1}"
        ),
    )
    chat_template: str | None = Field(None, description=TEMPLATE_WORDS)
    extra_body: dict[str, dict[str, Any]] = Field(
        {}, description="what is added to the body of calls, by provider, {server: {priority: 1}}"
    )
    judge_max_tokens: Positive | None = Field(
        None, description="a whole number, 1 or more, or null for enough to let the judge finish"
    )
    rubric: str = Field("default", description=RUBRIC_WORDS)
    proxy_rubric: str | None = Field(None, description=OWN_RUBRIC_WORDS)
    oracle_rubric: str | None = Field(None, description=OWN_RUBRIC_WORDS)

    # How calls are made: nothing that a reply depends on.
    concurrency: Positive = call_setting(16, POSITIVE_WORDS)
    requests_per_minute: Limit | None = call_setting(None, LIMIT_WORDS)
    tokens_per_minute: Limit | None = call_setting(None, LIMIT_WORDS)
    limits: dict[str, Limits] = call_setting(
        {},
        "limits by provider, {openai: {concurrency: 32, requests_per_minute: 500, "
        "tokens_per_minute: 200000}}",
    )
    extra_headers: dict[str, dict[str, Variable]] = call_setting(
        {},
        "by provider, headers and the environment variables that hold their values, "
        "{server: {X-Team: TEAM_TOKEN}}",
    )
    timeout: Limit = call_setting(120.0, "seconds, a number above 0")
    max_retries: Count = call_setting(6, COUNT_WORDS)
    max_failed_fraction: Share = call_setting(0.05, SHARE_WORDS)
    max_cost_usd: Annotated[Real, Field(ge=0)] | None = call_setting(
        None, "US dollars, 0 or more, or null for no limit"
    )
    batch: bool = call_setting(False, "true or false")
    prices: dict[str, Prices] = call_setting(
        {}, "US dollars per million tokens, {openai/my-model: {input: 1.0, output: 4.0}}"
    )

    oracle_fraction: Annotated[Real, Field(gt=0, le=1)] = Field(
        0.25, description="a number above 0 and at most 1"
    )
    target_labels: Count = Field(100, description=COUNT_WORDS)
    sampling: Sampling = Field(Sampling.UNIFORM, description=one_of(Sampling))
    extra_labels: dict[str, Count] = Field(
        {}, description="numbers of answers by policy, {unhelpful: 60}"
    )
    raters_overlap: Share = Field(0.0, description=SHARE_WORDS)
    oracle_samples: Count | Literal["auto"] = Field("auto", description=f"{COUNT_WORDS}, or auto")
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

    guard_rails: GuardRails = Field(
        GuardRails(), description="thresholds by name, {min_target_labels: 30, refuse_ess: 0.05}"
    )

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
        """What is added to the body of every call to the model's provider."""
        return self.extra_body.get(provider_of(model), {})

    def address(self, model: str) -> str | None:
        """The address of a model without one of its own."""
        provider = provider_of(model)
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
        """The expensive judge, whose scores are taken as the truth."""
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
        """`judge` or `oracle`, whichever is the policy's own model; None if neither is, and for
        files."""
        if self.source == "files":
            return None
        own = self.policy(name).model
        for role, model in (("oracle", self.oracle_model), ("judge", self.proxy_model)):
            if model.removeprefix("likelihood/") == own:
                return role
        return None

    @property
    def identical_policies(self) -> set[str]:
        """The targets that are the base policy under another name; empty if answers come from
        files."""
        if self.source == "files":
            return set()
        base = self.base
        return {t.name for t in self.targets if t.model_copy(update={"name": base.name}) == base}

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of the guard rails by name."""
        found: dict[str, float] = self.guard_rails.model_dump()
        return found


CALL_SETTINGS = tuple(
    name for name, field in Settings.model_fields.items() if field.json_schema_extra == CALLS_ONLY
)


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
