"""The token ids of a dialogue as it is trained and as it is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from bakeoff.probes.loading import swift_api, tokenizer_of, training_template
from bakeoff.probes.measured import Rendered, Side
from bakeoff.probes.tokenizers import tokenizer_facts

Messages = list[dict[str, str]]
Encoder = Callable[[Messages], list[int]]


REPLY = "好的。"
"""Stands for the reply that training would teach after each dialogue."""


def render(
    how: Mapping[str, Any],
    dialogues: Mapping[str, Messages],
    prompts: Mapping[str, Messages] | None = None,
) -> Side:
    """The token ids of each dialogue up to the point where the reply begins.

    Args:
        how: ``{"by": "training", "model", "model_type", "options"}`` as ms-swift trains (the file ``args``, where
            there is one, is the record of our own training and counts before the options);
            ``{"by": "deploy", "argv"}`` as that ``swift deploy`` line serves; ``{"by": "tokenizer", "model"}`` as an
            engine does that asks the tokenizer's own chat template.
        dialogues: messages that end on the client.
        prompts: further messages, by suite.

    Returns:
        ``dialogues`` and ``prompts`` (``ids`` and their ``pieces`` of text, or ``refused`` with the reason in words),
        ``tokenizer`` (see :func:`tokenizer_facts`), and ``dated``: the day of today as it stands in a prompt, or
        nothing.
    """
    encode, tokenizer = {"training": _trained, "deploy": _deployed, "tokenizer": _by_tokenizer}[how["by"]](
        how
    )

    def rendered(messages: Messages) -> Rendered:
        try:
            ids = encode(messages)
        except Exception as error:
            if how["by"] != "tokenizer":
                raise
            return {"refused": f"{type(error).__name__}: {error}"[:300]}  # raise_exception() in its Jinja
        return {"ids": ids, "pieces": [tokenizer.decode([number]) for number in ids]}

    sides = {name: rendered(messages) for name, messages in dialogues.items()}
    text = " ".join(tokenizer.decode(side["ids"]) for side in sides.values() if "ids" in side)
    forms = ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%d/%m/%Y")
    dated = next((form for form in (date.today().strftime(f) for f in forms) if form in text), "")
    return {
        "dialogues": sides,
        "prompts": {name: rendered(messages) for name, messages in (prompts or {}).items()},
        "tokenizer": tokenizer_facts(tokenizer),
        "dated": dated,
    }


def _trained(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    template = training_template(how)
    template.set_mode("train")

    def encode(messages: Messages) -> list[int]:
        encoded = template.encode({"messages": [*_copy(messages), {"role": "assistant", "content": REPLY}]})
        ids, labels = list(encoded["input_ids"]), list(encoded["labels"])
        begins = max(at for at in range(1, len(ids)) if labels[at] != -100 and labels[at - 1] == -100)
        return [int(number) for number in ids[:begins]]

    return encode, tokenizer_of(template)


def _deployed(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    from swift import __version__
    from swift.utils import parse_args

    load, _, deploy_arguments = swift_api()
    arguments, _ = parse_args(deploy_arguments, list(how["argv"]))
    _, processor = load(
        arguments.model, load_model=False, model_type=arguments.model_type, use_hf=arguments.use_hf or None
    )
    template = arguments.get_template(processor)
    template.set_mode("pt" if __version__ < "4" else "transformers")

    def encode(messages: Messages) -> list[int]:
        return [int(number) for number in template.encode({"messages": _copy(messages)})["input_ids"]]

    return encode, tokenizer_of(template)


def _by_tokenizer(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        how["model"], trust_remote_code=bool(how.get("trust_remote_code"))
    )

    def encode(messages: Messages) -> list[int]:
        text = tokenizer.apply_chat_template(_copy(messages), tokenize=False, add_generation_prompt=True)
        return [int(number) for number in tokenizer.encode(text, add_special_tokens=False)]

    return encode, tokenizer


def _copy(messages: Messages) -> Messages:
    return [dict(message) for message in messages]
