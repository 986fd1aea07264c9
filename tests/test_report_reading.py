"""The page as people use it: weights, ratings behind means, links, one language, accessibility."""

import dataclasses
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bakeoff.report import Findings, write_page, write_tables
from bakeoff.report.history import Since
from bakeoff.runs.following import Board
from tests.synthetic_findings import MODELS, SUITES, eventful, synthetic_findings, synthetic_ratings
from tests.test_report_browser import browser, pytestmark, requests, texts, wait  # noqa: F401

NAMES = {
    *("English", "GPU", "GiB", "Holm", "ICC", "Krippendorff", "Bradley", "Terry", "OR", "ROUGE", "BLEU", "Python"),
    *("NVIDIA", "bootstrap", "bakeoff", "evalscope", "EvalScope", "store", "samples", "JavaScript"),
    "judge",  # the name of the judge model of these ratings
}  # fmt: skip
"""Latin words that are the same in Chinese: names of statistics, of units, of programs."""
WALK = """
for (const one of document.querySelectorAll('#bk details')) one.open = true;
const out = [], data = 'script, style, template, pre, svg, .mono, .list, .command .cap a';
const walker = document.createTreeWalker(document.getElementById('bk'), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, parent = node.parentElement;
  if (!node.textContent.trim() || parent.closest(data)) continue;
  if (parent.tagName === 'OPTION' ? !parent.dataset.zh : !parent.getClientRects().length) continue;
  out.push(node.textContent.trim());
}
for (const name of ['title', 'aria-label', 'placeholder'])
  for (const node of document.querySelectorAll(`#bk [${name}]`)) out.push(node.getAttribute(name));
return out;
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A run with ratings, measured noise, and everything that may happen, without anything hostile."""
    made = eventful(synthetic_findings(30, hostile=False))
    ratings = synthetic_ratings(tmp_path_factory.mktemp("ratings"), models=4, hostile=False)
    noise = {"asked_twice": 8, "same_replies": 7, "same_grades": 8, "replies_interval": [0.53, 0.98]}
    noise["grades_interval"] = [0.68, 1.0]
    noted = {"model": "gpt-oss-20b", "variant": "tuned", "suite": "ceval", "noise": noise}
    return dataclasses.replace(made, ratings=ratings, evaluations=[noted, *made.evaluations])


@pytest.fixture(scope="module")
def address(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reading")
    earlier = dataclasses.replace(synthetic_findings(30, hostile=False, seed=3), run_id="2026-02-27")
    page = write_page(findings, folder, Since.of(earlier, findings))
    write_tables(findings, folder)
    return page.as_uri()


def opened(browser: Any, address: str, language: str = "zh", theme: str = "light") -> Any:  # noqa: F811
    browser.get(address.split("#")[0])
    browser.execute_script(
        "localStorage.setItem('bakeoff-lang', arguments[0]); localStorage.setItem('bakeoff-theme', arguments[1])",
        language,
        theme,
    )
    browser.get("about:blank")
    browser.get(address)
    return browser


def seen(browser: Any) -> None:  # noqa: F811
    """Let both browsers of the page load what they show."""
    for name in ("bk-samples", "bk-evidence"):
        browser.execute_script(f"document.getElementById('{name}').scrollIntoView()")
        wait(browser, f"return document.getElementById('{name}').dataset.ready")


def test_weights_are_moved_by_keyboard_sort_the_models_and_stand_in_the_address(
    browser: Any,  # noqa: F811
    address: str,
) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, address)
    assert "取决于权重" in texts(browser, ".weights > summary")[0]
    browser.execute_script("document.querySelector('.weights > summary').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    order = "return [...document.querySelectorAll('.weighed tbody th')].map((one) => one.innerText)"
    even = browser.execute_script(order)
    people = browser.execute_script("return document.querySelector('[data-weight=people]')")
    people.send_keys(Keys.HOME)
    alone = browser.execute_script(order)
    values = (
        "return [...document.querySelectorAll('.weighed tbody tr')].map((row) => row.cells[2].dataset.points)"
    )
    suites = [float(text) for text in browser.execute_script(values) if text]
    assert suites == sorted(suites, reverse=True)
    assert alone != even
    shared = browser.current_url
    assert shared.endswith("#w=1.0")
    opened(browser, shared)
    assert browser.execute_script(order) == alone
    assert requests(browser) == []


def test_a_mean_opens_its_ratings_and_a_reply_its_dialogue_scores_and_comments(
    browser: Any,  # noqa: F811
    address: str,
    findings: Findings,
) -> None:
    opened(browser, address)
    link = "#bk-judgements td a.open"
    target = browser.execute_script(f"return document.querySelector('{link}').getAttribute('href')")
    browser.execute_script(f"document.querySelector('{link}').click()")
    wait(browser, "return document.querySelector('#bk-evidence .rated')")
    assert browser.current_url.endswith(target)
    model = browser.execute_script("return document.querySelector('[data-rated=m]').value")
    items = [item for item in findings.ratings["items"] if item["subject"] == model and not item["crisis"]]
    assert len(texts(browser, "#bk-evidence .rated")) == len(items)
    browser.execute_script("document.querySelector('#bk-evidence .rated').open = true")
    wait(browser, "return document.querySelector('#bk-evidence .reply .text')")
    body = texts(browser, "#bk-evidence .rated .open")[0]
    assert "最近总是睡不好。" in body
    assert "的回复" in body
    assert texts(browser, "#bk-evidence .rated tbody th")[:3] == ["R1", "R2", "R3"]
    assert requests(browser) == []


def test_the_page_names_no_rater(address: str, findings: Findings) -> None:
    page = Path(address.removeprefix("file://")).read_text("utf-8")
    told = json.dumps(findings.ratings, ensure_ascii=False)
    for name in ("甲", "乙", "丙"):
        assert f'"{name}"' not in told
        assert f">{name}<" not in page


def test_every_kind_of_link_leads_somewhere_and_its_address_is_the_view(browser: Any, address: str) -> None:  # noqa: F811
    opened(browser, address)
    links: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#bk a[href]')].map((one) => one.getAttribute('href'))"
    )
    anchors = {link for link in links if link.startswith("#bk-")}
    assert anchors
    for link in anchors:
        assert browser.execute_script("return document.querySelector(arguments[0]) !== null", link), link
    views = [link for link in links if re.match(r"#[srw]=", link)]
    others = {link for link in links if not link.startswith("#")}
    for link in others:
        assert (Path(address.removeprefix("file://")).parent / link).exists(), link
    assert set(links) == anchors | set(views) | others
    kinds = {re.sub(r"=[^&]*", "", link): link for link in views}
    assert len(kinds) >= 5
    for link in kinds.values():
        browser.get("about:blank")
        browser.get(address)
        browser.execute_script(
            "[...document.querySelectorAll('#bk a')].find((one) => one.getAttribute('href') === arguments[0]).click()",
            link,
        )
        place = "bk-samples" if link.startswith("#s=") else "bk-evidence"
        wait(browser, f"return document.getElementById('{place}').dataset.ready")
        shown = texts(browser, f"#{place} .sample")
        assert shown, f"{link} opens nothing"
        assert browser.current_url == address + link
        browser.get("about:blank")
        browser.get(address + link)
        wait(browser, f"return document.getElementById('{place}').dataset.ready")
        assert texts(browser, f"#{place} .sample") == shown


def quoted(findings: Findings) -> set[str]:
    """Texts of the findings that are quotations, in whatever language."""
    records = json.dumps(
        [
            findings.skipped,
            findings.comparability,
            findings.anchors,
            findings.provenance,
            [[stage.get(name) for name in ("why", "log", "facts")] for stage in findings.stages],
            [findings.events, findings.legs],
            findings.scores["why_not"].unique().tolist(),
            findings.scores["fingerprint"].unique().tolist(),
        ],
        ensure_ascii=False,
    )
    return set(re.findall(r'"((?:[^"\\]|\\.)*)"', records))


def test_a_page_holds_nothing_of_the_other_language(browser: Any, address: str, findings: Findings) -> None:  # noqa: F811
    quotations = quoted(findings)
    names = {
        *findings.models,
        *MODELS.values(),
        *SUITES,
        *NAMES,
        findings.run_id,
        *findings.samples["subset"].unique(),
    }
    known = sorted(
        {word for name in names for word in (name, *re.findall(r"[A-Za-z]+", name))}, key=len, reverse=True
    )
    opened(browser, address, "zh")
    seen(browser)
    foreign = []
    for text in browser.execute_script(WALK):
        if any(quotation in text or text in quotation for quotation in quotations if len(quotation) > 2):
            continue
        rest = re.sub(
            r"[\w.-]+\.(csv|json|md|tex|parquet)|sha256:\w+|model:judge|/(tuned|base)\b|CUDA out of memory",
            "",
            text,
        )
        for name in known:
            rest = rest.replace(name, "")
        if words := re.findall(r"[A-Za-z]{2,}", rest):
            foreign.append((text, words))
    # letters of significance groups are no words
    foreign = [(text, words) for text, words in foreign if not re.fullmatch(r"[A-Z]+|[a-z]{1,3}", text)]
    assert foreign == []
    opened(browser, address, "en")
    seen(browser)
    chinese = [
        text for text in browser.execute_script(WALK) if re.search(r"[\u3000-\u9fff\uff00-\uffef]", text)
    ]
    assert set(chinese) <= {"中文", "合成", findings.ratings["study"]["title"]}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker, from the package registry; skips where it cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on PATH, so axe-core cannot be fetched")
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run([npm, "pack", "axe-core@4"], cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"axe-core cannot be fetched: {error}")
    with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as package:
        script = package.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_has_no_serious_fault_of_accessibility(
    browser: Any,  # noqa: F811
    address: str,
    axe: str,
    theme: str,
) -> None:
    opened(browser, address, "en", theme)
    seen(browser)
    browser.execute_script("for (const one of document.querySelectorAll('#bk details')) one.open = true")
    assert faults(browser, axe, "#bk") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_live_page_has_no_serious_fault_of_accessibility(
    browser: Any,  # noqa: F811
    axe: str,
    tmp_path: Path,
    theme: str,
) -> None:
    cells = [("a", "", "train"), ("a", "base", "ceval"), ("b", "tuned", "ceval")]
    board = Board(cells, {}, lambda: 0.0, chinese=theme == "dark")
    board.log.append("a: train: done")
    stages: list[dict[str, object]] = [
        {"event": "stage", "model": "a", "stage": "train", "outcome": "failed"},
        {"event": "progress", "model": "b", "variant": "tuned", "stage": "ceval", "how_far": "7 of 9"},
    ]
    for event in stages:
        board.take(event)
    page = tmp_path / "live.html"
    page.write_text(board.page(ended="ended"), encoding="utf-8")
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        browser.get(page.as_uri())
        assert faults(browser, axe, "html") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def faults(browser: Any, axe: str, within: str) -> list[Any]:  # noqa: F811
    """What axe-core calls serious or critical on the page that is open."""
    browser.execute_script(axe)
    browser.set_script_timeout(120)
    found = browser.execute_async_script(
        "const done = arguments[1];"
        "axe.run(arguments[0], {resultTypes: ['violations']}).then((result) => done(result.violations.map("
        "(one) => [one.impact, one.id, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))])))",
        within,
    )
    return [one for one in found if one[0] in ("serious", "critical")]
