"""The help of a program's options in the language of the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from bakeoff.foundation.terminal import is_chinese

CHINESE: Mapping[str, str] = {
    # every program
    "show this help message and exit": "显示本帮助并退出",
    "default model_matrix.yaml": "默认 model_matrix.yaml",
    "environment variable that holds the key": "存放密钥的环境变量",
    # new, demo
    "Write a matrix: which models, trained on what, asked what. Questions are asked for what no option says, again "
    "after a wrong answer; with --yes the defaults are taken.": "新建比较：哪些模型、用什么训练、考什么。"
    "未给出的选项会逐一询问，答错会再问；--yes 则全部采用默认值。",
    "a known model, a folder or a hub id owner/name; several times. A model of another family: "
    "ID=MODEL_TYPE,TEMPLATE": "已知模型、文件夹或站点 id owner/name；可多次给出。"
    "其他系列的模型写作 ID=MODEL_TYPE,TEMPLATE",
    "training data: file, folder or hub id; several times": "训练数据：文件、文件夹或站点 id；可多次给出",
    "compare the models as they are": "只比较原模型，不微调",
    "folder with questions of your own, ceval or cmmlu": "自己的题目文件夹，或 ceval、cmmlu",
    "JSONL with cases for people's ratings (default: the shipped ones)": "供人工评分的个案 JSONL（默认：自带的个案）",
    "default: model_matrix.yaml": "默认：model_matrix.yaml",
    "default: by LANG": "默认：由 LANG 决定",
    "ask nothing, take the defaults": "不询问，全部采用默认值",
    "replace the file": "覆盖已有文件",
    "Train, serve, ask and compare two tiny models on this machine: a few minutes, no GPU, no hub, 100 MB of "
    "disk.": "在本机训练、部署、评测并比较两个微型模型：几分钟，无需 GPU 和网络，占 100 MB 磁盘。",
    "where to work (default: bakeoff-demo)": "工作文件夹（默认：bakeoff-demo）",
    "print the commands and run nothing": "只打印命令，不运行",
    # report
    "Rebuild pages and tables from a store.": "由 store 重新生成网页和数据表。",
    "folder of the runs (default: store)": "存放各次运行的文件夹（默认：store）",
    "folder to write to (default: reports)": "输出文件夹（默认：reports）",
    "which run (default: the newest with scores)": "哪次运行（默认：最近一次有成绩的）",
    "also tell what moved since that run ('last': the one before)": "同时报告自那次运行以来的变化（'last'：上一次）",
    "with --compare: exit 1 if a score got worse or is gone, or none was compared": "与 --compare 同用："
    "有成绩下降或消失、或没有可比较的成绩时，退出码为 1",
    # verify
    "Recompute a run and its report from the raw records, offline.": "由原始记录离线重新计算一次运行及其报告。",
    "a store, a run's folder, a report or its page": "store、某次运行的文件夹、报告或其网页",
    "the store of a report (default: ./store or the one beside it, if it has the run)": "报告所属的 store"
    "（默认：./store，或报告旁边含有该运行的 store）",
    "the report of a store: also read its page and tables back": "store 的报告：同时核对其网页和数据表",
    "which run of a store (default: the newest with scores)": "store 中的哪次运行（默认：最近一次有成绩的）",
    "hold the run against this matrix, too": "同时与这个矩阵文件核对",
    "Ed25519 public key (PEM) that the manifests must be signed for": "清单签名所用的 Ed25519 公钥（PEM）",
    "write everything to FILE": "把全部结果写入 FILE",
    # chat
    "Talk to a model of the matrix.": "与矩阵中的模型对话。",
    "name in the matrix": "矩阵中的名称",
    "default: tuned, where the row has one": "默认：tuned（该行有微调模型时）",
    "system prompt": "系统提示词",
    "length of a reply": "回复的长度",
    # judge
    "Blind scoring of replies by people and models.": "由人和模型对回复做盲评。",
    "default store/judge/ratings.sqlite": "默认 store/judge/ratings.sqlite",
    "the study to score (default: the replies of the last run)": "要评分的研究（默认：最近一次运行的回复）",
    "of the last run's replies (default: tuned, where a row has it; give both to judge what tuning did)": "最近一次"
    "运行中的哪类回复（默认：tuned；两者都给出可评判微调的作用）",
    "host names under which the page is served, as in the browser's address line, such as judge.example.org (default: "
    "any, where raters sign in; this machine's own names always); several: one after the other, or the option "
    "again": "页面对外使用的主机名，与浏览器地址栏一致，例如 judge.example.org（需登录时默认任意；本机名称始终可用）；"
    "多个：依次列出，或重复此选项",
    "the prefix under which a proxy serves the page, such as /judge": "代理提供页面时的路径前缀，例如 /judge",
    "who may sign in (default store/judge/raters.json where it exists)": "谁可以登录"
    "（默认 store/judge/raters.json，若存在）",
    "served models for the chat tab; several: one after the other, or the option again": "供“对话”使用的已部署模型；"
    "多个：依次列出，或重复此选项",
    "rows of the matrix (or ROW/base) that are deployed for the chat tab, until the page ends; several: one after the "
    "other, or the option again": "为“对话”部署的矩阵行（或 ROW/base），直到页面关闭；多个：依次列出，或重复此选项",
    "without sign-in: show the results to whoever opens the page": "未启用登录时：向打开页面的任何人显示结果",
    "let somebody sign in; asks for the password, or reads it from stdin": "允许某人登录；询问密码，或从标准输入读取",
    "give a rater a new password, which ends their sessions": "给评分者设置新密码，其登录随即失效",
    "let somebody sign in no more, which ends their sessions; their scores stay": "不再允许某人登录，其登录随即失效；"
    "已有评分保留",
    "build a blind study from gathered replies": "由收集到的回复建立盲评研究",
    "ask a served model all cases and keep its replies": "向已部署的模型提问全部个案，并保存回复",
    "let a judge model score a study by the same rubric": "由评审模型按同一标准评分",
    "make links that let raters in once, without a password": "生成一次性登录链接，评分者无需密码",
    "erase a rater's identity, or all that they handed in": "删除评分者的身份信息，或其提交的全部内容",
    "write what a paper needs: data, codebook, scripts, tables, methods": "生成论文所需材料：数据、"
    "编码表、脚本、表格、方法",
    "print the results of a study as JSON (names revealed)": "以 JSON 打印研究结果（显示模型名称）",
    "write judgements as CSV": "把评分写成 CSV",
    "may also see the results, names revealed (default: as before; a new rater may not)": "也可以查看显示模型名称的结果"
    "（默认：不变；新评分者不可以）",
    "JSONL files, one per subject (default: what the last run gathered from the rows of the matrix)": "JSONL 文件，"
    "每个模型一个（默认：最近一次运行从矩阵各行收集的回复）",
    "default: the shipped cases": "默认：自带的个案",
    "default: the name of --out": "默认：--out 的名称",
    "whose run's replies to take": "采用哪个评分库所属运行的回复",
    "share shown twice (default 0.1)": "重复出现的比例（默认 0.1）",
    "do not hide makers' names in replies, only list them": "不隐藏回复中的厂商名称，只列出",
    "what else to hide, such as a name taught in training": "另外要隐藏的内容，例如训练中教过的名字",
    "how many will score (default 3)": "评分者人数（默认 3）",
    "difference worth finding (default 0.5 points)": "希望检出的差异（默认 0.5 分）",
    "build it even where no difference could come out of it": "即使不可能检出差异也照样建立",
    "OpenAI-compatible root, such as http://127.0.0.1:8000/v1": "兼容 OpenAI 的地址，例如 http://127.0.0.1:8000/v1",
    "the row's name in the matrix": "该行在矩阵中的名称",
    "default: the replies of the last run": "默认：最近一次运行的回复",
    "OpenAI-compatible root of the judge": "评审模型的地址（兼容 OpenAI）",
    "the judge's served name": "评审模型的服务名称",
    "instead: a row of the matrix, deployed as long as it judges": "或：矩阵中的一行，评审期间部署",
    "how often each reply is scored (default 2)": "每条回复评几次（默认 2）",
    "longest verdict, thinking included (default 2048)": "一次评审的最大长度，含思考（默认 2048）",
    "leave out the pairwise comparison in both orders": "不做两种顺序的成对比较",
    "of the page, as raters reach it": "评分者打开页面所用的地址",
    "default: whichever study is open when they come": "默认：评分者到来时开放的研究",
    "how many to invite (default 1)": "邀请人数（默认 1）",
    "who they are, one each; kept in the raters file only": "他们是谁，每人一项；只保存在评分者文件中",
    "a new link for somebody invited before": "给已邀请过的人一个新链接",
    "how long a link works (default 14)": "链接的有效天数（默认 14）",
    "name and label; the scores stay, under a new code": "姓名和标签；评分保留，改用新编号",
    "identity and all scores, comments, drafts, talks": "身份及全部评分、评语、草稿、对话",
    "default: the newest study that people scored": "默认：最近一个有人工评分的研究",
    "default: the newest study": "默认：最近的研究",
    "only this study (default: everything, chat scores too)": "只导出这个研究（默认：全部，含对话评分）",
}
"""The help of an option, or what a program does -> the same in Chinese."""


class _Formatter(argparse.HelpFormatter):
    """Writes Chinese in front of the usage."""

    def add_usage(self, usage, actions, groups, prefix=None):  # type: ignore[no-untyped-def]
        super().add_usage(usage, actions, groups, prefix or "用法：")


def texts_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield what *parser* and its commands say of themselves and of options."""
    if parser.description:
        yield parser.description
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (choice.help for choice in action._choices_actions if choice.help)
            for command in action.choices.values():
                yield from texts_of(command)
        elif action.help:
            yield action.help


def localize(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return *parser* with its help in the language of the terminal."""
    if not is_chinese():
        return parser
    parser.description = CHINESE.get(parser.description or "", parser.description)
    parser.formatter_class = _Formatter
    for group in parser._action_groups:
        group.title = {"options": "选项", "positional arguments": "参数"}.get(group.title or "", group.title)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                choice.help = CHINESE.get(choice.help or "", choice.help)
            for command in action.choices.values():
                localize(command)
        elif action.help:
            action.help = CHINESE.get(action.help, action.help)
    return parser
