"""The prompt of ChatGLM3 itself, as the template ``chatglm3_native``, for ms-swift's ``--external_plugins``.

The model's own code encodes "\n" and each message apart, and SentencePiece writes a space in front of whatever it
encodes: so a question begins with a space. ms-swift's ``chatglm4`` leaves that space out, and the first piece of every
question is then another one than in the model's training. The newline that the model writes before each reply is
part of the prompt here, in training and service alike.
"""

from __future__ import annotations

NAME = "chatglm3_native"

if __name__ != "bakeoff.plugins.chatglm3_template":  # imported by ms-swift, not by this package
    from swift.template import TemplateMeta, register_template

    register_template(
        TemplateMeta(
            NAME,
            prefix=["[gMASK]<sop>"],
            prompt=["<|user|>\n {{QUERY}}<|assistant|>\n"],
            chat_sep=[],
            suffix=["<|user|>"],
            system_prefix=["[gMASK]<sop><|system|>\n {{SYSTEM}}"],
            stop_words=["</s>", "<|user|>", "<|observation|>"],
        )
    )
