"""The cast of a run: which policy and which judge plays each part.

The stage check_settings takes it from params.yaml; the stages that ask models take it from what
that wrote (`cje.pipeline.parts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

from cje.judging import Rubric, load_rubric, parse_rubric
from cje.models.lookup import check_model
from cje.models.names import LIKELIHOOD, split_model
from cje.models.registry import is_asked
from cje.models.runner.calls import Calls
from cje.pipeline.parts import Likeness, Needs, read_part, write_part
from cje.settings import HUMAN, Judge, Policy, Settings


@dataclass(frozen=True)
class CastJudge:
    """A judge's model, the rubric where it reads texts, its address where it is on a server, and
    the template of its prompts where it scores texts there."""

    model: str
    rubric: Rubric | None = None
    base_url: str | None = None
    chat_template: str | None = None


class Cast(Protocol):
    """Who plays which part."""

    @property
    def base(self) -> Policy: ...
    @property
    def targets(self) -> Sequence[Policy]: ...
    @property
    def proxy(self) -> CastJudge: ...
    @property
    def oracle(self) -> CastJudge: ...
    @property
    def scorers(self) -> Mapping[str, CastJudge]:
        """The judges that score given texts, by the setting that names them."""


@dataclass(frozen=True)
class GivenCast:
    """See `Cast`."""

    base: Policy
    targets: list[Policy]
    proxy: CastJudge
    oracle: CastJudge
    scorers: dict[str, CastJudge]


class KeptCast:
    """The cast in data/cast; a part is read when it is asked for."""

    @cached_property
    def base(self) -> Policy:
        return Policy.model_validate(read_part("base"))

    @cached_property
    def targets(self) -> list[Policy]:
        return [Policy.model_validate(policy) for policy in read_part("targets")]

    @cached_property
    def proxy(self) -> CastJudge:
        return _judge(read_part("proxy"))

    @cached_property
    def oracle(self) -> CastJudge:
        return _judge(read_part("oracle"))

    @cached_property
    def scorers(self) -> dict[str, CastJudge]:
        return {setting: _judge(found) for setting, found in read_part("scorers").items()}


def cast_of(settings: Settings) -> GivenCast:
    """The cast that the settings name; raises CJEError for a rubric that cannot be read."""
    named = (settings.proxy, settings.oracle)
    proxy, oracle = judges = [_cast_judge(judge, settings) for judge in named]
    scorers = {
        judge.setting: cast
        for judge, cast in zip(named, judges, strict=True)
        if judge.model.startswith(f"{LIKELIHOOD}/")
    }
    return GivenCast(settings.base, settings.targets, proxy, oracle, scorers)


def check_cast(settings: Settings, calls: Calls) -> None:
    """Raise CJEError where a model that plays a part does not exist, cannot do what it should, or
    cannot be called."""
    base, targets = settings.base, settings.targets
    check_model(base.model, "policy", f"base_model: {base.name}", base)
    for target in targets:
        check_model(target.model, "policy", f"target_models: {target.name}", target)
    for judge in settings.judges:
        check_model(judge.model, "judge", judge.setting, _judge_route(judge.model, settings))
    calls.require_ready(player.model for player in (base, *targets, *settings.judges))


def needs_of(settings: Settings, cast: Cast) -> Needs:
    """What the judges need of the prompts."""
    judges = [(settings.proxy, cast.proxy), (settings.oracle, cast.oracle)]
    split = [split_model(named.model) for named, _ in judges if named.model != HUMAN]
    rules = [name for provider, name in split if provider == "checks"]
    references = [
        (named.rubric_setting, judge.rubric.name)
        for named, judge in judges
        if judge.rubric is not None and judge.rubric.needs_reference
    ]
    return Needs(tuple(rules), tuple(dict.fromkeys(references)))


def write_cast(settings: Settings, cast: Cast | None) -> None:
    """Write the parts to data/cast. None: no model plays one, since the answers are in files."""
    parts: dict[str, Any] = dict.fromkeys(("base", "targets", "proxy", "oracle", "scorers"))
    needs, likeness = Needs(), Likeness(adds_labels=settings.asks_people)
    if cast is None and settings.asks_people:
        parts["oracle"] = _judge_json(_cast_judge(settings.oracle, settings))
    if cast is not None:
        parts = {
            "base": cast.base.model_dump(mode="json"),
            "targets": [target.model_dump(mode="json") for target in cast.targets],
            "proxy": _judge_json(cast.proxy),
            "oracle": _judge_json(cast.oracle),
            "scorers": {name: _judge_json(judge) for name, judge in cast.scorers.items()},
        }
        needs = needs_of(settings, cast)
        names = sorted({cast.base.name, *(target.name for target in cast.targets)})
        own = {name: role for name in names if (role := settings.judged_by_itself(name))}
        likeness = Likeness(tuple(sorted(settings.identical_policies)), own, adds_labels=True)
    for name, part in (parts | {"needs": asdict(needs), "likeness": asdict(likeness)}).items():
        write_part(name, part)


def _cast_judge(judge: Judge, settings: Settings) -> CastJudge:
    reads_texts = judge.model == HUMAN or is_asked(judge.model)
    rubric = load_rubric(judge.rubric, judge.rubric_setting) if reads_texts else None
    scorer = judge.model.removeprefix(f"{LIKELIHOOD}/")
    on_server = scorer.startswith("server/")
    if not on_server:
        return CastJudge(judge.model, rubric)
    # A judge that reads texts is asked by the chat interface alone.
    template = settings.chat_template if scorer != judge.model else None
    return CastJudge(judge.model, rubric, settings.base_url, template)


def _judge_route(model: str, settings: Settings) -> Policy | None:
    """Where a judge on a server is asked, as a policy; None for other judges."""
    scorer = model.removeprefix(f"{LIKELIHOOD}/")
    if not scorer.startswith("server/"):
        return None
    given = {"temperature": None, "top_p": None, "max_tokens": 1, "base_url": settings.base_url}
    if scorer != model:
        given["chat_template"] = settings.chat_template
    return Policy(name=model, model=scorer, **given)


def _judge_json(judge: CastJudge) -> dict[str, Any]:
    rubric = judge.rubric and {"name": judge.rubric.name, "text": judge.rubric.text}
    return {
        "model": judge.model,
        "base_url": judge.base_url,
        "chat_template": judge.chat_template,
        "rubric": rubric,
    }


def _judge(found: dict[str, Any]) -> CastJudge:
    rubric = found["rubric"] and parse_rubric(found["rubric"]["name"], found["rubric"]["text"])
    return CastJudge(found["model"], rubric, found["base_url"], found["chat_template"])
