from transformers import PretrainedConfig


class InternLM2Config(PretrainedConfig):
    model_type = "internlm2"
    _auto_class = "AutoConfig"

    def __init__(
        self,
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_theta=1000000,
        rope_scaling=None,
        use_cache=True,
        bias=False,
        attn_implementation="eager",
        tie_word_embeddings=False,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self.use_cache = use_cache
        self.bias = bias
        self.attn_implementation = attn_implementation or "eager"
        if self.rope_scaling is not None and set(self.rope_scaling) != {"type", "factor"}:
            raise ValueError(f"rope_scaling must have the fields type and factor, got {self.rope_scaling}")
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
