"""The page in a real browser: what a reader sees, and that nothing is asked of the network."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bakeoff.report import section, write_page
from tests import synthetic_findings as synthetic
from tests.synthetic_findings import HOSTILE, eventful, synthetic_findings

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is not installed (pip install '.[test]')"
)
CHROMIUM, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not on PATH")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
    "--lang=zh-CN",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"intl.accept_languages": "zh-CN"})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(synthetic_findings(60), tmp_path_factory.mktemp("reports")).as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Any:
    """The page, freshly opened, with what the browser remembered of earlier tests forgotten."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(address)
    browser.execute_script("localStorage.clear()")
    browser.get(address)
    return browser


def wait(browser: Any, script: str, timeout_s: float = 20) -> Any:
    """What *script* returns, once that is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := browser.execute_script(script):
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {script}")


def browse(browser: Any) -> None:
    """Scroll to the sample browser and wait for its first page."""
    browser.execute_script("document.getElementById('bk-samples').scrollIntoView()")
    wait(browser, "return document.querySelectorAll('#bk-samples .sample').length")


def texts(browser: Any, selector: str) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)", selector
    )
    return found


def choose(browser: Any, name: str, value: str) -> None:
    browser.execute_script(
        "const one = document.querySelector(`[data-pick=${arguments[0]}]`); one.value = arguments[1];"
        "one.dispatchEvent(new Event(one.tagName === 'INPUT' ? 'input' : 'change'))",
        name,
        value,
    )


def requests(browser: Any) -> list[str]:
    messages = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("file:", "data:", "blob:"))]


def test_nothing_is_fetched_and_the_console_stays_empty(opened: Any) -> None:
    browse(opened)
    assert requests(opened) == []
    assert opened.get_log("browser") == []


def test_a_script_in_a_reply_stays_text(opened: Any) -> None:
    browse(opened)
    choose(opened, "text", "window.hacked")
    wait(
        opened,
        "const all = document.querySelectorAll('.sample'); if (all.length !== 1) return false;"
        "all[0].open = true; return all[0].querySelector('.reply')",
    )
    replies = texts(opened, ".reply .text")
    assert any(HOSTILE in reply for reply in replies)
    assert HOSTILE in texts(opened, ".sample .question")[0]
    assert opened.execute_script("return window.hacked") is None


def test_the_switch_changes_every_word_and_is_remembered(opened: Any) -> None:
    assert texts(opened, "h1")[0] == "模型对比"
    opened.execute_script("document.querySelector('[data-bk=lang]').click()")
    assert texts(opened, "h1")[0] == "Model comparison"
    assert opened.execute_script("return document.documentElement.lang") == "en"
    hidden = opened.execute_script(
        "return [...document.querySelectorAll('.bakeoff [lang=zh]')].filter((one) => one.offsetParent).length"
    )
    assert hidden == 0
    opened.refresh()
    assert texts(opened, "h1")[0] == "Model comparison"


def test_the_theme_switches_both_ways(opened: Any) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(colour)
    opened.execute_script("document.querySelector('[data-bk=theme]').click()")
    assert opened.execute_script(colour) != before
    opened.execute_script("document.querySelector('[data-bk=theme]').click()")
    assert opened.execute_script(colour) == before


def test_the_filter_leaves_the_questions_it_names(opened: Any) -> None:
    browse(opened)
    choose(opened, "filter", "disagree")
    marks = opened.execute_script(
        "return [...document.querySelectorAll('.sample')].map((s) => new Set([...s.querySelectorAll('.marks i')]"
        ".map((i) => i.classList.contains('right'))).size)"
    )
    assert marks
    assert set(marks) == {2}
    choose(opened, "filter", "right")
    assert opened.execute_script("return document.querySelectorAll('.marks i:not(.right)').length") == 0
    choose(opened, "filter", "all")
    choose(opened, "text", "不会出现的词")
    wait(opened, "return document.querySelectorAll('.sample').length === 0")
    assert texts(opened, ".where") == ["没有符合条件的题"]
    choose(opened, "text", "window.hacked")
    wait(opened, "return document.querySelectorAll('.sample').length === 1")


def test_another_suite_and_another_page_can_be_opened(opened: Any) -> None:
    browse(opened)
    choose(opened, "suite", "psyqa")
    wait(opened, "return document.getElementById('bk-samples').dataset.ready === 'psyqa'")
    first = texts(opened, ".sample .no")
    assert len(first) == 20
    opened.execute_script("document.querySelector('[data-go=\"1\"]').click()")
    assert not set(first) & set(texts(opened, ".sample .no"))


def test_a_phone_needs_no_sideways_scrolling_of_the_page(opened: Any) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.refresh()
        browse(opened)
        assert opened.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_command_is_copied_as_it_stands(opened: Any) -> None:
    opened.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    opened.execute_script(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
        "document.querySelector('.command [data-bk=copy]').click()"
    )
    shown = opened.execute_script("return document.querySelector('.command pre').textContent")
    assert wait(opened, "return window.copied") == shown
    assert shown.startswith("CUDA_VISIBLE_DEVICES=6 python -m swift.cli.sft")
    opened.execute_script("window.copied = ''; document.querySelector('[data-bk=copy-all]').click()")
    script = wait(opened, "return window.copied")
    assert script.startswith(shown)
    assert len(script.splitlines()) > 2


def test_the_section_heads_the_page_of_pytest_html(browser: Any, tmp_path: Path) -> None:
    fragment = section(synthetic_findings(15, suites=("ceval",)))
    (tmp_path / "section.html").write_text(fragment, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\n"
        "def pytest_html_results_summary(prefix):\n"
        "    prefix.append(Path('section.html').read_text(encoding='utf-8'))\n"
    )
    (tmp_path / "test_two.py").write_text("def test_fine(): pass\ndef test_broken(): assert 0\n")
    command = "-m pytest --html=out.html --self-contained-html --rootdir=. -c /dev/null -p no:cacheprovider"
    subprocess.run(
        [sys.executable, *command.split()], cwd=tmp_path, capture_output=True, timeout=300, check=False
    )
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get((tmp_path / "out.html").as_uri())
    wait(browser, "return document.querySelector('.bk-pytest')")
    assert browser.execute_script("return document.body.firstElementChild.id") == "bk"
    assert browser.execute_script("return document.querySelector('.bk-pytest').open"), (
        "failures must be in view"
    )
    assert "1 失败" in texts(browser, ".bk-pytest > summary")[0]
    assert len(texts(browser, "#results-table .collapsible")) == 2
    assert requests(browser) == []
    assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A report whose page holds a part of its questions, with the rest beside it."""
    from bakeoff.report import samples, write_tables

    before = samples.BUDGET_BYTES, samples.pack.__defaults__
    samples.pack.__defaults__ = (12_000,)
    try:
        findings = synthetic_findings(300, models=2, suites=("ceval",), hostile=False)
        folder = tmp_path_factory.mktemp("partial")
        page = write_page(findings, folder)
        write_tables(findings, folder)
    finally:
        samples.pack.__defaults__ = before[1]
    return page


def shown_count(browser: Any) -> int:
    return int(
        wait(browser, "return document.querySelector('#bk-samples .where').innerText.match(/[0-9,]+/)?.[0]")
        .replace(",", "")
    )  # fmt: skip


def test_a_number_opens_its_evidence_all_of_it_and_the_address_is_the_view(
    browser: Any, partial: Path
) -> None:
    findings = synthetic_findings(300, models=2, suites=("ceval",), hostile=False)
    browser.get(partial.as_uri())
    link = "#bk-scores td .value a.open"
    assert browser.execute_script("return document.querySelector('script[data-partial]') !== null")
    view = browser.execute_script(f"return document.querySelector('{link}').getAttribute('href')")
    browser.execute_script(f"document.querySelector('{link}').click()")
    wait(browser, "return document.getElementById('bk-samples').dataset.ready")
    model, variant = browser.execute_script("return document.querySelector('[data-pick=model]').value").split(
        "/"
    )
    samples = findings.samples
    own = samples[(samples["model"] == model) & (samples["variant"] == variant)]
    assert shown_count(browser) == int((~(own["correct"] >= 0.5)).sum())
    address = browser.current_url
    assert address.endswith(view)
    browser.get("about:blank")
    browser.get(address)
    wait(browser, "return document.getElementById('bk-samples').dataset.ready")
    assert shown_count(browser) == int((~(own["correct"] >= 0.5)).sum())
    assert requests(browser) == []


def test_no_number_opens_an_empty_list_and_what_loads_on_the_way_moves_no_place(
    browser: Any, tmp_path: Path
) -> None:
    """Scores of 0 and 100 and pairs that never differ have evidence, too."""
    findings = synthetic_findings(24, models=2, suites=("ceval", "cmmlu"), hostile=False, awkward=False)
    share = {"ceval": 1.0, "cmmlu": 0.0}
    for table, column in ((findings.samples, "correct"), (findings.scores, "value")):
        table[column] = table["suite"].map(share)
    browser.get(write_page(findings, tmp_path).as_uri())
    views = "[...new Set([...document.querySelectorAll('a.open')].map((a) => a.getAttribute('href')))]"
    all_views = browser.execute_script(f"return {views}")
    assert len(all_views) >= 12
    for view in all_views:
        browser.execute_script(
            "document.getElementById('bk-samples').dataset.ready = '';"
            "document.querySelector(`a.open[href='${arguments[0]}']`).click()",
            view,
        )
        wait(browser, "return document.getElementById('bk-samples').dataset.ready")
        assert shown_count(browser) > 0, view
    top = "return Math.abs(document.getElementById('bk-samples').getBoundingClientRect().top) < 120"
    assert wait(browser, top)


def test_without_side_files_the_page_is_complete_on_its_own_and_says_so(
    browser: Any, partial: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "index.html"
    shutil.copyfile(partial, alone)
    browser.get(alone.as_uri() + "#s=ceval&f=disagree")
    wait(browser, "return document.getElementById('bk-samples').dataset.ready")
    assert 0 < shown_count(browser) < 300
    assert "samples" in browser.execute_script(
        "return document.querySelector('#bk-samples .whole').innerText"
    )
    browser.get_log("browser")


def test_twelve_names_of_seventy_characters_stay_on_the_paper(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        (f"{letter}x" * 70 if letter < "g" else f"心理咨询模型{letter}" * 10)[:70]
        for letter in "abcdefghijkl"
    ]
    monkeypatch.setattr(synthetic, "MODELS", {name: f"owner/{name}" for name in names})
    monkeypatch.setattr(synthetic, "_ABILITY", {key: two * 2 for key, two in synthetic._ABILITY.items()})
    findings = eventful(synthetic_findings(20, models=12, suites=("ceval", "psyqa")))
    browser.get(write_page(findings, tmp_path).as_uri())
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 717, "height": 1040, "deviceScaleFactor": 1, "mobile": False}  # A4 without its margins
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    wide = (
        "return [...document.querySelectorAll('.bakeoff section *')].filter((one) => one.offsetWidth"
        " && one.getBoundingClientRect().right > innerWidth + 6).map((one) => one.tagName + one.className)"
    )
    try:
        for _ in ("zh", "en"):
            browser.execute_script("document.querySelector('[data-bk=lang]').click()")
            assert browser.execute_script(wide) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
