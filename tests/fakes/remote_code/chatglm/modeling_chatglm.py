# ruff: noqa: RUF012, N812 - class attributes and names as remote code has them
"""A small decoder in the habits of ChatGLM3's remote code.

Kept: no ``num_hidden_layers``, sequence-first activations, rotation of half the channels in interleaved pairs from a
registered ``inv_freq``, tuples of (key, value) as cache, ``max_length`` read from the configuration, and the
generation hooks of transformers before 4.42. The attributes' names are those that LoRA and merging rely on.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_chatglm import ChatGLMConfig


class RotaryEmbedding(nn.Module):
    def __init__(self, dim, original_impl=True, device=None, dtype=None):
        super().__init__()
        self.register_buffer(
            "inv_freq", 1.0 / (10000 ** (torch.arange(0, dim, 2, device=device).to(dtype) / dim))
        )
        self.dim = dim

    def forward(self, length):
        theta = 1.0 / (
            10000 ** (torch.arange(0, self.dim, 2, device=self.inv_freq.device).float() / self.dim)
        )
        angles = torch.outer(torch.arange(length, device=theta.device).float(), theta)
        return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x, cache):
    turned = cache.shape[-2] * 2
    x, rest = x[..., :turned], x[..., turned:]
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    cos, sin = cache[:, :, None, :, 0], cache[:, :, None, :, 1]
    out = torch.stack(
        [pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 1] * cos + pairs[..., 0] * sin], -1
    )
    return torch.cat([out.flatten(-2).type_as(rest), rest], -1)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * x.float() * scale).to(x.dtype)


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.groups = config.num_attention_heads, config.multi_query_group_num
        self.width = config.kv_channels
        self.query_key_value = nn.Linear(config.hidden_size, (self.heads + 2 * self.groups) * self.width)
        self.dense = nn.Linear(self.heads * self.width, config.hidden_size, bias=False)

    def forward(self, x, mask, rope, cache):
        length, batch, _ = x.shape
        sizes = [self.heads * self.width, self.groups * self.width, self.groups * self.width]
        q, k, v = (t.view(length, batch, -1, self.width) for t in self.query_key_value(x).split(sizes, -1))
        q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            k, v = torch.cat([cache[0], k]), torch.cat([cache[1], v])
        kept = (k, v)
        q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))
        k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.dense(out.permute(2, 0, 1, 3).reshape(length, batch, -1)), kept


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

    def forward(self, x):
        gate, up = self.dense_h_to_4h(x).chunk(2, -1)
        return self.dense_4h_to_h(F.silu(gate) * up)


class GLMBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x, mask, rope, cache=None):
        attended, kept = self.self_attention(self.input_layernorm(x), mask, rope, cache)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class GLMTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_layers = config.num_layers
        self.layers = nn.ModuleList([GLMBlock(config) for _ in range(config.num_layers)])
        self.final_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.gradient_checkpointing = False

    def forward(self, x, mask, rope, caches, use_cache):
        presents = ()
        for index, layer in enumerate(self.layers):
            if self.gradient_checkpointing and self.training:
                x, kept = torch.utils.checkpoint.checkpoint(layer, x, mask, rope, None, use_reentrant=False)
            else:
                x, kept = layer(x, mask, rope, caches[index] if caches is not None else None)
            if use_cache:
                presents = (*presents, kept)
        return self.final_layernorm(x), presents


class Embedding(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)

    def forward(self, input_ids):
        return self.word_embeddings(input_ids).transpose(0, 1).contiguous()


class ChatGLMPreTrainedModel(PreTrainedModel):
    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    is_parallelizable = False
    supports_gradient_checkpointing = True
    _no_split_modules = ["GLMBlock"]

    def _init_weights(self, module):
        return

    def _set_gradient_checkpointing(self, module, value=False):
        if isinstance(module, GLMTransformer):
            module.gradient_checkpointing = value

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs=None):
        self.apply(lambda module: self._set_gradient_checkpointing(module, True))

    def get_position_ids(self, input_ids, device):
        return torch.arange(input_ids.shape[1], device=device).unsqueeze(0).repeat(input_ids.shape[0], 1)


class ChatGLMModel(ChatGLMPreTrainedModel):
    def __init__(self, config, device=None, empty_init=True):
        super().__init__(config)
        self.embedding = Embedding(config)
        self.rotary_pos_emb = RotaryEmbedding(config.kv_channels // 2, device=device, dtype=torch.float32)
        self.encoder = GLMTransformer(config)
        self.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)

    def get_input_embeddings(self):
        return self.embedding.word_embeddings

    def forward(
        self,
        input_ids,
        position_ids=None,
        attention_mask=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        return_dict=None,
        **_,
    ):
        batch, length = input_ids.shape
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        past = past_key_values[0][0].shape[0] if past_key_values is not None else 0
        keys = torch.arange(past + length, device=input_ids.device)
        mask = keys[None, :] <= keys[past:, None]
        mask = mask[None, None].expand(batch, 1, -1, -1)
        if attention_mask is not None:
            mask = mask & attention_mask[:, None, None, :].bool()
        mask = mask | (keys[None, :] == keys[past:, None])[None, None]  # a padded row still sees itself
        rope = self.rotary_pos_emb(self.config.seq_length)
        position_ids = (
            self.get_position_ids(input_ids, input_ids.device) if position_ids is None else position_ids
        )
        x, presents = self.encoder(x, mask, rope[position_ids].transpose(0, 1), past_key_values, use_cache)
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=presents or None)


class ChatGLMForConditionalGeneration(ChatGLMPreTrainedModel):
    def __init__(self, config, empty_init=True, device=None):
        super().__init__(config)
        self.max_sequence_length = config.max_length
        self.transformer = ChatGLMModel(config, empty_init=empty_init, device=device)

    def _update_model_kwargs_for_generation(
        self, outputs, model_kwargs, is_encoder_decoder=False, standardize_cache_format=False
    ):
        model_kwargs["past_key_values"] = self._extract_past_from_model_output(
            outputs, standardize_cache_format=standardize_cache_format
        )
        if "attention_mask" in model_kwargs:
            mask = model_kwargs["attention_mask"]
            model_kwargs["attention_mask"] = torch.cat([mask, mask.new_ones((mask.shape[0], 1))], -1)
        if "position_ids" in model_kwargs:
            positions = model_kwargs["position_ids"]
            model_kwargs["position_ids"] = torch.cat([positions, positions[..., -1:] + 1], -1)
        model_kwargs["is_first_forward"] = False
        return model_kwargs

    def prepare_inputs_for_generation(
        self,
        input_ids,
        past_key_values=None,
        attention_mask=None,
        position_ids=None,
        use_cache=None,
        is_first_forward=True,
        **_,
    ):
        if position_ids is None:
            position_ids = self.get_position_ids(input_ids, input_ids.device)
        if not is_first_forward and past_key_values is not None:
            position_ids, input_ids = position_ids[..., -1:], input_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "past_key_values": past_key_values,
            "position_ids": position_ids,
            "attention_mask": attention_mask,
            "return_last_logit": True,
            "use_cache": use_cache,
        }

    def forward(
        self,
        input_ids=None,
        position_ids=None,
        attention_mask=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        return_last_logit=False,
        **_,
    ):
        use_cache = self.config.use_cache if use_cache is None else use_cache
        out = self.transformer(
            input_ids, position_ids, attention_mask, past_key_values, inputs_embeds, use_cache
        )
        x = out.last_hidden_state[-1:] if return_last_logit else out.last_hidden_state
        logits = self.transformer.output_layer(x).transpose(0, 1).contiguous()
        loss = None
        if labels is not None:
            loss = nn.CrossEntropyLoss(ignore_index=-100)(
                logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten().to(logits.device)
            )
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values)
