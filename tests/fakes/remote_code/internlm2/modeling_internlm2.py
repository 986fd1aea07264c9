# ruff: noqa: RUF012 - class attributes and names as remote code has them
"""A small decoder in the habits of InternLM2's remote code.

Kept: query, key and value in one matrix, grouped by key head; frequencies and tables as non-persistent buffers made
in ``__init__``; ``config.rope_scaling["type"]``; tuples of (key, value) as cache, looked into by index.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_internlm2 import InternLM2Config


class InternLM2RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x.float() * scale).to(x.dtype)


class InternLM2RotaryEmbedding(nn.Module):
    def __init__(self, dim, max_position_embeddings=2048, base=10000, device=None):
        super().__init__()
        self.dim, self.base = dim, base
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float().to(device) / dim))
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self._set_cos_sin_cache(max_position_embeddings, self.inv_freq.device, torch.get_default_dtype())

    def _set_cos_sin_cache(self, length, device, dtype):
        self.max_seq_len_cached = length
        angles = torch.outer(torch.arange(length, device=device).to(self.inv_freq.dtype), self.inv_freq)
        both = torch.cat([angles, angles], -1)
        self.register_buffer("cos_cached", both.cos().to(dtype), persistent=False)
        self.register_buffer("sin_cached", both.sin().to(dtype), persistent=False)

    def forward(self, x, seq_len):
        if seq_len > self.max_seq_len_cached:
            self._set_cos_sin_cache(seq_len, x.device, torch.float32)
        return self.cos_cached[:seq_len].to(x.dtype), self.sin_cached[:seq_len].to(x.dtype)


def turn(x):
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


class InternLM2Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = config.hidden_size // self.heads
        self.wqkv = nn.Linear(
            config.hidden_size, (self.heads + 2 * self.key_heads) * self.width, bias=config.bias
        )
        self.wo = nn.Linear(self.heads * self.width, config.hidden_size, bias=config.bias)
        self._init_rope()

    def _init_rope(self):
        if self.config.rope_scaling is not None and self.config.rope_scaling["type"] != "dynamic":
            raise ValueError("only the dynamic rope is kept here")
        self.rotary_emb = InternLM2RotaryEmbedding(
            self.width, self.config.max_position_embeddings, self.config.rope_theta
        )

    def forward(self, x, mask, position_ids, past_key_value=None, use_cache=False):
        batch, length, _ = x.shape
        per_group = self.heads // self.key_heads + 2
        packed = self.wqkv(x).view(batch, length, self.key_heads, per_group, self.width)
        q = packed[..., :-2, :].reshape(batch, length, self.heads, self.width).transpose(1, 2)
        k, v = packed[..., -2, :].transpose(1, 2), packed[..., -1, :].transpose(1, 2)
        total = length + (past_key_value[0].shape[-2] if past_key_value is not None else 0)
        cos, sin = (table[position_ids].unsqueeze(1) for table in self.rotary_emb(v, seq_len=total))
        q, k = q * cos + turn(q) * sin, k * cos + turn(k) * sin
        if past_key_value is not None:
            k, v = torch.cat([past_key_value[0], k], 2), torch.cat([past_key_value[1], v], 2)
        kept = (k, v) if use_cache else None
        k, v = (t.repeat_interleave(self.heads // self.key_heads, 1) for t in (k, v))
        weights = q @ k.transpose(2, 3) / self.width**0.5 + mask
        out = weights.float().softmax(-1).to(q.dtype) @ v
        return self.wo(out.transpose(1, 2).reshape(batch, length, -1)), kept


class InternLM2MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))


class InternLM2DecoderLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = InternLM2Attention(config)
        self.feed_forward = InternLM2MLP(config)
        self.attention_norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.ffn_norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, mask, position_ids, past_key_value=None, use_cache=False):
        attended, kept = self.attention(self.attention_norm(x), mask, position_ids, past_key_value, use_cache)
        x = x + attended
        return x + self.feed_forward(self.ffn_norm(x)), kept


class InternLM2PreTrainedModel(PreTrainedModel):
    config_class = InternLM2Config
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["InternLM2DecoderLayer"]
    _skip_keys_device_placement = "past_key_values"

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=0.02)


class InternLM2Model(InternLM2PreTrainedModel):
    _auto_class = "AutoModel"

    def __init__(self, config):
        super().__init__(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([InternLM2DecoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.tok_embeddings

    def set_input_embeddings(self, value):
        self.tok_embeddings = value

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None,
        use_cache=None, **_,
    ):  # fmt: skip
        x = self.tok_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        batch, length = x.shape[:2]
        past = past_key_values[0][0].shape[2] if past_key_values is not None else 0
        if position_ids is None:
            position_ids = torch.arange(past, past + length, device=x.device).unsqueeze(0)
        keys = torch.arange(past + length, device=x.device)
        seen = (keys[None, :] <= keys[past:, None])[None, None].expand(batch, 1, -1, -1)
        if attention_mask is not None:
            seen = seen & attention_mask[:, None, None, :].bool()
        mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill(
            ~seen, torch.finfo(x.dtype).min
        )
        caches = ()
        for index, layer in enumerate(self.layers):
            past_key_value = past_key_values[index] if past_key_values is not None else None
            if self.gradient_checkpointing and self.training:
                x, kept = torch.utils.checkpoint.checkpoint(
                    layer, x, mask, position_ids, None, False, use_reentrant=False
                )
            else:
                x, kept = layer(x, mask, position_ids, past_key_value, use_cache)
            if use_cache:
                caches = (*caches, kept)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=caches or None)


class InternLM2ForCausalLM(InternLM2PreTrainedModel):
    _auto_class = "AutoModelForCausalLM"
    _tied_weights_keys = ["output.weight"]

    def __init__(self, config):
        super().__init__(config)
        self.model = InternLM2Model(config)
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.output

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None,
        labels=None, use_cache=None, **_,
    ):  # fmt: skip
        use_cache = self.config.use_cache if use_cache is None else use_cache
        out = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        logits = self.output(out.last_hidden_state).float()
        loss = None
        if labels is not None:
            loss = nn.CrossEntropyLoss()(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().to(logits.device)
            )
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values)

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, inputs_embeds=None, **kwargs
    ):
        if past_key_values is not None:
            past = past_key_values[0][0].shape[2]
            input_ids = input_ids[:, past if input_ids.shape[1] > past else input_ids.shape[1] - 1 :]
        position_ids = kwargs.get("position_ids")
        if attention_mask is not None and position_ids is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).masked_fill_(attention_mask == 0, 1)
            if past_key_values:
                position_ids = position_ids[:, -input_ids.shape[1] :]
        return {
            "input_ids": input_ids,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
            "attention_mask": attention_mask,
        }
