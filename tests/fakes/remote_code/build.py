"""Builds a small model with remote code: ``python build.py internlm2 FOLDER``.

Runs in any environment with torch, transformers, safetensors and sentencepiece. The weights are random, from a fixed
seed, and are written without transformers, so that an environment that cannot save them does not matter.
"""

import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KINDS = {
    "internlm2": ("InternLM2ForCausalLM", "InternLM2Config", "internlm2", "InternLM2Tokenizer"),
}
TEXT = """你好，我最近睡不好，总是担心工作。
听起来这段时间您承受了不小的压力，愿意多说一点吗？
我和同事的关系很紧张，不知道怎么办。
我们可以先看看最近一次冲突是怎么发生的。
一个人的时候我会觉得很孤单，也不想出门。
您愿意先从每天十分钟的散步开始吗？
The capital of France is Paris. Answer with a single letter.
"""


def build(kind: str, folder: Path) -> None:
    """A folder that ``from_pretrained`` can read, of the code style *kind*."""
    import sentencepiece
    import torch
    from safetensors.torch import save_file

    model_class, config_class, suffix, tokenizer_class = KINDS[kind]
    folder.mkdir(parents=True)
    for source in (HERE / kind).glob("*.py"):
        shutil.copy(source, folder)
    letters = sorted(set(TEXT) - set("\n "))
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "text"
        corpus.write_text(TEXT, encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(Path(scratch) / "tokenizer"),
            vocab_size=500,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=1.0,
            required_chars="".join(letters),
            model_type="bpe",
            minloglevel=2,
        )
        shutil.copy(Path(scratch) / "tokenizer.model", folder)

    sys.path.insert(0, str(HERE))
    config_module = importlib.import_module(f"{kind}.configuration_{suffix}")
    model_module = importlib.import_module(f"{kind}.modeling_{suffix}")
    config = getattr(config_module, config_class)(max_length=2048)
    if getattr(config, "rope_scaling", None):
        config.rope_scaling = None  # transformers 5 fills it in, which this code does not expect
    torch.manual_seed(7)
    model = getattr(model_module, model_class)(config)
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, value in model.state_dict().items():
        random = name.endswith("weight") and value.ndim == 2
        state[name] = torch.randn(value.shape, generator=generator) * 0.05 if random else value.clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    declared = {
        k: v for k, v in vars(config).items() if isinstance(v, int | float | str | bool) and k[0] != "_"
    }
    (folder / "config.json").write_text(
        json.dumps(
            {
                **declared,
                "model_type": config.model_type,
                "architectures": [model_class],
                "auto_map": {
                    "AutoConfig": f"configuration_{suffix}.{config_class}",
                    "AutoModelForCausalLM": f"modeling_{suffix}.{model_class}",
                    "AutoModel": f"modeling_{suffix}.{model_class}",
                },
                "torch_dtype": "float32",
                "use_cache": True,
                "tie_word_embeddings": False,
            },
            indent=1,
        ),
        encoding="utf-8",
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": tokenizer_class,
                "auto_map": {"AutoTokenizer": [f"tokenization_{suffix}.{tokenizer_class}", None]},
                "unk_token": "<unk>",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "model_max_length": 2048,
            }
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]))
