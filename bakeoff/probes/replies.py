"""What a model says, and how other weights judge that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakeoff.probes.loading import import_plugins, local_folder
from bakeoff.probes.measured import Behaviour, Judged, Reply
from bakeoff.probes.weights import weight_files


@dataclass(frozen=True)
class Subject:
    """Whose replies are looked at, and how.

    The subject is *merged*, or base + *adapter*, or the *base* itself; the first that is given. An adapter that is
    served *beside* the base judges the base's tokens, too.

    Attributes:
        tokens: longest reply; limit_gib: memory for the weights where there is no card.
    """

    base: str
    adapter: str | None
    merged: str | None
    dtype: str
    tokens: int
    limit_gib: float
    trust_remote_code: bool = False
    plugins: Sequence[str] = ()
    beside: str | None = None


def behaviour(prompts: Mapping[str, list[int]], subject: Subject) -> Behaviour:
    """What *subject* says to *prompts*, and how other weights judge that.

    Log-probabilities are natural logarithms.

    Returns:
        ``skipped`` in words where memory does not allow it; else ``dialogues``, each with the reply's ``ids``, their
        ``texts`` so far, their names one by one (``tokens``: decoded, and as the vocabulary has them), ``logprobs``
        and ``margins`` to the second best token, and for ``adapter`` and ``base`` (where they are not the subject) the
        log-probability of the same tokens and whether each is their first choice; so for ``beside``.
    """
    import torch

    import_plugins(subject.plugins)
    folder = local_folder(subject.merged or subject.base)
    size = sum(path.stat().st_size for path in weight_files(Path(folder))) / 1024**3
    device = "cuda" if torch.cuda.is_available() else "cpu"
    free = torch.cuda.mem_get_info()[0] / 1024**3 if device == "cuda" else subject.limit_gib
    if size * 1.3 > free:
        return {
            "skipped": f"{size:.1f} GiB of weights, {free:.1f} GiB of memory to load them on the {device}"
        }
    with torch.inference_mode():
        return {"dialogues": _Models(subject, folder, device).replies(prompts), "device": device}


class _Models:
    """The weights of a subject, loaded one after another."""

    def __init__(self, subject: Subject, folder: str, device: str) -> None:
        import torch
        from transformers import AutoTokenizer, __version__

        self.subject, self.folder, self.device = subject, folder, device
        self.precision = {"torch_dtype" if __version__ < "5" else "dtype": getattr(torch, subject.dtype)}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=subject.trust_remote_code)

    def load(self, path: str) -> Any:
        """The model in the folder *path*, ready to be asked."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            path, trust_remote_code=self.subject.trust_remote_code, **self.precision
        )
        return model.to(self.device).eval()

    def load_adapted(self, adapter: str | None) -> Any:
        """The base with the *adapter* on it."""
        from peft import PeftModel

        return PeftModel.from_pretrained(self.load(local_folder(self.subject.base)), adapter).eval()

    def replies(self, prompts: Mapping[str, list[int]]) -> dict[str, Reply]:
        """The reply to each of *prompts*, judged by all weights.

        See :func:`behaviour`.
        """
        subject = self.subject
        upon_base = subject.adapter or subject.beside
        model = (
            self.load(subject.merged)
            if subject.merged
            else self.load_adapted(upon_base)
            if upon_base
            else self.load(self.folder)
        )
        answer: dict[str, Reply] = {}
        with model.disable_adapter() if subject.beside else nullcontext():
            for name, prompt in prompts.items():
                answer[name] = self._reply(model, prompt)

        def judge_by(
            judge: Any, side: Literal["adapter", "base", "beside"], below: float = float("inf")
        ) -> None:
            for name, prompt in prompts.items():
                reply = answer[name]["ids"]
                if max(prompt + reply) < below:
                    answer[name][side] = _judged(judge, prompt, reply)

        if subject.merged and subject.adapter:
            del model
            model = self.load_adapted(subject.adapter)
            judge_by(model, "adapter")
        if subject.adapter:
            with model.disable_adapter():
                judge_by(model, "base")
        elif subject.beside:
            judge_by(model, "beside")
        elif subject.merged and subject.base != subject.merged:
            del model
            model = self.load(local_folder(subject.base))
            # merged weights may have more tokens
            judge_by(model, "base", model.get_input_embeddings().num_embeddings)
        return answer

    def _reply(self, model: Any, prompt: list[int]) -> Reply:
        import torch

        ids = torch.tensor([prompt], device=self.device)
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=self.subject.tokens,
            num_beams=1,
        )[0].tolist()
        reply, decode = whole[len(prompt) :], self.tokenizer.decode
        texts = [decode(reply[: at + 1], skip_special_tokens=True) for at in range(len(reply))]
        names = [[decode([token]), str(self.tokenizer.convert_ids_to_tokens(token))] for token in reply]
        judged = _judged(model, prompt, reply)
        return {
            "ids": reply,
            "texts": texts,
            "tokens": names,
            "logprobs": judged["logprobs"],
            "margins": judged["margins"],
        }


def _judged(model: Any, prompt: list[int], reply: list[int]) -> Judged:
    """Log-probability of each token of *reply*, and margin to the best other."""
    import torch

    whole = torch.tensor([prompt + reply], device=model.device)
    logits = model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0, len(prompt) - 1 : -1]
    logprobs = torch.log_softmax(logits.float(), -1)
    chosen = logprobs.gather(1, torch.tensor([reply], device=model.device).T)[:, 0]
    others = logprobs.scatter(1, torch.tensor([reply], device=model.device).T, float("-inf")).max(-1).values
    return {"logprobs": chosen.tolist(), "margins": (chosen - others).tolist()}
