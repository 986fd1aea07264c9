"""The families of published models that have a native form."""

from __future__ import annotations

from bakeoff.forms.baichuan2 import BAICHUAN2
from bakeoff.forms.chatglm3 import CHATGLM3
from bakeoff.forms.gpt_oss import GPT_OSS
from bakeoff.forms.internlm2 import INTERNLM2

FAMILIES = (INTERNLM2, BAICHUAN2, CHATGLM3, GPT_OSS)
