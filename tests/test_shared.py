"""One process for a base and its adapter: it is started once, revived for both, and each name shows who answers."""

# ruff: noqa: F811  (a fixture that is imported and asked for)

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bakeoff.chain import stages
from bakeoff.chain.chain import Chain
from bakeoff.chain.rivals import why_not_told
from bakeoff.foundation.errors import BakeoffError, IdentityError, MatrixError
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.matrix.sharing import guests_of, host_of
from bakeoff.parity import answers, comparison
from bakeoff.parity.comparison import ASKED, LOGPROB_TOLERANCE, TOKENS
from bakeoff.runs.expected import row_seconds
from bakeoff.runs.plan import cases
from bakeoff.tools import engines
from tests.chains import ROW, SUITE, matrix_with
from tests.test_faults import House, Unprobed, house  # noqa: F401

SHARED = {"engine": "transformers", "way": "adapter", "shared": True}

# -- the line ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "parts"),
    [
        ("vllm", ["--served-model-name tiny-base", "--enable-lora", "--lora-modules tiny-sft=/a"]),
        ("transformers", ["--served_model_name tiny-base", "--adapters tiny-sft=/a", "--max_batch_size 1"]),
    ],
)
def test_one_line_names_base_and_adapter(engine: str, parts: Sequence[str]) -> None:
    spec = matrix_with(serving={**SHARED, "engine": engine}).models["tiny"]
    lines = {
        str(engines.serve(spec, model="/b", served_name=name, port=1, adapter=Path("/a")))
        for name in ("tiny-base", "tiny-sft")
    }
    (line,) = lines
    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    "changes",
    [{"serving": {**SHARED, "way": "merged"}}, {"evaluate": ["tuned"]}, {"weights": "/w"}, {"tune": False}],
)
def test_a_row_with_nothing_to_share_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MatrixError, match=r"serving\.shared: one service for base and tuned"):
        matrix_with(**{"serving": SHARED, **changes})


@pytest.mark.parametrize(
    ("engine", "parts"),
    [
        ("vllm", "--lora-modules tiny-sft=/a tiny.seed43-sft=/b --max-cpu-loras 2"),
        ("transformers", "--adapters tiny-sft=/a tiny_seed43-sft=/b --infer_backend"),  # PEFT takes no dot
    ],
)
def test_adapters_of_further_seeds_join_the_line(engine: str, parts: str) -> None:
    rows = matrix_with(serving={**SHARED, "engine": engine}, seeds=2).models
    line = engines.serve(rows["tiny"], model="/b", served_name="tiny-base", port=1, adapter=Path("/a"))
    name = rows["tiny.seed43"].served_name("tuned")
    assert parts in str(engines.with_adapters(line, {name: Path("/b")}))
    assert engines.with_adapters(line, {}) == line


# -- the process ---------------------------------------------------------------------------------------------------


def test_one_process_serves_both_variants_and_is_revived_for_both(house: House) -> None:
    house.row = {"serving": SHARED}
    with house.run() as chain:
        with contextlib.closing(Unprobed(chain, "base")) as base:
            first = base.health()
            process = base.service().process
        assert process
        assert process.alive()
        with contextlib.closing(Unprobed(chain, "tuned")) as tuned:
            second = tuned.health()
            assert tuned.service().process is process
            said = [
                deployment.ask(lambda service: service.complete([{"role": "user", "content": "x"}]))
                for deployment in (base, tuned)
            ]
            replies = [answer["choices"][0]["message"]["content"] for answer in said]
            assert replies[0] != replies[1]
            assert [answer["model"] for answer in said] == ["tiny-base", "tiny-sft"]
            process.stop()
            tuned.ask(lambda service: service.models())
            revived = tuned.service().process
            assert revived is not process
            assert base.service().process is revived
            assert base.restarts == []
            base.close()
        assert first.log == second.log
        assert first.identity["fingerprint"] != second.identity["fingerprint"]
        assert revived
        assert not revived.alive()  # both have had their turn
        with contextlib.closing(Unprobed(chain, "tuned")) as tuned:
            waiting = tuned.service().process
        assert waiting
        assert waiting.alive()
        with chain.leased("train"):  # something else needs the machine
            assert not waiting.alive()
    assert house.left_behind() == []


def test_the_seeds_of_a_recipe_share_the_process(house: House) -> None:
    house.row = {"serving": SHARED, "seeds": 3}
    with house.run() as chain:
        bench = chain.bench
        rows = {name: Chain(spec, bench) for name, spec in bench.matrix.models.items()}
        alone = {name: stages.deploy(each, "tuned").folder for name, each in rows.items()}
        bench.shared.requested = {
            "tiny": {"tuned"},
            "tiny.seed43": {"tuned", "export"},
            "tiny.seed44": {"base"},
        }
        house.break_("")
        processes, replies = [], []
        for row, variant in (("tiny.seed43", "tuned"), ("tiny", "base"), ("tiny", "tuned")):
            with contextlib.closing(Unprobed(rows[row], variant)) as deployment:
                assert deployment.health().output.startswith(str(deployment.folder()))
                service = deployment.service()
                processes.append(service.process)
                assert service.process
                assert deployment.stage.log_file.samefile(service.process.log)
                answer = service.complete([{"role": "user", "content": "x"}])
                replies.append(answer["choices"][0]["message"]["content"])
                assert service.models() == [
                    "tiny-base",
                    "tiny-sft",
                    "tiny_seed43-sft",
                ]  # seed44 was not asked for
        assert len(set(replies)) == 3
        process = processes[0]
        assert process
        assert all(each is process for each in processes)
        assert not process.alive()  # each name has had its turn
        assert {name: stages.deploy(each, "tuned").folder for name, each in rows.items()} == alone
        with contextlib.closing(Unprobed(rows["tiny.seed44"], "tuned")) as deployment:
            bench.shared.requested = {}
            assert deployment.service().models() == ["tiny.seed44-base", "tiny_seed44-sft"]
    assert house.left_behind() == []


def two_rows(row: Mapping[str, Any], **changes: Any) -> Matrix:
    """A matrix whose first row, ``other``, has the base of the second and evaluates only what it trained."""
    tiny = {**ROW, **row}
    other = {**tiny, "evaluate": ["tuned"], **changes}
    return parse_matrix({"models": {"other": other, "tiny": tiny}, "suites": {"exam": SUITE}})


def test_rows_of_one_base_share_the_process(house: House) -> None:
    house.row = {"serving": SHARED}
    training = {**house.changes["training"], "learning_rate": 1e-3}
    with house.run() as alone:
        bench = replace(alone.bench, matrix=two_rows(house.changes, training=training))
        bench.shared.requested = {"other": {"tuned"}, "tiny": {"base", "tuned"}}
        processes, replies = [], []
        for row, variant in (("other", "tuned"), ("tiny", "base"), ("tiny", "tuned")):
            chain = Chain(bench.matrix.models[row], bench)
            with contextlib.closing(Unprobed(chain, variant)) as deployment:
                service = deployment.service()
                processes.append(service.process)
                assert service.models() == ["tiny-base", "tiny-sft", "other-sft"]
                answer = service.complete([{"role": "user", "content": "x"}])
                replies.append(answer["choices"][0]["message"]["content"])
        assert len(set(replies)) == 3
        assert processes[0]
        assert all(process is processes[0] for process in processes)
        assert not processes[0].alive()
    assert house.left_behind() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "tiny:qwen2"},
        {"template": "chatml"},
        {"training": {**ROW["training"], "lora_rank": 16}},
        {"serving": {**SHARED, "session_len": 512}},
    ],
)
def test_an_adapter_that_the_line_of_another_row_cannot_serve_has_no_host(changes: dict[str, Any]) -> None:
    with pytest.raises(MatrixError, match=r"other\.serving\.shared: one service for base and tuned"):
        two_rows({"serving": SHARED}, **changes)


def test_a_seed_is_served_with_its_own_row() -> None:
    rows = parse_matrix(
        {
            "models": {name: {**ROW, "serving": SHARED, "seeds": 2} for name in ("a", "b")},
            "suites": {"exam": SUITE},
        }
    ).models
    assert {name: host_of(row, rows) for name, row in rows.items()} == {
        "a": "a", "a.seed43": "a", "b": "b", "b.seed43": "b"
    }  # fmt: skip
    assert guests_of(rows["b.seed43"], rows) == ["b"]


def test_three_seeds_that_share_cost_less_than_two_runs() -> None:
    shared, apart = (
        [
            row_seconds(row, 7e9, 1_000_000, 15_000)
            for row in matrix_with(serving=serving, seeds=3).models.values()
        ]
        for serving in (SHARED, {"engine": "transformers"})
    )
    assert sum(shared) / apart[0] < 1.9 < sum(apart) / apart[0]


def test_a_further_seed_that_is_served_as_an_adapter_is_not_merged() -> None:
    for serving, merged in ((SHARED, ["tiny"]), ({"engine": "transformers"}, ["tiny", "tiny.seed43"])):
        matrix = matrix_with(serving=serving, seeds=2)
        assert [case.values[0] for case in cases(matrix, ["model"], None, {"export"})] == merged
        assert len(cases(matrix, ["model"], None, {"train"})) == 2


def test_a_seed_that_cannot_be_trained_does_not_hold_up_the_others(house: House) -> None:
    house.row = {"serving": SHARED, "seeds": 2}
    with house.run() as chain:
        chain.train()
    house.break_("sft:crash@3")
    with house.run() as chain:
        chain.bench.shared.requested = {"tiny": {"tuned"}, "tiny.seed43": {"tuned"}}
        with contextlib.closing(Unprobed(chain, "tuned")) as deployment:
            assert deployment.service().models() == ["tiny-base", "tiny-sft"]
        further = Chain(chain.bench.matrix.models["tiny.seed43"], chain.bench)
        with pytest.raises(BakeoffError, match="failed on purpose"):
            further.train()


# -- who answers ---------------------------------------------------------------------------------------------------

VOCABULARY = "abcdefgh"
NOISE = {"float32": 1e-6, "bfloat16": 0.01}
Weights = Mapping[str, list[list[float]]]


def drawn(seed: int, other: Weights | None = None, strength: float = 1.0) -> Weights:
    """Return logits for each token of each reply: *other*'s, changed by an adapter of this *strength*."""
    lot = random.Random(seed)
    return {
        name: [
            [
                (other[name][at][token] if other else 0.0) + strength * lot.gauss(0, 1)
                for token in range(len(VOCABULARY))
            ]
            for at in range(TOKENS)
        ]
        for name in ASKED
    }


def log_probability(logits: Sequence[float], token: int) -> float:
    return logits[token] - math.log(sum(map(math.exp, logits)))


def greedy(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=logits.__getitem__)


def judged(weights: Weights, name: str, reply: Sequence[int]) -> dict[str, list[float]]:
    """Return how *weights* judge a reply, as the probe tells it."""
    rows = list(zip(weights[name], reply, strict=True))
    return {
        "logprobs": [log_probability(row, token) for row, token in rows],
        "margins": [row[token] - max(row[:token] + row[token + 1 :]) for row, token in rows],
    }


def facts_of(weights: Weights, rival: Weights, dtype: str, *, tuned: bool) -> dict[str, Any]:
    """Return what the comparison before the service says of *weights*, which *rival* is served beside."""
    dialogues = {}
    for name, rows in weights.items():
        reply = [greedy(row) for row in rows]
        tokens = [VOCABULARY[token] for token in reply]
        dialogues[name] = {
            "ids": reply,
            "texts": ["".join(tokens[: at + 1]) for at in range(TOKENS)],
            "tokens": [[token] for token in tokens],
            **judged(weights, name, reply),
            "base" if tuned else "beside": judged(rival, name, reply),
        }
    told = {"dialogues": dialogues}
    return {
        "prompt_tokens": {},
        "expected": comparison.expected_replies(told, dtype),
        "telling": comparison.telling_replies(told, dtype),
        "said": comparison.spoken(told),
        "skipped": "",
        "subject": "what was trained",
        "tolerance": LOGPROB_TOLERANCE[dtype],
        "tuned": tuned,
        "shared": True,
    }


class Answering:
    """A service under one name, behind which *weights* answer."""

    url, by_hand, process = "http://127.0.0.1:1/v1", "curl", None

    def __init__(self, served_name: str, weights: Weights, noise: float) -> None:
        self.served_name, self.weights, self.noise = served_name, weights, noise
        self.names = iter(ASKED)
        self.lot = random.Random(served_name)

    def why_dead(self) -> str:
        return ""

    def complete(self, messages: list[dict[str, str]], **options: Any) -> Any:
        rows = self.weights[next(self.names)]
        reply = [greedy(row) for row in rows]
        content = [
            {
                "token": VOCABULARY[token],
                "logprob": log_probability(row, token) + self.lot.gauss(0, self.noise),
            }
            for row, token in zip(rows, reply, strict=True)
        ]
        text = "".join(VOCABULARY[token] for token in reply)
        return {"choices": [{"message": {"content": text}, "logprobs": {"content": content}}], "usage": {}}


def accepted(under_base: Weights, under_tuned: Weights, facts: Mapping[str, Any], noise: float) -> bool:
    """Return whether both names were shown to be answered by the weights of *facts*."""
    try:
        looks = [
            answers.check_replies(Answering("base", under_base, noise), facts["base"]),
            answers.check_replies(Answering("tuned", under_tuned, noise), facts["tuned"]),
        ]
    except IdentityError:
        return False
    return all(look["identity"] == answers.SHOWN for look in looks)


@pytest.mark.parametrize("dtype", NOISE)
@pytest.mark.parametrize(("strength", "apart"), [(0.5, 0.001), (0.5, 0.05), (2.0, 0.3), (2.0, 2.0)])
def test_no_adapter_of_a_recipe_is_taken_for_another(dtype: str, strength: float, apart: float) -> None:
    noise, sound = NOISE[dtype], 0
    for seed in range(20):
        base = drawn(seed)
        middle = drawn(seed + 100, base, strength)
        weights = [drawn(seed + step, middle, apart) for step in (200, 300)]
        facts = [facts_of(each, base, dtype, tuned=True) for each in weights]

        def told(answering: Sequence[Weights], facts: Sequence[Mapping[str, Any]] = facts) -> bool:
            """Return whether both names were shown to be answered by their own adapter, and not the other's."""
            for own, rival, each in ((0, 1, answering[0]), (1, 0, answering[1])):
                services = [Answering(f"seed{own}", each, noise) for _ in range(2)]
                try:
                    look = answers.check_replies(services[0], facts[own])
                    doubt = why_not_told(services[1], facts[own], "other", facts[rival])
                except IdentityError:
                    return False
                if look["identity"] != answers.SHOWN or doubt:
                    return False
            return True

        sound += told(weights)
        assert not told(weights[::-1]), seed
        assert not told([weights[0], weights[0]]), seed
        assert not told([base, weights[1]]), seed
    assert sound >= 19 or noise > apart / 10, sound  # too alike for the noise: it is said not to be shown


@pytest.mark.parametrize(("dtype", "noise"), NOISE.items())
@pytest.mark.parametrize("strength", [0.003, 0.1, 0.5, 2.0])
def test_no_sabotage_of_a_shared_service_is_accepted(dtype: str, noise: float, strength: float) -> None:
    sound = 0
    for seed in range(20):
        base = drawn(seed)
        tuned, other = (drawn(seed + step, base, strength) for step in (100, 200))
        facts = {
            "base": facts_of(base, tuned, dtype, tuned=False),
            "tuned": facts_of(tuned, base, dtype, tuned=True),
        }
        sound += accepted(base, tuned, facts, noise)
        sabotages = {
            "the wrong adapter": (base, other),
            "the adapter ignored": (base, base),
            "the adapter under the base's name": (tuned, tuned),
            "names exchanged": (tuned, base),
            "another model under the base's name": (other, tuned),
        }
        for what, (under_base, under_tuned) in sabotages.items():
            assert not accepted(under_base, under_tuned, facts, noise), (what, seed)
    assert sound == 20 or noise > strength / 4, sound  # too weak for the noise: it is said not to be shown
    said = {name: {**reply, "base": [None] * TOKENS} for name, reply in facts["base"]["said"].items()}
    unmeasured = {**facts["base"], "said": said, "telling": []}
    assert answers.check_replies(Answering("base", base, noise), unmeasured)["identity"] != answers.SHOWN
