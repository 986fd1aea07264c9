"""A command is what can be pasted."""

from __future__ import annotations

import shlex
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.foundation.command import Command, flags

ARGUMENTS = st.lists(
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=8), max_size=4
)


@given(ARGUMENTS)
def test_a_pasted_line_has_the_same_arguments(arguments: list[str]) -> None:
    assert shlex.split(str(Command(("echo", *arguments)))) == ["echo", *arguments]


def test_a_shell_takes_nothing_in_a_line_for_its_own() -> None:
    command = Command(("printf", "%s", "$(touch /tmp/bakeoff-injected); `id` 'x'"), {"GREETING": "a b;c"})
    shown = subprocess.run(["sh", "-c", str(command)], capture_output=True, text=True, check=True).stdout
    assert shown == "$(touch /tmp/bakeoff-injected); `id` 'x'"


def test_flags_leave_out_none_and_write_truth_as_ms_swift_reads_it() -> None:
    options = {"a": 1, "b": None, "c": True, "d": 2e-4, "e": ("x", "y")}
    assert flags(options) == ("--a", "1", "--c", "true", "--d", "0.0002", "--e", "x", "y")


def test_value_of_finds_what_follows_a_flag() -> None:
    command = Command(("python", "-m", "x.y", "--port", "80"))
    assert (command.module, command.value_of("--port"), command.value_of("--host")) == ("x.y", "80", None)
