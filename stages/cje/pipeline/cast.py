"""The cast of a run: which policy and which judge plays each part.

The stage check_settings makes it from params.yaml and writes it to data/cast, from where the stages
that call models read it (`cje.pipeline.parts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

from cje.judging import Rubric, load_rubric, parse_rubric
from cje.models.addresses import address_of
from cje.models.lookup import check_model
from cje.models.names import LIKELIHOOD, split_model
from cje.models.providers.templates import template_sum
from cje.models.registry import is_asked
from cje.models.runner.calls import Calls
from cje.pipeline.parts import Likeness, Needs, kept_part, read_part, write_part
from cje.settings import HUMAN, Judge, Policy, Settings


@dataclass(frozen=True)
class CastJudge:
    """A judge: its model; its rubric if it reads texts; its address if it has one; and if it scores
    texts on a server, the chat template of its prompts and that template's checksum."""

    model: str
    rubric: Rubric | None = None
    base_url: str | None = None
    chat_template: str | None = None
    template_sum: str | None = None


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
    """The cast in data/cast; a part is read when it is first used."""

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
    """The cast that the settings name, each player with its address from the settings or the
    environment. Raises CJEError for a rubric or a chat template that cannot be read, and for an
    environment variable that is not an address."""
    named = (settings.proxy, settings.oracle)
    proxy, oracle = judges = [_cast_judge(judge, settings) for judge in named]
    scorers = {
        judge.setting: cast
        for judge, cast in zip(named, judges, strict=True)
        if judge.model.startswith(f"{LIKELIHOOD}/")
    }
    targets = [_placed(policy) for policy in settings.targets]
    return GivenCast(_placed(settings.base), targets, proxy, oracle, scorers)


def check_cast(settings: Settings, calls: Calls) -> None:
    """Raise CJEError if a model of the cast does not exist, cannot play its part or cannot be
    called."""
    base, targets = settings.base, settings.targets
    check_model(base.model, "policy", f"base_model: {base.name}", base)
    for target in targets:
        check_model(target.model, "policy", f"target_models: {target.name}", target)
    for judge in settings.judges:
        check_model(judge.model, "judge", judge.setting, _judge_route(judge.model, settings))
    players: tuple[Policy | Judge, ...] = (base, *targets, *settings.judges)
    calls.require_ready(player.model for player in players)


def moved(cast: Cast) -> list[str]:
    """The models whose address, or the content of whose template, differs between data/cast and the
    cast: the environment, or a file that DVC does not track, has changed since."""
    parts = _parts(cast)
    now, then = _unsettled(parts), _unsettled({name: kept_part(name) for name in parts})
    return list(dict.fromkeys(key[-1] for key in now if then.get(key, now[key]) != now[key]))


def needs_of(settings: Settings, cast: Cast) -> Needs:
    """What the judges need from the prompts."""
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
    """Write the parts to data/cast; `cast` is None where the answers are in files and no model
    plays a part."""
    parts: dict[str, Any] = dict.fromkeys(("base", "targets", "proxy", "oracle", "scorers"))
    needs, likeness = Needs(), Likeness(adds_labels=settings.asks_people)
    if cast is None and settings.asks_people:
        parts["oracle"] = _judge_json(_cast_judge(settings.oracle, settings))
    if cast is not None:
        parts = _parts(cast)
        needs = needs_of(settings, cast)
        names = sorted({cast.base.name, *(target.name for target in cast.targets)})
        own = {name: role for name in names if (role := settings.judged_by_itself(name))}
        likeness = Likeness(tuple(sorted(settings.identical_policies)), own, adds_labels=True)
    for name, part in (parts | {"needs": asdict(needs), "likeness": asdict(likeness)}).items():
        write_part(name, part)


def _cast_judge(judge: Judge, settings: Settings) -> CastJudge:
    if judge.model == HUMAN:
        return CastJudge(HUMAN, load_rubric(judge.rubric, judge.rubric_setting))
    reads_texts = is_asked(judge.model)
    rubric = load_rubric(judge.rubric, judge.rubric_setting) if reads_texts else None
    scorer = judge.model.removeprefix(f"{LIKELIHOOD}/")
    place = address_of(scorer, settings.address(scorer))
    # A judge that reads texts is called through the chat interface only.
    if reads_texts or not scorer.startswith("server/"):
        return CastJudge(judge.model, rubric, place)
    template = settings.chat_template
    return CastJudge(judge.model, rubric, place, template, template and template_sum(template))


def _placed(policy: Policy) -> Policy:
    """The policy with its address and its template's checksum, which the settings do not
    contain."""
    found = policy.chat_template and template_sum(policy.chat_template)
    place = address_of(policy.model, policy.base_url)
    return policy.model_copy(update={"base_url": place, "template_sum": found})


def _judge_route(model: str, settings: Settings) -> Policy | None:
    """A judge on a server as a policy, with its address and template; None for other judges."""
    scorer = model.removeprefix(f"{LIKELIHOOD}/")
    if not scorer.startswith("server/"):
        return None
    template = None if scorer == model else settings.chat_template
    return Policy(
        name=model, model=scorer, temperature=None, top_p=None, max_tokens=1,
        base_url=settings.base_url, chat_template=template,
    )  # fmt: skip


def _parts(cast: Cast) -> dict[str, Any]:
    """The parts of the players, as data/cast has them."""
    return {
        "base": cast.base.model_dump(mode="json"),
        "targets": [target.model_dump(mode="json") for target in cast.targets],
        "proxy": _judge_json(cast.proxy),
        "oracle": _judge_json(cast.oracle),
        "scorers": {name: _judge_json(judge) for name, judge in cast.scorers.items()},
    }


def _unsettled(parts: dict[str, Any]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """What does not depend on the settings alone, by part, name and model of each player."""
    found = {}
    for part, played in parts.items():
        players = played if isinstance(played, list) else (played or {}).values()
        players = [played] if part in ("base", "proxy", "oracle") else players
        for player in filter(None, players):
            key = part, player.get("name", part), player["model"]
            found[key] = tuple(player.get(field) for field in ("base_url", "template_sum"))
    return found


def _judge_json(judge: CastJudge) -> dict[str, Any]:
    rubric = judge.rubric and {"name": judge.rubric.name, "text": judge.rubric.text}
    return {
        "model": judge.model,
        "base_url": judge.base_url,
        "chat_template": judge.chat_template,
        "template_sum": judge.template_sum,
        "rubric": rubric,
    }


def _judge(found: dict[str, Any]) -> CastJudge:
    rubric = found["rubric"] and parse_rubric(found["rubric"]["name"], found["rubric"]["text"])
    place = found["base_url"], found["chat_template"], found["template_sum"]
    return CastJudge(found["model"], rubric, *place)
