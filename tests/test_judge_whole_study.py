"""A whole study in the browser: an owner makes it, three invited raters score it, the paper pack comes out."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from judge_app import ROOT, App, free_port, judge
from test_judge_browser import CHROMIUM, DRIVER, PASSWORDS, Browser, browser

from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS

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
ODD_TABLES = (
    "return [...document.querySelectorAll('.desk table')].filter((table) => table.offsetParent && table.tHead && "
    "table.tBodies[0].rows.length && innerWidth > 820 && Math.abs(table.tHead.getBoundingClientRect().width - "
    "table.tBodies[0].getBoundingClientRect().width) > 1).map((table) => table.className || 'table')"
)
ROW_IN_VIEW = (
    "const box = document.querySelector(`[data-row$='/${arguments[0]}'] .points`).getBoundingClientRect();"
    "const at = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);"
    "return Boolean(at && at.closest(`[data-row$='/${arguments[0]}']`))"
)
LANDMARKS = "return ['main, [role=main]', 'h1'].map((each) => document.querySelectorAll(each).length)"
TAP_AND_LOOK = (
    "const radio = document.querySelector(`[data-row$='/${arguments[0]}'] input[value='${arguments[1]}']`);"
    "const box = radio.getBoundingClientRect(); radio.click();"
    "const all = [...document.querySelectorAll('.with-yes button')];"
    "const at = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);"
    "return [all.length, all.filter((each) => each.disabled).length, Boolean(at.closest('.with-yes'))]"
)
CHECKED = "return [...document.querySelectorAll('.desk .form input:checked')].map((each) => each.value)"
NAMES_AND_CONTRAST = Path(__file__).with_name("accessibility.js").read_text(encoding="utf-8")


TURNS = (
    {"role": "user", "content": "三个月睡不好了。\n\n# 标题 **粗体** <img src=x onerror=window.hacked=1>"},
    {"role": "assistant", "content": "嗯，我在听。"},
    {"role": "user", "content": "我该怎么办？"},
)
OWN_CASES = (
    {"id": "睡眠-1", "title": '失眠 "三个月" & <b>O\'Brien</b>', "topic": "睡眠", "messages": TURNS},
    {"id": "crisis-1", "title": "告别", "topic": "危机", "crisis": True, "messages": TURNS[:1]},
    {"id": "plain-1", "messages": TURNS[2:]},
)
NAMES = ('王小明 "小王"', "O'Brien <b>x</b>", "李四，心理学")
MODELS = ("counsellor", "counsellor-cut")
REASON = '两人都有道理 "引号" & <b>'


@contextlib.contextmanager
def services() -> Iterator[tuple[str, ...]]:
    """Two models that the page can ask, as its options name them."""
    program = [sys.executable, str(ROOT / "tests" / "fakes" / "judge_service.py")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            url = f"http://127.0.0.1:{service.stdout.readline().strip()}/v1"
            yield ("--services", *(f"{name}={url}" for name in MODELS))
        finally:
            service.terminate()


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
            "const done = arguments[0]; axe.run(document, {runOnly: "
            "['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            ".then((found) => done(found.violations.map((each) => [each.id, each.nodes[0].html])))"
        )
        assert broken == []
    width, window = page.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= window
    assert page.driver.execute_script(ODD_TABLES) == []


def bring_cases(page: Browser, folder: Path) -> None:
    """As the owner: bring cases of one's own and have the models answer them."""
    file = folder / "我的个案.jsonl"
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in OWN_CASES), encoding="utf-8"
    )
    page.one(".own-cases summary").click()
    page.one(".own-file").send_keys(str(file))
    page.wait(lambda: file.name in page.text(".own-cases"))
    page.one(".take-cases").click()
    page.one(".ask-models").click()
    page.one(".case-list")  # there are replies, so that a study can be made of them
    page.wait(lambda: all(f"{name}：3 / 3" in page.text(".own-cases") for name in MODELS))


def make_a_study(page: Browser, app: App, folder: Path) -> list[str]:
    """As the owner: make a study and invite three; their links."""
    page.driver.get(app.url)
    page.one("main input[type=password]")
    assert page.driver.execute_script(LANDMARKS) == [1, 1]
    is_tidy(page)
    page.sign_in(app, "owner")
    assert page.driver.execute_script(LANDMARKS) == [1, 1]
    page.tab("Studio")
    bring_cases(page, folder)
    fill(page, '[data-field="title"]', "一项研究")
    fill(page, '[data-field="training"]', "1")
    page.wait(lambda: "3 人评" in page.text(".plan"))  # hours and power follow the choices by themselves
    fill(page, '[data-field="raters"]', "4")
    page.wait(lambda: "4 人评" in page.text(".plan"))
    assert page.driver.execute_script("return document.activeElement.dataset.field") == "raters"
    fill(page, '[data-field="raters"]', "3")
    assert "没有回复" not in page.text(".plan")  # only cases with replies are ticked
    is_tidy(page)
    page.one("button.make").click()
    box = page.one(".study[open] [data-field=labels]")
    box.send_keys("\n".join(NAMES))
    page.one(".study[open] button.invite").click()
    page.wait(lambda: len(page.driver.find_elements("css selector", ".links .address")) == 3)
    assert len(page.driver.find_elements("css selector", ".links svg.qr path")) == 6
    assert [
        each.text.rpartition(" · ")[0] for each in page.driver.find_elements("css selector", ".links b")
    ] == [*NAMES]
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
    from selenium.webdriver import ActionChains
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
        # Five keys, also in a crisis. A complete form is handed in by itself; Enter is for those in a hurry.
        page.keys(digits[:-1] if page.is_crisis() else digits)
        if page.is_crisis():
            ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(digits[-1]).key_up(Keys.SHIFT).perform()
        if handed > 1:
            page.keys(Keys.ENTER)
        next_reply(page, before)
        handed += 1
    return handed


def next_reply(page: Browser, before: str) -> None:
    """Wait until another reply than *before*, or the end, is shown."""
    page.wait(
        lambda: (
            page.driver.find_elements("css selector", ".desk.done")
            or page.driver.execute_script(ANOTHER_REPLY, before)
        )
    )


def tap_through_crisis(page: Browser, digits: str, *refused: str) -> int:
    """Rate the crisis reply that is shown with taps alone, saying no to the checks *refused*; how many it took."""
    assert page.driver.execute_script(CHECKED) == []  # nothing is chosen before somebody taps
    for name in refused:
        page.click(name, "false")
    for name, digit in zip(DIMENSIONS[:-2], digits, strict=False):
        page.click(name, digit)
        assert not page.driver.find_elements("css selector", ".with-yes")
    # Where the finger is, no check is answered: neither by a second tap at once nor by a later one at the same spot.
    assert page.driver.execute_script(TAP_AND_LOOK, DIMENSIONS[-2], digits[-2]) == [5, 5, False]
    assert page.driver.execute_script(ROW_IN_VIEW, DIMENSIONS[-1])
    button = page.one(f".with-yes button:enabled[value='{digits[-1]}']")
    is_tidy(page)
    spoken = page.one(".with-yes").get_attribute("aria-label")
    names = page.driver.execute_script(
        "return arguments[0].map((key) => document.querySelector(`[data-row$='/${key}'] legend`).textContent)",
        [name for name in CRISIS_CHECKS if name not in refused],
    )
    assert all(name in spoken for name in names)  # what the tap will answer stands above it
    assert page.driver.execute_script(CHECKED) == [*digits[:-1], *("false" for _ in refused)]
    button.click()
    answers = ["false" if name in refused else "true" for name in CRISIS_CHECKS]
    assert page.driver.execute_script(CHECKED) == [*digits, *answers]
    assert page.driver.execute_script(ROW_IN_VIEW, CRISIS_CHECKS[-1])
    return len(refused) + len(digits)


def rate(page: Browser, digits: str) -> None:
    """Through a whole queue with the page's own messages, after the first reply was rated by tapping."""
    page.one(".tick .consent").click()
    page.one(".welcome .submit").click()
    page.one(".training .points")
    is_tidy(page)
    for name, digit in zip(DIMENSIONS, digits, strict=True):
        assert page.driver.execute_script(ROW_IN_VIEW, name), f"{name} has to be scrolled to"
        page.click(name, digit)
    page.one("button.submit").click()
    page.one(".feedback .submit").click()
    page.one(".desk.screen .points")
    assert in_view(page)
    is_tidy(page)
    from selenium.webdriver.common.keys import Keys

    crises = 0
    while not page.driver.find_elements("css selector", ".desk.done"):
        before = page.driver.execute_script("return document.querySelector('.desk .reply').dataset.item")
        crises += page.is_crisis()
        # The first reply to a crisis takes five taps and no more: the complete form is handed in by itself.
        by_touch, by_itself = page.is_crisis() and crises < 3, page.is_crisis() and crises == 1
        page.driver.execute_script(f"localStorage.setItem('bakeoff-auto', '{'on' if by_itself else 'off'}')")
        if by_touch:
            refused = () if by_itself else CRISIS_CHECKS[1:2]
            assert tap_through_crisis(page, digits, *refused) == 5 + len(refused)
        else:
            page.keys(digits + ("a" if page.is_crisis() else ""))
        if not by_itself:
            page.keys(Keys.ENTER)
        next_reply(page, before)
    assert crises > 1


def settle(page: Browser) -> None:
    """As the owner: read the reply that raters disagree on most, and adjudicate it."""
    page.tab("Items")
    page.wait(lambda: "分歧" in page.text(".items .chips"))
    is_tidy(page)
    page.driver.find_elements("css selector", ".items .chips button")[1].click()
    page.one(".items button.read").click()
    page.wait(lambda: "各评分者的评分" in page.text(".items"))
    for box in page.driver.find_elements("css selector", ".items select[data-key]"):
        box.send_keys("是" if "是" in box.text else "3")
    page.one(".items textarea").send_keys(REASON)
    page.one(".items button.submit").click()
    page.wait(lambda: page.text(".items .notice") == "已保存")
    is_tidy(page)


def take_pack(page: Browser) -> dict[str, str]:
    """As the owner: download the paper pack; its files as text."""
    page.tab("Results")
    page.wait(lambda: "counsellor/served" in page.text(".results .part"))
    is_tidy(page)
    page.driver.execute_script(
        "window.packs = []; URL.createObjectURL = (blob) => { const r = new FileReader();"
        "r.onload = () => window.packs.push(r.result); r.readAsDataURL(blob); return 'blob:x'; };"
    )
    page.one(".results .paper").click()
    packed = page.wait(lambda: page.driver.execute_script("return window.packs[0]"))
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed.partition(",")[2]))) as archive:
        return {name: archive.read(name).decode("utf-8-sig") for name in archive.namelist()}


def test_from_the_invitation_to_the_paper_pack(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    raters = Raters(root / "judge" / "raters.json")
    raters.add("owner", PASSWORDS["owner"], owner=True)
    ratings = root / "judge" / "ratings.sqlite"
    (root / "matrix.yaml").write_text(
        json.dumps({"models": {"m0": {"model": "m0", "suites": [], "tune": False}}}), encoding="utf-8"
    )
    port = free_port()
    with browser(tmp_path / "owner") as owner, services() as served:
        options = ("--raters", raters.path, "--matrix", root / "matrix.yaml", *served)
        with judge(ratings, *options, port=port) as app:
            links = make_a_study(owner, app, tmp_path)
            with browser(tmp_path / "a") as desktop:
                enter(desktop, links[0])
                tabs = desktop.driver.find_elements("css selector", "button[role=tab]")
                assert [tab.text for tab in tabs if tab.is_displayed()] == ["评分", "对话", "盲测对比"]
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
                hacked = phone.driver.execute_script("return window.hacked")
        with judge(ratings, *options, port=port) as app:
            with browser(tmp_path / "c", "zh-CN", (390, 664)) as phone:
                enter(phone, links[2])
                rate(phone, "22212")
            owner.driver.get(app.url)
            owner.sign_in(app, "owner")
            settle(owner)
            files = take_pack(owner)
            assert owner.foreign_requests() == []
            assert [hacked, owner.driver.execute_script("return window.hacked")] == [None, None]
            log = app.log.read_text(encoding="utf-8")
    tokens = [link.partition("#")[2] for link in links]
    assert all(len(token) == 43 for token in tokens)
    everywhere = log + "".join(
        path.read_text("latin-1") for path in sorted(ratings.parent.iterdir()) if path.is_file()
    )
    assert not [token for token in tokens if token in everywhere]
    wide: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(files["wide.csv"])))
    store = RatingStore(ratings)
    assert len(wide) == len(store.judgements()) == 21
    assert {row["rater"] for row in wide} == {"R01", "R02", "R03"}
    assert {row["case"] for row in wide} == {row["id"] for row in OWN_CASES}
    crises = [row for row in store.judgements() if row["case_id"] == "crisis-1"]
    assert [[row[name] for name in CRISIS_CHECKS] for row in crises].count([True, False, True]) == 2
    assert not [name for name in NAMES if name in "".join(files.values())]
    (settled,) = csv.DictReader(io.StringIO(files["adjudications.csv"]))
    assert REASON in settled.values()
    models = "、".join(sorted(f"{name}/served" for name in MODELS))
    assert files["methods_zh.md"].startswith(f"3 位评分者对 2 个模型（{models}）在 3 个个案")
    assert "3 位评分者在页面上签署了知情同意" in files["methods_zh.md"]
