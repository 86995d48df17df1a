"""Whether any of a model's first replies is usable: where none is, the others are not paid for."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from cje.models.requests import Outcome, Reply
from cje.models.rows import Verdict
from cje.settings import Policy, show_value
from cje.vocabulary import counted

FIRST_ANSWERS = 20  # of a policy, after which it is seen whether any is usable
LEAST_ANSWERS = 5  # fewer say nothing
FIRST_VERDICTS = {"proxy_score": 20}  # of a judge; of the oracle 10
LEAST_VERDICTS = 3
REMEDIES = {
    "cut": "Set a larger max_tokens than {} (for a model that thinks first much larger), or, where "
    "cut answers are meant, guard_rails.max_truncated: 1.",
    "refused": "Use other prompts, or another model.",
    "empty": "Send one of the prompts to the model by hand, and look at its reply.",
}


def useless_answers(outcomes: list[Outcome], policy: Policy, accept_cut: bool) -> str | None:
    """Why a policy's other answers must not be paid for: none of the first is usable."""
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    kinds = Counter(_flaw(reply, accept_cut) for reply in replies)
    usual = kinds.most_common(1)[0][0] if kinds else None
    if usual is None or None in kinds or len(replies) < LEAST_ANSWERS:
        return None
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return (
        f"{policy.name}: none of its first {counted(len(replies), 'answer')} is usable: {counts}. "
        f"{REMEDIES[usual].format(policy.max_tokens)} "
        f"No others were asked for; these are kept.{_shown(replies)}"
    )


def useless_verdicts(name: str, verdicts: list[Verdict], replies: list[Reply]) -> str:
    """Why a judge is asked no more: nothing that it says can be read."""
    counted = Counter(verdict.reason for verdict in verdicts).most_common(3)
    lines = [f"\n  {count} x {reason}" for reason, count in counted]
    said = f"\nThree of its replies:{_shown(replies)}" if replies else ""
    return (
        f"{name}: none of its first {len(verdicts)} verdicts contains a score; no others were "
        f"asked for, and these are kept.{''.join(lines)}{said}\nName another judge, or a larger "
        "judge_max_tokens for one that thinks first"
    )


def _flaw(reply: Reply, accept_cut: bool) -> str | None:
    """What makes an answer unusable: cut, refused or empty; None for a usable one."""
    if reply.finish_reason == "length":
        return None if accept_cut and reply.text is not None else "cut"
    if reply.finish_reason == "refusal":
        return "refused"
    return "empty" if reply.text is None or not reply.text.strip() else None


def _shown(replies: Iterable[Reply]) -> str:
    """Three replies, a line each; where there is a thought alone, that."""
    return "".join(f"\n  {_said(reply)}" for reply in islice(replies, 3))


def _said(reply: Reply) -> str:
    if reply.text is None and reply.reasoning:
        return f"no text, after the thought {show_value(reply.reasoning)}"
    return show_value(reply.text or "")
