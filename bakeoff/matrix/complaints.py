"""What a row, a suite or a judge demands that cannot be carried out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import JsonValue

from bakeoff.foundation.secrecy import NAMES, redact
from bakeoff.foundation.suggestions import did_you_mean
from bakeoff.matrix.datasets import SHIPPED, dataset_name, is_local_model
from bakeoff.matrix.schema import PLUGINS, VARIANTS, Judge, Matrix, ModelSpec, Suite
from bakeoff.matrix.settings import BATCH_INVARIANT, FLASH_ATTENTION, LOADS_ADAPTERS

_KEYS = re.compile(
    r"\b(sk|hf|ms|gh[opsu]|github_pat|xox[abp]|AKIA|eyJ)[-_]?[A-Za-z0-9_-]{16,}"  # keys of well-known services
    r"|\b(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[A-Z])(?=(?:[A-Za-z]*[0-9]){4})[A-Za-z0-9]{24,}\b"
)
"""What looks like a key that was pasted, whatever stands around it."""

LONGEST_SHOWN = 200
"""Characters of a wrong value that are shown."""


def shown(value: object) -> str:
    """Return *value* as a message shows it: cut, and without secrets."""
    try:
        text = _KEYS.sub("***", redact(repr(value)))
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list in itself
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def of_row(
    spec: ModelSpec, suites: Mapping[str, object], environments: Mapping[str, object]
) -> Iterator[str]:
    """Yield what is wrong with a row whose keys are all right by themselves."""
    where = spec.name
    yield from (unknown(name, suites, f"{where}.suites") for name in spec.suites if name not in suites)
    for role, name in spec.environment:
        if name not in environments:
            yield unknown(name, environments, f"{where}.environment.{role}")
    if sum(bool(place) for place in (spec.adapter, spec.weights, spec.url)) > 1:
        yield f"{where}: give one of 'adapter', 'weights' and 'url'; each says where the row starts"
    if not (spec.model or spec.weights or spec.url):
        yield f"{where}: needs a 'model' (or 'weights', or a 'url' of a service that runs already)"
    if spec.url is not None:
        yield from of_url(spec.url, f"{where}.url")
    if spec.url and not spec.served_model:
        yield f"{where}: 'url' needs 'served_model', the name that the service lists under /v1/models"
    if spec.adapter and not spec.model:
        yield f"{where}: 'adapter' needs the 'model' it was trained on"
    if spec.trains and not spec.dataset:
        yield f"{where}: 'dataset' is missing; give it here or under defaults, or say 'tune: false'"
    yield from _revision(spec)
    yield from _training_and_serving(spec)
    for dataset in spec.dataset:
        yield from _dataset(dataset, f"{where}.dataset")
    yield from secrets_in(spec.training.extra, f"{where}.training.extra")
    yield from secrets_in(spec.serving.extra, f"{where}.serving.extra")


def _training_and_serving(spec: ModelSpec) -> Iterator[str]:
    where = spec.name
    if spec.training.packing and spec.training.attention not in FLASH_ATTENTION:
        yield (
            f"{where}.training.attention: packing needs one of {', '.join(FLASH_ATTENTION)}, "
            f"found {spec.training.attention!r}; or say 'packing: false'"
        )
    yield from _several_cards(spec)
    for plugin in spec.training.plugins:
        if plugin not in (shipped := sorted(path.stem for path in PLUGINS.glob("[a-z]*.py"))):
            yield unknown(plugin, shipped, f"{where}.training.plugins")
    yield from _plugins_of_gpt_oss(spec)
    if spec.serving.way == "adapter" and spec.serving.engine not in LOADS_ADAPTERS:
        yield (
            f"{where}.serving.way: 'adapter' on {spec.serving.engine} would silently serve the base model; "
            "use 'merged', or engine 'transformers' or 'vllm'"
        )
    if spec.serving.deterministic and (spec.url or spec.serving.engine not in BATCH_INVARIANT):
        which = "somebody else's service" if spec.url else spec.serving.engine
        yield (
            f"{where}.serving.deterministic: {which} cannot be told to answer alike whatever is in flight; use engine "
            f"{' or '.join(BATCH_INVARIANT)}, or take it out: the report's measured noise tells how alike replies are"
        )
    if spec.serving.engine == "vllm" and spec.template == "gpt_oss" and spec.prompt_date:
        yield (
            f"{where}.serving.engine: vllm renders gpt_oss by code of its own that prints today instead of "
            f"'prompt_date' {spec.prompt_date}; use engine 'lmdeploy' or 'transformers', or take 'prompt_date' out"
        )


_OF_GPT_OSS = ("attention_sinks", "fused_experts")
_LENT = FLASH_ATTENTION[:2]
"""What attention_sinks stands in for; the third and fourth flash attention are other functions."""


def _plugins_of_gpt_oss(spec: ModelSpec) -> Iterator[str]:
    """Yield where a plugin for GPT-OSS has no effect or breaks training."""
    training, where = spec.training, f"{spec.name}.training"
    plugins = training.plugins
    foreign = [name for name in _OF_GPT_OSS if name in plugins and spec.model_type not in (None, "gpt_oss")]
    for name in foreign:
        yield f"{where}.plugins: {name} is for model_type gpt_oss, and this row's is {spec.model_type}; take it out"
    if "attention_sinks" not in plugins or foreign:
        return
    if "packed_rows" not in plugins[: plugins.index("attention_sinks")]:
        yield f"{where}.plugins: attention_sinks comes after packed_rows, which lends the attention that it extends"
    if not training.packing:
        yield f"{where}.packing: attention_sinks attends over packed rows only; say 'packing: true' or take it out"
    elif training.attention not in _LENT:
        yield (
            f"{where}.attention: attention_sinks stands in for {' or '.join(_LENT)}, found {training.attention!r}; "
            "say 'attention: flash_attn' or take it out"
        )


def _several_cards(spec: ModelSpec) -> Iterator[str]:
    """What speaks against a row that several cards train together."""
    cards, training = spec.cards, spec.training
    if spec.trains and (rest := training.effective_batch % cards):
        fitting = training.effective_batch - rest or cards
        yield (
            f"{spec.name}.gpus: {cards} cards cannot share {training.effective_batch} dialogues per update evenly "
            f"({training.batch_size} x {training.gradient_accumulation}); let training.batch_size x "
            f"gradient_accumulation be a multiple of {cards}, such as {fitting}"
        )
    several = [word for word in ("deepspeed", "fsdp") if training.extra.get(word)]
    if several and cards == 1:
        yield f"{spec.name}.training.extra.{several[0]}: needs several cards; say 'gpus: 2', or take it out"
    if len(several) == 2:
        yield f"{spec.name}.training.extra: give one of deepspeed and fsdp"


def _revision(spec: ModelSpec) -> Iterator[str]:
    if spec.revision is None:
        return
    if not spec.model:
        what = "the row names no 'model'"
    elif spec.tiny:
        what = f"{shown(spec.model)} is built here"
    elif is_local_model(spec.model):
        what = f"{shown(spec.model)} is a folder on this machine, which is known by its content"
    else:
        if problem := _why_no_revision(spec.revision):
            yield f"{spec.name}.revision: {shown(spec.revision)} {problem}"
        return
    yield f"{spec.name}.revision: is for a model that comes from a hub, and {what}; take 'revision' out"


def _why_no_revision(revision: str) -> str:
    """Why no branch, tag or commit can have this name; empty if one can."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}", revision) and not re.search(
        r"\.\.|//|/\.|\.lock(/|$)|[./]$", revision
    ):
        return ""
    return "is no name of a branch, a tag or a commit"


def _dataset(dataset: str, where: str) -> Iterator[str]:
    try:
        name = dataset_name(dataset)
    except ValueError as error:
        yield f"{where}: {shown(dataset)}: {error}"
        return
    path = name.path
    if (why := why_no_place(dataset)) and not (path and path.exists()):
        yield f"{where}: {why}"
        return
    if re.match(r"https?://", dataset):
        yield f"{where}: {shown(dataset)} is an address; download it and give its path, or the hub id owner/name"
        return
    if re.search(r"[*?]", dataset) and not (path and path.exists()):
        yield f"{where}: {shown(dataset)}: no file has that name, and patterns are not filled in; give the folder"
        return
    if name.revision and name.is_local:
        yield (
            f"{where}: {shown(name.place)} has the revision {shown(name.revision)}, which only data of a hub have, and "
            "lies on this machine, where it is known by its content; take 'revision' out"
        )
        return
    if name.revision and (problem := _why_no_revision(name.revision)):
        yield f"{where}: {shown(dataset)}: the revision {shown(name.revision)} {problem}"
        return
    if path is None or path.exists():
        return
    ours = [f"shipped:{file.name}" for file in SHIPPED.glob("*.jsonl")]
    hint = did_you_mean(dataset, ours) if dataset.startswith("shipped:") else ""
    yield f"{where}: no file {shown(dataset)}{hint or '; give an existing path or a hub id owner/name'}"


def why_no_place(text: str) -> str:
    """Return why nothing lies at the path *text*; empty where it may."""
    if Path(text).expanduser().exists():
        return ""
    if variable := re.search(r"\$\{?([A-Za-z_]\w*)|%([A-Za-z_]\w*)%", text):
        name = variable[1] or variable[2]
        return f"{shown(text)}: environment variables are not filled in here; write what {name} stands for"
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        wsl = shown(f"/mnt/{text[0].lower()}{text[2:]}".replace("\\", "/"))
        known_there = f", in WSL {wsl}" if text[1] == ":" else ""
        return f"{shown(text)}: is a path of Windows; write it as this machine knows it{known_there}"
    return ""


def of_judge(judge: Judge, rows: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with the judge."""
    if bool(judge.row) == bool(judge.url):
        yield "judge: give either 'row', a row that is deployed as the judge, or 'url' and 'served_model'"
    if judge.url is not None:
        yield from of_url(judge.url, "judge.url")
    if judge.url and not judge.served_model:
        yield "judge: 'url' needs 'served_model', the name that the service lists under /v1/models"
    rows = list(rows)
    row, _, variant = (judge.row or "").partition("/")
    if row and row not in rows:
        yield unknown(row, map(str, rows), "judge.row")
    if variant and variant not in VARIANTS:
        yield unknown(variant, VARIANTS, "judge.row")


_ENDPOINTS = re.compile(r"/(chat/completions|completions|responses|embeddings|models)/*$")


def of_url(url: str, where: str) -> Iterator[str]:
    """Yield what is wrong with a service's address, without its secrets."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        whole = port != 0 and (not host or ":" in host or bool(host.rstrip(".").encode("idna")))
    except ValueError:
        whole = False
    if not whole:
        yield f"{where}: is no address (http://host:port/v1)"
        return
    place = url.partition("://")[2] or url.removeprefix("//")
    if "@" in re.split(r"[?#]", place)[0]:
        yield (
            f"{where}: holds a user name or password, which every command line and record would show; take it out, "
            "put the key into .env, and name its variable under 'key_env'"
        )
        return
    bare = shown(re.split(r"[?#]", url)[0])
    if parts.scheme not in ("http", "https") or "://" not in url:
        behind = re.sub(r"^https?:?/*", "", re.split(r"[?#]", place)[0])
        hint = "" if "://" in url else f"; write http://{behind[:LONGEST_SHOWN]}"
        yield f"{where}: {bare} must begin with http:// or https://{hint}"
        return
    if not host or re.search(
        r"[\s\x00-\x1f\x7f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\\<>\"{}|^`]|%(?![0-9A-Fa-f]{2})",
        url,
    ):
        lack = "names no host" if not host else "holds a blank or another character that no address can"
        yield f"{where}: {bare} {lack}; write http://host:port/v1"
        return
    if "?" in url or "#" in url:
        yield (
            f"{where}: ends in a query or fragment, behind which no path can follow; give {bare}, and what the service "
            "needs beside it under 'key_env' or a suite's generation: {extra_headers: …}"
        )
    if _ENDPOINTS.search(parts.path):
        base = _ENDPOINTS.sub("", re.split(r"[?#]", url)[0])
        yield f"{where}: {bare} is the address of one function; cut it to {shown(base)}"
    elif not parts.path:
        yield (
            f"{where}: {bare} has no path; most services answer under {shown(re.split(r'[?#]', url)[0] + '/v1')} "
            "(where one really answers at its root, end the address with /)"
        )


_AT_LEAST = {"max_tokens": 1, "temperature": 0, "top_p": 0, "timeout": 0, "top_logprobs": 0}
_AT_MOST = {"top_p": 1}
_WHOLE = ("max_tokens", "top_k", "seed", "top_logprobs")
_NUMBERS = (*_AT_LEAST, *_WHOLE, "frequency_penalty", "presence_penalty", "repetition_penalty")


_OF_THE_REQUEST = (
    "model",
    "messages",
    "prompt",
    "stream",
    "stream_options",
    "n",
    "tools",
    "tool_choice",
    "functions",
)
OF_CRISES = "crisis"
"""The suite under which replies to crisis cases are scored; it enters no mean."""
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*\.")


def of_folder(name: str, where: str) -> Iterator[str]:
    """Yield why no folder can be called *name* everywhere."""
    if _DEVICES.fullmatch(name):
        yield f"{where}: no folder can be called {name!r} on Windows, where a report may be read; give it another name"


def of_suite(suite: Suite) -> Iterator[str]:
    """Yield settings that are impossible or contradict each other."""
    yield from of_folder(suite.name, f"suites.{suite.name}")
    if suite.name == OF_CRISES:
        yield f"suites.{suite.name}: is the name under which replies to crisis cases are scored; give it another name"
    if suite.subsets and len(set(suite.subsets)) < len(suite.subsets):
        yield f"suites.{suite.name}.subsets: names a subset twice; list each once"
    if suite.subsets is not None and not suite.subsets:
        yield f"suites.{suite.name}.subsets: lists none; take the line out to ask all of them"
    yield from _scoring(suite)
    for name, value in suite.generation.items():
        where = f"suites.{suite.name}.generation.{name}"
        if name in _NUMBERS:
            yield from _number(name, value, where)
        elif name == "stop_seqs":
            texts = (
                isinstance(value, list) and value and all(isinstance(text, str) and text for text in value)
            )
            if not texts:
                yield f"{where}: must be a list of texts, found {shown(value)}"
        elif name == "extra_headers":
            if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                yield f"{where}: must be a mapping of texts, found {shown(value)}"
        elif name == "extra_body" and not isinstance(value, dict):
            yield f"{where}: must be a mapping, found {shown(value)}"
        elif name in ("logprobs", "stream") and not isinstance(value, bool):
            yield f"{where}: must be true or false, found {shown(value)}"
        elif name == "reasoning_effort" and not isinstance(value, str):
            yield f"{where}: must be a text, found {shown(value)}"
        if isinstance(value, dict):
            yield from secrets_in(value, where)
        if name == "extra_body" and isinstance(value, dict):
            yield from _of_the_request(value, where)
        plain = re.sub(r"[- ]", "_", name.lower())
        if name != plain and plain in (*_NUMBERS, "stop_seqs", "extra_headers", "extra_body"):
            yield f"{where}: is not known; is it {plain!r}?"


def _of_the_request(body: Mapping[str, JsonValue], where: str) -> Iterator[str]:
    """Yield what in *body* would replace what the harness sends."""
    for key in body:
        if key in _OF_THE_REQUEST:
            yield f"{where}: {key!r} would replace what the harness asks; take it out"
        elif (own := {"stop": "stop_seqs"}.get(key, key)) in (*_NUMBERS, "stop_seqs", "logprobs"):
            yield f"{where}: {key!r} has a place of its own; write it as generation: {{{own}: …}}"


MAX_LETTER_TOKENS = 32
"""Most tokens of a reply in which a letter is looked for: beyond them a model reasons, and its choice has fallen."""


def _scoring(suite: Suite) -> Iterator[str]:
    where = f"suites.{suite.name}"
    if suite.scoring == "generation":
        if suite.orders > 1:
            yield f"{where}.orders: only 'scoring: logprob' asks a question in several orders of its options"
        return
    if suite.kind == "open":
        yield f"{where}.scoring: an open question has no letters whose log-probabilities could be read"
    if suite.generation.get("temperature"):
        yield f"{where}.generation.temperature: log-probabilities are read at temperature 0; take it out"
    if suite.generation.get("stream"):
        yield f"{where}.generation.stream: log-probabilities are read from whole answers; take it out"
    tokens, top = suite.generation.get("max_tokens", 1), suite.generation.get("top_logprobs", 20)
    if isinstance(tokens, int) and tokens > MAX_LETTER_TOKENS:
        yield (
            f"{where}.generation.max_tokens: a letter is looked for in the first {MAX_LETTER_TOKENS} tokens at most, "
            f"found {tokens}; 1 where replies begin with it, 8 behind words such as 答案："
        )
    if isinstance(top, int) and top < 2:
        yield f"{where}.generation.top_logprobs: 2 or more, so that letters can be compared, found {top}"


def _number(name: str, value: JsonValue, where: str) -> Iterator[str]:
    kind = "a whole number" if name in _WHOLE else "a number"
    if isinstance(value, bool) or not isinstance(value, int if name in _WHOLE else (int, float)):
        yield f"{where}: must be {kind}, found {shown(value)}"
    elif name in _AT_LEAST and value < _AT_LEAST[name]:
        yield f"{where}: must be {_AT_LEAST[name]} or more, found {shown(value)}"
    elif name in _AT_MOST and value > _AT_MOST[name]:
        yield f"{where}: must be at most {_AT_MOST[name]}, found {shown(value)}"


def unused_suites(matrix: Matrix) -> Iterator[str]:
    """Yield the suites that no row asks for, in one sentence."""
    used = {name for spec in matrix.models.values() for name in spec.suites}
    unused = [name for name in matrix.suites if name not in used]
    if unused:
        are, them = ("are", "them") if len(unused) > 1 else ("is", "it")
        yield (
            f"suites: {', '.join(unused)} {are} defined, and no row asks for {them}; add "
            f"'suites: [{', '.join(unused)}]' to defaults, to a group or to a row, or take {them} out"
        )


def secrets_in(
    settings: Mapping[str, JsonValue] | Mapping[str, str | int | float | bool], where: str
) -> Iterator[str]:
    """Yield which values are secrets by their names."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from secrets_in(value, f"{where}.{name}")
        # a number is a count, as in max_tokens; a text of several tokens is no secret either
        elif NAMES.search(name) and isinstance(value, str) and not name.lower().endswith("tokens"):
            yield (
                f"{where}: {name!r} is a secret by its name, and would be shown in command lines and records; put its "
                "value into the environment or .env under the name that the tool reads (such as HF_TOKEN), and leave "
                "it out here"
            )


def unknown(name: str, names: Iterable[str], where: str) -> str:
    """Return that *name* is not known at *where*, with the nearest names."""
    return f"{where}: '{shown(name)[1:-1]}' is not known{did_you_mean(name, names)}"
