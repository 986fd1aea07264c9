"""Measures one variant of a row from inside its environment.

How prompts are rendered, and what the merge holds.

``python -m bakeoff.parity_probe check plan.json`` writes the file that the plan names as ``output``. The plan
is made, and the answer judged, by :mod:`bakeoff.chain.parity`; this program only measures, and needs nothing of the
package, so it runs in any environment with ms-swift (or, for rendering with a tokenizer alone, transformers).

``python -m bakeoff.parity_probe view --model M --folder F --template T …`` makes F a copy of the model folder
M (by links) whose tokenizer renders as ms-swift's template T does, for engines that ask the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import date
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

Messages = list[dict[str, str]]

REPLY = "好的。"
"""Stands for the reply that training would teach after each dialogue."""
TEMPLATE_OPTIONS = (
    "system",
    "agent_template",
    "use_chat_template",
    "template_backend",
    "response_prefix",
    "enable_thinking",
    "preserve_thinking",
    "add_non_thinking_prefix",
    "loss_scale",
)
"""What of a training's arguments decides how a dialogue is rendered."""
WRITTEN = ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json")
"""The files of a view that are no links."""
PLUGIN_FLAGS = ("external_plugins", "custom_register_path")
"""The flag for plugins, and its name before ms-swift 3.1."""


def main(argv: list[str]) -> int:
    """Carry out ``check`` or ``view``."""
    if argv[0] == "view":
        flags = _flags(argv[1:])
        _hub(flags.get("use_hf") == "true")
        model, folder = flags.pop("model"), flags.pop("folder")
        view(folder, {"model": model, "model_type": flags.get("model_type"), "options": flags})
        return 0
    plan = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    _hub(bool(plan.get("use_hf")))
    seconds: dict[str, float] = {}
    answer: dict[str, Any] = {"renders": {}, "seconds": seconds}
    if plan.get("view"):
        with _timed("view", seconds):
            _apart(lambda: view(**plan["view"]))
    for name, how in plan["renders"].items():
        with _timed(f"render {name}", seconds):
            answer["renders"][name] = _apart(
                partial(render, how, plan["dialogues"], prompts=plan.get("prompts") or {})
            )
    tell_tokenizers_apart(answer["renders"])
    if plan.get("tuned"):
        answer["tuned"] = {"changed": first_changed(**plan["tuned"])}
    if plan.get("merge"):
        with _timed("merge", seconds):
            answer["merge"] = merge(**plan["merge"])
    if plan.get("behaviour"):
        prompts = {name: one["ids"] for name, one in answer["renders"]["trained"]["dialogues"].items()}
        wanted = {name: prompts[name] for name in plan["asked"]}
        try:
            with _timed("behaviour", seconds):
                answer["behaviour"] = behaviour(prompts=wanted, **plan["behaviour"], seconds=seconds)
        except Exception as error:
            # a model's own code may only work as ms-swift calls it, and a card may be too small after all
            if not plan["behaviour"]["trust_remote_code"] and "out of memory" not in str(error).lower():
                raise
            answer["behaviour"] = {"skipped": f"{type(error).__name__}: {error}"[:300]}
    Path(plan["output"]).write_text(json.dumps(answer, ensure_ascii=False, indent=1), encoding="utf-8")
    return 0


@contextmanager
def _timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add what a part of the work takes to *seconds*, and print it."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[part] = round(seconds.get(part, 0.0) + time.monotonic() - began, 2)
        print(f"parity: {part}: {seconds[part]:.1f} s", flush=True)


def _hub(use_hf: bool) -> None:
    """Take hub ids from Hugging Face instead of ModelScope."""
    if use_hf:
        os.environ["USE_HF"] = "1"


def _flags(argv: list[str]) -> dict[str, Any]:
    """``--name value …`` pairs by name; several values become a list."""
    found: dict[str, Any] = {}
    for part in argv:
        if part.startswith("--"):
            name = part[2:]
            found[name] = []
        else:
            found[name].append(part)
    return {name: values if name in PLUGIN_FLAGS else " ".join(values) for name, values in found.items()}


def _apart(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure in a fork: a plugin of one render must not reach the next."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                json.dump(measure(), file)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("a render failed; its traceback stands above")
    return dict(json.loads(text))


# -- rendering -----------------------------------------------------------------------------------------------------


def render(
    how: Mapping[str, Any],
    dialogues: Mapping[str, Messages],
    prompts: Mapping[str, Messages] | None = None,
) -> dict[str, Any]:
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

    def rendered(messages: Messages) -> dict[str, Any]:
        try:
            ids = encode(messages)
        except Exception as error:
            if how["by"] != "tokenizer":
                raise
            return {"refused": f"{type(error).__name__}: {error}"[:300]}  # raise_exception() in its Jinja
        return {"ids": ids, "pieces": [tokenizer.decode([one]) for one in ids]}

    found = {name: rendered(messages) for name, messages in dialogues.items()}
    text = " ".join(tokenizer.decode(one["ids"]) for one in found.values() if "ids" in one)
    forms = ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%d/%m/%Y")
    dated = next((form for form in (date.today().strftime(f) for f in forms) if form in text), "")
    return {
        "dialogues": found,
        "prompts": {name: rendered(messages) for name, messages in (prompts or {}).items()},
        "tokenizer": tokenizer_facts(tokenizer),
        "dated": dated,
    }


_SAMPLE = (
    "ABCDEFGHIJ abcdefghij 0123456789\n\n答案：B。（A）《我》“你”、他；她！ The answer is C, isn't it?\t"
    "  two  spaces, ﬁve ＡＢＣ １２３ 繁體 かな 한글 é ñ 😀 <b> {x} [1] #2 $3 %4 a_b c-d e/f"
)
"""What every tokenizer is given to take apart and put together: letters of options, both scripts, odd white space."""


def tokenizer_facts(tokenizer: Any) -> dict[str, Any]:
    """What decides how *tokenizer* turns text into ids and back.

    Returns:
        ``vocabulary`` and ``merges``, each with its size and digest; ``added`` tokens by id; ``special`` ids by role;
        ``sample``, ids of a fixed text, and the text that they make. ``tokens`` are the vocabulary by id, which
        :func:`tell_tokenizers_apart` takes away. What a tokenizer cannot tell is None.
    """
    facts: dict[str, Any] = {}
    for name, ask in (
        ("tokens", _vocabulary_of),
        ("merges", _merges_of),
        ("added", _added_of),
        ("special", _special_of),
        ("sample", _sample_of),
    ):
        try:
            facts[name] = ask(tokenizer)
        except Exception:  # a model's own class may lack what the others have
            facts[name] = None
    tokens = facts["tokens"]
    facts["vocabulary"] = None if tokens is None else _sized(tokens)
    return facts


def _sized(values: list[Any]) -> dict[str, Any]:
    text = json.dumps(values, ensure_ascii=True)
    return {"size": len(values), "digest": hashlib.sha256(text.encode()).hexdigest()}


def _vocabulary_of(tokenizer: Any) -> list[Any]:
    """Every token with its id, by id."""
    return sorted([int(number), str(token)] for token, number in tokenizer.get_vocab().items())


def _merges_of(tokenizer: Any) -> dict[str, Any] | None:
    """The merges of a tokenizer that has any, however its file writes them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    merges = json.loads(backend.to_str())["model"].get("merges") if backend else None
    if merges is None:
        return None
    return _sized([one.split(" ", 1) if isinstance(one, str) else list(one) for one in merges])


def _added_of(tokenizer: Any) -> dict[str, Any]:
    """The added tokens by id, and whether a reply leaves them out."""
    added = tokenizer.added_tokens_decoder.items()
    return {str(number): [str(token.content), bool(token.special)] for number, token in sorted(added)}


def _special_of(tokenizer: Any) -> dict[str, Any]:
    """The ids that begin and end a text; padding decides nothing."""
    return {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}


def _sample_of(tokenizer: Any) -> list[Any]:
    ids = [int(one) for one in tokenizer.encode(_SAMPLE, add_special_tokens=False)]
    return [ids, str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))]


def tell_tokenizers_apart(renders: Mapping[str, Any]) -> None:
    """Keep only the first tokens in which two vocabularies differ."""
    sides = [one["tokenizer"].pop("tokens") for one in renders.values()]
    if len(sides) == 2 and None not in sides and sides[0] != sides[1]:
        first, second = (dict(side) for side in sides)
        differing = [n for n in sorted({*first, *second}) if first.get(n) != second.get(n)]
        examples = [[n, first.get(n), second.get(n)] for n in differing[:3]]
        next(iter(renders.values()))["tokenizer"]["differing"] = [len(differing), examples]


Encoder = Callable[[Messages], list[int]]


def _trained(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    template = _training_template(how)
    template.set_mode("train")

    def encode(messages: Messages) -> list[int]:
        encoded = template.encode({"messages": [*_copy(messages), {"role": "assistant", "content": REPLY}]})
        ids, labels = list(encoded["input_ids"]), list(encoded["labels"])
        begins = max(at for at in range(1, len(ids)) if labels[at] != -100 and labels[at - 1] == -100)
        return [int(one) for one in ids[:begins]]

    return encode, _tokenizer_of(template)


def _training_template(how: Mapping[str, Any]) -> Any:
    """The template with which ms-swift trains; see :func:`render`."""
    load, get_template, _ = _swift()
    spoken = {"true": True, "false": False}
    options: dict[str, Any] = {
        name: spoken.get(value, value) if isinstance(value, str) else value
        for name, value in (how.get("options") or {}).items()
    }
    # Plugins come from the row's own line alone: a file beside weights must not say what is imported.
    _import_plugins(plugin for flag in PLUGIN_FLAGS for plugin in options.get(flag) or ())
    if how.get("args"):
        options |= json.loads(Path(how["args"]).read_text(encoding="utf-8"))
    model_type = options.get("model_type") or how.get("model_type")
    _, processor = load(
        how["model"], load_model=False, model_type=model_type, use_hf=bool(options.get("use_hf")) or None
    )
    parameters = signature(get_template).parameters
    kept = {
        key: options[key] for key in TEMPLATE_OPTIONS if key in parameters and options.get(key) is not None
    }
    if options.get("system") is not None:
        kept["default_system"] = options["system"]
    if next(iter(parameters)) == "template_type":  # before ms-swift 4
        return get_template(options.get("template"), processor, **kept)
    return get_template(processor, template_type=options.get("template"), **kept)


def _import_plugins(files: Iterable[str]) -> None:
    for file in files:
        sys.path.insert(0, str(Path(file).parent))
        import_module(Path(file).stem)


def _swift() -> tuple[Callable[..., Any], Callable[..., Any], type]:
    """This ms-swift's loader, template maker and deploy arguments."""
    try:
        from swift.arguments import DeployArguments
        from swift.model import get_model_processor
        from swift.template import get_template
    except ImportError:  # before ms-swift 4
        from swift.llm import DeployArguments, get_template
        from swift.llm import get_model_tokenizer as get_model_processor
    return get_model_processor, get_template, DeployArguments


def _deployed(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    from swift import __version__
    from swift.utils import parse_args

    load, _, deploy_arguments = _swift()
    arguments, _ = parse_args(deploy_arguments, list(how["argv"]))
    _, processor = load(
        arguments.model, load_model=False, model_type=arguments.model_type, use_hf=arguments.use_hf or None
    )
    template = arguments.get_template(processor)
    template.set_mode("pt" if __version__ < "4" else "transformers")

    def encode(messages: Messages) -> list[int]:
        return [int(one) for one in template.encode({"messages": _copy(messages)})["input_ids"]]

    return encode, _tokenizer_of(template)


def _by_tokenizer(how: Mapping[str, Any]) -> tuple[Encoder, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        how["model"], trust_remote_code=bool(how.get("trust_remote_code"))
    )

    def encode(messages: Messages) -> list[int]:
        text = tokenizer.apply_chat_template(_copy(messages), tokenize=False, add_generation_prompt=True)
        return [int(one) for one in tokenizer.encode(text, add_special_tokens=False)]

    return encode, tokenizer


def _tokenizer_of(template: Any) -> Any:
    return getattr(template, "tokenizer", None) or template.processor


def _copy(messages: Messages) -> Messages:
    return [dict(message) for message in messages]


# -- the training template for engines that ask the tokenizer ------------------------------------------------------


def view(folder: str, how: Mapping[str, Any]) -> dict[str, Any]:
    """Fill *folder* with links to the model and a template in Jinja.

    It renders as the training template does.

    A template that is more than prefixes and separators is left to the tokenizer's own; whether the two agree is
    found by rendering, not here. Returns whether it was written.
    """
    template = _training_template(how)
    model, target = Path(_local(how["model"])), Path(folder)
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
        leave_opening_to_template(_tokenizer_of(template), target)
    return {"written": bool(text)}


def leave_opening_to_template(tokenizer: Any, folder: Path) -> None:
    """Stop the tokenizer in *folder* from adding the opening that the chat template writes.

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
    meta, tokenizer = template.template_meta, _tokenizer_of(template)
    if meta.is_post_system or meta.chat_sep is None:
        return ""

    def said(prompt: Any, **values: str) -> str:
        """*prompt* as a Jinja expression, its placeholders as variables."""
        text = "".join(one if isinstance(one, str) else tokenizer.decode(one) for one in prompt or [])
        parts = re.split(r"\{\{(SYSTEM|QUERY|ROUND0|ROUND1)\}\}", text)
        terms = [values[part] if at % 2 else json.dumps(part) for at, part in enumerate(parts) if part]
        return " ~ ".join(terms) or '""'

    default: str | None = getattr(template, "default_system", None) or meta.default_system
    first = json.dumps(_opening(tokenizer) if meta.auto_add_bos else "")
    with_system = f"{first} ~ {said(meta.system_prefix or meta.prefix, SYSTEM='system')}"
    without = f"{first} ~ {said(meta.prefix, SYSTEM='system')}"
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
    prompt = said(meta.prompt, QUERY="message['content']", **numbers)
    return (
        "{%- if messages[0]['role'] == 'system' -%}"
        "{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}"
        f"{{%- else -%}}{{%- set system = {json.dumps(default) if default else 'none'} -%}}"
        "{%- set turns = messages -%}{%- endif -%}"
        f"{{%- if {test} -%}}{{{{ {with_system} }}}}{{%- else -%}}{{{{ {without} }}}}{{%- endif -%}}"
        "{%- for message in turns -%}{%- if message['role'] == 'user' -%}"
        f"{{{{ {prompt} }}}}"
        "{%- else -%}"
        f"{{{{ {reply} }}}}{{%- if loop.last -%}}{{{{ {said(meta.suffix)} }}}}"
        f"{{%- else -%}}{{{{ {said(meta.chat_sep)} }}}}{{%- endif -%}}"
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


# -- the merge, tensor by tensor -----------------------------------------------------------------------------------

_LORA = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight$")


def merge(base: str, adapter: str, merged: str) -> dict[str, Any]:
    """How far *merged* is from base + scale * B A, tensor by tensor.

    Tensors are read one by one, so the memory needed is that of the largest. A difference counts in units of what one
    rounding of the merged dtype may cost: ``|merged - expected| / (eps * (|base| + scale |B| |A| + |expected|))``.

    Returns:
        ``modules`` adapted and compared; ``worst`` and ``worst_module``; ``applied``, the projection of what the merge
        changed on what the adapter asks for (1: all of it, 0: none); ``delta``, the largest change that the adapter
        asks for; ``others`` compared and ``others_changed``; ``unknown``, tensors without a counterpart; ``dtype``;
        ``not_finite``, modules with a NaN or an infinity in base, adapter or merge.
    """
    import torch

    config = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    lora: dict[str, dict[str, str]] = {}
    adapter_tensors = _Tensors(Path(adapter))
    for name in adapter_tensors:
        if found := _LORA.match(name):
            lora.setdefault(found[1], {})[found[2]] = name
    before, after = _Tensors(Path(_local(base))), _Tensors(Path(merged))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and len(lora) > 64:
        torch.set_num_threads(os.cpu_count() or 1)
    told: dict[str, Any] = {
        "modules": 0,
        "worst": 0.0,
        "worst_module": "",
        "delta": 0.0,
        "others": 0,
        "dtype": "",
    }
    changed: list[str] = []
    not_finite: list[str] = []
    unknown = [name for name in lora if f"{name}.weight" not in before or f"{name}.weight" not in after]
    along = square = 0.0
    for name in before:
        module = name.removesuffix(".weight")
        if name not in after:
            continue
        old, new = before[name].to(device), after[name].to(device)
        told["dtype"] = str(new.dtype).removeprefix("torch.")
        if module not in lora or name == module:
            told["others"] += 1
            if old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
                changed.append(name)
            continue
        a, b = (adapter_tensors[lora[module][half]].to(device, torch.float32) for half in "AB")
        scale = _scale(config, module, a.shape[0])
        delta, bound = (b @ a) * scale, (b.abs() @ a.abs()) * abs(scale)
        if config.get("fan_in_fan_out"):
            delta, bound = delta.T, bound.T
        old32, new32 = old.to(new.dtype).to(torch.float32), new.to(torch.float32)
        expected = (old32 + delta).to(new.dtype).to(torch.float32)
        unit = torch.finfo(new.dtype).eps * (old32.abs() + bound + expected.abs()) + 1e-12
        worst = float(((new32 - expected).abs() / unit).max())
        along += float(((new32 - old32) * delta).sum())
        square += float((delta * delta).sum())
        told["modules"] += 1
        told["delta"] = max(told["delta"], float(delta.abs().max()))
        if not all(bool(torch.isfinite(one).all()) for one in (new32, expected)):
            not_finite.append(module)
        elif worst > told["worst"]:
            told["worst"], told["worst_module"] = worst, module
    told["applied"] = along / square if square else 0.0
    return told | {
        "adapted": len(lora),
        "unknown": unknown[:5],
        "others_changed": changed[:5],
        "not_finite": not_finite[:5],
    }


def first_changed(base: str, merged: str) -> str:
    """The first tensor of *merged* that is not the base's; "" for none.

    Whatever the files are called.
    """
    import torch

    before, after = _Tensors(Path(_local(base))), _Tensors(Path(merged))
    for name in after:
        if name not in before:
            if _is_tied(after, name):
                continue
            return name
        old, new = before[name], after[name]
        if old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
            return name
    return ""


def _is_tied(tensors: _Tensors, name: str) -> bool:
    """Whether *name* is a copy of the embedding that the model shares."""
    import torch

    tensor = tensors[name]
    return any(
        tensor.shape == tensors[other].shape and torch.equal(tensor, tensors[other])
        for other in tensors
        if other != name and re.search(r"embed_tokens|wte|word_embeddings|tok_embeddings|embed_in", other)
    )


def _weight_files(folder: Path) -> list[Path]:
    """The weight files of *folder*, of the form that transformers prefers."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*model*.bin"))


class _Tensors:
    """The tensors of a folder of weights, read when asked for."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors import safe_open

        self._read: dict[str, Callable[[str], Any]] = {}
        for path in _weight_files(folder):
            if path.suffix == ".bin":
                tensors = torch.load(path, mmap=zipfile.is_zipfile(path), weights_only=True)
                self._read.update(dict.fromkeys(tensors, tensors.__getitem__))
            else:
                file = safe_open(str(path), framework="pt")
                self._read.update(dict.fromkeys(file.keys(), file.get_tensor))  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __contains__(self, name: str) -> bool:
        return name in self._read

    def __getitem__(self, name: str) -> Any:
        return self._read[name](name)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r of *module*, or alpha / sqrt(r) for rsLoRA.

    (Kalajdzievski, arXiv 2312.03732.)
    """
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def _local(model: str) -> str:
    """The folder of *model*, which may be a hub id that was fetched before."""
    if Path(model).is_dir():
        return model
    try:
        from swift.utils import safe_snapshot_download
    except ImportError:  # before ms-swift 4
        from swift.llm import safe_snapshot_download
    return str(safe_snapshot_download(model))


# -- behaviour -----------------------------------------------------------------------------------------------------


def behaviour(
    prompts: Mapping[str, list[int]],
    base: str,
    adapter: str | None,
    merged: str | None,
    dtype: str,
    tokens: int,
    limit_gib: float,
    trust_remote_code: bool = False,
    plugins: Iterable[str] = (),
    beside: str | None = None,
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """What the model says to *prompts*, and how other weights judge that.

    The subject is *merged*, or base + *adapter*, or the *base* itself; the first that is given. Log-probabilities are
    natural logarithms. An adapter that is served *beside* the base judges the base's tokens, too.
    *seconds* receives what imports and loading take of it.

    Returns:
        ``skipped`` in words where memory does not allow it; else ``dialogues``, each with the reply's ``ids``, their
        ``texts`` so far, their names one by one (``tokens``: decoded, and as the vocabulary has them), ``logprobs``
        and ``margins`` to the second best token, and for ``adapter`` and ``base`` (where they are not the subject) the
        log-probability of the same tokens and whether each is their first choice; so for ``beside``.
    """
    seconds = {} if seconds is None else seconds
    with _timed("behaviour: imports", seconds):
        import torch

        _import_plugins(plugins)
        import transformers
    folder = _local(merged or base)
    size = sum(path.stat().st_size for path in _weight_files(Path(folder))) / 1024**3
    device = "cuda" if torch.cuda.is_available() else "cpu"
    free = torch.cuda.mem_get_info()[0] / 1024**3 if device == "cuda" else limit_gib
    if size * 1.3 > free:
        return {
            "skipped": f"{size:.1f} GiB of weights, {free:.1f} GiB of memory to load them on the {device}"
        }

    precision = {"torch_dtype" if transformers.__version__ < "5" else "dtype": getattr(torch, dtype)}

    def load(path: str) -> Any:
        with _timed("behaviour: loading", seconds):
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path, trust_remote_code=trust_remote_code, **precision
            )
            return model.to(device).eval()

    def with_adapter(path: str | None) -> Any:
        from peft import PeftModel

        return PeftModel.from_pretrained(load(_local(base)), path).eval()

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)

    def reply_of(model: Any, prompt: list[int]) -> dict[str, Any]:
        ids = torch.tensor([prompt], device=device)
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, num_beams=1
        )[0].tolist()
        reply = whole[len(prompt) :]
        text = [tokenizer.decode(reply[: at + 1], skip_special_tokens=True) for at in range(len(reply))]
        names = [[tokenizer.decode([one]), str(tokenizer.convert_ids_to_tokens(one))] for one in reply]
        return {"ids": reply, "texts": text, "tokens": names, **_judged(model, prompt, reply)}

    with torch.inference_mode():
        subject = (
            load(merged) if merged else with_adapter(adapter or beside) if adapter or beside else load(folder)
        )
        answer: dict[str, Any] = {}
        with subject.disable_adapter() if beside else nullcontext():
            for name, prompt in prompts.items():
                answer[name] = reply_of(subject, prompt)
        if merged and adapter:
            del subject
            subject = with_adapter(adapter)
            for name, prompt in prompts.items():
                answer[name]["adapter"] = _judged(subject, prompt, answer[name]["ids"])
        if adapter:
            with subject.disable_adapter():
                for name, prompt in prompts.items():
                    answer[name]["base"] = _judged(subject, prompt, answer[name]["ids"])
        elif beside:
            for name, prompt in prompts.items():
                answer[name]["beside"] = _judged(subject, prompt, answer[name]["ids"])
        elif merged and base != merged:
            del subject
            subject = load(_local(base))
            known = subject.get_input_embeddings().num_embeddings
            for name, prompt in prompts.items():
                if max(prompt + answer[name]["ids"]) < known:  # merged weights may have more tokens
                    answer[name]["base"] = _judged(subject, prompt, answer[name]["ids"])
    return {"dialogues": answer, "device": device}


def _judged(model: Any, prompt: list[int], reply: list[int]) -> dict[str, list[float]]:
    """Log-probability of each token of *reply*, and margin to the best other."""
    import torch

    whole = torch.tensor([prompt + reply], device=model.device)
    logits = model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0, len(prompt) - 1 : -1]
    logprobs = torch.log_softmax(logits.float(), -1)
    chosen = logprobs.gather(1, torch.tensor([reply], device=model.device).T)[:, 0]
    others = logprobs.scatter(1, torch.tensor([reply], device=model.device).T, float("-inf")).max(-1).values
    return {"logprobs": chosen.tolist(), "margins": (chosen - others).tolist()}


if __name__ == "__main__":
    if not __package__:  # started as a file: the folder beside it must not pass its swift.py for ms-swift
        sys.path[:] = [
            place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent
        ]
    sys.exit(main(sys.argv[1:]))
