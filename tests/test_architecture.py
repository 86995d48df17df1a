"""What the code is made of, and that the page on it says so."""

import sys
from graphlib import TopologicalSorter

from pipeline import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import architecture


def test_no_package_imports_one_above_it():
    graph = architecture.uses()
    for box in graph:
        architecture.reachable(box, graph)  # ends the program where a box uses itself
    assert graph["stats"] == {architecture.BASE}
    assert graph["data"] == {"settings", architecture.BASE}
    assert graph["settings"] == {architecture.BASE}
    assert not graph["models"] & {"stats", "pipeline", "results"}


def test_no_module_imports_one_that_imports_it():
    TopologicalSorter(architecture.imports()).prepare()  # CycleError names the circle


def test_the_page_shows_the_packages_as_they_are():
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert architecture.with_picture(page) == page, "run scripts/architecture.py"
    for box in architecture.uses():
        assert f"| `{box}` |" in page or box == architecture.BASE
