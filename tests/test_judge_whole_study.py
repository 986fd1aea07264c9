"""A whole study in the browser: an owner makes it, three invited raters score it, the paper pack comes out."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from judge_app import App, cases, free_port, judge
from test_judge_browser import CHROMIUM, DRIVER, PASSWORDS, Browser, browser

from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Reply
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.workspace import Workspace

pytest.importorskip("gradio", reason="the judge needs gradio: pip install 'bakeoff[judge]'")
pytest.importorskip("selenium", reason="the browser test needs selenium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]

AXE = "axe-core@4.14.1"
ANOTHER_REPLY = (
    "const reply = document.querySelector('.desk.screen .reply');"
    "return reply && reply.dataset.item !== arguments[0]"
)
NAMES_AND_CONTRAST = Path(__file__).with_name("accessibility.js").read_text(encoding="utf-8")


def gathered(workspace: Workspace, count: int = 3) -> None:
    """What a run leaves of two tuned models, to cases of the user's own (the last one with several turns)."""
    asked = cases(count)
    for name in ("m0", "m1"):
        path = workspace.replies(name, "tuned")
        path.parent.mkdir(parents=True, exist_ok=True)
        made = [
            Reply(one.id, name, "tuned", f"{name} says {one.id}", "answered", case_sha=one.sha)
            for one in asked
        ]
        path.write_text(
            "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in made), encoding="utf-8"
        )
    rows = [
        {name: getattr(one, name) for name in ("id", "title", "topic", "crisis", "messages")} for one in asked
    ]
    (workspace.root / "cases.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    matrix = {
        "cases": "cases.jsonl",
        "models": {name: {"model": name, "suites": [], "tune": False} for name in ("m0", "m1")},
    }
    (workspace.root / "matrix.yaml").write_text(json.dumps(matrix), encoding="utf-8")


def fill(page: Browser, selector: str, value: str) -> None:
    box = page.one(selector)
    box.clear()
    box.send_keys(value)


@cache
def axe() -> str:
    """The script of axe-core, fetched by npm; "" where it cannot be had, and its rules are not looked at then."""
    if not (npm := shutil.which("npm")):
        return ""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError, subprocess.SubprocessError):
        options = ("--silent", "--fetch-retries=0", "--fetch-timeout=20000")
        subprocess.run([npm, "pack", *options, AXE], cwd=folder, check=True, timeout=60, capture_output=True)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            script = archive.extractfile("package/axe.min.js")
            return script.read().decode() if script else ""
    return ""


def is_tidy(page: Browser) -> None:
    """Everything has a name and can be read, and nothing is wider than the window."""
    assert page.driver.execute_script(NAMES_AND_CONTRAST) == []
    if axe():
        page.driver.execute_script(axe())
        broken = page.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
            ".then((found) => done(found.violations.map((each) => [each.id, each.nodes[0].html])))"
        )
        assert broken == []
    width, window = page.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= window


def make_a_study(page: Browser, app: App) -> list[str]:
    """As the owner: make a study and invite three; their links."""
    page.sign_in(app, "owner")
    page.tab("Studio")
    fill(page, '[data-field="title"]', "一项研究")
    fill(page, '[data-field="training"]', "1")
    page.one("button.estimate").click()
    page.wait(lambda: "人评" in page.text(".plan"))
    is_tidy(page)
    page.one("button.make").click()
    box = page.one(".study[open] [data-field=labels]")
    box.send_keys("甲\n乙\n丙")
    page.one(".study[open] button.invite").click()
    page.wait(lambda: len(page.driver.find_elements("css selector", ".links .address")) == 3)
    assert len(page.driver.find_elements("css selector", ".links svg.qr path")) == 6
    is_tidy(page)
    return [each.text for each in page.driver.find_elements("css selector", ".links .address")]


def enter(page: Browser, address: str) -> None:
    page.driver.get(address)
    page.one("#begin").click()
    page.one(".welcome .submit")


def in_view(page: Browser) -> bool:
    """Whether the start of the reply, the active row and the button are in the window together."""
    return bool(
        page.driver.execute_script(
            "return ['.reply .text', '[data-row].active', 'button.submit', '.strip li'].every((each) => {"
            "  const box = document.querySelector(each).getBoundingClientRect();"
            "  return box.top >= 0 && box.top + Math.min(box.height, 40) <= innerHeight; })"
        )
    )


def rate_by_keyboard(page: Browser, digits: str) -> int:
    """Begin with Tab and Space, then five digits a reply; how many replies were handed in."""
    from selenium.webdriver.common.keys import Keys

    for name in (".tick .consent", ".welcome .submit"):
        for _ in range(40):
            if page.driver.execute_script(f"return document.activeElement.matches('{name}')"):
                break
            page.keys(Keys.TAB)
        page.keys(Keys.SPACE)
    page.one(".training .points")
    assert in_view(page)
    page.keys(digits + Keys.ENTER)
    page.one(".feedback .submit").click()
    handed = 0
    while not page.driver.find_elements("css selector", ".desk.done"):
        page.one(".desk.screen .points")
        assert in_view(page)
        before = page.driver.execute_script("return document.querySelector('.desk .reply').dataset.item")
        # A complete form is handed in by itself; Enter is for those in a hurry.
        page.keys(digits + ("a" if page.is_crisis() else "") + (Keys.ENTER if handed > 1 else ""))
        page.wait(
            lambda before=before: (
                page.driver.find_elements("css selector", ".desk.done")
                or page.driver.execute_script(ANOTHER_REPLY, before)
            )
        )
        handed += 1
    return handed


def rate(page: Browser, digits: str) -> None:
    """Through a whole queue with the page's own messages, after the first reply was rated by tapping."""
    page.one(".tick .consent").click()
    page.one(".welcome .submit").click()
    page.one(".training .points")
    is_tidy(page)
    for name, digit in zip(DIMENSIONS, digits, strict=True):
        page.click(name, digit)
    page.one("button.submit").click()
    page.one(".feedback .submit").click()
    page.one(".desk.screen .points")
    assert in_view(page)
    is_tidy(page)
    page.driver.execute_script("localStorage.setItem('bakeoff-auto', 'off')")
    from selenium.webdriver.common.keys import Keys

    while not page.driver.find_elements("css selector", ".desk.done"):
        before = page.driver.execute_script("return document.querySelector('.desk .reply').dataset.item")
        page.keys(digits + ("a" if page.is_crisis() else "") + Keys.ENTER)
        page.wait(
            lambda before=before: (
                page.driver.find_elements("css selector", ".desk.done")
                or page.driver.execute_script(ANOTHER_REPLY, before)
            )
        )


def test_from_the_invitation_to_the_paper_pack(tmp_path: Path) -> None:
    root = tmp_path / "store"
    workspace = Workspace(root)
    gathered(workspace)
    raters = Raters(root / "judge" / "raters.json")
    raters.add("owner", PASSWORDS["owner"], owner=True)
    ratings = root / "judge" / "ratings.sqlite"
    options = ("--raters", raters.path, "--matrix", root / "matrix.yaml")
    port = free_port()
    with browser(tmp_path / "owner") as owner:
        with judge(ratings, *options, port=port) as app:
            links = make_a_study(owner, app)
            with browser(tmp_path / "a") as desktop:
                enter(desktop, links[0])
                tabs = desktop.driver.find_elements("css selector", "button[role=tab]")
                assert [tab.text for tab in tabs if tab.is_displayed()] == ["评分"]
                assert (
                    rate_by_keyboard(desktop, "44544") == 8
                )  # six replies, one shown again, one attention check
                desktop.one("button.mine").click()
                desktop.one(".own li")
                assert len(desktop.driver.find_elements("css selector", ".own li")) == 7
                desktop.driver.get(links[0])  # used: but this browser is inside already
                desktop.one("#begin").click()
                desktop.one(".desk.done")
            with browser(tmp_path / "b", "en-US", (390, 844)) as phone:
                phone.driver.get(links[0])
                phone.one("#begin").click()
                phone.wait(lambda: "has been used" in phone.text("#trouble"))
                enter(phone, links[1])
                rate(phone, "33333")
        with judge(ratings, *options, port=port) as app:
            with browser(tmp_path / "c", "zh-CN", (390, 844)) as phone:
                enter(phone, links[2])
                rate(phone, "22212")
            owner.driver.get(app.url)
            owner.sign_in(app, "owner")
            owner.tab("Items")
            owner.one(".items button.read").click()
            owner.wait(lambda: "各评分者的评分" in owner.text(".items"))
            is_tidy(owner)
            owner.tab("Results")
            owner.wait(lambda: "m0/tuned" in owner.text(".results .part"))
            owner.driver.execute_script(
                "window.packs = []; URL.createObjectURL = (blob) => { const r = new FileReader();"
                "r.onload = () => window.packs.push(r.result); r.readAsDataURL(blob); return 'blob:x'; };"
            )
            owner.one(".results .paper").click()
            held = owner.wait(lambda: owner.driver.execute_script("return window.packs[0]"))
            assert owner.foreign_requests() == []
            log = app.log.read_text(encoding="utf-8")
    tokens = [link.partition("#")[2] for link in links]
    assert all(len(token) == 43 for token in tokens)
    everywhere = log + "".join(
        path.read_text("latin-1") for path in sorted(ratings.parent.iterdir()) if path.is_file()
    )
    assert not [token for token in tokens if token in everywhere]
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(held.partition(",")[2]))) as archive:
        wide: list[dict[str, Any]] = list(
            csv.DictReader(io.StringIO(archive.read("wide.csv").decode("utf-8-sig")))
        )
        methods = archive.read("methods_zh.md").decode()
    store = RatingStore(ratings)
    assert len(wide) == len(store.judgements()) == 21
    assert {row["rater"] for row in wide} == {"R01", "R02", "R03"}
    assert methods.startswith("3 位评分者对 2 个模型（m0/tuned、m1/tuned）在 3 个个案")
    assert "3 位评分者在页面上签署了知情同意" in methods
