"""The page put together: one file that asks for nothing else."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cje.errors import CJEError, disk_problem
from cje.results import words
from cje.results.report.answers import answers as pack_answers
from cje.results.report.calibration import calibration
from cje.results.report.comparisons import comparisons
from cje.results.report.configuration import policies_shown, settings_shown
from cje.results.report.headline import headline, level, question
from cje.results.report.overlap import MEANINGS, overlap
from cje.results.report.provenance import provenance
from cje.results.report.rails import rails
from cje.results.report.ranking import ranking
from cje.results.report.redaction import redacted
from cje.results.report.slices import slices
from cje.results.report.truth import truth
from cje.results.run import Run
from cje.stats.estimators import FEWEST_LABELS

SCRIPTS = (
    "unpacking.js", "elements.js", "numbers.js", "scrolling.js", "address.js", "list.js",
    "tokens.js", "detail.js",
)  # fmt: skip
STYLE = "page.css"


def write_report(run: Run, path: Path, *, answers: int = 5000) -> None:
    """Write the run as one HTML file that needs no network and no other file.

    `answers`: the prompts at most whose answers can be looked through; 0: none. The same run gives
    the same bytes. Raises CJEError where `answers` is below 0 or the file cannot be written.
    """
    if answers < 0:
        raise CJEError(f"--answers: {answers} is not allowed; give 0 or more")
    page = render(run, answers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        problem = disk_problem(error) or f"{path}: {error.strerror or error}; give another --out"
        raise CJEError(problem) from error


def render(run: Run, count: int) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=PackageLoader("cje.results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join(asset(name) for name in SCRIPTS)
    style = asset(STYLE)
    return environment.get_template("page.html").render(
        words=words,
        redacted=redacted,
        script=Markup(script),
        style=Markup(style),
        policy=Markup(
            f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        headline=headline(run),
        question=question(run),
        level=level(run),
        verdicts=words.VERDICTS,
        ranking=ranking(run),
        calibration=calibration(run),
        overlap=overlap(run),
        kinds=MEANINGS,
        thresholds=run.settings.thresholds,
        truth=truth(run),
        rails=rails(run.issues),
        notes=rails(run.notes),
        comparisons=comparisons(run),
        slices=slices(run),
        fewest_labels=FEWEST_LABELS,
        alpha=run.settings.alpha,
        cost=run.metrics("cost"),
        settings=settings_shown(run),
        policies=policies_shown(run),
        provenance=provenance(run),
        answers=pack_answers(run, count),
    )


def asset(name: str) -> str:
    """The text of a file of the page."""
    return files("cje.results.report").joinpath("assets", name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """The source expression that lets a Content-Security-Policy admit this very text."""
    found = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(found).decode('ascii')}"
