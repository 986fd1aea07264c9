"""Rows that do not start at a base model, and services that misbehave on the way; real chains, real small servers."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from bakeoff.chain.chain import Chain
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.evaluation import Evaluation
from bakeoff.chain.needs import why_unmet
from bakeoff.chain.ports import free_port
from bakeoff.chain.replies import replies
from bakeoff.chain.service import Service, who_answers
from bakeoff.chat import talk
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import DataError, IdentityError, NotReady, ServiceError
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.chat import ChatDesk
from bakeoff.judgement.ratings import RatingStore
from bakeoff.matrix.loading import parse_matrix
from bakeoff.runs.plan import dry_run
from bakeoff.store.stages import Record
from tests.chains import ROW, SUITE, Tiny, bench_in, matrix_with, plant_base
from tests.fakes.service import serving as asked_service

SERVER = Path(__file__).parent / "fakes" / "chat_server.py"


@contextlib.contextmanager
def somebody_s_service(*flags: str) -> Iterator[str]:
    """A service that runs already; its url."""
    port = free_port()
    argv = [sys.executable, str(SERVER), "--served_model_name", "reference", "--port", str(port), *flags]
    process = subprocess.Popen(argv)
    try:
        while not who_answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def stages_of(chain: Chain) -> list[str]:
    folder = chain.bench.workspace.model("tiny")
    return sorted(path.name.split("-")[0] for path in folder.glob("*") if (path / "record.json").exists())


def test_a_service_of_somebody_else_is_only_asked(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE_KEY", "sk-very-secret-0123456789")
    with somebody_s_service("--key", "sk-very-secret-0123456789") as url:
        chain = tiny.chain(tmp_path, model=None, url=url, served_model="reference", key_env="REFERENCE_KEY")
        assert chain.spec.variants == ("base",)
        assert not chain.spec.trains
        deployment = Deployment(chain, "base")
        record = deployment.health()
        assert record.facts["models"] == ["reference"]
        assert deployment.service().complete([{"role": "user", "content": "hi"}])["model"] == "reference"
        with pytest.raises(DataError, match="can only be asked"):
            deployment.parity()
        deployment.close()
        assert deployment.health().outcome == "reused"
    assert stages_of(chain) == ["deploy"]
    kept = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("sk-very-secret" in text for text in kept)


def test_the_judge_s_cases_are_asked_with_the_row_s_key(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE_KEY", "sk-very-secret-0123456789")
    with somebody_s_service("--key", "sk-very-secret-0123456789") as url:
        chain = tiny.chain(tmp_path, model=None, url=url, served_model="reference", key_env="REFERENCE_KEY")
        facts = replies(Deployment(chain, "base")).facts
    assert facts == {"cases": facts["cases"], "answered": facts["cases"]}


def test_only_the_cases_that_errored_are_asked_again_by_the_next_run(tiny: Tiny, tmp_path: Path) -> None:
    with asked_service("--name", "reference", "--reply", "慢慢说", "--fault", "bad:2-3") as service:
        chain = tiny.chain(tmp_path, model=None, url=service.url, served_model="reference")
        first = replies(Deployment(chain, "base"))
        assert (first.outcome, first.facts["errored"]) == ("ran", 2)
        asked = service.stats()["requests"]
        second = replies(Deployment(chain, "base"))
        assert (second.outcome, second.why) == ("ran", "ran: 2 replies had errored")
        assert second.facts == {"cases": second.facts["cases"], "answered": second.facts["cases"]}
        assert service.stats()["requests"] == asked + 3  # and a canary
        assert replies(Deployment(chain, "base")).outcome == "reused"


def test_a_service_that_does_not_have_the_model_is_told_with_what_it_has(tiny: Tiny, tmp_path: Path) -> None:
    with somebody_s_service() as url:
        chain = tiny.chain(tmp_path, model=None, url=url, served_model="gpt-x")
        with pytest.raises(ServiceError, match=r"to list 'gpt-x'\n.*\nlast seen: it lists \['reference'\]"):
            Deployment(chain, "base").health()


def test_the_variables_of_the_running_environment_reach_its_commands(tmp_path: Path) -> None:
    raw = {
        "environments": {"default": {"env": {"A": "1"}}, "fast": {"env": {"B": "2"}}},
        "models": {"tiny": {**ROW, "suites": [], "environment": {"serve": "fast"}}},
    }
    matrix = parse_matrix(raw)
    chain = Chain(matrix.models["tiny"], bench_in(tmp_path, Runner(tmp_path), matrix))
    assert chain.train_command().env["A"] == "1"
    assert chain.serve_command("base", 1).env["B"] == "2"
    assert "PYTHONPATH" not in chain.serve_command("base", 1).env


def test_packages_are_looked_for_where_the_row_runs() -> None:
    needs = {"packages": ["no_such_package"]}
    there = {"train": "apart", "serve": "apart"}
    raw = {
        "environments": {"apart": {"requirements": ["no-such-package"]}},
        "models": {
            "here": {**ROW, "suites": [], "needs": needs},
            "there": {**ROW, "suites": [], "needs": needs, "environment": there},
        },
    }
    matrix = parse_matrix(raw)
    assert "no_such_package" in why_unmet(matrix.models["here"], matrix)
    assert why_unmet(matrix.models["there"], matrix) == ""


def test_the_lines_of_a_row_with_a_url_only_ask(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    matrix = matrix_with(model=None, url=url, served_model="reference")
    lines = "\n".join(dry_run(matrix, ["tiny"], Workspace(tmp_path), None))
    assert url in lines
    assert "swift.cli" not in lines


def test_the_lines_of_a_row_can_be_pasted_one_after_the_other(tmp_path: Path) -> None:
    raw = {
        "models": {"tiny": {**ROW, "suites": [], "environment": {"train": "old", "serve": "old"}}},
        "environments": {"old": {"requirements": ["ms-swift==3.0.3"]}},
    }
    matrix = parse_matrix(raw, "matrix.yaml")
    lines = list(dry_run(matrix, ["tiny"], Workspace(tmp_path), None))
    live = [line for line in lines if not line.lstrip("\n").startswith("#")]
    build = f"-m bakeoff.environments --matrix {Path('matrix.yaml').absolute()} --store {tmp_path} old"
    assert [line for line in live if "bakeoff.environments" in line] == [live[0]]
    assert live[0].endswith(build)
    assert [line.count("--adapters") for line in live if "swift.cli.deploy" in line] == [0, 0]
    other = next(line for line in lines if "swift.cli.deploy" in line and "--adapters" in line)
    assert other.startswith("# CUDA_VISIBLE_DEVICES=")
    assert "way A" in lines[lines.index(other) - 1]


@pytest.mark.slow
def test_an_adapter_that_exists_is_merged_but_not_trained(tiny: Tiny, tmp_path: Path) -> None:
    adapter = tiny.chain().train().path
    shutil.copytree(tiny.store / "tiny", tmp_path / "tiny", symlinks=True)
    chain = tiny.chain(tmp_path, adapter=adapter)
    assert not chain.spec.trains
    with contextlib.closing(Deployment(chain, "tuned")) as deployment:
        assert deployment.health().facts["replies_agreed"] > 0
        assert deployment.parity().facts["applied"] == pytest.approx(1, abs=1e-3)
    assert "train" not in stages_of(chain)
    assert "export" in stages_of(chain)


@pytest.mark.slow
def test_a_store_that_was_moved_runs_nothing_again(tiny: Tiny, tmp_path: Path) -> None:
    chain = tiny.chain()
    with contextlib.closing(Deployment(chain, "tuned")) as deployment:
        deployment.health()
    moved = shutil.copytree(tiny.store, tmp_path / "elsewhere", symlinks=True)
    (moved / "events.jsonl").unlink()
    there = tiny.chain(moved)
    with contextlib.closing(Deployment(there, "tuned")) as deployment:
        records = [record for artifact in (there.train(), there.export()) if (record := artifact.record)]
        records += [deployment.parity(), deployment.health()]
    assert [record.outcome for record in records] == ["reused"] * 4
    assert all(Path(path).is_relative_to(moved) for record in records for path in (record.output, record.log))
    assert not any(str(value).startswith("/") for value in records[0].identity["train"].values())


@pytest.mark.slow
def test_weights_that_exist_are_served_as_they_are(tiny: Tiny, tmp_path: Path) -> None:
    weights = tiny.chain().export().path
    chain = tiny.chain(tmp_path, model=None, weights=weights)
    assert chain.spec.variants == ("tuned",)
    began = time.monotonic()
    with contextlib.closing(Deployment(chain, "tuned")) as deployment:
        health, parity = deployment.health(), deployment.parity()
    assert health.facts["prompts_counted"] == 3
    assert 0 < health.seconds + parity.seconds < time.monotonic() - began  # what parity takes counts once
    assert stages_of(chain) == ["deploy", "parity"]


@pytest.mark.slow
def test_a_row_that_is_not_tuned_serves_its_base(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny.chain().base().path
    chain = tiny.chain(tmp_path, model=base, tune=False)
    assert chain.spec.variants == ("base",)
    with contextlib.closing(Deployment(chain, "base")) as deployment:
        assert deployment.health().facts["replies_agreed"] > 0
    assert stages_of(chain) == ["deploy", "parity"]


@dataclass
class ServedByFake(Chain):
    """A real chain whose serving line starts the fake server; what it is held against is real."""

    flags: tuple[str, ...] = ()

    def start_line(self, port: int) -> Command:
        argv = (
            sys.executable,
            str(SERVER),
            "--served_model_name",
            self.spec.served_name("base"),
            "--port",
            str(port),
        )
        return Command((*argv, *self.flags))

    def serve_command(self, variant: str, port: int, way: str | None = None) -> Command:
        return self.start_line(port) if port else super().serve_command(variant, port, way)


@pytest.fixture
def faked(tiny: Tiny, tmp_path: Path) -> ServedByFake:
    """The untuned base, in a store of its own."""
    real = tiny.chain(tmp_path, model=tiny.chain().base().path, tune=False)
    return ServedByFake(real.spec, real.bench)


@pytest.mark.slow
def test_a_server_that_lists_the_name_and_answers_nonsense_is_not_ours(faked: ServedByFake) -> None:
    faked.flags = ("--reply", "锟斤拷锟斤拷")
    with pytest.raises(IdentityError, match="'锟斤拷锟斤拷', but the base says"):
        Deployment(faked, "base").service()
    faked.flags = ("--garbage",)
    with pytest.raises(NotReady, match="a canary completion"):
        Deployment(faked, "base").service()
    faked.flags = ("--prompt-tokens", "7")
    with pytest.raises(IdentityError, match="has 7 prompt tokens at the service and"):
        Deployment(faked, "base").service()


class Expecting(Deployment):
    """Without the probe: one reply is expected of the fake server."""

    def parity(self) -> Record:
        facts = {"prompt_tokens": {}, "expected": {"single turn": "在的"}, "telling": [], "said": {}}
        facts |= {"tolerance": 1.0, "skipped": "no probe", "subject": "the base"}
        return Record("parity", "tiny", self.variant, "ran", "", "", "", "", "", 0.0, {}, None, facts)


@pytest.mark.parametrize("then", ["在的", "锟斤拷锟斤拷"], ids=["as before", "as another model"])
@pytest.mark.slow
def test_a_service_that_died_is_started_again_and_looked_at_again(
    faked: ServedByFake, tmp_path: Path, then: str
) -> None:
    # a canary and three replies, before it is handed out
    died = ("--die-at", "5", "--once", str(tmp_path / "died"), "--then", then)
    faked.flags = ("--reply", "在的", *died)
    with contextlib.closing(Expecting(faked, "base")) as deployment:
        service = deployment.service()
        with pytest.raises(requests.ConnectionError):
            service.complete([{"role": "user", "content": "你好"}])
        assert service.process
        service.process.wait(10)
        if then == "在的":
            assert deployment.service() is service
            assert service.complete([{"role": "user", "content": "你好"}])["choices"]
        else:
            with pytest.raises(IdentityError, match="'锟斤拷锟斤拷', but the base says '在的'"):
                deployment.service()
        assert ["code 9" in told for told in deployment.restarts] == [True]


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Deployment]:
    """The untuned base behind a fake that dies once, at its sixth request, unprobed."""
    matrix = matrix_with(model=str(plant_base(tmp_path / "base")), tune=False)
    with contextlib.closing(Runner(tmp_path / "processes", warm=False)) as runner:
        chain = ServedByFake(matrix.models["tiny"], bench_in(tmp_path / "store", runner, matrix))
        chain.flags = ("--reply", "在的", "--die-at", "6", "--once", str(tmp_path / "died"))
        with contextlib.closing(Expecting(chain, "base")) as deployment:
            yield deployment


HELLO = [{"role": "user", "content": "你好"}]


def test_what_is_asked_of_a_service_that_dies_is_asked_again(mortal: Deployment) -> None:
    asked = [mortal.ask(lambda service: list(service.stream(HELLO))) for _ in range(3)]
    assert asked == [["在", "的"]] * 3
    assert ["code 9" in why for why in mortal.restarts] == [True]


def test_a_page_asks_a_model_that_died_once_more(mortal: Deployment, tmp_path: Path) -> None:
    service = mortal.service()
    services = {service.served_name: service.url}
    desk = ChatDesk(RatingStore(tmp_path / "r.sqlite"), services, revive=lambda name: mortal.revive())
    for _ in range(4):
        *_, (talk, unsent, problem) = desk.say(service.served_name, [], "你好")
        assert (talk[-1]["content"], unsent, problem) == ("在的", "", {})
    assert len(mortal.restarts) == 1


def test_a_refusal_is_no_death(mortal: Deployment) -> None:
    def refuse(service: Service) -> None:
        raise ServiceError("no")

    with pytest.raises(ServiceError, match=r"^no$"):
        mortal.ask(refuse)
    assert mortal.restarts == []


def test_several_threads_that_meet_a_dead_service_start_it_once(mortal: Deployment) -> None:
    service = mortal.service()
    assert service.process
    service.process.stop()
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda _: mortal.ask(lambda service: service.models()), range(4)))
    assert names == [[service.served_name]] * 4
    assert len(mortal.restarts) == 1


def test_the_cases_that_a_dying_service_left_open_are_asked_of_the_next_one(mortal: Deployment) -> None:
    facts = replies(mortal).facts
    assert facts == {"cases": facts["cases"], "answered": facts["cases"]}
    assert len(mortal.restarts) == 1


def test_a_chat_goes_on_after_its_service_died(
    mortal: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(mortal, ["你好"] * 4)
    assert [line for line in capsys.readouterr().out.splitlines() if line] == ["在的"] * 4
    assert len(mortal.restarts) == 1


@pytest.mark.slow
def test_a_service_that_dies_while_it_is_looked_at_is_told_in_words(faked: ServedByFake) -> None:
    faked.flags = ("--reply", "在的", "--die-at", "3")
    with pytest.raises(ServiceError, match=r"'several turns' was not answered \(.*ended with code 9; log: "):
        Expecting(faked, "base").service()


@pytest.mark.slow
def test_a_service_that_keeps_dying_is_given_up(faked: ServedByFake) -> None:
    faked.flags = ("--reply", "在的", "--die-at", "5")
    with contextlib.closing(Expecting(faked, "base")) as deployment:
        for _ in range(3):
            service = deployment.service()
            with pytest.raises(requests.ConnectionError):
                service.complete([{"role": "user", "content": "你好"}])
            assert service.process
            service.process.wait(10)
        with pytest.raises(
            ServiceError, match=r"code 9.* started again 2 times, as often as 'serving.restarts'"
        ):
            deployment.service()


@pytest.mark.slow
def test_a_service_that_never_became_ready_is_not_awaited_again(faked: ServedByFake) -> None:
    faked.flags = ("--crash",)
    deployment = Deployment(faked, "base")
    with pytest.raises(NotReady) as first:
        deployment.service()
    faked.flags = ()
    with pytest.raises(NotReady) as second:
        deployment.service()
    assert second.value is first.value


DYING = """
import contextlib, functools, os, socket, struct
from pathlib import Path
from swift.pipelines.infer.deploy import SwiftDeploy

answer, asked = SwiftDeploy.create_chat_completion, 0

@functools.wraps(answer)
async def create_chat_completion(self, request, raw_request, **options):
    global asked
    asked += 1
    mark = Path(__file__).with_name("died")
    if asked == 20 and not mark.exists():
        mark.touch()
        for number in map(int, os.listdir("/proc/self/fd")):  # connections that linger keep the port for a minute
            with contextlib.suppress(OSError):
                connection = socket.socket(fileno=os.dup(number))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os._exit(9)
    return await answer(self, request, raw_request, **options)

SwiftDeploy.create_chat_completion = create_chat_completion
"""


@pytest.mark.slow
def test_a_server_that_dies_at_request_20_is_started_again_and_the_evaluation_finishes(
    tiny: Tiny, tmp_path: Path
) -> None:
    plugin = tmp_path / "dying.py"
    plugin.write_text(DYING)
    serving = {
        "engine": "transformers",
        "restarts": 1,
        "in_flight": 2,
        "extra": {"external_plugins": str(plugin)},
    }
    chain = tiny.chain(tmp_path / "store", model=tiny.chain().base().path, tune=False, serving=serving)
    suite = chain.bench.matrix.suites["exam"]
    with contextlib.closing(Deployment(chain, "base")) as deployment:
        record = Evaluation(deployment, [suite]).record(suite)
    assert plugin.with_name("died").exists()
    assert len(record.facts["restarts"]) == 1
    assert "ended with code 9" in record.facts["restarts"][0]
    result = json.loads(Path(record.output).read_text(encoding="utf-8"))
    total = next(row for row in result["scores"] if row["subset"] == "ALL")
    assert total["n_asked"] > 20
    assert total["n_errored"] == 0
    assert '"event": "service died"' in (tmp_path / "store" / "events.jsonl").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_evaluation_tells_how_far_it_is_and_keeps_how_it_was_made(
    tmp_path: Path, warm: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bakeoff.store.stages.PROGRESS_S", 0.1)
    store = tmp_path / "store"
    with asked_service("--reply", "always:A", "--latency-s", "0.3", "--name", "reference") as service:
        row = {"url": service.url, "served_model": "reference", "suites": ["exam", "again"]}
        matrix = parse_matrix({"models": {"tiny": row}, "suites": {"exam": SUITE, "again": SUITE}})
        suites = list(matrix.suites.values())
        kept = []
        for _ in range(2):  # the second run reuses
            chain = Chain(matrix.models["tiny"], bench_in(store, warm, matrix))
            with contextlib.closing(Deployment(chain, "base")) as deployment:
                evaluation = Evaluation(deployment, suites)
                records = [evaluation.record(suite) for suite in suites]
                kept.append([evaluation.result(suite)["scores"] for suite in suites])
    assert {record.outcome for record in records} == {"reused"}
    assert kept[0] == kept[1]
    score = kept[0][0][0]
    assert "evalscope " in score["versions"]
    made_by = json.loads((store / score["record"]).read_text(encoding="utf-8"))
    assert made_by["command"] == records[0].command
    assert service.url in made_by["command"]
    assert min(record.seconds for record in records) > 0.4 * max(record.seconds for record in records)
    assert all(Path(record.log).is_file() for record in records)
    events = [json.loads(line) for line in (store / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [event["how_far"] for event in events if event["event"] == "progress"]
    assert told[0].startswith("answered ")
    assert any(re.fullmatch(r"answered \d+ of 64, about 1 min left", one) for one in told)


def chatting(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Two lines said to the service at *url*."""
    matrix = folder / "matrix.yaml"
    matrix.write_text(f"models:\n  hosted: {{url: '{url}', served_model: reference}}\n")
    places = ("--matrix", str(matrix), "--store", str(folder / "s"))
    argv = [sys.executable, "-m", "bakeoff.chat", "hosted", *places]
    return subprocess.run(
        argv, input="你好\n再见\n", capture_output=True, text=True, timeout=120, check=False
    )


def test_a_person_can_chat_with_a_row(tmp_path: Path) -> None:
    with somebody_s_service("--reply", "慢慢说") as url:
        done = chatting(url, tmp_path)
    assert (done.returncode, done.stdout) == (0, "慢慢说\n慢慢说\n"), done.stderr
    assert "reference" in done.stderr


def test_a_chat_whose_service_dies_ends_in_words(tmp_path: Path) -> None:
    with somebody_s_service("--reply", "慢慢说", "--cut") as url:
        done = chatting(url, tmp_path)
    assert (done.returncode, done.stdout) == (1, "慢")
    assert f"{url}: the reply broke off" in done.stderr
    assert "Traceback" not in done.stderr


def test_chatting_with_a_row_that_does_not_exist_names_the_nearest(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bakeoff.chat", "tiny-qwen", "--store", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "tiny-qwen2" in done.stderr
