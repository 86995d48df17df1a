"""Checks: instructions of a prompt that a program decides, in the spirit of IFEval.

A prompt's checks are JSON text, `[{"check": "bullets", "exactly": 3}, {"check": "no_commas"}]`. The
kinds are in `cje.judging.checks.kinds`, what an answer must do to pass each in
`cje.judging.checks.instructions`. An answer without visible text passes no check, not even one that
forbids something.

Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models.
"""

from collections.abc import Sequence
from typing import Literal

from cje.errors import CJEError
from cje.judging.checks.descriptions import describe
from cje.judging.checks.instructions import holds
from cje.judging.checks.kinds import Check
from cje.judging.checks.language import need_package
from cje.judging.checks.specification import parse_checks, write_checks
from cje.judging.checks.text import Answer

__all__ = ["Check", "check_packages", "counted", "describe", "failed", "parse_checks", "passes",
           "share", "utility", "write_checks"]  # fmt: skip

Rule = Literal["share", "all", "form"]
RULES: tuple[Rule, ...] = ("share", "all", "form")


def passes(check: Check, answer: str) -> bool:
    """Whether the answer keeps the instruction; never for an answer without visible text."""
    read = Answer(answer)
    return not read.blank and holds(check, read)


def counted(checks: Sequence[Check], rule: Rule) -> list[Check]:
    """The checks that the rule looks at: `form` leaves out those about what the text says."""
    return [check for check in checks if rule != "form" or check.of_form]


def failed(checks: Sequence[Check], answer: str) -> list[Check]:
    """The checks that the answer fails; all of them if it has no visible text."""
    read = Answer(answer)
    return [check for check in checks if read.blank or not holds(check, read)]


def utility(checks: Sequence[Check], answer: str, rule: Rule) -> float:
    """The answer's utility on [0, 1] by the rule: `share` of the checks passed, `all` of them, or
    the share of those of `form`, blind to what the text says.

    Raises CJEError for another rule, where the rule has no check to look at, and as
    `check_packages`.
    """
    if rule not in RULES:
        raise CJEError(f"there is no rule '{rule}' for checks; there are {', '.join(RULES)}")
    checks = counted(checks, rule)
    if not checks:
        raise CJEError("an answer has no utility without checks")
    return share(len(checks) - len(failed(checks, answer)), len(checks), rule)


def share(passed: int, count: int, rule: Rule) -> float:
    """The utility of an answer by how many of the checks that the rule looks at it passes."""
    return float(passed == count) if rule == "all" else passed / count


def check_packages(checks: Sequence[Check]) -> None:
    """Raise CJEError where a check needs a package that is not installed."""
    for check in checks:
        if check.check == "language":
            need_package(check.is_)
