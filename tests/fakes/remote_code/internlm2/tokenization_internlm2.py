# ruff: noqa: RUF012 - class attributes and names as remote code has them
"""A slow SentencePiece tokenizer in the habits of InternLM2's."""

import shutil
from pathlib import Path

import sentencepiece as spm
from transformers.tokenization_utils import PreTrainedTokenizer


class InternLM2Tokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask"]
    _auto_class = "AutoTokenizer"

    def __init__(
        self,
        vocab_file,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        add_bos_token=True,
        **kwargs,
    ):
        self.vocab_file = vocab_file
        self.add_bos_token = add_bos_token
        self._no_prefix_space_tokens = None
        self.sp_model = spm.SentencePieceProcessor()
        self.sp_model.Load(vocab_file)
        super().__init__(
            bos_token=bos_token, eos_token=eos_token, unk_token=unk_token, pad_token=pad_token, **kwargs
        )

    @property
    def vocab_size(self):
        return self.sp_model.get_piece_size()

    def get_vocab(self):
        vocab = {self.convert_ids_to_tokens(i): i for i in range(self.vocab_size)}
        vocab.update(self.added_tokens_encoder)
        return vocab

    def _tokenize(self, text):
        return self.sp_model.encode(text, out_type=str)

    def _convert_token_to_id(self, token):
        return self.sp_model.piece_to_id(token)

    def _convert_id_to_token(self, index):
        return self.sp_model.IdToPiece(index)

    def convert_tokens_to_string(self, tokens):
        out, plain = "", []
        for token in tokens:
            if token in self.all_special_tokens:
                out, plain = out + self.sp_model.decode(plain) + token, []
            else:
                plain.append(token)
        return out + self.sp_model.decode(plain)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return ([self.bos_token_id] if self.add_bos_token else []) + token_ids_0 + (token_ids_1 or [])

    def save_vocabulary(self, save_directory, filename_prefix=None):
        return (shutil.copy(self.vocab_file, Path(save_directory) / "tokenizer.model"),)
