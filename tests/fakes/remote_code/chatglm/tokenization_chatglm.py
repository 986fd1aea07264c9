# ruff: noqa: RUF012 - class attributes and names as remote code has them
"""A SentencePiece tokenizer in the habits of ChatGLM3's: command tokens of its own, padding from the left."""

from transformers import PreTrainedTokenizer
from transformers.utils import PaddingStrategy

COMMANDS = [
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
]


class ChatGLMTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask", "position_ids"]

    def __init__(self, vocab_file, padding_side="left", clean_up_tokenization_spaces=False, **kwargs):
        from sentencepiece import SentencePieceProcessor

        self.name = "GLMTokenizer"
        self.vocab_file = vocab_file
        self.sp_model = SentencePieceProcessor(model_file=vocab_file)
        size = self.sp_model.vocab_size()
        self.special_tokens = {token: size + index for index, token in enumerate(COMMANDS)}
        self.index_special_tokens = {index: token for token, index in self.special_tokens.items()}
        super().__init__(
            padding_side=padding_side, clean_up_tokenization_spaces=clean_up_tokenization_spaces, **kwargs
        )

    @property
    def unk_token(self):
        return "<unk>"

    @property
    def pad_token(self):
        return "<unk>"

    @property
    def eos_token(self):
        return "</s>"

    @property
    def pad_token_id(self):
        return self.sp_model.unk_id()

    @property
    def eos_token_id(self):
        return self.sp_model.eos_id()

    @property
    def vocab_size(self):
        return self.sp_model.vocab_size() + len(COMMANDS)

    def get_command(self, token):
        return self.special_tokens[token]

    def get_vocab(self):
        vocab = {self._convert_id_to_token(index): index for index in range(self.vocab_size)}
        vocab.update(self.added_tokens_encoder)
        return vocab

    def _tokenize(self, text, **kwargs):
        tokens, rest = [], text
        while rest:
            found = sorted((rest.index(c), -len(c), c) for c in COMMANDS if c in rest)
            start, _, command = found[0] if found else (len(rest), 0, "")
            tokens += self.sp_model.encode(rest[:start], out_type=str)
            tokens += [command] if command else []
            rest = rest[start + len(command) :]
        return tokens

    def _convert_token_to_id(self, token):
        return self.special_tokens.get(token, self.sp_model.piece_to_id(token))

    def _convert_id_to_token(self, index):
        return self.index_special_tokens.get(index) or self.sp_model.id_to_piece(index)

    def convert_tokens_to_string(self, tokens):
        out, plain = "", []
        for token in tokens:
            if token in self.special_tokens:
                out, plain = out + self.sp_model.decode(plain) + token, []
            else:
                plain.append(token)
        return out + self.sp_model.decode(plain)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        prefix = [self.get_command("[gMASK]"), self.get_command("sop")]
        return prefix + token_ids_0 + ([*token_ids_1, self.eos_token_id] if token_ids_1 is not None else [])

    def save_vocabulary(self, save_directory, filename_prefix=None):
        import shutil
        from pathlib import Path

        return (shutil.copy(self.vocab_file, Path(save_directory) / "tokenizer.model"),)

    def _pad(
        self,
        encoded_inputs,
        max_length=None,
        padding_strategy=PaddingStrategy.DO_NOT_PAD,
        pad_to_multiple_of=None,
        return_attention_mask=None,
    ):
        ids = encoded_inputs["input_ids"]
        if padding_strategy == PaddingStrategy.LONGEST:
            max_length = len(ids)
        encoded_inputs.setdefault("attention_mask", [1] * len(ids))
        encoded_inputs.setdefault("position_ids", list(range(len(ids))))
        missing = (max_length or 0) - len(ids)
        if padding_strategy != PaddingStrategy.DO_NOT_PAD and missing > 0:
            for name, filler in (
                ("attention_mask", 0),
                ("position_ids", 0),
                ("input_ids", self.pad_token_id),
            ):
                encoded_inputs[name] = [filler] * missing + encoded_inputs[name]
        return encoded_inputs
