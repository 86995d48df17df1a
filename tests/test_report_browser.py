"""The report in a browser: quiet, quick, for every reader, and safe whatever answers say."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from browser import chromium as chromium
from cje.results.report import write_report
from cje.results.run import Run
from cje.results.view import RunView
from cje.settings import load_settings
from reported import write_run
from test_report import HOSTILE

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
NAMES = ("better", "clone", "<img/src=x>onerror=alert(1)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run") / "run", policies=NAMES, texts=HOSTILE)
    write_report(RunView(opened(folder)), folder / "report.html")
    return folder


@pytest.fixture
def show(chromium) -> Callable:
    """Opens a page that must ask for nothing, and say nothing on its console."""
    contexts, faults = [], []

    def opener(path: Path, **options):
        context = chromium.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda line: faults.append(line.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda asked: faults.append(asked.url) if asked.url != path.as_uri() else None,
        )
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert not faults


def opened(folder: Path) -> Run:
    return Run(folder, load_settings(folder / "params.yaml"))


def status(page, words: str) -> None:
    page.get_by_role("status").get_by_text(words, exact=True).wait_for()


def until(page, words: str) -> None:
    """Waits for JavaScript to be true; Playwright's own way is what the page forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(words):
        assert time.monotonic() < end, words
        page.wait_for_timeout(20)


def listed(page) -> list[int]:
    return [int(row.get_attribute("data-prompt")) for row in page.locator("#list button").all()]


def test_search_filter_and_sort(show, folder):
    page, logs = show(folder / "report.html"), opened(folder).logs
    status(page, "45 prompts found")
    page.get_by_label("Search prompts and answers").fill("question 17:")
    status(page, "1 prompt found")
    assert listed(page) == [17]
    page.get_by_label("Search prompts and answers").fill(logs["answer"][20].upper())
    page.wait_for_selector("#list button[data-prompt='20']")
    assert 20 in listed(page)
    page.get_by_label("Search prompts and answers").fill("nobody said this")
    status(page, "No prompt matches.")
    page.get_by_label("Search prompts and answers").fill("")
    labels = logs["oracle_score"].fillna(logs["validation_score"])
    labelled = labels.notna()
    assert logs["oracle_score"].notna().sum() < labelled.sum() < len(logs)
    page.locator("#labelled").select_option("labelled")
    status(page, f"{labelled.sum()} prompts found")
    page.get_by_label("Sort by").select_option("judge against oracle")
    gaps = (logs["calibrated_reward"] - labels).abs()[labelled]
    page.wait_for_selector(f"#list li:first-child [data-prompt='{gaps.idxmax()}']")
    page.locator("#labelled").select_option("all")
    page.get_by_label("Sort by").select_option("judge score")
    page.get_by_label("Direction").select_option("lowest first")
    order = list(logs["judge_raw"].sort_values().index)
    page.wait_for_selector(f"#list li:first-child [data-prompt='{order[0]}']")
    assert listed(page) == order[:20]
    page.get_by_role("button", name="Next").click()
    assert listed(page) == order[20:40]


def test_why_an_answer_has_its_score(show, folder):
    page, run = show(folder / "report.html"), opened(folder)
    for place in (20, 21, 22):
        page.locator("#search").fill(f"question {place}:")
        page.locator(f"#list [data-prompt='{place}']").click()
        page.get_by_role("heading", name=f"Prompt {place + 1} of 45").wait_for()
        uid = run.logs["uid"][place]
        cards = [("#detail > .reasons", run.logs.iloc[place])]
        for row, policy in enumerate(NAMES, 1):
            mine = run.draws[(run.draws["uid"] == uid) & (run.draws["policy"] == policy)]
            cards.append((f"#detail .card:nth-child({row}) .reasons", mine.iloc[0]))
        for shown, answer in cards:
            words = page.locator(shown).inner_text()
            assert answer["judge_reason"] in words
            known = isinstance(answer["oracle_reason"], str)
            assert (answer["oracle_reason"] in words) if known else ("oracle" not in words)


def test_an_address_opens_an_answer_and_keeps_the_search(show, folder):
    page, run = show(folder / "report.html"), opened(folder)
    page.locator("#search").fill("question 3")
    until(page, "!/^45 |Reading/.test(document.getElementById('status').textContent)")
    page.get_by_label("Sort by").select_option("judge score")
    page.get_by_label("Numbers of").select_option(NAMES[2])
    page.get_by_label("Direction").select_option("lowest first")
    until(page, "/sort=judge_raw.*direction=up.*group=/.test(location.hash)")
    order, words = listed(page), page.get_by_role("status").inner_text()
    assert 5 < len(order) < 20
    page.locator("#list button").nth(4).click()
    page.get_by_role("heading", name=f"Prompt {order[4] + 1} of 45").wait_for()
    page.locator("nav a[href='#comparisons']").click()
    until(page, "/search=/.test(location.hash)")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    status(page, words)
    assert listed(page) == order and page.locator("#search").input_value() == "question 3"
    assert page.locator("#group option:checked").inner_text() == NAMES[2]
    page.get_by_role("heading", name=f"Prompt {order[4] + 1} of 45").wait_for()
    assert page.locator("#list [aria-current]").get_attribute("data-prompt") == str(order[4])
    link = page.get_by_label(f"Permanent link to the answer of {NAMES[2]}")
    address = page.evaluate("link => link.href", link.element_handle())
    other = show(folder / "report.html")
    other.evaluate("address => { location.href = address; }", address)
    linked = other.locator(".linked")
    linked.wait_for()
    assert NAMES[2] in linked.inner_text()
    drawn = run.draws[run.draws["uid"].eq(run.logs["uid"][order[4]])]
    assert linked.locator(".text").text_content() == drawn["answer"].iloc[2]
    until(
        other,
        "Math.abs(document.querySelector('.linked').getBoundingClientRect().top) < innerHeight",
    )
    other.evaluate("location.hash = '#prompt=nobody'")
    other.get_by_text("The prompt nobody is not among the 45 prompts of this page.").wait_for()


def test_weights_and_fresh_answers_of_a_policy(show, folder):
    page, known = show(folder / "report.html"), opened(folder)
    page.get_by_label("Numbers of").select_option("better")
    page.get_by_label("Sort by").select_option("weight")
    weights = known.weights["better"].reindex(known.logs["uid"]).to_numpy()
    place = int(np.argmax(weights))
    page.wait_for_selector(f"#list li:first-child [data-prompt='{place}']")
    assert f"weight {weights[place]:.3f}" in page.locator("#list li").first.inner_text()
    page.get_by_label("Numbers of").select_option("base, logged")
    assert page.locator("#sort option:checked").inner_text() == "table order"


def test_the_keyboard_does_everything(show, folder):
    page = show(folder / "report.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Prompt 3 of 45").wait_for()
    assert page.evaluate("document.activeElement.id") == "detail"
    page.locator(".tokens [tabindex='0']").focus()
    page.keyboard.press("End")
    assert page.locator(".readout").inner_text().startswith("12. ")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".readout").inner_text().startswith("11. ")


def test_token_ratios_are_those_of_the_tables(show, folder):
    page, known = show(folder / "report.html"), opened(folder)
    log = known.logs.iloc[30]
    page.get_by_label("Search prompts and answers").fill("question 30:")
    status(page, "1 prompt found")
    page.locator("#list button").click()
    page.get_by_role("heading", name="Prompt 31 of 45").wait_for()
    for policy in NAMES:
        page.get_by_label("Compare with policy").select_option(policy)
        rows = known.target_logps
        target = rows[(rows["uid"] == log["uid"]) & (rows["policy"] == policy)].iloc[0]
        wanted = target["token_logprobs"] - log["token_logprobs"]
        spans = page.locator(".tokens .token").all()
        told = [span.get_attribute("data-ratio") for span in spans]
        assert [span.inner_text() for span in spans] == list(log["tokens"])
        numbers = np.array([-np.inf if ratio == "x" else int(ratio) / 100 for ratio in told])
        fine = np.isfinite(wanted)
        assert (
            np.abs(numbers[fine] - wanted[fine]).max() <= 0.01 and np.isneginf(numbers[~fine]).all()
        )
        total = page.locator(".total").inner_text().replace("\N{MINUS SIGN}", "-")
        if fine.all():
            assert f"Sum over the answer: {numbers.sum():+.2f} nats" in total
            assert abs(numbers.sum() - wanted.sum()) <= 0.005 + 1e-9
        else:
            assert "One token is impossible" in total and "its exact weight is 0" in total
            assert "outside" in spans[3].get_attribute("class")


def test_policies_without_log_probabilities_say_so(show, tmp_path):
    folder = write_run(tmp_path / "run", logps=False, labels=False, source="files")
    write_report(RunView(opened(folder)), folder / "report.html")
    page = show(folder / "report.html")
    page.get_by_text("no log-probabilities of this answer under better").wait_for()


def test_hostile_answers_are_text(show, folder):
    page = show(folder / "report.html")
    for place, text in enumerate(HOSTILE):
        page.locator(f"#list [data-prompt='{place}']").click()
        page.get_by_role("heading", name=f"Prompt {place + 1} of 45").wait_for()
        shown = page.locator("#detail > .text")
        if text:
            assert [shown.nth(n).text_content() for n in (0, 1)] == [text, text]
        else:
            words = "No answer." if text is None else "The answer is empty."
            page.locator("#detail > .notice", has_text=words).wait_for()
    assert page.evaluate("document.images.length") == 0


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
def test_accessibility(show, folder, scheme, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = show(folder / "report.html", viewport=size, color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#list button").nth(8).click()
    page.get_by_label("Compare with policy").select_option(NAMES[2])
    found = axe.Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_phone_scrolls_one_way(show, folder, tmp_path):
    policies = tuple(f"{'a-long-name-' * 4}{n}" for n in range(22))
    write_run(tmp_path / "run", policies=policies)
    write_report(RunView(opened(tmp_path / "run")), tmp_path / "report.html")
    for path in (folder / "report.html", tmp_path / "report.html"):
        page = show(path, viewport=PHONE)
        for summary in page.locator("summary").all():
            summary.click()
        for width in (800, 1150, PHONE["width"]):
            page.set_viewport_size(PHONE | {"width": width})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#comparisons .scroll")
        hint = page.locator("#comparisons .scroll-hint")
        wide = box.evaluate("box => box.scrollWidth > box.clientWidth")
        assert hint.is_visible() == wide == ("more" in box.get_attribute("class"))
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        until(page, "!document.querySelector('#comparisons .scroll.more')")


def test_the_scale_of_the_ranking_stays_in_sight_on_a_phone(show, folder):
    page = show(folder / "report.html", viewport=PHONE)
    label = page.locator(".ranking thead text").last
    page.locator(".ranking tbody tr").last.evaluate(
        "row => row.scrollIntoView({behavior: 'instant'})"
    )
    box = label.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] < 60 and box["height"] >= 15
    assert box["x"] + box["width"] <= PHONE["width"]


def test_print_is_light_and_without_controls(show, folder):
    page = show(folder / "report.html", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 254, 251)"
    for hidden in (".controls", "nav", ".found"):
        assert not page.locator(hidden).first.is_visible()
    for shown in ("h1", ".ranking", ".matrix", ".tokens"):
        assert page.locator(shown).first.is_visible()
    assert page.get_by_text("oracle_fraction", exact=True).first.is_visible()
    for paper in ("A4", "Letter"):
        pages = re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(format=paper))
        assert 3 <= len(pages) <= 8


def test_without_javascript_all_but_the_answers_reads(show, folder):
    page = show(folder / "report.html", java_script_enabled=False)
    assert page.locator("noscript").is_visible()
    assert page.locator(".ranking").is_visible() and not page.locator("#answers").is_visible()


def test_five_thousand_prompts_are_quick(show, tmp_path):
    folder = write_run(tmp_path / "run", prompts=5000, policies=tuple("abcdef"), length=12)
    write_report(RunView(opened(folder)), folder / "report.html")
    start = time.monotonic()
    page = show(folder / "report.html")
    assert time.monotonic() - start < 6
    page.get_by_label("Search prompts and answers").fill("question 4321:")
    status(page, "1 prompt found")
    took = page.evaluate(
        """() => {
          const search = document.getElementById("search");
          const times = ["q", "qu", "que", "what", "zzz"].map((words) => {
            const start = performance.now();
            search.value = words;
            search.dispatchEvent(new Event("input", { bubbles: true }));
            return performance.now() - start;
          });
          return Math.max(...times);
        }"""
    )
    assert took < 400
