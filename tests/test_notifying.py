"""A run that has ended tells somebody, and no secret leaves the environment."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import ClassVar

import pytest

from bakeoff.foundation.errors import MatrixError
from bakeoff.matrix.loading import parse_matrix
from bakeoff.runs import notifying

SECRET = "feishu://s3cret-token"


class Sender:
    """Stands in for Apprise: takes addresses with a scheme, sends to those of ``feishu``, breaks on ``broken``."""

    sent: ClassVar[list[tuple[str, str, str]]] = []

    def __init__(self) -> None:
        self.address = ""

    def add(self, address: str) -> bool:
        self.address = address
        return "://" in address

    def notify(self, *, title: str, body: str) -> bool:
        if self.address.startswith("broken"):
            raise OSError(f"cannot reach {self.address}")
        self.sent.append((self.address, title, body))
        return self.address.startswith("feishu")


@pytest.fixture(autouse=True)
def apprise(monkeypatch: pytest.MonkeyPatch) -> None:
    Sender.sent = []
    monkeypatch.setitem(sys.modules, "apprise", SimpleNamespace(Apprise=Sender, __spec__=SimpleNamespace()))


def test_the_sentences_of_the_run_are_sent_to_every_address() -> None:
    environ = {"A": SECRET, "B": "feishu://other"}
    assert notifying.notify(["A", "B"], "ended", ["one", "two"], environ) == []
    assert Sender.sent == [(SECRET, "ended", "one\ntwo"), ("feishu://other", "ended", "one\ntwo")]


@pytest.mark.parametrize("address", ["", "s3cret", "mailto://s3cret", "broken://s3cret"])
def test_a_failure_is_told_by_the_name_of_the_variable_alone(address: str) -> None:
    (why,) = notifying.notify(["MY_URL"], "ended", ["x" * 9999], {"MY_URL": address})
    assert "MY_URL" in why
    assert "s3cret" not in why
    assert all(len(body) <= notifying.LONGEST for _, _, body in Sender.sent)


def test_without_the_package_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "find_spec", lambda name: None)
    assert "pip install apprise" in notifying.notify(["A"], "t", [], {})[0]
    assert notifying.notify([], "t", [], {}) == []


@pytest.mark.parametrize("value", [SECRET, [SECRET], ["OK", SECRET], [3], {"a": "b"}])
def test_an_address_in_the_matrix_is_refused_and_not_repeated(value: object) -> None:
    raw = {"models": {"m": {"model": "me/mine", "tune": False}}, "notify": value}
    with pytest.raises(MatrixError, match="names of environment variables") as refused:
        parse_matrix(raw)
    assert "s3cret" not in str(refused.value)
    assert parse_matrix({**raw, "notify": ["FEISHU_URL"]}).notify == ("FEISHU_URL",)


def test_a_summary_that_breaks_and_a_library_that_prints_addresses_change_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise KeyError("stages")

    assert notifying.notify(["A"], "ended", broken(), {"A": SECRET}) == []
    assert Sender.sent == [(SECRET, "ended", "its summary cannot be made: KeyError")]
    logging.getLogger("apprise").error("Unparseable URL %s", SECRET)
    assert SECRET not in "".join(capfd.readouterr())
