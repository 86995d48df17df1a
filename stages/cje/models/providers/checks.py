"""The provider `checks/...`: judges that decide a prompt's machine-checkable instructions.

checks/share gives the share of a prompt's checks that its answer passes, checks/all gives 1 where
it passes all of them and else 0, checks/form the share of those of its form: a linter, which does
not read what the text says, and has no score for a prompt without such a check. See
`cje.judging.checks`. Exact, free, and the same every time.
"""

import json
from collections.abc import Collection

import pandas as pd

from cje.data.schemas import NO_ANSWER
from cje.errors import CJEError
from cje.judging.checks import (
    RULES,
    Check,
    Rule,
    check_packages,
    counted,
    describe,
    failed,
    parse_checks,
    share,
)
from cje.models.provider import Judging

NO_CHECKS = "the prompt has no checks"
NO_FORM_CHECKS = "the prompt has no check of form"


class ChecksJudge:
    """See `cje.models.provider.Judge`."""

    def check(self, name: str) -> None:
        _rule(name)

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        """As `Judge.judge`; `answers` has `checks`, too, JSON text or null. The reason of a
        score names the checks that fail.

        Raises CJEError for a judge that does not exist, where the column is missing, and for
        malformed checks, with the row's `uid` where there is one.
        """
        rule = _rule(name)
        low, high = how.score_range
        parsed = _parse(answers)
        scores, reasons = [], []
        for text, answer in zip(_texts(answers, "checks"), _texts(answers, "answer"), strict=True):
            checks = [] if text is None else counted(parsed[text], rule)
            if checks and answer is not None:
                missed = failed(checks, answer)
                unit = share(len(checks) - len(missed), len(checks), rule)
                scores.append(low + (high - low) * unit)
                reasons.append(_reason(missed, len(checks)))
            else:
                scores.append(float("nan"))
                why = NO_CHECKS if text is None else NO_ANSWER if checks else NO_FORM_CHECKS
                reasons.append(why)
        frame = pd.DataFrame({"score": pd.Series(scores, dtype="float64")})
        return frame.assign(reason=pd.Series(reasons, dtype=object))


def check_prompts(prompts: pd.DataFrame, rules: Collection[str] = ()) -> int:
    """Validate the checks of every prompt (`uid`, `checks`) for judges of these rules; how many
    prompts have none.

    To be called before the first answer is paid for. Raises CJEError that names the prompt and
    what is wrong with its checks, where no prompt has any that a rule looks at, and where a check
    needs a package that is not installed.
    """
    parsed = _parse(prompts)
    if not parsed:
        raise CJEError(
            "checks/...: no prompt has checks; give the prompts a column 'checks', or another judge"
        )
    for rule in map(_rule, rules):
        if not any(counted(checks, rule) for checks in parsed.values()):
            raise CJEError(
                f"checks/{rule}: no prompt has a check that it looks at; give the prompts such "
                "checks, or another judge"
            )
    for checks in parsed.values():
        check_packages(checks)
    return sum(text is None for text in _texts(prompts, "checks"))


def _rule(name: str) -> Rule:
    """The rule that a judge's name is; raises CJEError where there is no such judge."""
    for rule in RULES:
        if rule == name:
            return rule
    known = ", ".join(f"checks/{rule}" for rule in RULES)
    raise CJEError(f"checks/{name}: there is no such judge; there are {known}")


def _reason(missed: list[Check], count: int) -> str:
    """Why an answer has its score: how many of its checks hold, and those that fail."""
    if not missed:
        return "The one check holds." if count == 1 else f"All {count} checks hold."
    some = "The one check" if count == 1 else f"{len(missed)} of {count} checks"
    fails = "fails" if len(missed) == 1 else "fail"
    return f"{some} {fails}: {' '.join(map(describe, missed))}"


def _parse(frame: pd.DataFrame) -> dict[str, tuple[Check, ...]]:
    """The checks by their text, each text parsed once."""
    if "checks" not in frame:
        raise CJEError("checks/...: the prompts have no column 'checks': give them one")
    uids = frame["uid"] if "uid" in frame else range(len(frame))
    kind = "prompt" if "uid" in frame else "row"
    parsed: dict[str, tuple[Check, ...]] = {}
    for uid, text in zip(uids, _texts(frame, "checks"), strict=True):
        if text is not None and text not in parsed:
            parsed[text] = parse_checks(text, f"checks of {kind} {uid}")
    return parsed


def _texts(frame: pd.DataFrame, column: str) -> list[str | None]:
    """The column's texts, None where null; what is not text counts as the JSON that it is."""
    texts = []
    for value in frame[column].tolist():
        if value is None or isinstance(value, str):
            texts.append(value)
        elif value is pd.NA or value != value:
            texts.append(None)
        else:
            texts.append(json.dumps(value, ensure_ascii=False))
    return texts


JUDGE = ChecksJudge()
