"""The labelling page in a browser: labelled from start to end by keyboard, safe and accessible."""

import threading

import pandas as pd
import pytest

from browser import chromium as chromium
from cje.labelling.kept import Labels
from cje.labelling.page import Page
from cje.labelling.session import Session
from cje.settings import parse_settings

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
PHONE = {"width": 390, "height": 844}
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}שלום"
SETTINGS = {
    "policies": {"base": {"model": "sim/base"}, "better": {"model": "sim/better"}},
    "base_model": "base",
    "target_models": ["better"],
    "oracle_model": "human",
}
ANSWERS = ["first", HOSTILE, "third " * 400, "", "x" * 900]


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"id": [*"bcdfg"], "answer": ANSWERS}).assign(
        uid=[*"12345"], prompt=HOSTILE, reference=[HOSTILE, *[None] * 4], raters=1, policies=None
    )
    session = Session(rows, Labels(), parse_settings(SETTINGS))
    page = Page(session, "Judge well.\n" * 5, "ann", 0)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    yield page
    page.shutdown()
    page.server_close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labelling_from_start_to_end(chromium, served, scheme):
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme)
    page, faults = context.new_page(), []
    page.on("console", lambda line: faults.append(line.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))

    def press(*keys: str) -> None:
        page.wait_for_timeout(300)  # a key right after an answer came was meant for the one before
        for key in keys:
            page.keyboard.press(key)

    def said(words: str, counts: str) -> None:
        page.get_by_role("status").get_by_text(words, exact=True).wait_for()
        assert page.locator("#counts").inner_text().startswith(counts)

    def fits() -> None:
        found = axe.Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.goto(served.address)
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.get_by_label("Your name").input_value() == "ann"
    fits()
    press("Enter")
    page.locator("#answer", has_text="first").wait_for()
    assert page.locator("#prompt").text_content() == HOSTILE
    assert page.locator("#reference").text_content() == HOSTILE
    page.locator("#known summary").click()
    page.locator("#rubric summary").click()
    fits()
    press("7")
    said("Kept 7.", "1 of 5 done")
    assert page.locator("#answer").text_content() == HOSTILE
    assert page.evaluate("document.images.length") == 0
    press(".", *"7,5", "Enter")
    said("Kept 7,5.", "2 of 5 done")
    press("s")
    page.get_by_role("dialog").wait_for()
    fits()
    press("2")
    said("Skipped.", "3 of 5 done")
    page.get_by_text("The answer is empty.").wait_for()
    fits()
    press("u")
    said("Taken back: label it again.", "2 of 5 done")
    assert page.locator("#answer").text_content() == ANSWERS[2]
    press("n", *"odd", "Enter", "t")
    said("Kept 10.", "3 of 5 done")
    press(".", *"99", "Enter")
    page.get_by_role("alert").get_by_text("outside oracle_range [0, 10]").wait_for()
    fits()
    assert "409" in faults.pop()  # the browser's own line of the label that was refused
    page.locator("#number").fill("")
    page.get_by_role("button", name="3", exact=True).click()
    said("Kept 3.", "4 of 5 done")
    fits()  # an answer of one long word
    press("0")
    page.get_by_role("heading", name="Nothing is left for you to label").wait_for()
    page.get_by_text("All answers of the list are done.").wait_for()
    fits()
    context.close()
    assert not faults
    labels = Labels()
    given = [labels.ratings(name) for name in "bcdfg"]
    assert given == [[7.0], [7.5], [10.0], [3.0], [0.0]] and labels.notes("d") == "odd"
    assert len(labels.marks) == 7  # with the skip that was taken back
