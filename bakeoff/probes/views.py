"""A model folder whose tokenizer renders as the training's template does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.probes.loading import local_folder, tokenizer_of, training_template

WRITTEN = ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json")
"""The files of a view that are no links."""


def view(folder: str, how: Mapping[str, Any]) -> dict[str, bool]:
    """Fill *folder* with links to the model and a template in Jinja.

    It renders as the training template does.

    A template that is more than prefixes and separators is left to the tokenizer's own; whether the two agree is
    found by rendering, not here. Returns whether it was written.
    """
    template = training_template(how)
    model, target = Path(local_folder(how["model"])), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        if not old.is_symlink() and old.name not in WRITTEN:
            raise SystemExit(f"{old} is no link: {target} is no view that we made; name another --folder")
        old.unlink()
    for source in model.iterdir():
        (target / source.name).symlink_to(source.resolve())
    text = chat_template(template)
    if text:
        for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
            (target / name).unlink(missing_ok=True)
        config = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
        config["chat_template"] = text
        (target / "tokenizer_config.json").write_text(
            json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8"
        )
        (target / "chat_template.jinja").write_text(text, encoding="utf-8")
        leave_opening_to_template(tokenizer_of(template), target)
    return {"written": bool(text)}


def leave_opening_to_template(tokenizer: Any, folder: Path) -> None:
    """Stop the tokenizer in *folder* from writing an opening of its own.

    The chat template writes it.

    lmdeploy encodes the rendered prompt with special tokens and then removes a second BOS token, but no other one: a
    prompt of ChatGLM3 would begin ``[gMASK]<sop>[gMASK]<sop>``.
    """
    file = folder / "tokenizer.json"
    if not file.is_file() or _opening(tokenizer) in ("", tokenizer.bos_token):
        return
    content = json.loads(file.read_text(encoding="utf-8")) | {"post_processor": None}
    file.unlink()  # a link to the model's own
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def chat_template(template: Any) -> str:
    """An ms-swift *template* in Jinja; "" where its form cannot be written.

    It must be one of prefix, prompt and separator.

    Dates are written out as the template has them now, so that a pinned day stays.
    """
    meta, tokenizer = template.template_meta, tokenizer_of(template)
    if meta.is_post_system or meta.chat_sep is None:
        return ""

    def expression(prompt: Any, **values: str) -> str:
        """*prompt* as a Jinja expression, its placeholders as variables."""
        text = "".join(part if isinstance(part, str) else tokenizer.decode(part) for part in prompt or [])
        parts = re.split(r"\{\{(SYSTEM|QUERY|ROUND0|ROUND1)\}\}", text)
        terms = [values[part] if at % 2 else json.dumps(part) for at, part in enumerate(parts) if part]
        return " ~ ".join(terms) or '""'

    default: str | None = getattr(template, "default_system", None) or meta.default_system
    first = json.dumps(_opening(tokenizer) if meta.auto_add_bos else "")
    with_system = f"{first} ~ {expression(meta.system_prefix or meta.prefix, SYSTEM='system')}"
    without = f"{first} ~ {expression(meta.prefix, SYSTEM='system')}"
    reply = "message['content']"
    if _writes_spaces(
        tokenizer
    ):  # ms-swift encodes a reply apart, and its tokenizer begins each text with a space
        reply = f"' ' ~ {reply}"
    if type(template).__name__ == "GptTemplate":  # harmony: its class writes the head of the prompt itself
        head = json.dumps(template._get_gpt_oss_prefix())
        developer = json.dumps("<|start|>developer<|message|># Instructions\n\n")
        with_system, without = f"{head} ~ {developer} ~ system ~ '<|end|>'", head
        reply = "'<|channel|>final<|message|>' ~ message['content']"
    test = "system is not none" if type(template).__name__ == "GptTemplate" else "system"
    numbers = {"ROUND0": "(loop.index0 // 2)", "ROUND1": "(loop.index0 // 2 + 1)"}
    prompt = expression(meta.prompt, QUERY="message['content']", **numbers)
    return (
        "{%- if messages[0]['role'] == 'system' -%}"
        "{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}"
        f"{{%- else -%}}{{%- set system = {json.dumps(default) if default else 'none'} -%}}"
        "{%- set turns = messages -%}{%- endif -%}"
        f"{{%- if {test} -%}}{{{{ {with_system} }}}}{{%- else -%}}{{{{ {without} }}}}{{%- endif -%}}"
        "{%- for message in turns -%}{%- if message['role'] == 'user' -%}"
        f"{{{{ {prompt} }}}}"
        "{%- else -%}"
        f"{{{{ {reply} }}}}{{%- if loop.last -%}}{{{{ {expression(meta.suffix)} }}}}"
        f"{{%- else -%}}{{{{ {expression(meta.chat_sep)} }}}}{{%- endif -%}}"
        "{%- endif -%}{%- endfor -%}"
    )


def _writes_spaces(tokenizer: Any) -> bool:
    """Whether *tokenizer* puts a space before every text.

    SentencePiece does by default.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return encode("\n") + encode("a") == encode("\n a")


def _opening(tokenizer: Any) -> str:
    """What the tokenizer puts before any text by itself, as ms-swift finds it."""
    marked, plain = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    return str(tokenizer.decode(marked[: marked.index(plain[0])]))
