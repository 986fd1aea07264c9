# ruff: noqa: RUF012, N812 - class attributes and names as remote code has them
"""A small decoder in the habits of Baichuan2-7B's remote code.

Kept: query, key and value in ``W_pack``; rotary frequencies and tables as plain attributes, no buffers; an output
head that normalises its weights, once and for all at the first answer; tuples of (key, value) as cache.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_baichuan import BaichuanConfig


class RMSNorm(nn.Module):
    def __init__(self, size, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (x.float() * scale).to(self.weight.dtype)


class RotaryEmbedding(nn.Module):
    def __init__(self, dim, max_position_embeddings=2048, base=10000, device=None):
        super().__init__()
        self.inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float().to(device) / dim))
        self.max_seq_len_cached = max_position_embeddings
        angles = torch.outer(
            torch.arange(max_position_embeddings, device=self.inv_freq.device).float(), self.inv_freq
        )
        both = torch.cat([angles, angles], -1)
        self.cos_cached, self.sin_cached = both.cos()[None, None], both.sin()[None, None]

    def forward(self, x, seq_len):
        if self.cos_cached.device != x.device:
            self.cos_cached, self.sin_cached = self.cos_cached.to(x.device), self.sin_cached.to(x.device)
        return self.cos_cached[:, :, :seq_len], self.sin_cached[:, :, :seq_len]


def turn(x):
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.num_heads
        self.W_pack = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.rotary_emb = RotaryEmbedding(
            self.head_dim, max_position_embeddings=config.max_position_embeddings
        )

    def forward(self, x, attention_mask, position_ids, past_key_value=None, use_cache=False):
        batch, length, _ = x.shape
        packed = self.W_pack(x).view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = packed
        total = length + (past_key_value[0].shape[-2] if past_key_value is not None else 0)
        tables = self.rotary_emb(v, seq_len=total)
        cos, sin = (table.squeeze(1).squeeze(0)[position_ids].unsqueeze(1) for table in tables)
        q = (q.float() * cos + turn(q.float()) * sin).to(q.dtype)
        k = (k.float() * cos + turn(k.float()) * sin).to(k.dtype)
        if past_key_value is not None:
            k, v = torch.cat([past_key_value[0], k], 2), torch.cat([past_key_value[1], v], 2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1)), (k, v) if use_cache else None


class DecoderLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, attention_mask, position_ids, past_key_value=None, use_cache=False):
        attended, kept = self.self_attn(
            self.input_layernorm(x), attention_mask, position_ids, past_key_value, use_cache
        )
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class BaichuanPreTrainedModel(PreTrainedModel):
    config_class = BaichuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DecoderLayer"]

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=0.02)

    def _set_gradient_checkpointing(self, module, value=False):
        if isinstance(module, BaichuanModel):
            module.gradient_checkpointing = value

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs=None):
        self.apply(lambda module: self._set_gradient_checkpointing(module, True))


class BaichuanModel(BaichuanPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None,
        use_cache=None, **_,
    ):  # fmt: skip
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
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


class NormHead(nn.Module):
    def __init__(self, hidden_size, vocab_size, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty((vocab_size, hidden_size)))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.first_flag = True

    def forward(self, x):
        if self.training:
            weight = F.normalize(self.weight)
            self.first_flag = True
        elif self.first_flag:
            self.first_flag = False
            self.weight.data = F.normalize(self.weight)
            weight = self.weight
        else:
            weight = self.weight
        return F.linear(x, weight)


class BaichuanForCausalLM(BaichuanPreTrainedModel):
    def __init__(self, config, *model_args, **model_kwargs):
        super().__init__(config, *model_args, **model_kwargs)
        self.model = BaichuanModel(config)
        self.lm_head = NormHead(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None,
        labels=None, use_cache=None, **_,
    ):  # fmt: skip
        use_cache = self.config.use_cache if use_cache is None else use_cache
        out = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        logits = self.lm_head(out.last_hidden_state)
        loss = None
        if labels is not None:
            shifted = logits[:, :-1].contiguous().view(-1, self.config.vocab_size).float()
            z_loss = self.config.z_loss_weight * shifted.logsumexp(-1).pow(2).mean()
            loss = nn.CrossEntropyLoss()(shifted, labels[:, 1:].flatten().to(logits.device)) + z_loss
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values)

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, inputs_embeds=None, **kwargs
    ):
        if past_key_values:
            input_ids = input_ids[:, -1:]
        position_ids = kwargs.get("position_ids")
        if attention_mask is not None and position_ids is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).masked_fill_(attention_mask == 0, 1)
            if past_key_values:
                position_ids = position_ids[:, -1].unsqueeze(-1)
        return {
            "input_ids": input_ids,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
            "attention_mask": attention_mask,
        }
