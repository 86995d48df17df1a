"""Which policies differ, policy by policy."""

from dataclasses import dataclass

from cje.results.report.axis import WIDTH, Axis, differences_axis
from cje.results.rows import DifferenceRow
from cje.results.view import RunView
from cje.results.words import differences_title

Cells = list[DifferenceRow | str]


@dataclass(frozen=True)
class Comparisons:
    """All pairs, both ways round: a row of `cells` a policy, each with a difference, or with
    `itself` or `refused`. `title` and `axis` are of the differences from the base."""

    cells: list[tuple[str, Cells]]
    title: str
    axis: Axis
    width: int = WIDTH


def comparisons(view: RunView) -> Comparisons:
    """The comparisons of a run."""

    def cell(a: str, b: str) -> DifferenceRow | str:
        return "itself" if a == b else view.difference(a, b) or "refused"

    cells = [(a, [cell(a, b) for b in view.policies]) for a in view.policies]
    title = differences_title(view.against_base, view.base)
    return Comparisons(cells, title, differences_axis(view.against_base))
