"""What a key of the matrix means, in both languages.

The English is the description in the schema, from which docs/matrix.md is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from bakeoff.foundation.sentences import Statement, Template
from bakeoff.matrix import schema, settings

_CHINESE: Mapping[type[BaseModel], Mapping[str, str]] = {
    schema.Environment: {"python": "版本，例如 3.10；None：与当前运行的相同"},
    schema.Trust: {
        "min_agreement": "两套提取规则读法相同的回复所占比例",
        "chance_level": "低分在随机猜测下出现的概率上限",
    },
    schema.Suite: {
        "benchmark": "EvalScope 登记的 id，或自带的 id",
        "data": "文件夹；'shipped:x' 为自带数据，'data:x' 位于 --data-dir 下",
        "hub": "没有数据文件夹时可从模型站点下载",
        "generation": "随每题发送的设置：max_tokens、temperature、stop_seqs、extra_body 等",
        "chance": "随机猜测的得分；None：不是选择题",
        "scoring": "logprob：由对数概率得出模型认为最可能的字母，而不从文本中读取",
        "orders": "logprob：每题以几种选项顺序提问（轮换；取平均）",
        "may_be_untrusted": "为什么无效成绩不算运行失败；该成绩仍然无效",
        "leakage_expected": "训练集有意包含这些题目",
        "interest": "在这里有意义的最小分差；更小的差异会如实标出",
        "margin": "微调后相对基座仍可接受的下降",
    },
    schema.ModelSpec: {
        "model": "站点 id、文件夹，或由本机构建的 'tiny:<配方>'",
        "revision": "站点模型的分支、标签或提交（数字加引号）；None：站点的主分支",
        "adapter": "已有的 LoRA 检查点：不再训练",
        "weights": "已有的合并权重：不再训练或合并",
        "url": "他人运行的服务的 …/v1 地址",
        "served_model": "该服务中的模型名称",
        "key_env": "存放该服务密钥的环境变量",
        "use_hf": "模型与数据集取自 Hugging Face，而不是 ModelScope",
        "dataset": "对话数据的文件、文件夹或站点 id，写法同 ms-swift：[hf::]位置[:子集][#行数]；"
        "'shipped:x' 为自带数据；站点数据也可写 {id: owner/name, revision: v1}",
        "weights_of": "另一行的名称：以另一种方式部署它的权重；可设置 serving、environment.serve、suites、evaluate、"
        "needs 和 limits；不再训练",
        "tune": "False：比较未经微调的基座模型",
        "seeds": "以更多种子训练该行（数据顺序、LoRA 初始化）：名为 NAME.seed43、NAME.seed44 等的行共用基座；"
        "这样结论才针对训练方法，而不只针对一次训练",
        "gpus": "同一主机上用几块 GPU 训练该行（数字），或用哪几块（加引号，写法同 CUDA_VISIBLE_DEVICES）；"
        "None：任意空闲的一块。独立引擎以同样多的 GPU 部署，除非 serving.tensor_parallel 另有规定；在 CPU 上为进程数",
        "prompt_date": "含日期的模板中写入的日期",
    },
    schema.Judge: {
        "row": "部署为评审模型的行，或 行/变体",
        "url": "他人运行的评审模型的 …/v1 地址，用来代替行",
        "served_model": "该服务中评审模型的名称",
        "key_env": "存放该服务密钥的环境变量",
        "repeats": "每条回复评几次；2 次可测出评审自身的一致性",
        "max_tokens": "一次评审的最大长度，含思考",
    },
    schema.ExecutorSpec: {
        "address": "Ray：ray://host:10001，或集群节点上的 host:port；None：本节点的集群",
        "partition": "Slurm：sbatch --partition",
        "account": "Slurm：sbatch --account",
        "qos": "Slurm：sbatch --qos",
        "constraint": "Slurm：sbatch --constraint",
        "time": "作业从开始算起的时限，加引号，写法同 sbatch：分钟、时:分:秒、天-时 等",
        "cpus": "一个作业的处理器核数",
        "memory": "一个作业的内存，例如 64G",
        "gres": "Slurm：GPU 的名称；{} 为数量：gpu:h100:{}",
        "extra": "Slurm：sbatch 的其他参数，例如 --reservation=lab",
        "prelude": "Slurm：作业命令之前的 shell 语句，例如 module load",
        "launch": "加在作业命令前面的词，例如 apptainer exec --nv image.sif",
        "restarts": "节点丢失后，作业可重新开始几次",
        "max_jobs": "同时排队或运行的作业数；None：全部",
    },
    settings.Training: {
        "max_length": "token 数；更长的对话会被 ms-swift 丢弃",
        "packing": "需要 flash attention；把对话打包成长度为 max_length 的行",
        "batch_size": "每块 GPU 每次前向的对话数（或打包行数）",
        "gradient_accumulation": "每次更新的前向次数",
        "max_steps": "更新次数；优先于 epochs",
        "attention": "flash_attn、flash_attention_4、sdpa、eager 等；None：模型默认",
        "fused_loss": "--use_liger_kernel：数学上相同，内存为三分之一",
        "router_aux_loss_coef": "仅用于混合专家模型",
        "validation_share": "留给 eval_steps 的对话比例",
        "plugins": "bakeoff/plugins 中加速 GPU 行的文件，不写 .py",
        "tracker": "无法使用 SwanLab 时由 TensorBoard 记录训练",
        "tracker_mode": "SwanLab 的模式；offline：保存在 swanlog/，供 'swanlab sync' 上传；local：用于它的本地看板",
        "extra": "swift sft 的其他参数，不写横线",
    },
    settings.Serving: {
        "way": "指南第 4 节：B（合并权重）或 A（基座 + 适配器）",
        "shared": "仅用于 way: adapter：一个服务承载基座和其上的全部适配器，各用自己的名称",
        "port": "None：任意空闲端口",
        "session_len": "提示词与回复的 token 总数",
        "memory_share": "空闲显存中用于权重和 KV 缓存的比例",
        "in_flight": "评测时同时进行的请求数",
        "restarts": "评测期间停止响应或退出的服务可重启几次",
        "deterministic": "仅用于 vllm 和 sglang：回复不受同时进行的其他请求影响，速度会降低",
        "extra": "部署命令的其他参数，不写横线",
    },
    settings.Limits: {"retries": "对可能恢复的失败再尝试几次"},
    settings.Needs: {"gpu_memory_gib": "每块 GPU 需要的空闲显存；0：在 CPU 上运行"},
}


def described() -> Iterator[tuple[type[BaseModel], str, str]]:
    """Yield every part of the matrix, with its keys that have a meaning."""
    for kind in _CHINESE:
        for name, field in kind.model_fields.items():
            if field.description:
                yield kind, name, field.description


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


_MEANINGS = {
    (kind, name): Template(
        f"matrix.meanings.{kind.__name__.lower()}_{name}",
        _literal(english),
        zh=_literal(_CHINESE[kind][name]),
    )
    for kind, name, english in described()
}


def meaning_of(kind: type[BaseModel], name: str) -> Statement | None:
    """Return what the key *name* of *kind* means; None where its name says it."""
    template = _MEANINGS.get((kind, name))
    return template() if template else None
