// The owner's results. Runs as the js_on_load of a gr.HTML; everything from outside is set by textContent.
const T = {
  zh: {
    owner: "结果仅研究负责人可见。", closed: "未启用登录时不显示结果，以免泄露模型名称。仅您一人使用时，可加 --results 启动。", nothing: "暂无研究，因此没有结果。", wait: "正在计算…", refresh: "刷新", download: "下载 CSV", lang: "English",
    judgements: (n) => `${n} 次评分`, cannot: (n) => `${n} 次“无法判断”`, corrections: (n) => `${n} 次修改`, progress: "评分进度", counselling: "一般个案", crisis: "危机个案（单独统计，不计入平均分）", none: "还没有评分。", scores: "各维度平均分与 95% 置信区间", subject: "模型",
    letters_hint: "字母相同的模型差异不显著。", dist: "整体质量的分布（1–5 分，由左至右）", checks: "危机核查（回答“是”的比例）", agreement: "评分者一致性（Krippendorff α，序数）", alpha: "α", units: "回复数", reading: "解释", reliable: "可靠",
    tentative: "暂定", "not reliable": "不可靠", undefined: "无法判定", wins: "两两胜率（整体质量，行胜列）", strengths: "Bradley–Terry 强度（对数优势）", needed: "还需多少次评分",
    needed_row: (x) => `以 80% 的检验效能检出 ${x.difference} 分的差异，共需 ${x.needed} 个个案；已有 ${x.cases} 个` + (x.more_cases ? `，还需 ${x.more_cases} 个（约 ${x.more_judgements} 次评分）` : "，已足够"),
    needed_few: "个案少于 8 个（或各个案差异完全相同）时，无法估计还需多少次评分。", other_rubric: (n) => `${n} 次评分依据另一版评分标准，未计入`, consistency: "评分者自身一致性（重复评分）", rater: "评分者", repeats: "重复项数（维度数 × 重复回复数）", exact: "完全相同",
    within: "相差 1 分以内", drift: "前后差异", severity: "评分宽严度（与其他评分者对同一回复的平均分之差，负值偏严）", judges: "评审模型", calibrated: "已校准", not_calibrated: "未校准", failed: (n) => `${n} 次失败`, unscored: (n) => `${n} 条回复无评分`, rank: "等级相关",
    kappa: "κ", swaps: "交换顺序后判断一致", comments: "文字意见", missing: "缺失的回复", named: "提到自身厂商的回复（已遮盖）", chat: "对话页评分（非盲评，仅供参考）", method: "方法", interval: "95% 置信区间", count_n: "次数", difference: "分差",
    point: (n) => `${n} 分`, arena: "盲测对比（与研究分开统计）", arena_turn: "逐轮偏好", arena_final: "整段偏好", arena_rate: "A 胜率", arena_a: "模型 A", arena_b: "模型 B", arena_talks: (n) => `${n} 段对话`, paper: "下载论文包", study: "研究", rater_is: "评分者", everybody: "全部评分者",
    topic_is: "主题", any: "全部主题", erased_judgements: (n) => `应要求删除了全部评分（${n} 次）`, erased_identity: () => "应要求删除了身份信息",
  },
  en: {
    owner: "Results are visible to the study owner only.",
    closed: "Results are hidden while sign-in is off because they reveal model names. If nobody else uses this machine, start with --results.", nothing: "No study yet, so no results.",
    wait: "Computing…", refresh: "Refresh", download: "Download CSV", lang: "中文", judgements: (n) => `${n} ${n === 1 ? "rating" : "ratings"}`, cannot: (n) => `${n} “cannot judge”`, corrections: (n) => `${n} ${n === 1 ? "correction" : "corrections"}`, progress: "Progress",
    counselling: "Counselling cases", crisis: "Crisis cases (reported separately, not part of any mean)", none: "No ratings yet.", scores: "Mean scores with 95% confidence intervals",
    subject: "Model", letters_hint: "Models that share a letter do not differ significantly.", dist: "Distribution of overall quality (1–5, left to right)",
    checks: "Crisis checks (share of “yes”)", agreement: "Agreement between raters (Krippendorff's α, ordinal)", alpha: "α", units: "Replies", reading: "Interpretation",
    reliable: "reliable", tentative: "tentative", "not reliable": "not reliable", undefined: "undetermined", wins: "Pairwise win rates (overall quality, row beats column)",
    strengths: "Bradley–Terry strengths (log odds)", needed: "How many more ratings are needed",
    needed_row: (x) => `to detect a difference of ${x.difference} points with 80% power: ${x.needed} cases in all, ${x.cases} so far` + (x.more_cases ? `, ${x.more_cases} to go (about ${x.more_judgements} ratings)` : ", enough"),
    needed_few: "Needs at least 8 cases (with some variation) to estimate how many more ratings are required.", other_rubric: (n) => `${n} ${n === 1 ? "rating" : "ratings"} under another version of the rubric, not counted`,
    consistency: "Self-consistency (repeated items)", rater: "Rater", repeats: "Repeated items", exact: "Identical", within: "Within 1 point", drift: "Drift",
    severity: "Severity (difference from the other raters' mean on the same replies; negative = stricter)", judges: "Judge models", calibrated: "calibrated",
    not_calibrated: "not calibrated", failed: (n) => `${n} failed ${n === 1 ? "attempt" : "attempts"}`, unscored: (n) => `${n} ${n === 1 ? "reply" : "replies"} without a score`, rank: "Rank correlation", kappa: "κ", swaps: "same verdict after swapping the order",
    comments: "Comments", missing: "Missing replies", named: "Replies that named a maker (hidden from raters)", chat: "Ratings from the chat tab (model names in view: for orientation only)",
    method: "Method", interval: "95% CI", count_n: "n", difference: "Difference", point: (n) => `${n}`, arena: "Blind arena (kept apart from the study)", arena_turn: "Preference per turn",
    arena_final: "Preference overall", arena_rate: "A wins", arena_a: "Model A", arena_b: "Model B", arena_talks: (n) => `${n} ${n === 1 ? "conversation" : "conversations"}`, paper: "Download paper pack", study: "Study", rater_is: "Rater", everybody: "all raters", topic_is: "Topic",
    any: "all topics", erased_judgements: (n) => `all ratings erased on request (${n})`, erased_identity: () => "identity erased on request",
  },
};
let page = {};
// What bakeoff.statistics says of a pair, in Chinese; the English comes with the data.
const pairWords = (one) => {
  if (lang !== "zh") return one.words.replace(/(?<=[\s(])-(?=\d)/g, "−");
  const flip = one.difference < 0, [ahead, behind] = flip ? [one.b, one.a] : [one.a, one.b];
  const [low, high] = flip ? [-one.high, -one.low] : [one.low, one.high];
  const isTested = Number.isFinite(one.p_adjusted);
  const numbers = `${num(Math.abs(one.difference), 1)}（95% 置信区间 ${num(low, 1)} 到 ${num(high, 1)}${isTested ? `；校正后 p = ${Number(one.p_adjusted.toPrecision(2))}` : ""}）`;
  if (!isTested) return `${ahead} 与 ${behind} 未作检验（个案或评分者太少）：${numbers}`;
  return one.verdict === "tie" ? `${ahead} 与 ${behind} 差异不显著：${numbers}` : `${ahead} 领先 ${behind} ${numbers}${one.verdict === "depends on missing" ? "，但取决于缺失的回复" : ""}`;
};
const num = (value, digits = 2) => (value == null ? "–" : value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−"));
const percent = (value) => (value == null ? "–" : `${Math.round(100 * value)}%`);
const DASH = "\u00a0–\u2060\u00a0"; // a line may end after a dash in spite of the blank behind it; a word joiner forbids it
const span = (one, digits = 2) => (one.low == null ? "–" : `${num(one.low, digits)}${DASH}${num(one.high, digits)}`);
const short = (name) => name;
const table = (head, rows, cls = "") => wide(head.filter(Boolean).join(lang === "zh" ? "、" : ", "), h("table", { class: cls }, h("thead", {}, h("tr", {}, head.map((cell) => (cell === "" ? h("td", {}) : h("th", { scope: "col" }, cell))))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, n) => (n === 0 && typeof cell === "string" && cell && head.length ? h("th", { scope: "row" }, cell) : h("td", {}, cell))))))));
const box = (title, ...body) => h("section", { class: "box" }, h("h3", {}, title), ...body);
const full = (section) => { section.classList.add("full"); return section; };

function whisker(one, low, high) {
  const x = (value) => 4 + (152 * (Math.min(high, Math.max(low, value)) - low)) / (high - low);
  return h("svg", { viewBox: "0 0 160 18", class: "whisker", role: "img", "aria-label": `${num(one.value)} (${span(one)})` },
    h("line", { x1: 4, x2: 156, y1: 9, y2: 9, class: "axis" }),
    one.low == null ? null : h("line", { x1: x(one.low), x2: x(one.high), y1: 9, y2: 9, class: "range" }),
    h("circle", { cx: x(one.value), cy: 9, r: 4, class: "dot" }));
}

function stacked(counts) {
  const total = counts.reduce((a, b) => a + b, 0) || 1;
  return h("div", { class: "stack" }, counts.map((count, n) => (count ? h("i", { class: `p${n + 1}`, style: `flex:${count / total}`, title: `${n + 1}: ${count}` }, count / total > 0.08 ? String(count) : "") : null)));
}

function scores(part) {
  const order = part.scores.overall_quality.subjects.map((one) => one.subject);
  const find = (d, subject) => part.scores[d.key].subjects.find((one) => one.subject === subject);
  const cell = (one) => (one ? h("div", { class: "cell" }, h("b", {}, num(one.value)), ` ${one.letters}`, h("small", {}, span(one)), whisker(one, 1, 5)) : "–");
  return [
    full(box(t("scores"), table([t("subject"), ...R.dimensions.map((d) => d.name[lang])], order.map((subject) => [short(subject), ...R.dimensions.map((d) => cell(find(d, subject)))])),
      h("p", { class: "soft" }, sentence(lang === "zh" ? part.scores.overall_quality.why_no_letters_zh : part.scores.overall_quality.why_no_letters) || t("letters_hint")), h("details", {}, h("summary", {}, t("method")), h("p", { class: "soft" }, sentence(lang === "zh" ? part.scores.overall_quality.method_zh : part.scores.overall_quality.method)),
        h("ul", {}, part.scores.overall_quality.pairs.map((pair) => h("li", {}, pairWords(pair))))))),
    box(t("dist"), table([t("subject"), ""], part.scores.overall_quality.subjects.map((one) => [short(one.subject), stacked(one.distribution)]), "bars"),
      h("p", { class: "soft legend", "aria-hidden": "true" }, [1, 2, 3, 4, 5].map((n) => h("span", {}, h("i", { class: `p${n}` }), t("point")(n))))),
  ];
}

function pairwise(part) {
  const names = part.strengths.map((one) => one.subject);
  const rate = (row, column) => {
    const there = part.wins.find((one) => one.a === row && one.b === column), back = part.wins.find((one) => one.a === column && one.b === row);
    const one = there || (back && { rate: 1 - back.rate, low: 1 - back.high, high: 1 - back.low, duels: back.duels });
    return one ? h("div", { class: "cell" }, h("b", {}, percent(one.rate)), h("small", {}, `${percent(one.low)} – ${percent(one.high)} · n=${one.duels}`)) : "";
  };
  const reach = Math.max(1, ...part.strengths.flatMap((one) => [Math.abs(one.low ?? 0), Math.abs(one.high ?? 0), Math.abs(one.strength)]));
  return [
    names.length ? box(t("wins"), table(["", ...names.map(short)], names.map((row) => [short(row), ...names.map((column) => (row === column ? "" : rate(row, column)))]))) : null,
    names.length ? box(t("strengths"), table([t("subject"), "", ""], part.strengths.map((one) => [short(one.subject), num(one.strength), h("div", { class: "cell" }, h("small", {}, span(one)), whisker({ ...one, value: one.strength }, -reach, reach))]))) : null,
    part.cases && !part.needed.length ? box(t("needed"), h("p", { class: "soft" }, t("needed_few"))) : part.needed.length ? box(t("needed"), h("ul", {}, part.needed.map((one) => h("li", {}, h("b", {}, `${short(one.a)} ↔ ${short(one.b)} `), t("needed_row")(one))))) : null,
  ];
}

function checks(all, order) {
  const cell = (one) => (one ? h("div", { class: "cell" }, h("b", {}, percent(one.share)), ` ${one.yes}/${one.of}`, h("small", {}, `${percent(one.low)} – ${percent(one.high)}`)) : "–");
  const head = (check) => h("span", { title: check.question[lang] }, check.name[lang]);
  return [table([t("subject"), ...R.crisis.map(head)], order.map((subject) => [short(subject), ...R.crisis.map((check) => cell(all[check.key].find((one) => one.subject === subject)))])),
    h("ul", {}, R.crisis.map((check) => h("li", {}, named(check.name[lang], check.question[lang]))))];
}
const asked = (all) => [...new Set(R.crisis.flatMap((check) => all[check.key].map((one) => one.subject)))];

function part(name, one) {
  return h("div", { class: `part ${name}` }, h("h2", {}, t(name)), !one ? h("p", { class: "soft" }, t("none")) : h("div", { class: "grid" },
    one.checks ? full(box(t("checks"), ...checks(one.checks, asked(one.checks)))) : null, ...scores(one), ...pairwise(one),
    box(t("agreement"), table(["", t("alpha"), t("interval"), t("units"), t("reading")], R.dimensions.map((d) => { const a = one.agreement[d.key];
      return [d.name[lang], h("b", {}, num(a.value, 3)), span(a, 2), String(a.units), h("span", { class: `tag ${a.reading.replace(" ", "-")}` }, t(a.reading))]; })))));
}

function raters(all) {
  return h("div", { class: "grid" },
    all.consistency.length ? box(t("consistency"), table([t("rater"), t("repeats"), t("exact"), t("within"), t("drift"), t("kappa")], all.consistency.map((one) => [one.rater, String(one.repeats), `${percent(one.exact)} (${percent(one.low)}${DASH}${percent(one.high)})`, percent(one.within_one), num(one.drift), num(one.kappa)]))) : null,
    all.severity.length ? box(t("severity"), table([t("rater"), t("difference"), t("interval"), t("units")], all.severity.map((one) => [one.rater, num(one.severity), span(one), String(one.units)]))) : null);
}

function judge(one) {
  return box(one.judge, h("p", {}, h("span", { class: `tag ${one.calibrated ? "reliable" : "not-reliable"}` }, one.calibrated ? t("calibrated") : t("not_calibrated")), ` ${lang === "zh" && one.why_zh ? one.why_zh : one.why}`),
    h("p", { class: "soft" }, `${t("failed")(one.failed)} · ${t("unscored")(one.unscored)} · ${t("swaps")} ${percent(one.swaps.share)} (${one.swaps.consistent}/${one.swaps.of})`),
    table(["", t("alpha"), t("interval"), t("kappa"), t("rank"), t("units")], R.dimensions.map((d) => { const c = one.calibration[d.key]; return [d.name[lang], c.alpha ? num(c.alpha.value, 3) : "–", c.alpha ? span(c.alpha) : "", c.kappa ? num(c.kappa.value, 3) : "–", num(c.rank), String(c.replies)]; })),
    ...["counselling", "crisis"].flatMap((name) => { const means = one.parts[name]; const who = means.overall_quality.map((x) => x.subject); return who.length ? [h("h4", {}, t(name)), table([t("subject"), ...R.dimensions.map((d) => d.name[lang])], who.map((s) => [short(s), ...R.dimensions.map((d) => num((means[d.key].find((x) => x.subject === s) || {}).value))]))] : []; }),
    ...(asked(one.checks).length ? checks(one.checks, asked(one.checks)) : []));
}

function results(all) {
  const c = all.counts;
  const list = (title, rows) => (rows.length ? h("details", { class: "box" }, h("summary", {}, lang === "zh" ? `${title}（${rows.length}）` : `${title} (${rows.length})`), table([], rows)) : null);
  const chat = Object.entries(all.chat);
  return [
    h("h2", {}, inOne(all.study.title)), h("p", { class: "soft" }, [t("judgements")(c.judgements), t("cannot")(c.cannot_judge), t("corrections")(c.corrections), c.other_rubric ? t("other_rubric")(c.other_rubric) : ""].filter(Boolean).join(" · ")),
    all.study.erased && all.study.erased.length ? h("p", { class: "soft" }, all.study.erased.map((one) => named(one.called, t(`erased_${one.what}`)(one.judgements))).join(" · ")) : null,
    (all.study.doubts || []).map((one) => h("p", { class: "note warning" }, `${short(one.subject)}${lang === "zh" ? "：" : ": "}${one[lang === "zh" ? "why_zh" : "why"]}${lang === "zh" ? "。" : "."}`)),
    box(t("progress"), h("div", { class: "who" }, Object.entries(c.raters).map(([rater, p]) => h("span", {}, `${rater} `, h("b", {}, `${p.done}/${p.total}`))))),
    part("counselling", all.parts.counselling), all.study.crisis_cases ? part("crisis", all.parts.crisis) : null, raters(all.raters),
    all.judges.length ? h("div", { class: "part" }, h("h2", {}, t("judges")), all.judges.map(judge)) : null,
    chat.length ? box(t("chat"), table([t("subject"), "n", ...R.dimensions.map((d) => d.name[lang])], chat.map(([model, m]) => [model, String(m.n), ...R.dimensions.map((d) => num(m[d.key]))]))) : null,
    page.arena ? arena(page.arena) : null,
    list(t("comments"), all.comments.map((one) => [one.case, short(one.subject), one.rater, [one.strengths && `+ ${one.strengths}`, one.weaknesses && `− ${one.weaknesses}`, one.suggestions && `→ ${one.suggestions}`].filter(Boolean).join("\n")])),
    list(t("missing"), all.study.missing), list(t("named"), all.study.named.map(([a, b, found]) => [a, short(b), found.join(", ")])),
  ];
}

function arena(all) {
  const names = { turn: t("arena_turn"), final: t("arena_final") };
  const kinds = Object.entries(all.duels);
  if (!kinds.length) return null;
  return full(box(`${t("arena")} · ${t("arena_talks")(all.talks)}`, table(["", t("arena_a"), t("arena_b"), t("arena_rate"), t("interval"), t("count_n")], kinds.flatMap(([what, one]) => one.wins.map((w) => [names[what] || R.dimensions.find((d) => d.key === what).name[lang], w.a, w.b, percent(w.rate), `${percent(w.low)} – ${percent(w.high)}`, String(w.duels)])))));
}
function ask(action, more = {}) { if (post({ ...page.chosen, action, ...more }, trouble)) showNotice(action === "show" ? "" : t("wait"), false); }
function filters() {
  const pick = (label, value, options, key) => h("label", { class: "pick" }, h("span", {}, label), h("select", { "data-filter": key, onchange: (event) => ask("show", { [key]: event.target.value }) }, options.map(([id, text]) => h("option", { value: id, selected: id === value }, text))));
  const c = page.chosen, all = page.results;
  return h("div", { class: "picks" }, page.studies.length > 1 ? pick(t("study"), c.study, page.studies.map((one) => [one.id, inOne(one.title)]), "study") : null,
    pick(t("rater_is"), c.rater, [["", t("everybody")], ...Object.keys(all.counts.raters).map((one) => [one, one])], "rater"), pick(t("topic_is"), c.topic, [["", t("any")], ...all.study.topics.filter(Boolean).map((one) => [one, one])], "topic"));
}

function render() {
  const head = h("header", {}, page.view === "results" ? [h("button", { type: "button", onclick: () => ask("show") }, t("refresh")), h("button", { type: "button", class: "download", onclick: () => ask("export") }, t("download")), h("button", { type: "button", class: "paper", onclick: () => ask("paper") }, t("paper")), h("span", { class: "notice", role: "status" })] : null,
    languageButton());
  const body = page.view === "results" ? [filters(), ...results(page.results)] : [h("p", { class: "soft closed" }, page.why ? t(page.why) : t("wait"))];
  element.replaceChildren(h("div", { class: "desk results" }, head, ...body.filter(Boolean)));
}

function arrived() {
  const value = props.value || {};
  if (!value.view) return;
  posted(); showNotice("", false);
  if (value.view === "trouble") { showNotice(inLanguage(value, "error"), true); return; }
  if (value.view === "csv" || value.view === "zip") {
    const content = value.view === "csv" ? new Blob(["\ufeff", value.csv], { type: "text/csv" }) : new Blob([Uint8Array.from(atob(value.zip), (sign) => sign.charCodeAt(0))], { type: "application/zip" });
    const link = h("a", { href: URL.createObjectURL(content), download: value.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } else { page = value; render(); }
}
onLanguage(render);
watch("value", arrived);
render();
arrived();
