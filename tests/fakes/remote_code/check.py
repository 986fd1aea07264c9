"""Says how far a model gets in this environment: ``python check.py MODEL``; JSON on the last line.

Each step is "" where it works, else why not: tokenizer, model, rotary (positions right), forward (finite), generate
(greedy tokens with a cache equal those computed without one).
"""

import json
import sys
from pathlib import Path

PLUGINS = Path(__file__).parents[3] / "bakeoff" / "plugins"


def check(folder: str) -> dict[str, str]:
    """The steps in their order; the first of the model that fails ends the list."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sys.path.insert(0, str(PLUGINS))
    from rotary_check import rotary_problem

    said = {"transformers": transformers.__version__}
    ids = torch.tensor([[30, 41, 52, 63, 74, 85, 96]])
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        ids = torch.tensor([tokenizer("你好，我最近睡不好")["input_ids"]])
        said["tokenizer"] = ""
    except Exception as error:
        said["tokenizer"] = _why(error)
    step = "model"
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).float().eval()
        said[step], step = "", "rotary"
        said[step] = rotary_problem(model) or ""
        step = "forward"
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        said[step] = "" if bool(torch.isfinite(logits).all()) else "logits are not finite"
        step = "generate"
        whole = ids
        with torch.no_grad():
            for _ in range(8):
                following = model(input_ids=whole, use_cache=False).logits[:, -1:].argmax(-1)
                whole = torch.cat([whole, following], 1)
        mask = torch.ones_like(ids)
        found = model.generate(
            ids, attention_mask=mask, max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=True
        )
        wanted, got = whole[0, ids.shape[1] :].tolist(), found[0, ids.shape[1] :].tolist()
        said[step] = "" if wanted == got else f"with a cache {got}, without one {wanted}"
    except Exception as error:
        said[step] = _why(error)
    return said


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"


if __name__ == "__main__":
    print(json.dumps(check(sys.argv[1]), ensure_ascii=False))
