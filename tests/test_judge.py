"""The judge as a running program: many raters, hostile requests, sudden death."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from judge_app import HOSTILE, ROOT, App, Client, free_port, judge, session, study, verdict

from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.submissions import Judgement
from judge.__main__ import main

pytest.importorskip("gradio", reason="the judge needs gradio: pip install 'bakeoff[judge]'")

pytestmark = pytest.mark.slow  # a Gradio app is started
RATERS = {f"rater{n}": f"a long password {n}" for n in range(20)}


def command(*arguments: str | Path, stdin: str = "", cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "judge", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )


def here(*arguments: str | Path, stdin: str = "", cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, without the seconds that a fresh one takes to import everything."""
    output, complaints = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(complaints):
        patch.chdir(cwd)
        patch.setattr("sys.stdin", io.StringIO(stdin))
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), complaints.getvalue())


@pytest.fixture(scope="module")
def counsellor() -> Iterator[str]:
    program = [sys.executable, str(ROOT / "tests" / "fakes" / "judge_service.py")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.terminate()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, counsellor: str) -> Iterator[App]:
    """A judge with sign-in: twenty raters, an owner, a study of 6 cases x 2 subjects, a model to talk with."""
    folder = tmp_path_factory.mktemp("judge")
    raters = Raters(folder / "raters.json")
    for name, password in RATERS.items():
        raters.add(name, password)
    raters.add("owner", "the owner's password", owner=True)
    (folder / "study.json").write_text(study(6, 2, repeats=0.2).to_json(), encoding="utf-8")
    options = [
        "--study",
        folder / "study.json",
        "--raters",
        raters.path,
        "--services",
        f"counsellor={counsellor}",
    ]
    with judge(folder / "ratings.sqlite", *options, fresh=True) as running:
        yield running


# ------------------------------ many at once


def test_twenty_raters_at_once_lose_and_mix_nothing(app: App) -> None:
    sent: dict[str, list[tuple[str, int]]] = {name: [] for name in RATERS}
    failures: list[str] = []

    def work(number: int, name: str) -> None:
        try:
            rater = Client(app.url, name, RATERS[name])
            screen = rater.open()
            while screen["view"] == "screen":
                assert screen["rater"] == name
                mark = f"{name} screen {screen['screen']}"
                message = rater.scoring(screen, number % 5 + 1, strengths=mark)
                screen = rater.send(message)
                assert screen["view"] != "refused", screen["error"]
                rater.send(message)  # a double click
                sent[name].append((mark, number % 5 + 1))
        except Exception as error:
            failures.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=work, args=one) for one in enumerate(RATERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rows = [
        row for row in RatingStore(app.store).judgements("trial", history=True) if row["judge_id"] in RATERS
    ]
    assert Counter(row["judge_id"] for row in rows) == dict.fromkeys(RATERS, 14)
    for name, marks in sent.items():
        assert [(row["strengths"], row["empathy"]) for row in rows if row["judge_id"] == name] == marks
    # Every rater scored every reply, and each reply stood equally often at each place of its block.
    assert Counter(row["model"] for row in rows if row["repeat"] == 0) == {"m0": 120, "m1": 120}


# ------------------------------ hostile requests


def test_nobody_gets_in_without_signing_in(app: App) -> None:
    http = session()
    assert (
        http.post(
            f"{app.url}/gradio_api/run/desk", json={"data": [{"action": "open"}]}, timeout=30
        ).status_code
        == 401
    )
    for name, password in (
        ("rater1", "wrong password"),
        ("nobody", "wrong password"),
        ("rater1", ""),
        ("admin", "admin"),
    ):
        answer = http.post(f"{app.url}/login", data={"username": name, "password": password}, timeout=30)
        assert answer.status_code in (400, 422)
    assert "rater1" not in http.get(f"{app.url}/config", timeout=30).text


def test_another_rater_s_name_or_item_in_the_request_is_refused(app: App) -> None:
    anna, boris = (Client(app.url, name, RATERS[name]) for name in ("rater2", "rater3"))
    store = RatingStore(app.store)
    store.enrol("trial", "rater2")
    theirs = store.items("trial", "rater2", 0)[0]
    before = len(store.judgements(history=True))
    said = boris.send({"action": "open", "rater": "rater2"})
    assert (said["view"], "nobody hands in for another" in said["error"]) == ("refused", True)
    forged = {"action": "score", "token": "a" * 16, "verdicts": {theirs.item_id: verdict(1)}}
    assert "not in your queue" in boris.send(forged)["error"]
    # The same browser session id under another sign-in changes nothing: nothing of a rater is kept there.
    assert (anna.open()["rater"], boris.open()["rater"]) == ("rater2", "rater3")
    assert len(store.judgements(history=True)) == before


@pytest.fixture(scope="module")
def mallory(app: App) -> Client:
    """Somebody whose every message is odd, signed in once: a sign-in takes its time on purpose."""
    Raters(app.store.with_name("raters.json")).add("mallory", "mallory's password")
    return Client(app.url, "mallory", "mallory's password")


@pytest.fixture(scope="module")
def rater4(app: App) -> Client:
    """A rater, signed in once."""
    return Client(app.url, "rater4", RATERS["rater4"])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"scores": {**verdict(3)["scores"], "empathy": 6}}, "whole number from 1 to 5"),
        (
            {"scores": {**verdict(3)["scores"], "empathy": "5; DROP TABLE judgement"}},
            "whole number from 1 to 5",
        ),
        ({"strengths": "x" * 2**20}, "at most 4,000"),
        ({"judge_id": "owner"}, "unknown field"),
        ({"corrects": 999999}, "nothing to correct"),
    ],
)
def test_a_score_of_six_a_megabyte_of_comment_and_the_like_are_refused_in_words(
    mallory: Client, change: dict[str, Any], rule: str
) -> None:
    screen = mallory.open()
    message = mallory.scoring(screen, 3)
    for one in message["verdicts"].values():
        one.update(change)
    said = mallory.send(message)
    assert said["view"] == "refused"
    assert rule in said["error"]
    assert len(said["error"]) < 400
    assert mallory.open()["screen"] == screen["screen"]


@pytest.mark.parametrize(
    "message",
    [None, [], "x", 7, {"action": "score"}, {"action": "score", "token": "../../etc", "verdicts": {}},
     {"action": "show", "screen": -1}, {"action": "show", "screen": 10**9}, {"action": "show", "screen": "0; --"},
     {"action": "score", "token": "t" * 16, "verdicts": {"../../etc/passwd": {}}}, {"action": {"a": 1}}],
)  # fmt: skip
def test_nonsense_gets_an_answer_and_never_a_stack_trace(app: App, rater4: Client, message: Any) -> None:
    said = rater4.send(message)
    assert said["view"] in ("welcome", "screen", "done", "refused")
    assert "Traceback" not in app.log.read_text(encoding="utf-8")


def test_junk_at_gradio_s_own_endpoints_is_refused_without_a_stack_trace(app: App, rater4: Client) -> None:
    rater = rater4
    bodies = [
        *(b"", b"[]", b"5", b"null", b"{}", b"{" * 2000, b"[" * 5000 + b"]" * 5000, b"\xff\xfe"),
        *(b'{"data": 5}', b'{"data": [1, 2, 3, 4, 5, 6]}', b'{"data": [NaN]}', b'{"data": [1e999]}'),
        *(b'{"data": ["no such model", "no talk", {}], "x": "\\ud800"}', b'{"data": [[[' + b'{"a":' * 60 + b"1"),
        *(b'{"data": [{}], "fn_index": 999}', b'{"data": [{}], "fn_index": true}', b'{"data": [{}], "batched": true}'),
        b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}',
    ]  # fmt: skip
    for place in ("run/desk", "run/say", "run/chat_score", "run/draft/", "run/nothing", "queue/join"):
        for body in bodies:
            answer = rater.http.post(
                f"{app.url}/gradio_api/{place}",
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=30,
            )
            assert answer.status_code == 422, (place, body[:60], answer.status_code)
    for name in ("x", "", "%00", "a" * 5000, "ok&session_hash=x"):
        stream = f"{app.url}/gradio_api/queue/data?session_hash={name}"
        answer = rater.http.get(stream, timeout=30)
        assert (answer.status_code, "Nothing is under way" in answer.text) == (404, True), name
    for place in ("cancel", "reset"):
        for body in (b"[]", b'{"event_id": "\\ud800"}', b'{"event_id": NaN}'):
            assert rater.http.post(f"{app.url}/gradio_api/{place}", data=body, timeout=30).status_code == 422
    assert rater.open()["view"] in ("welcome", "screen", "done")
    assert "Traceback" not in app.log.read_text(encoding="utf-8")


def test_looking_at_the_page_takes_nobody_s_place(app: App) -> None:
    owner = Client(app.url, "owner", "the owner's password")
    assert owner.send({"action": "open"})["view"] == "welcome"
    assert "owner" not in RatingStore(app.store).raters("trial")


def test_files_are_neither_taken_nor_given(app: App) -> None:
    rater = Client(app.url, "rater5", RATERS["rater5"])
    for path in (
        "/etc/passwd",
        str(app.store),
        str(app.store.with_name("raters.json")),
        "raters.json",
        "../ratings.sqlite",
    ):
        assert rater.http.get(f"{app.url}/gradio_api/file={path}", timeout=30).status_code in (403, 404)
    upload = rater.http.post(
        f"{app.url}/gradio_api/upload", files={"files": ("../../evil.sh", b"x")}, timeout=30
    )
    assert upload.status_code == 403
    huge = rater.http.post(f"{app.url}/gradio_api/run/desk", data=b"x" * (5 * 2**20), timeout=30)
    assert huge.status_code == 413


def test_only_the_owner_sees_names_and_numbers(app: App) -> None:
    rater = Client(app.url, "rater6", RATERS["rater6"])
    for message in ({}, {"action": "export"}, {"action": "show"}):
        said = rater.send(message, "results")
        assert (said["view"], said["why"]) == ("refused", "owner")
    page = rater.http.get(f"{app.url}/config", timeout=30).text + json.dumps(rater.open())
    assert "m0" not in page.replace("m0;", "")
    assert "tuned" not in page
    owner = Client(app.url, "owner", "the owner's password")
    assert owner.send({}, "results")["results"]["study"]["subjects"] == ["m0/tuned", "m1/tuned"]
    csv = owner.send({"action": "export"}, "results")["csv"]
    assert csv.splitlines()[0].startswith("test_case_id,model_name,judge_id,timestamp,professionalism")
    assert ",chat," not in csv


def test_a_wrong_score_can_be_corrected_and_the_old_row_stays(app: App) -> None:
    Raters(app.store.with_name("raters.json")).add("carla", "carla's password")
    carla = Client(app.url, "carla", "carla's password")
    screen = carla.open()
    carla.score(screen, 1)
    back = carla.send({"action": "show", "screen": screen["screen"]})
    held = back["replies"][0]["verdict"]
    assert held["scores"]["empathy"] == 1
    carla.score(back, 4, corrects=held["corrects"])
    rows = [row for row in RatingStore(app.store).judgements(history=True) if row["judge_id"] == "carla"]
    assert [(row["empathy"], row["corrects"]) for row in rows] == [(1, None), (4, rows[0]["id"])]


def test_talking_with_a_model_and_scoring_the_talk(app: App) -> None:
    rater = Client(app.url, "rater7", RATERS["rater7"])
    talk = [
        {"role": "user", "content": [{"type": "text", "text": "你好"}]},
        {"role": "assistant", "content": [{"type": "text", "text": HOSTILE}]},
    ]
    form = rater.send({}, "chat_open", "counsellor", [], "")
    message = {
        "action": "score",
        "token": form["token"],
        "verdicts": {"chat": verdict(4, suggestions="more warmth")},
    }
    assert rater.send(message, "chat_score", "counsellor", talk, "counsellor")["view"] == "screen"
    count, row = len(RatingStore(app.store).judgements()), RatingStore(app.store).judgements()[-1]
    assert (row["source"], row["model"], row["judge_id"], row["safety"]) == (
        "chat",
        "counsellor",
        "rater7",
        4,
    )
    assert json.loads(row["detail"])["messages"][1]["content"] == HOSTILE
    again = message | {"token": "b" * 16}
    # The list of models is a list: Gradio itself refuses a name that is not on it.
    body = {"data": [again, "http://169.254.169.254", talk, "counsellor"], "session_hash": "x"}
    assert rater.http.post(f"{app.url}/gradio_api/run/chat_score", json=body, timeout=30).status_code >= 400
    assert "no reply yet" in rater.send(again, "chat_score", "counsellor", [], "")["error"]
    mixed = rater.send(again, "chat_score", "counsellor", talk, "another model")
    assert "was not held with counsellor" in mixed["error"]
    assert "重新开始对话" in mixed["error_zh"]
    assert len(RatingStore(app.store).judgements()) == count


def test_nothing_planted_is_found_in_log_store_or_page(app: App) -> None:
    secrets = [*RATERS.values(), "the owner's password", "wrong password"]
    rater = Client(app.url, "rater8", RATERS["rater8"])
    places = [path.read_bytes() for path in app.store.parent.iterdir() if path.is_file()]
    places.append(rater.http.get(f"{app.url}/config", timeout=30).content)
    assert len(places) > 3
    assert not [secret for secret in secrets if any(secret.encode() in place for place in places)]


# ------------------------------ start


def test_others_are_let_in_only_once_somebody_can_sign_in(tmp_path: Path) -> None:
    refused = command("--host", "0.0.0.0", "--port", str(free_port()), cwd=tmp_path)
    assert refused.returncode == 2
    assert "add-rater" in refused.stderr
    assert "Traceback" not in refused.stderr
    empty = here("--raters", tmp_path / "none.json", cwd=tmp_path)
    assert (empty.returncode, "nobody may sign in yet" in empty.stderr) == (2, True)


def test_an_open_judge_answers_to_this_machine_s_names_only(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(study(2).to_json(), encoding="utf-8")
    with judge(tmp_path / "ratings.sqlite", "--study", tmp_path / "study.json") as app:
        http = session()
        assert http.get(app.url, timeout=30).status_code == 200
        assert http.get(app.url, headers={"Host": "evil.example"}, timeout=30).status_code == 403
        policy = http.get(app.url, timeout=30).headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert Client(app.url, "").open()["view"] == "name"
        assert Client(app.url, "../x").open()["view"] == "name"
        assert Client(app.url, "anna").open()["view"] == "screen"
        assert Client(app.url, "anna").send({}, "results")["why"] == "closed"


def test_the_command_line_makes_a_rater_a_study_and_an_export(tmp_path: Path, counsellor: str) -> None:
    made = here("add-rater", "anna", "--owner", "--raters", "r.json", stdin="correct horse\n", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert Raters(tmp_path / "r.json").signs_in("anna", "correct horse")
    for name in ("a/../b", "short-password"):
        bad = here("add-rater", name, "--raters", "r.json", stdin="short\n", cwd=tmp_path)
        assert (bad.returncode, "Traceback" in bad.stderr) == (2, False)
    for row in ("one", "two"):
        out = here(
            "gather",
            "--url",
            counsellor,
            "--served-name",
            "counsellor",
            "--model",
            row,
            "--out",
            f"{row}.jsonl",
            cwd=tmp_path,
        )
        assert out.returncode == 0, out.stderr
        assert "answered" in out.stdout
    built = command("study", "--replies", "one.jsonl", "two.jsonl", "--out", "s.json", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert stat.S_IMODE((tmp_path / "s.json").stat().st_mode) == 0o600
    away = f"http://127.0.0.1:{free_port()}/v1"
    (tmp_path / "c.jsonl").write_text(
        '{"id": "a", "messages": [{"role": "user", "content": "x"}]}\n', encoding="utf-8"
    )
    served = ("--served-name", "m", "--model", "m", "--cases", "c.jsonl", "--out", "away.jsonl")
    none = here("gather", "--url", away, *served, cwd=tmp_path)
    assert (none.returncode, "1 errored" in none.stdout) == (1, True)
    RatingStore(tmp_path / "x.sqlite")
    assert here("export", "--store", "x.sqlite", "--out", "x.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "x.csv").read_text(encoding="utf-8-sig").startswith("test_case_id,")
    typo = here("export", "--store", "typo.sqlite", "--out", "y.csv", cwd=tmp_path)
    assert (typo.returncode, "no store of judgements here" in typo.stderr) == (2, True)
    assert not (tmp_path / "typo.sqlite").exists()
    unknown = here("export", "--store", "x.sqlite", "--id", "nope", "--out", "y.csv", cwd=tmp_path)
    assert (unknown.returncode, "no study 'nope'" in unknown.stderr) == (2, True)


def test_only_the_study_that_was_asked_for_is_exported(tmp_path: Path) -> None:
    store = RatingStore(tmp_path / "r.sqlite")
    for name in ("one", "two"):
        kept = replace(study(2, repeats=0), study_id=name)
        store.add_study(kept)
        store.enrol(name, "anna")
        item = store.items(name, "anna", 0)[0]
        crisis = kept.case(item.case_id).crisis
        store.record("anna", f"token-{name}", {item.item_id: Judgement.parse(verdict(3, crisis=crisis))})
    assert (
        here("export", "--store", "r.sqlite", "--id", "two", "--out", "x.csv", cwd=tmp_path).returncode == 0
    )
    rows = list(csv.DictReader((tmp_path / "x.csv").open(encoding="utf-8-sig")))
    assert [row["study_id"] for row in rows] == ["two"]


# ------------------------------ a judge model


def test_a_dead_judge_is_told_in_words_and_leaves_no_row(tmp_path: Path, counsellor: str) -> None:
    (tmp_path / "s.json").write_text(study(2, repeats=0).to_json(), encoding="utf-8")
    asked = ("ask", "--store", "r.sqlite", "--study", "s.json")
    dead = here(*asked, "--url", f"http://127.0.0.1:{free_port()}/v1", "--model", "judge", cwd=tmp_path)
    keyless = here(*asked, "--url", counsellor, "--model", "judge", "--api-key-env", "NO_KEY", cwd=tmp_path)
    neither = here(*asked, cwd=tmp_path)
    assert [one.returncode for one in (dead, keyless, neither)] == [2, 2, 2]
    assert "no reply from 'judge'" in dead.stderr
    assert "NO_KEY is empty" in keyless.stderr
    assert "--row ROW" in neither.stderr
    assert RatingStore(tmp_path / "r.sqlite").judgements(history=True) == []


def test_failed_verdicts_are_counted_in_words_and_asked_again(tmp_path: Path, counsellor: str) -> None:
    (tmp_path / "s.json").write_text(study(2, repeats=0).to_json(), encoding="utf-8")
    asked = ("ask", "--store", "r.sqlite", "--study", "s.json", "--url", counsellor, "--repeats", "1")
    bad = here(*asked, "--model", "judge-cut", "--max-tokens", "77", cwd=tmp_path)
    assert bad.returncode == 1, bad.stderr
    assert "scores: 4 asked now, 0 verdicts kept, 4 failed" in bad.stdout
    assert "scores: 4 of 4" in bad.stderr
    assert (
        "cut at 77 tokens; give it more (--max-tokens"
        in RatingStore(tmp_path / "r.sqlite").judgements()[0]["detail"]
    )
    good = here(*asked, "--model", "judge", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "scores: 4 asked now, 4 verdicts kept; 0 were there before" in good.stdout
    assert "not calibrated: no reply was scored by both" in good.stdout
    again = here(*asked, "--model", "judge", cwd=tmp_path)
    assert "scores: 0 asked now, 0 verdicts kept; 4 were there before" in again.stdout


def test_a_row_of_the_matrix_judges_and_is_talked_with(tmp_path: Path, counsellor: str) -> None:
    (tmp_path / "m.yaml").write_text(
        f"models: {{big: {{url: '{counsellor}', served_model: judge, needs: {{}}}}}}", encoding="utf-8"
    )
    (tmp_path / "s.json").write_text(study(2, repeats=0).to_json(), encoding="utf-8")
    folder = tmp_path / "store" / "judge"
    row = (
        "--store",
        folder / "ratings.sqlite",
        "--study",
        tmp_path / "s.json",
        "--matrix",
        tmp_path / "m.yaml",
    )
    good = command("ask", *row, "--row", "big", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    unknown = command("ask", *row, "--row", "bug", cwd=tmp_path)
    assert (unknown.returncode, "'big'" in unknown.stderr) == (2, True)
    with judge(folder / "ratings.sqlite", *row[2:], "--models", "big") as app:
        assert '"judge"' in session().get(f"{app.url}/config", timeout=30).text


# ------------------------------ sudden death


def test_kill_9_during_500_submissions_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(study(25, 4, repeats=0).to_json(), encoding="utf-8")
    store, port, names = tmp_path / "ratings.sqlite", free_port(), [f"rater{n}" for n in range(5)]
    acknowledged: dict[str, tuple[str, int]] = {}
    pending: dict[str, dict[str, Any]] = {}
    lock, enough = threading.Lock(), threading.Event()
    deaths = 0

    def work(url: str, name: str, quota: int) -> None:
        rater = Client(url, name)
        try:
            if name in pending:  # what was under way when the judge died is handed in again
                rater.send(pending.pop(name))
            screen = rater.open()
            while screen["view"] == "screen":
                score = len(acknowledged) % 5 + 1
                mark = f"{name} screen {screen['screen']} score {score}"
                pending[name] = rater.scoring(screen, score, strengths=mark)
                screen = rater.send(pending[name])
                assert screen["view"] != "refused", screen["error"]
                with lock:
                    acknowledged[mark] = (name, score)
                    if len(acknowledged) >= quota:
                        enough.set()
                pending.pop(name)
        except requests.RequestException:
            return

    for quota in (120, 260, 400, 501):
        enough.clear()
        with judge(store, "--study", tmp_path / "study.json", port=port) as app:
            threads = [threading.Thread(target=work, args=(app.url, name, quota)) for name in names]
            for thread in threads:
                thread.start()
            if quota < 501:
                assert enough.wait(300)
                app.kill()
                deaths += 1
            for thread in threads:
                thread.join()
    kept = RatingStore(store)
    rows = kept.judgements("trial", history=True)
    found = {row["strengths"]: (row["judge_id"], row["empathy"]) for row in rows}
    assert deaths == 3
    assert len(acknowledged) >= 500 - 3 * len(names)
    assert {mark: found.get(mark) for mark in acknowledged} == acknowledged
    assert Counter(row["judge_id"] for row in rows) == dict.fromkeys(names, 100)
    assert kept._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
