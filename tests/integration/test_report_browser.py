"""Reports in a real browser: nothing is fetched, nothing fails, everything is drawn and fits."""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from headrace.perf.constants import load_constants
from headrace.report.validation import validation_page
from headrace.report.write import write_page, write_report
from headrace.validation.cells import by_cell, pairs_of
from headrace.validation.points import load_points
from tests.report.synthetic import REAL, SMALL, write_run

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = ("one", "many", "plan", "validation")
INKED = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.some(value => value > 0);
}"""
OUTSIDE = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .u-wrap'))
  .map(e => e.outerHTML.slice(0, 100))"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.integration,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason="no chromium here: apt-get install chromium"
    ),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    runs = [write_run(folder / "simulated", SMALL), write_run(folder / "real", REAL)]
    (folder / "plan").mkdir()
    shutil.copy(runs[1] / "plan.json", folder / "plan")
    return {
        "one": write_report(runs[:1], folder / "one.html"),
        "many": write_report(runs, folder / "many.html"),
        "plan": write_report([folder / "plan"], folder / "plan.html"),
        "validation": write_page(_validation(), folder / "validation.html"),
    }


def _validation() -> str:
    points = load_points(Path(__file__).parents[1] / "data" / "points.csv")
    pairs, unsupported = pairs_of(points, load_constants())
    cells = sorted(by_cell(pairs), key=len)
    return validation_page([*cells[0], *cells[-1]], unsupported, "points.csv", "headrace validate")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, **options: object) -> Page:
    page = browser.new_page(**options)
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_fetched_and_nothing_fails(browser, reports, name):
    page, asked, said = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(reports[name].as_uri())
    page.wait_for_timeout(300)
    assert [url for url in asked if not url.startswith("data:")] == [reports[name].as_uri()]
    assert said == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_chart_is_drawn(browser, reports, name, scheme):
    page = opened(browser, reports[name], color_scheme=scheme)
    places = page.locator("[data-chart]")
    canvases = page.locator("[data-chart] canvas")
    assert canvases.count() == places.count() > 0
    assert all(canvases.nth(i).evaluate(INKED) for i in range(canvases.count()))
    page.close()


@pytest.mark.parametrize("width", [1280, 768, 390, 360])
@pytest.mark.parametrize("name", PAGES)
def test_it_fits_the_width(browser, reports, name, width):
    page = opened(browser, reports[name], viewport={"width": width, "height": 800})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    page.close()


@pytest.mark.parametrize("width", [1280, 1024, 768, 390, 360])
def test_predicted_and_measured_are_read_without_scrolling(browser, reports, width):
    page = opened(browser, reports["one"], viewport={"width": width, "height": 800})
    hidden = page.locator(".proof .scroll").evaluate("e => e.scrollWidth - e.clientWidth")
    assert hidden <= 0
    page.close()


def test_charts_follow_the_window(browser, reports):
    page = opened(browser, reports["one"], viewport={"width": 1280, "height": 800})
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function(
        """() => [...document.querySelectorAll('[data-chart]')]
            .every(place => place.querySelector('.uplot').offsetWidth <= place.clientWidth)"""
    )
    page.close()


def test_values_are_shown_under_the_pointer(browser, reports):
    page = opened(browser, reports["one"])
    place = page.locator('[data-chart="throughput"]')
    place.scroll_into_view_if_needed()
    assert place.locator(".tip").is_hidden()
    place.locator(".u-over").hover()
    text = place.locator(".tip").inner_text()
    assert "Total tok/s: " in text
    assert "Output tok/s: " in text
    page.mouse.move(0, 0)
    assert place.locator(".tip").is_hidden()
    page.close()


def test_the_plans_points_say_their_configuration(browser, reports):
    page = opened(browser, reports["plan"])
    page.locator('[data-chart="pareto"] .u-over').hover()
    assert "TP 1" in page.locator('[data-chart="pareto"] .tip').inner_text()
    page.close()


def test_a_measured_row_says_its_error_under_the_pointer(browser, reports):
    page = opened(browser, reports["validation"])
    place = page.locator("[data-chart]").first
    place.scroll_into_view_if_needed()
    place.locator(".u-over").hover()
    text = place.locator(".tip").inner_text()
    assert "Measured, ms: " in text
    assert re.search(r"Predicted, band (holds|misses): ", text)
    assert re.search(r"TP\s\d; [+-][\d.]+\s%", text)
    page.close()


def test_colours_follow_the_scheme(browser, reports):
    page = opened(browser, reports["one"], color_scheme="light")
    chart = page.locator('[data-chart="throughput"] canvas')
    light = chart.evaluate("canvas => canvas.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    dark = page.locator('[data-chart="throughput"] canvas').evaluate("c => c.toDataURL()")
    assert light != dark
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
    page.close()


def test_a_dark_page_is_printed_light(browser, reports, tmp_path):
    page = opened(browser, reports["one"], color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(20, 24, 31)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
    page.close()


def test_without_scripts_the_numbers_are_still_there(browser, reports):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(reports["one"].as_uri())
    assert page.locator("details table").count() >= 5
    assert "Simulated" in page.locator("h1").inner_text()
    assert page.locator("[data-chart] canvas").count() == 0
    context.close()


def test_what_assistive_technology_reads(browser, reports):
    for name in PAGES:
        page = opened(browser, reports[name])
        ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
        assert len(ids) == len(set(ids))
        levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(e => +e.tagName[1])")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        targets = page.eval_on_selector_all("nav a", "all => all.map(e => e.hash.slice(1))")
        assert set(targets) <= set(ids)
        for attribute in ("aria-labelledby", "aria-describedby"):
            named = page.eval_on_selector_all(
                f"[{attribute}]", f"all => all.map(e => e.getAttribute('{attribute}'))"
            )
            assert set(named) <= set(ids)
        page.close()
