"""The page put together: one file that asks for nothing else."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cje.errors import CJEError, disk_problem
from cje.results import answer, words
from cje.results.report.answers import answers as pack_answers
from cje.results.report.axis import WIDTH, estimates_axis
from cje.results.report.calibration import calibration_curve, calibration_facts
from cje.results.report.comparisons import comparisons
from cje.results.report.configuration import about, policies_shown, settings_shown
from cje.results.report.headline import headline
from cje.results.report.provenance import provenance
from cje.results.report.redaction import redacted
from cje.results.report.slices import slices
from cje.results.theme import page_colours
from cje.results.view import RunView, findings
from cje.stats.estimators import FEWEST_LABELS
from cje.thresholds import GOOD_ESS

SCRIPTS = (
    "unpacking.js", "elements.js", "numbers.js", "scrolling.js", "address.js", "list.js",
    "tokens.js", "detail.js",
)  # fmt: skip
STYLE = "page.css"


def write_report(view: RunView, path: Path, *, answers: int = 5000) -> None:
    """Write the run as one HTML file that needs no network and no other file.

    `answers`: the prompts at most whose answers can be looked through; 0: none. The same run gives
    the same bytes. Raises CJEError where `answers` is below 0 or the file cannot be written.
    """
    if answers < 0:
        raise CJEError(f"--answers: {answers} is not allowed; give 0 or more")
    page = render(view, answers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        problem = disk_problem(error) or f"{path}: {error.strerror or error}; give another --out"
        raise CJEError(problem) from error


def render(view: RunView, count: int) -> str:
    """The page's HTML."""
    run = view.run
    environment = Environment(
        loader=PackageLoader("cje.results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join(asset(name) for name in SCRIPTS)
    style = page_colours() + asset(STYLE)
    return environment.get_template("page.html").render(
        words=words,
        redacted=redacted,
        script=Markup(script),
        style=Markup(style),
        policy=Markup(
            f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        view=view,
        headline=headline(view),
        question=answer.question(view),
        about={policy: about(run, policy) for policy in view.policies},
        axis=estimates_axis(view.estimates),
        width=WIDTH,
        calibration=calibration_facts(view),
        curve=calibration_curve(view),
        thresholds=run.settings.thresholds,
        good_ess=max(GOOD_ESS, run.settings.thresholds["caution_ess"]),
        truth=answer.truth(view),
        issues=findings(view.issues),
        notes=findings(view.notes),
        comparisons=comparisons(view),
        slices=slices(view),
        fewest_labels=FEWEST_LABELS,
        settings=settings_shown(run),
        policies=policies_shown(run),
        provenance=provenance(run),
        answers=pack_answers(view, count),
    )


def asset(name: str) -> str:
    """The text of a file of the page."""
    return files("cje.results.report").joinpath("assets", name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """The source expression that lets a Content-Security-Policy admit this very text."""
    found = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(found).decode('ascii')}"
