"""The page as people use it: two raters, keyboard and mouse, a closed tab, a phone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from judge_app import HOSTILE, ROOT, App, free_port, judge, study, verdict

from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.submissions import Judgement

pytest.importorskip("gradio", reason="the judge needs gradio: pip install 'bakeoff[judge]'")
pytest.importorskip("selenium", reason="the browser test needs selenium")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]
PASSWORDS = {"anna": "anna's password", "boris": "boris's password", "owner": "owner's password"}
CHOSEN = "return [...document.querySelectorAll('.scores input:checked')].map((point) => point.value)"
POINTS = '[data-row$="/{row}"] input[value="{value}"]'


class Browser:
    """One headless Chromium with a profile of its own."""

    def __init__(self, profile: Path, language: str, size: tuple[int, int]) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for switch in (
            "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
            f"--user-data-dir={profile}", f"--accept-lang={language}", f"--window-size={max(size[0], 500)},{size[1]}",
        ):  # fmt: skip
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def wait(self, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        trouble = (NoSuchElementException, StaleElementReferenceException)
        return WebDriverWait(self.driver, 60, 0.1, trouble).until(lambda _: condition())

    def one(self, selector: str) -> Any:
        return self.wait(
            lambda: next(
                (e for e in self.driver.find_elements("css selector", selector) if e.is_displayed()), None
            )
        )

    def text(self, selector: str) -> str:
        return str(self.one(selector).text)

    def sign_in(self, app: App, name: str) -> None:
        self.driver.get(app.url)
        self.one('input[type="password"]')
        self.one(
            "label:nth-of-type(1) input, input[autocomplete='username'], input[type='text'], textarea"
        ).send_keys(name)
        self.one('input[type="password"]').send_keys(PASSWORDS[name])
        self.one("button.primary, button[type='submit'], form button, .gradio-container button").click()
        if name != "owner":
            start = self.wait(
                lambda: next(
                    iter(self.driver.find_elements("css selector", ".welcome .submit, .screen .bar")), None
                )
            )
            if start.tag_name == "button":
                start.click()
            self.one(".desk .bar")

    def tab(self, name: str) -> None:
        def named() -> Any:
            tabs = self.driver.find_elements("css selector", "button[role=tab], .overflow-dropdown button")
            called = [tab for tab in tabs if name in (tab.get_attribute("data-both") or "")]
            if called and not called[0].is_displayed():  # where tabs are more than the window takes
                self.driver.find_element("css selector", ".overflow-menu > button").click()
            return next((tab for tab in called if tab.is_displayed()), None)

        self.wait(named).click()

    def count(self) -> str:
        return str(self.wait(lambda: self.text(".desk .count")))  # empty while the page is being drawn

    def click(self, row: str, value: object) -> None:
        # The radio itself is invisible; what a person hits is the label around it.
        self.wait(lambda: self.driver.find_element("css selector", POINTS.format(row=row, value=value)))
        self.driver.find_element("css selector", POINTS.format(row=row, value=value)).click()

    def keys(self, text: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(text).perform()

    def is_crisis(self) -> bool:
        return bool(self.driver.find_elements("css selector", ".desk .crisis-flag"))

    def foreign_requests(self) -> list[str]:
        sent = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("http://127.0.0.1", "data:", "blob:", "chrome:"))]


@contextmanager
def browser(folder: Path, language: str = "zh-CN", size: tuple[int, int] = (1360, 900)) -> Iterator[Browser]:
    opened = Browser(folder, language, size)
    try:
        yield opened
    finally:
        opened.driver.quit()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("judge")
    raters = Raters(folder / "raters.json")
    for name, password in PASSWORDS.items():
        raters.add(name, password, owner=name == "owner")
    (folder / "study.json").write_text(study(3, 2, repeats=0.2).to_json(), encoding="utf-8")
    with judge(
        folder / "ratings.sqlite", "--study", folder / "study.json", "--raters", raters.path
    ) as running:
        yield running


def test_two_raters_score_close_the_tab_resume_and_the_store_holds_what_they_clicked(
    app: App, tmp_path: Path
) -> None:
    store = RatingStore(app.store)
    clicked: dict[str, list[dict[str, Any]]] = {"anna": [], "boris": []}

    def by_mouse(page: Browser, start: int) -> None:
        crisis = page.is_crisis()
        chosen: dict[str, Any] = {name: (start + n) % 5 + 1 for n, name in enumerate(DIMENSIONS)}
        for name, value in chosen.items():
            page.click(name, value)
        for name in CRISIS_CHECKS if crisis else ():
            chosen[name] = name != "points_to_help"
            page.click(name, str(chosen[name]).lower())
        page.click("confidence", 2)
        page.one(".comments summary").click()
        chosen["strengths"] = f"<b onclick=x>{start}</b> \"好\" & 'x'"
        page.one('[data-comment="strengths"]').send_keys(chosen["strengths"])
        before = page.count()
        page.one("button.submit").click()
        page.wait(lambda: page.driver.find_elements("css selector", ".desk.done") or page.count() != before)
        clicked["anna"].append(chosen | {"confidence": 2})

    def by_keyboard(page: Browser, points: str) -> None:
        from selenium.webdriver.common.keys import Keys

        crisis, before = page.is_crisis(), page.count()
        page.keys(points + ("yny" if crisis else "") + "4" + Keys.ENTER)
        page.wait(lambda: page.driver.find_elements("css selector", ".desk.done") or page.count() != before)
        chosen: dict[str, Any] = dict(zip(DIMENSIONS, map(int, points), strict=True)) | {"confidence": 4}
        clicked["boris"].append(
            chosen | (dict(zip(CRISIS_CHECKS, (True, False, True), strict=True)) if crisis else {})
        )

    with browser(tmp_path / "anna") as anna, browser(tmp_path / "boris", "en-US") as boris:
        anna.sign_in(app, "anna")
        boris.sign_in(app, "boris")
        assert "0 / 7" in anna.count()
        assert "0 of 7" in boris.count()
        shown = anna.text(".desk .reply .text")
        assert "<script>window.hacked=1</script>" in shown
        by_mouse(anna, 0)
        by_keyboard(boris, "12345")
        by_mouse(anna, 1)
        by_keyboard(boris, "54321")
        anna.keys("34")  # and before the page's next look at what is unsent:
        anna.driver.execute_script("window.open('about:blank')")
        anna.driver.close()  # the tab with the study
        anna.driver.switch_to.window(anna.driver.window_handles[0])
        anna.wait(lambda: store.rows("SELECT 1 FROM draft WHERE rater_id = 'anna'"))
        anna.driver.get(app.url)
        assert "2 / 7" in anna.count()
        assert anna.driver.execute_script(CHOSEN) == ["3", "4"]
        for start in range(2, 7):
            by_mouse(anna, start)
        assert anna.one(".desk.done .card")
        assert "2 of 7" in boris.count()
        assert [page.driver.execute_script("return window.hacked") for page in (anna, boris)] == [None, None]
        assert anna.foreign_requests() == []
    with browser(tmp_path / "boris2", "en-US") as boris:
        boris.sign_in(app, "boris")
        assert "2 of 7" in boris.count()
        for points in ("33333", "12121", "55555", "11111", "23232"):
            by_keyboard(boris, points)
        assert boris.foreign_requests() == []
    for name, chosen in clicked.items():
        rows = [row for row in store.judgements("trial") if row["judge_id"] == name]
        assert [{key: row[key] for key in wanted} for row, wanted in zip(rows, chosen, strict=True)] == chosen
        ids = [item.item_id for screen in range(7) for item in store.items("trial", name, screen)]
        assert [row["item_id"] for row in rows] == ids


def test_an_incomplete_form_is_not_sent_and_says_what_is_missing(app: App, tmp_path: Path) -> None:
    Raters(app.store.with_name("raters.json")).add("chen", PASSWORDS.setdefault("chen", "chen's password"))
    with browser(tmp_path / "chen") as page:
        page.sign_in(app, "chen")
        page.keys("44")
        page.one("button.submit").click()
        assert "实用性" in page.wait(lambda: page.text(".notice.bad"))
        assert "0 / 7" in page.count()
        page.one(".cannot input").click()
        page.one("button.submit").click()
        page.wait(lambda: "1 / 7" in page.count())
        page.one("button.back").click()
        assert page.one(".corrected")
    assert [r["outcome"] for r in RatingStore(app.store).judgements() if r["judge_id"] == "chen"] == [
        "cannot_judge"
    ]


def test_the_owner_sees_results_with_names_and_no_script_of_a_comment_runs(app: App, tmp_path: Path) -> None:
    store = RatingStore(app.store)
    store.enrol("trial", "seed")
    while (screen := store.next_screen("trial", "seed")) is not None:
        (item,) = store.items("trial", "seed", screen)
        said = verdict(3, crisis=store.study("trial").case(item.case_id).crisis, weaknesses=HOSTILE)
        store.record("seed", f"seed-screen-{screen}", {item.item_id: Judgement.parse(said)})
    with browser(tmp_path / "owner", "en-US") as page:
        page.sign_in(app, "owner")
        page.tab("Results")
        page.wait(lambda: "m0/tuned" in page.text(".results"))
        assert "Crisis cases" in page.text(".results .part.crisis h2")
        page.one(".results .lang").click()
        page.wait(lambda: "危机个案" in page.text(".results .part.crisis h2"))
        assert HOSTILE in page.driver.execute_script("return document.querySelector('.results').textContent")
        assert page.driver.execute_script("return window.hacked") is None
        assert page.foreign_requests() == []


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A judge without sign-in, and three models to talk with."""
    folder = tmp_path_factory.mktemp("talking")
    program = [sys.executable, str(ROOT / "tests" / "fakes" / "judge_service.py")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{service.stdout.readline().strip()}/v1"
        names = ("counsellor", "counsellor-400", "counsellor-slow")
        try:
            with judge(folder / "r.sqlite", "--services", *(f"{name}={url}" for name in names)) as running:
                yield running
        finally:
            service.terminate()


def test_a_talk_streams_as_plain_text_and_is_scored_and_no_other_can_be_scored_for_it(
    talking: App, tmp_path: Path
) -> None:
    with browser(tmp_path / "p") as page:

        def choose(name: str) -> None:
            page.one("input[role=listbox], .wrap input").click()

            def options() -> list[Any]:
                shown = page.driver.find_elements("css selector", "li[role=option], ul[role=listbox] li")
                return [option for option in shown if option.text.replace("✓", "").strip() == name]

            page.wait(options)  # the list is there before its texts are
            options()[0].click()

        def said() -> list[str]:
            return [one.text.strip() for one in page.driver.find_elements("css selector", ".message")]

        def score() -> dict[str, Any]:
            before = len(RatingStore(talking.store).judgements())
            for name in DIMENSIONS:
                page.click(name, 3)
            page.one(".desk.chat .bar .submit").click()
            page.wait(lambda: page.text(".desk.chat .notice") == "已保存")
            rows = RatingStore(talking.store).judgements()
            assert len(rows) == before + 1
            return dict(rows[-1])

        page.driver.get(talking.url)
        page.one(".no-study")
        page.tab("Chat")
        page.one("input.name").send_keys("anna")
        page.one(".desk.chat .submit").click()
        page.one(".desk.chat .points")
        box = page.one("textarea[data-both*='Enter']")
        box.send_keys(HOSTILE + "\n")
        page.wait(lambda: page.text(".message.bot").strip() == f"我听到你说：{HOSTILE}")
        row = score()
        assert page.driver.execute_script("return window.hacked") is None
        assert (
            page.driver.execute_script("return document.querySelectorAll('.message img[src=x]').length") == 0
        )
        assert (row["judge_id"], row["model"], row["safety"]) == ("anna", "counsellor", 3)
        assert [turn["content"] for turn in json.loads(row["detail"])["messages"]] == [
            HOSTILE,
            f"我听到你说：{HOSTILE}",
        ]

        # A message that failed, and a change of model, leave nothing that could be scored wrongly.
        choose("counsellor-400")
        page.wait(lambda: said() == [])
        box.send_keys("睡不着\n")
        page.wait(lambda: "HTTP 400" in page.text(".trouble"))
        assert said() == []
        assert box.get_attribute("value") == "睡不着"
        choose("counsellor-slow")
        page.wait(lambda: not page.driver.find_elements("css selector", ".trouble"))
        box.send_keys("了\n")
        page.wait(lambda: "我" in "".join(said()[1:]))
        choose("counsellor")
        page.wait(lambda: said() == [])
        box.send_keys("你好\n")
        page.wait(lambda: said()[-1:] == ["我听到你说：你好"])
        row = score()
        page.one(".new-talk").click()
        page.wait(lambda: said() == [])
        assert row["model"] == "counsellor"
        assert [turn["content"] for turn in json.loads(row["detail"])["messages"]] == [
            "你好",
            "我听到你说：你好",
        ]


def test_after_a_restart_of_the_server_one_signs_in_again_and_the_draft_is_there(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    raters.add("anna", PASSWORDS["anna"])
    (tmp_path / "study.json").write_text(study(2, 2).to_json(), encoding="utf-8")
    options = ("--study", tmp_path / "study.json", "--raters", raters.path)
    port = free_port()
    with browser(tmp_path / "p") as page:
        with judge(tmp_path / "r.sqlite", *options, port=port) as app:
            page.sign_in(app, "anna")
            crisis = page.is_crisis()
            for name in DIMENSIONS:
                page.click(name, 4)
            for name in CRISIS_CHECKS if crisis else ():
                page.click(name, "true")
            page.one(".comments summary").click()
            page.one('[data-comment="strengths"]').send_keys("一段很长的意见")
            app.kill()
        with judge(tmp_path / "r.sqlite", *options, port=port) as app:
            page.one("button.submit").click()
            page.wait(lambda: "请重新登录" in page.text(".notice"))
            assert RatingStore(app.store).judgements() == []
            page.one(".sign-in").click()
            page.sign_in(app, "anna")
            assert page.one('[data-comment="strengths"]').get_attribute("value") == "一段很长的意见"
            before = page.count()
            page.one("button.submit").click()
            page.wait(lambda: page.count() != before)
            (row,) = RatingStore(app.store).judgements()
    assert (row["strengths"], [row[name] for name in DIMENSIONS]) == ("一段很长的意见", [4] * 5)


NAMES_OVER_POINTS = """
return [...document.querySelectorAll('.desk fieldset.row')].filter((row) => {
  const range = document.createRange();
  range.selectNodeContents(row.querySelector('legend'));
  return range.getBoundingClientRect().right > row.querySelector('.points').getBoundingClientRect().left;
}).map((row) => row.dataset.row)
"""


def test_on_a_phone_nothing_is_wider_than_the_screen(app: App, tmp_path: Path) -> None:
    Raters(app.store.with_name("raters.json")).add("dora", PASSWORDS.setdefault("dora", "dora's password"))
    with browser(tmp_path / "dora", "zh-CN", (390, 844)) as page:
        page.sign_in(app, "dora")
        for other in ("English", "中文"):
            page.wait(lambda other=other: page.text(".desk .lang") == other)
            page.one(".desk .points")
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
            assert page.driver.execute_script(NAMES_OVER_POINTS) == []
            target = page.driver.execute_script(
                "return document.querySelector('.desk .points span').getBoundingClientRect().height"
            )
            assert target >= 44
            page.one(".desk .lang").click()
        # The owner's tabs are reached there, too: what stands above them covers none.
        page.driver.delete_all_cookies()
        page.sign_in(app, "owner")
        page.tab("Studio")
        page.one(".studio .own-cases summary").click()
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390


def test_long_replies_scroll_beside_the_rubric(tmp_path: Path) -> None:
    blind = study(2, 2)
    long = json.loads(blind.to_json())
    for reply in long["replies"]:
        reply["shown"] = "很长的回复。\n" * 300
    (tmp_path / "study.json").write_text(json.dumps(long), encoding="utf-8")
    options = ("--study", tmp_path / "study.json")
    with judge(tmp_path / "ratings.sqlite", *options) as app, browser(tmp_path / "profile") as page:
        page.driver.get(app.url)
        page.one("input.name").send_keys("anna")
        page.one(".desk .submit").click()
        page.one(".welcome .submit").click()
        page.one(".desk .left")
        left, window = page.driver.execute_script(
            "const box = document.querySelector('.desk .left');"
            "return [box.scrollHeight / box.clientHeight, document.documentElement.scrollHeight / window.innerHeight]"
        )
        assert left > 3
        assert window < 1.2
        assert page.one("button.submit").is_displayed()
