"""Texts of the paper pack: codebook, scripts, figures, methods."""

from __future__ import annotations

import html
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.foundation.sentences import plural
from bakeoff.judgement.erasure import described
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS, OVERALL, load_rubric

if TYPE_CHECKING:
    from bakeoff.judgement.blind import Study
    from bakeoff.judgement.paper import Facts
    from bakeoff.judgement.rubric import Question
    from bakeoff.judgement.summary import Agreed, SubjectScore, Summary
    from bakeoff.statistics.icc import Reliability


class Methods(NamedTuple):
    """The methods paragraph in both languages."""

    english: str
    chinese: str


MOST_SPSS_BYTES = 32_767


class _Variable(NamedTuple):
    name: str
    zh: str
    en: str
    kind: str


_VARIABLES = (
    _Variable("judgement", "评分编号", "Number of the rating", "number"),
    _Variable("rater", "评分者代号", "Rater (code)", "text"),
    _Variable("case", "个案编号", "Case", "text"),
    _Variable("reply", "回复编号（见 replies.csv）", "Reply (see replies.csv)", "text"),
    _Variable("model", "模型", "Model", "text"),
    _Variable("variant", "变体（base 基座，tuned 微调后）", "Variant (base, tuned)", "text"),
    _Variable("subject", "模型/变体", "Model/variant", "text"),
    _Variable("topic", "主题", "Topic of the case", "text"),
    _Variable("crisis", "危机个案", "Crisis case", "flag"),
    _Variable("repeat", "重复呈现", "Shown again to the same rater", "flag"),
    _Variable("screen", "呈现顺序", "Position in the rater's queue", "number"),
    _Variable("slot", "同屏位置", "Position on the screen", "number"),
    _Variable(
        "outcome", "结果（scored 已评分，cannot_judge 无法判断）", "Outcome (scored, cannot_judge)", "text"
    ),
    _Variable("confidence", "信心度", "Confidence", "confidence"),
    _Variable("seconds", "用时（秒）", "Seconds the screen was open", "number"),
    _Variable("superseded", "已被后来的修改取代", "Replaced by a later correction", "flag"),
    _Variable("strengths", "优点", "Strengths (comment)", "text"),
    _Variable("weaknesses", "不足", "Weaknesses (comment)", "text"),
    _Variable("suggestions", "改进建议", "Suggestions (comment)", "text"),
    _Variable(
        "status",
        "回复状态（answered 完整，truncated 被截断）",
        "Status (answered, truncated: cut off)",
        "text",
    ),
    _Variable("text", "回复，如评分者所见", "The reply as raters saw it", "text"),
    _Variable("at", "裁定时间（UTC）", "When it was adjudicated (UTC)", "text"),
    _Variable("note", "裁定理由", "Reason of the adjudication", "text"),
    _Variable("dimension", "维度（长表）", "Dimension (long form)", "text"),
    _Variable("score", "评分（长表）", "Score (long form)", "score"),
)


def _variables() -> dict[str, _Variable]:
    variables = {variable.name: variable for variable in _VARIABLES}
    content = load_rubric().content
    parts: tuple[tuple[Sequence[Question], str], ...] = (
        (content["dimensions"], "score"),
        (content["crisis"], "check"),
    )
    for questions, kind in parts:
        for each in questions:
            label = f"{each['name']['en']}: {each['question']['en']}"
            zh = f"{each['name']['zh']}：{each['question']['zh']}"
            variables[each["key"]] = _Variable(each["key"], zh, label, kind)
    return variables


def _points(kind: str) -> dict[int, tuple[str, str]]:
    """Value -> its label in Chinese and English."""
    content = load_rubric().content
    if kind == "score":
        return {point: (anchor["zh"], anchor["en"]) for point, anchor in content["scale"].items()}
    if kind == "confidence":
        return {
            point: (anchor["zh"], anchor["en"]) for point, anchor in content["confidence"]["anchors"].items()
        }
    return {0: ("否", "no"), 1: ("是", "yes")} if kind in ("flag", "check") else {}


def codebook() -> list[dict[str, str]]:
    """One row per variable of the data files."""
    return [
        {
            "variable": variable.name,
            "label_zh": variable.zh,
            "label_en": variable.en,
            "type": "text" if variable.kind == "text" else "number",
            "values": "; ".join(
                f"{value} = {zh} / {en}" for value, (zh, en) in _points(variable.kind).items()
            ),
        }
        for variable in _variables().values()
    ]


def spss_syntax(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Reads wide.csv into SPSS, with variable and value labels.

    Args:
        rows: of the file; SPSS cuts what has more bytes than the column is declared to take.
    """
    variables = _variables()

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def shape(name: str) -> str:
        if variables[name].kind == "text":
            longest = max((len(row[name].encode()) for row in rows), default=0)
            return f"A{min(MOST_SPSS_BYTES, max(8, longest))}"
        return "F12.3" if variables[name].kind == "number" else "F8.0"

    kinds = [f"    {name} {shape(name)}" for name in columns]
    lines = [
        "* Reads wide.csv; run it in the folder of the pack.",
        "SET UNICODE=ON.",
        "GET DATA /TYPE=TXT /FILE='wide.csv' /ENCODING='UTF8' /ARRANGEMENT=DELIMITED",
        "  /DELIMITERS=',' /QUALIFIER='\"' /FIRSTCASE=2 /VARIABLES=",
        *kinds[:-1],
        f"{kinds[-1]}.",
        "VARIABLE LABELS",
        *[f"  {name} {quoted(variables[name].zh[:120])}" for name in columns],
        "  .",
        "VALUE LABELS",
    ]
    labelled = [name for name in columns if _points(variables[name].kind)]
    for place, name in enumerate(labelled):
        values = " ".join(
            f"{value} {quoted(f'{zh} {en}')}" for value, (zh, en) in _points(variables[name].kind).items()
        )
        lines.append(f"  {'/' if place else ''}{name} {values}")
    lines += [
        "  .",
        f"VARIABLE LEVEL {' '.join([*DIMENSIONS, 'confidence'])} (ORDINAL).",
        "* The analysis counts first showings that were not corrected later.",
        "SELECT IF (repeat = 0 AND superseded = 0 AND outcome = 'scored').",
        f"MEANS TABLES={' '.join(DIMENSIONS)} BY subject /CELLS=COUNT MEAN STDDEV.",
        "EXECUTE.",
    ]
    return "\ufeff" + "\n".join(lines) + "\n"


def figure_of_means(summary: Summary, dimension: str) -> str:
    """Means with their intervals as SVG, crisis cases below."""
    title = next(entry["name"] for entry in load_rubric().content["dimensions"] if entry["key"] == dimension)
    rows: list[tuple[str, SubjectScore | None]] = []
    for part, label in (("counselling", "一般个案 Counselling"), ("crisis", "危机个案 Crisis")):
        verdicts = summary["parts"].get(part)
        subjects = verdicts["scores"][dimension]["subjects"] if verdicts else []
        if subjects:
            rows.append((label, None))
            rows += [(str(each["subject"]), each) for each in subjects]
    left, right, step = 210, 640, 26
    height = 60 + step * len(rows)

    def x(value: float) -> float:
        return left + (right - left) * (value - 1) / 4

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height + 30}" font-family="sans-serif" '
        'font-size="13">',
        f"<title>{html.escape(title['zh'])} {html.escape(title['en'])}</title>",
        f'<text x="12" y="24" font-weight="bold">{html.escape(title["zh"])} · {html.escape(title["en"])} '
        "(95% CI)</text>",
    ]
    for point in range(1, 6):
        parts.append(
            f'<line x1="{x(point):.1f}" x2="{x(point):.1f}" y1="40" y2="{height}" stroke="#d5d9dc"/>'
        )
        parts.append(f'<text x="{x(point):.1f}" y="{height + 18}" text-anchor="middle">{point}</text>')
    for place, (label, entry) in enumerate(rows):
        y = 56 + step * place
        weight = ' font-weight="bold"' if entry is None else ""
        parts.append(f'<text x="12" y="{y + 4}"{weight}>{html.escape(label)}</text>')
        if entry is None:
            continue
        if entry["low"] is not None and entry["high"] is not None:
            ends = f'x1="{x(entry["low"]):.1f}" x2="{x(entry["high"]):.1f}"'
            parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="#2f6f6a" stroke-width="3"/>')
        if entry["value"] is not None:
            parts.append(f'<circle cx="{x(entry["value"]):.1f}" cy="{y}" r="5" fill="#2f6f6a"/>')
            parts.append(f'<text x="{right + 12}" y="{y + 4}">{entry["value"]:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def methods(facts: Facts) -> Methods:
    """The methods paragraph, with the numbers of this study."""
    study, counts = facts.study, facts.summary["counts"]
    ratings = [rating for rating in facts.ratings if not rating.is_superseded]
    raters = {rating.rater for rating in ratings}
    replies = {rating.row["reply_id"] for rating in ratings}
    cases = {rating.case.id: rating.case.crisis for rating in ratings}
    crises = sum(cases.values())
    scored = facts.counted
    repeats = sum(bool(rating.row["repeat"]) for rating in ratings)
    subjects = sorted({rating.subject for rating in ratings})
    sides = study.layout == "side-by-side"
    part = facts.summary["parts"]["counselling"]
    alpha = part["agreement"][OVERALL] if part else None
    icc = facts.icc.get(("counselling", OVERALL))
    erased = described(facts.summary["study"]["erased"])
    dimensions = ", ".join(each["name"]["en"].lower() for each in load_rubric().content["dimensions"])
    english = [
        f"{_number(len(raters), 'rater')} scored {len(replies)} replies of "
        f"{len(subjects)} models "
        f"({', '.join(subjects)}) to {len(cases)} cases ({len(cases) - crises} counselling, {crises} crisis), "
        f"{'all replies to a case side by side' if sides else 'one reply at a time'}, blind to the models' names.",
        _assignment(study)[0],
        f"Each reply was scored from 1 to 5 on {len(DIMENSIONS)} dimensions ({dimensions}) by a rubric with "
        f"worded anchors (version {facts.summary['study']['rubric']}); in crisis cases {len(CRISIS_CHECKS)} yes-or-no "
        "checks were added, and these cases were analysed on their own.",
        f"{len(scored)} ratings entered the analysis; {_number(repeats, 'repeated showing')} measured consistency, "
        f"{counts['cannot_judge']} replies could not be judged, and {counts['corrections']} ratings were corrected by "
        "their raters (the last version counts).",
        _care(facts)[0],
        _analysis(study)[0],
        _agreement(alpha, icc, study)[0],
        f"{erased[0][0].upper()}{erased[0][1:]}." if erased[0] else "",
        f"Software: {_versions()}.",
    ]
    chinese = [
        f"{len(raters)} 位评分者对 {len(subjects)} 个模型（{'、'.join(subjects)}）在 {len(cases)} 个个案"
        f"（一般个案 {len(cases) - crises} 个，危机个案 {crises} 个）上的 "
        f"{len(replies)} 条回复评分；"
        f"{'同一个案的全部回复同屏并列' if sides else '每次呈现一条回复'}，模型名称对评分者隐藏。",
        _assignment(study)[1],
        f"每条回复按有文字锚点的评分标准（版本 {facts.summary['study']['rubric']}）在 {len(DIMENSIONS)} 个维度"
        f"（{'、'.join(dimension['name']['zh'] for dimension in load_rubric().content['dimensions'])}）上评 1–5 分；"
        f"危机个案另有 {len(CRISIS_CHECKS)} 项是/否核查，并单独分析。",
        f"纳入分析的评分共 {len(scored)} 次；另有重复呈现 {repeats} 次用于检验自身一致性，“无法判断” "
        f"{counts['cannot_judge']} 次，评分者自行修改 {counts['corrections']} 次（以最后一次为准）。",
        _care(facts)[1],
        _analysis(study)[1],
        _agreement(alpha, icc, study)[1],
        f"{erased[1]}。" if erased[1] else "",
        f"软件：{_versions().replace(', ', '、')}。",
    ]
    return Methods(" ".join(filter(None, english)) + "\n", "".join(filter(None, chinese)) + "\n")


def _number(count: int, noun: str) -> str:
    return f"{count} {plural(count, noun)}"


def _assignment(study: Study) -> tuple[str, str]:
    order = "Cases came in random order, models in the order of a Williams design"
    order_zh = "个案顺序随机，模型顺序采用 Williams 设计"
    if study.is_partial:
        return (
            f"{order}; each case was assigned to {study.raters_per_case} of {study.planned_raters} raters, "
            "balanced.",
            f"{order_zh}；每个个案均衡地分配给 {study.planned_raters} 位评分者中的 {study.raters_per_case} 位。",
        )
    return f"{order}; every rater was assigned every case.", f"{order_zh}；所有评分者评所有个案。"


def _care(facts: Facts) -> tuple[str, str]:
    english, chinese = [], []
    if facts.consents:
        english.append(f"{_number(facts.consents, 'rater')} gave informed consent on the page")
        chinese.append(f"{facts.consents} 位评分者在页面上签署了知情同意")
    if facts.study.training:
        english.append(
            f"rating began with {_number(len(facts.study.training), 'training item')} with feedback"
        )
        chinese.append(f"正式评分前有 {len(facts.study.training)} 条带反馈的练习")
    passed, shown = facts.attention
    if shown:
        english.append(f"{passed} of {shown} attention checks were passed")
        chinese.append(f"注意力检查 {shown} 次，通过 {passed} 次")
    if not english:
        return "", ""
    joined = "; ".join(english)
    return joined[0].upper() + joined[1:] + ".", "；".join(chinese) + "。"


def _analysis(study: Study) -> tuple[str, str]:
    if study.is_partial:
        return (
            "Since raters saw different cases, models were compared with a linear mixed model (random effects of case, "
            "rater, case by model, rater by model and case by rater; restricted maximum likelihood, Satterthwaite "
            "degrees of freedom), and p values were adjusted over all pairs, dimensions and parts by Shaffer's (1986) "
            "modification of Holm's procedure; analysis.R repeats it with lme4.",
            "由于各评分者评的个案不同，模型比较采用线性混合模型（个案、评分者、个案×模型、评分者×模型及个案×评分者为"
            "随机效应；REML 估计，Satterthwaite 自由度），p 值对全部模型对、维度与部分一并作 Shaffer（1986）"
            "对 Holm 法的改进校正；analysis.R 用 lme4 重复该分析。",
        )
    return (
        "Models were compared with cases and raters as random effects (multi-reader multi-case analysis, Satterthwaite "
        "degrees of freedom) where at least two raters took part, and p values were adjusted over all pairs, "
        "dimensions and parts by Shaffer's (1986) modification of Holm's procedure.",
        "至少有两位评分者时，以个案与评分者为随机效应比较模型（多评分者多个案分析，Satterthwaite 自由度），"
        "p 值对全部模型对、维度与部分一并作 Shaffer（1986）对 Holm 法的改进校正。",
    )


def _agreement(alpha: Agreed | None, icc: Reliability | None, study: Study) -> tuple[str, str]:
    if alpha is None or alpha["value"] is None:
        if study.is_partial and study.raters_per_case == 1:
            return (
                "Each reply was scored by one rater, so that agreement between raters cannot be stated.",
                "每条回复只由一位评分者评分，因此无法报告评分者之间的一致性。",
            )
        return "", ""
    value, low, high = alpha["value"], alpha["low"], alpha["high"]
    ends = f" [{low:.2f}, {high:.2f}]".replace("-", "−") if low is not None and high is not None else ""
    more, more_zh = "", ""
    who, who_zh = (
        ("several raters scored", "由多位评分者评过")
        if study.is_partial
        else ("all scored", "由全部评分者评过")
    )
    if icc is not None and not math.isnan(icc.mean):
        ends_icc = (
            ""
            if math.isnan(icc.mean_low)
            else f" [{icc.mean_low:.2f}, {icc.mean_high:.2f}]".replace("-", "−")
        )
        more = f"; ICC(2,{icc.raters}) = {icc.mean:.2f}{ends_icc} over the {icc.units} replies that {who}"
        more_zh = f"；ICC(2,{icc.raters}) = {icc.mean:.2f}{ends_icc}（{icc.units} 条回复{who_zh}）"
    return (
        f"Agreement on overall quality in counselling cases: Krippendorff's alpha (ordinal) = {value:.2f}{ends} over "
        f"{alpha['units']} replies{more}.",
        f"一般个案整体质量的评分者一致性：Krippendorff α（序数）= {value:.2f}{ends}"
        f"（{alpha['units']} 条回复）{more_zh}。",
    )


def _versions() -> str:
    import bakeoff

    names = [f"bakeoff {bakeoff.__version__}", f"Python {platform.python_version()}"]
    for name in ("numpy", "scipy", "pandas"):
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(names)


def readme(study: Study, names: Sequence[str]) -> str:
    """What the files are, in both languages."""
    what = {
        "wide.csv": "one row per rating, corrections included · 每次评分一行（含修改历史）",
        "long.csv": "one row per score · 每个维度评分一行",
        "jasp.csv": "what counts, ready for JASP · 计入分析的评分，可直接用 JASP 打开",
        "replies.csv": "the replies as raters saw them · 评分者看到的回复",
        "adjudications.csv": "what the owner settled · 研究负责人的裁定",
        "codebook.csv": "variables and labels · 变量与取值说明",
        "table_means.csv": "n, M and SD · 人次、均值与标准差",
        "table_agreement.csv": "alpha and ICC(2,k) · 评分者一致性",
        "spss.sps": "reads wide.csv into SPSS with labels · SPSS 语法",
        "analysis.R": "the comparison of models, alpha and ICC in R · R 脚本：模型比较、α 与 ICC",
        "methods_en.md": "methods paragraph, English · 方法部分段落（英文）",
        "methods_zh.md": "methods paragraph, Chinese · 方法部分段落（中文）",
    }
    lines = [
        f"# {study.title}",
        "",
        f"Study `{study.study_id}`. Raters are codes; who they are is in no file here.",
        "",
        f"研究 `{study.study_id}`。评分者仅以代号出现，这些文件中没有其身份信息。",
        "",
    ]
    lines += [f"- `{name}`: {what.get(name) or _family(name)}" for name in names]
    return "\n".join(lines) + "\n"


def _family(name: str) -> str:
    return (
        "means with 95% intervals · 均值与 95% 置信区间"
        if name.startswith("figure_")
        else "replies by raters, for ICC · 回复 × 评分者，用于 ICC"
    )
