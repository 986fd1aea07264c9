"""Packages, keys and prompts that a row's tools need."""

from __future__ import annotations

from collections.abc import Iterator

from bakeoff.doctor import comparability
from bakeoff.doctor.finding import (
    REMOTE_CODE,
    Finding,
    Visit,
    tracks_in_swanlab,
)
from bakeoff.foundation.sentences import JOINED, Statement, Template

OLD_CODE = Template(
    "doctor.tools.old_code",
    "its remote code was written for transformers 4, and environment {name!r} has {version}: rotary positions become "
    "uninitialised memory, mostly without an error",
    zh="其自带代码针对 transformers 4 编写，而环境 {name!r} 为 {version}：旋转位置编码会成为未初始化的内存，多半不报错",
)
OLD_TRANSFORMERS = Template(
    "doctor.tools.old_transformers",
    "name an environment with transformers 4.41.2 under 'environment' (docs/environments.md)",
    zh="在 environment 下指定装有 transformers 4.41.2 的环境（docs/environments.md）",
)
NO_BAICHUAN = Template(
    "doctor.tools.no_baichuan",
    "lmdeploy no longer serves Baichuan models (since 0.18)",
    zh="lmdeploy 自 0.18 起不再支持 Baichuan 模型",
)
ANOTHER_ENGINE = Template(
    "doctor.tools.another_engine",
    "serving: {{engine: transformers}} (or vllm) for this row",
    zh="该行改用 serving: {{engine: transformers}}（或 vllm）",
)
SDPA_OR = Template(
    "doctor.tools.sdpa_or",
    "attention: sdpa (without packing), or install {package}",
    zh="改为 attention: sdpa（不打包），或安装 {package}",
)
NO_FLASH = Template(
    "doctor.tools.no_flash",
    "the code of {model_type} models has no flash attention",
    zh="{model_type} 模型的代码不支持 flash attention",
)
WITHOUT_FLASH = Template(
    "doctor.tools.without_flash",
    "training: {{attention: null, packing: false}} for this row",
    zh="该行改用 training: {{attention: null, packing: false}}",
)
NO_FUSED = Template(
    "doctor.tools.no_fused",
    "no fused loss knows the code of {model_type} models",
    zh="融合损失不支持 {model_type} 模型的代码",
)
WITHOUT_FUSED = Template(
    "doctor.tools.without_fused",
    "training: {{fused_loss: false, batch_size: 4, gradient_accumulation: 8}}: the same effective batch",
    zh="改用 training: {{fused_loss: false, batch_size: 4, gradient_accumulation: 8}}，有效批大小不变",
)
NOT_FUSED_OR = Template(
    "doctor.tools.not_fused_or",
    "fused_loss: false (four times the memory), or install liger-kernel",
    zh="改为 fused_loss: false（显存为四倍），或安装 liger-kernel",
)
NO_SWANLAB = Template(
    "doctor.tools.no_swanlab",
    "environment {name!r} has no swanlab: TensorBoard tracks instead",
    zh="环境 {name!r} 中没有 swanlab：改由 TensorBoard 记录",
)
SWANLAB_OR = Template(
    "doctor.tools.swanlab_or",
    "install swanlab, or say tracker: tensorboard",
    zh="安装 swanlab，或写明 tracker: tensorboard",
)
NEEDS_PACKAGE = Template(
    "doctor.tools.needs_package",
    "needs {package} in environment {name!r}",
    zh="环境 {name!r} 中缺少 {package}",
)
NEEDS_ENGINE = Template(
    "doctor.tools.needs_engine",
    "is served by {engine}, which environment {name!r} does not have",
    zh="用 {engine} 部署，而环境 {name!r} 中没有它",
)
ENGINE_OR = Template(
    "doctor.tools.engine_or",
    "environment: {{serve: …}} with one that requires {engine}, or serving: {{engine: transformers}}",
    zh="用 environment: {{serve: …}} 指定装有 {engine} 的环境，或改用 serving: {{engine: transformers}}",
)
NO_CLOUD_KEY = Template(
    "doctor.tools.no_cloud_key",
    "SwanLab's cloud needs SWANLAB_API_KEY; without it nothing is tracked there",
    zh="SwanLab 云端需要 SWANLAB_API_KEY；没有它就不会记录",
)
OLD_CLOUD_KEY = Template(
    "doctor.tools.old_cloud_key",
    "SwanLab's cloud needs SWANLAB_API_KEY (SwanLab does not read the guide's SWANLAB_TOKEN); without it nothing is "
    "tracked there",
    zh="SwanLab 云端需要 SWANLAB_API_KEY（SwanLab 不读取指南中的 SWANLAB_TOKEN）；没有它就不会记录",
)
CLOUD_OR = Template(
    "doctor.tools.cloud_or",
    "put SWANLAB_API_KEY=… into .env, or tracker_mode: local, or tracker: tensorboard",
    zh="在 .env 中写入 SWANLAB_API_KEY=…，或用 tracker_mode: local，或 tracker: tensorboard",
)
NO_KEY = Template("doctor.tools.no_key", "{variable} is not set", zh="未设置 {variable}")
SET_KEY = Template("doctor.tools.set_key", "put {variable}=… into .env", zh="在 .env 中写入 {variable}=…")
DATED = Template(
    "doctor.tools.dated",
    "template {template} prints the day's date into every prompt: scores drift from day to day",
    zh="模板 {template} 会把当天日期写入每条提示词：成绩会随日期变化",
)
FIX_DATE = Template(
    "doctor.tools.fix_date",
    "prompt_date: YYYY-MM-DD (any fixed day)",
    zh="写明 prompt_date: YYYY-MM-DD（任一固定日期）",
)
OR_LLAMA3 = Template("doctor.tools.or_llama3", "or template: llama3", zh="或 template: llama3")

_NO_FLASH = ("chatglm2", "chatglm3", "baichuan", "baichuan2")
_FLASH = {
    "flash_attn": "flash-attn",
    "flash_attention_2": "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}


def check_remote_code(visit: Visit) -> Iterator[Finding]:
    """Yield which rows' own code does not fit their tools."""
    for row in visit.rows:
        roles = [r for r, w in (("train", row.trains), ("serve", row.serving.engine == "transformers")) if w]
        for role in roles if row.model_type in REMOTE_CODE else ():
            environment = visit.environment(row, role)
            version = environment.version("transformers") if environment else None
            if environment and version and int(version.split(".")[0]) >= 5:
                yield Finding(
                    "error",
                    row.name,
                    OLD_CODE(name=environment.name, version=version),
                    OLD_TRANSFORMERS(),
                )
        if row.serving.engine == "lmdeploy" and row.model_type in ("baichuan", "baichuan2"):
            yield Finding("error", row.name, NO_BAICHUAN(), ANOTHER_ENGINE())


def check_packages(visit: Visit) -> Iterator[Finding]:
    """Yield which packages rows need and their environments lack."""
    for row in visit.rows:
        training = visit.environment(row, "train")
        requirements: list[tuple[str, Statement]] = []
        if row.trains and row.training.attention in _FLASH:
            package = _FLASH[row.training.attention]
            if "packed_rows" not in row.training.plugins:  # which lends PyTorch's own
                requirements.append((package, SDPA_OR(package=package)))
            if row.model_type in _NO_FLASH:
                yield Finding("error", row.name, NO_FLASH(model_type=row.model_type), WITHOUT_FLASH())
        if row.trains and row.training.fused_loss and row.model_type in REMOTE_CODE:
            yield Finding("error", row.name, NO_FUSED(model_type=row.model_type), WITHOUT_FUSED())
        elif row.trains and row.training.fused_loss and not row.on_cpu:
            requirements.append(("liger-kernel", NOT_FUSED_OR()))
        if training and tracks_in_swanlab(visit, row) and training.version("swanlab") is None:
            yield Finding("warning", row.name, NO_SWANLAB(name=training.name), SWANLAB_OR())
        for package, remedy in requirements if training else ():
            if training and training.version(package) is None:
                yield Finding("error", row.name, NEEDS_PACKAGE(package=package, name=training.name), remedy)
        serving = visit.environment(row, "serve")
        engine = row.serving.engine
        if serving and not row.url and engine != "transformers" and serving.version(engine) is None:
            yield Finding(
                "error",
                row.name,
                NEEDS_ENGINE(engine=engine, name=serving.name),
                ENGINE_OR(engine=engine),
            )


def check_tokens(visit: Visit) -> Iterator[Finding]:
    """Yield which keys are not set."""
    for row in visit.rows:
        cloud = tracks_in_swanlab(visit, row) and row.training.tracker_mode == "cloud"
        if cloud and not visit.environ.get("SWANLAB_API_KEY"):
            lacks = OLD_CLOUD_KEY if visit.environ.get("SWANLAB_TOKEN") else NO_CLOUD_KEY
            yield Finding("warning", row.name, lacks(), CLOUD_OR())
        if row.key_env and not visit.environ.get(row.key_env):
            yield Finding("error", row.name, NO_KEY(variable=row.key_env), SET_KEY(variable=row.key_env))


def check_prompts(visit: Visit) -> Iterator[Finding]:
    """Yield which prompts change from day to day."""
    for row in visit.rows:
        if comparability.has_dated_prompt(row.template) and not row.prompt_date and not row.url:
            remedy = FIX_DATE()
            if row.template == "llama3_2":
                remedy = JOINED(parts=[remedy, OR_LLAMA3()])
            yield Finding("warning", row.name, DATED(template=row.template), remedy)
