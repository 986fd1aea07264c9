"""The paper pack's R script, as far as that can be told without R."""

from __future__ import annotations

import re

from bakeoff.judgement.paper_texts import r_script

PAIRS = {")": "(", "]": "[", "}": "{"}


def test_the_r_script_closes_what_it_opens_and_escapes_only_what_r_knows() -> None:
    script = re.sub(r"(?m)#[^\n\"]*$", "", r_script())
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', script)
    assert texts
    assert {escape for text in texts for escape in re.findall(r"\\(.)", text)} <= set("ntr\\\"'")
    open_ones: list[str] = []
    for sign in re.sub(r'"(?:[^"\\]|\\.)*"', '""', script):
        if sign in PAIRS.values():
            open_ones.append(sign)
        elif sign in PAIRS:
            assert open_ones.pop() == PAIRS[sign]
    assert open_ones == []
    assert "library(irr)" not in script  # the models are compared without it, too
