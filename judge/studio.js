// The studio tab of the owner. Runs as the js_on_load of a gr.HTML. Text is set by textContent only.
const T = {
  zh: { studio: "研究", closed: "已截止", owner: "仅研究负责人可见；需先登录。", wait: "正在读取…", lang: "English", refresh: "刷新", fresh: "新建研究", studies: "已有研究", title: "标题（评分者可见）", models: "模型", cases: "个案", all: "全选", no_crisis: "不含危机个案", turns: (n) => `${n} 轮`, crisis: "危机", no_reply: "尚无回复", layout: "呈现方式", "one-by-one": "逐条评分", "side-by-side": "同屏并列", reference: "参考要点（好的回复应当做到什么）", none: "均不显示", before: "评分前显示给评分者和评审模型", after: "评分后显示给评分者（评审模型看不到）", model: "仅评审模型可见",
    raters: "评分者人数", per_case: "每个个案由几人评（0＝所有人）", repeats: "重复比例", training: "练习题数（内置）", own_training: "自备练习（每行一个 JSON：client、reply、scores、why）", attention: "注意力检查题数", plan: "估算", make: "创建并开放", deadline: "截止时间", pause: "每评多少条建议休息（0＝不提示）", may_skip: "允许跳过危机个案", texts: "评分者看到的文字（中英文）", purpose: "研究说明", consent: "知情同意（填写后须勾选）", warning: "内容提示", help: "求助信息", zh: "中文", en: "英文",
    hours: (h) => (h < 1.5 ? `${Math.max(1, Math.round(60 * h))} 分钟` : `${h.toFixed(1)} 小时`), planned: (p) => `每人最多 ${p.screens} 屏，约需 ${t("hours")(p.hours)}；所有评分者合计 ${t("hours")(p.total_hours)}。每个个案 ${p.ratings_per_case} 人评；一般个案 ${p.counselling} 个，危机个案 ${p.crisis} 个。`, no_material: "还没有收集到回复：先运行 pytest -m judge。", left_out: "未纳入", open: "对未指定研究的评分者开放", current: "当前开放", freeze: "冻结（不再接受评分）", thaw: "解除冻结", frozen: "已冻结", save: "保存设置", saved: "已保存",
    invite: "邀请评分者", labels: "每行一位（姓名或邮箱；只存于评分者文件，不进入数据）", days: "链接有效天数", make_links: "生成链接", once: "链接只显示这一次，每个链接只能使用一次。", copy: "复制", copied: "已复制", progress: "进度", rater: "评分者", label: "身份", done: "完成", median: "每条中位用时", speeding: "过快", attention_col: "注意力检查", training_col: "练习（1 分以内）", last: "最近评分", link_out: "链接未用", joined: "已加入", actions: "操作", renew: "新链接", remove: "移除", erase_id: "删除身份", erase_all: "删除全部评分", sure_remove: (r) => `移除 ${r}？其评分保留，但不能再登录。`, sure_id: (r) => `删除 ${r} 的身份信息？评分保留，改用新代号。此操作不可撤销。`, sure_all: (r) => `删除 ${r} 的全部评分与身份信息？此操作不可撤销。`, erased: "删除记录", erased_judgements: (o) => `${o.called}：删除全部评分 ${o.judgements} 次`, erased_identity: (o) => `${o.called}：删除身份信息`, of: (a, b) => `${a} / ${b}`, seconds: (s) => `${Math.round(s)} 秒`, subjects: (n) => `${n} 个模型`, n_cases: (n) => `${n} 个个案`, rated_by: (n) => (n ? `每个个案 ${n} 人评` : "所有人评全部个案"), own: "自备个案", own_hint: "每行一个 JSON 对象：id、messages（可有多轮，以来访者的话结尾），可选 title、topic、crisis、what_a_good_reply_does；也可用 CPsyCounE 的 dialog 格式。保存后替换之前的自备个案。", own_file: "选择文件", own_text: "或粘贴在此", own_check: "检查并保存", unanswered: (n) => `所选模型都没有回复其中 ${n} 个个案，不会纳入：`, balance_plan: (n) => `计划每个个案 ${n} 人评。`, balance_assigned: "已分配：", balance_rated: "已完整评完：", balance_pair: (r, n) => `${n} 个个案 ${r} 人`, balance_short: (n) => `有 ${n} 个个案的评分者少于计划，可再邀请评分者：`, own_gone: "文件已无法读取，请重新选择。", own_big: "文件超过 2.5 MB，请拆分。", own_saved: (o) => `已保存 ${o.count} 个自备个案：危机个案 ${o.crises} 个，多轮 ${o.several_turns} 个。`, own_ask: (n) => `请 ${n} 个已启动的模型回复`, own_asking: "模型正在回复…", own_progress: (p) => `${p.model}：${p.done} / ${p.of}`, own_failed: "没有响应，详见服务器日志", own_incomplete: "部分个案没有回复，可再试一次", own_none: (file) => `没有已启动的模型。在矩阵中写入 cases: ${file}，再运行 pytest benchmarks/ -m judge，即可收集各模型的回复。`, n_replies: (n) => `${n} 条回复`, qr: "二维码", no_study: "还没有研究。", people: "所有评分者", nobody: "还没有评分者。", cancel: "取消", confirm: "确认" },
  en: { studio: "Studio", closed: "past its deadline", owner: "Visible to the study owner only, after signing in.", wait: "Loading…", lang: "中文", refresh: "Refresh", fresh: "New study", studies: "Studies", title: "Title (raters see it)", models: "Models", cases: "Cases", all: "All", no_crisis: "Without crisis cases", turns: (n) => `${n} ${n === 1 ? "turn" : "turns"}`, crisis: "crisis", no_reply: "no replies yet", layout: "Layout", "one-by-one": "one reply at a time", "side-by-side": "side by side", reference: "Reference points (what a good reply does)", none: "shown to nobody", before: "before rating, to people and judge model", after: "to people after rating (not to the judge model)", model: "to the judge model only",
    raters: "Number of raters", per_case: "Raters per case (0 = everybody)", repeats: "Share repeated", training: "Practice replies (built in)", own_training: "Own practice replies (one JSON object per line: client, reply, scores, why)", attention: "Attention checks", plan: "Estimate", make: "Create and open", deadline: "Deadline", pause: "Suggest a break after so many replies (0 = never)", may_skip: "Raters may skip crisis cases", texts: "What raters read (both languages)", purpose: "About the study", consent: "Informed consent (must be ticked when filled in)", warning: "Content warning", help: "Support", zh: "Chinese", en: "English",
    hours: (h) => (h < 1.5 ? `${Math.max(1, Math.round(60 * h))} min` : `${h.toFixed(1)} h`), planned: (p) => `At most ${p.screens} ${p.screens === 1 ? "screen" : "screens"} and about ${t("hours")(p.hours)} per rater; ${t("hours")(p.total_hours)} for all raters together. Each case is rated by ${p.ratings_per_case} ${p.ratings_per_case === 1 ? "rater" : "raters"}; counselling cases: ${p.counselling}, crisis cases: ${p.crisis}.`, no_material: "No replies gathered yet: run pytest -m judge first.", left_out: "Left out", open: "Open to raters who were invited to no study in particular", current: "open now", freeze: "Freeze (accept no more ratings)", thaw: "Unfreeze", frozen: "frozen", save: "Save settings", saved: "Saved",
    invite: "Invite raters", labels: "One per line (name or address; kept in the raters file only, never in the data)", days: "Days a link works", make_links: "Make links", once: "Links are shown this once; each works once.", copy: "Copy", copied: "Copied", progress: "Progress", rater: "Rater", label: "Identity", done: "Done", median: "Median time per reply", speeding: "Too fast", attention_col: "Attention checks", training_col: "Practice (within 1 point)", last: "Latest rating", link_out: "link not used yet", joined: "joined", actions: "Actions", renew: "New link", remove: "Remove", erase_id: "Erase identity", erase_all: "Erase all ratings", sure_remove: (r) => `Remove ${r}? Their ratings stay, but they can no longer sign in.`, sure_id: (r) => `Erase who ${r} is? Their ratings stay under a new code. This cannot be undone.`, sure_all: (r) => `Erase all ratings and the identity of ${r}? This cannot be undone.`, erased: "Erased on request", erased_judgements: (o) => `${o.called}: ${o.judgements === 1 ? "the only rating" : `all ${o.judgements} ratings`} erased`, erased_identity: (o) => `${o.called}: identity erased`, of: (a, b) => `${a} of ${b}`, seconds: (s) => `${Math.round(s)} s`, subjects: (n) => `${n} ${n === 1 ? "model" : "models"}`, n_cases: (n) => `${n} ${n === 1 ? "case" : "cases"}`, rated_by: (n) => (n ? `${n} ${n === 1 ? "rater" : "raters"} per case` : "everybody rates every case"), own: "Your own cases", own_hint: "One JSON object per line: id and messages (several turns are welcome; the last one is the client's), optionally title, topic, crisis, what_a_good_reply_does; the dialog form of CPsyCounE is read, too. Saving replaces the cases you brought before.", own_file: "Choose a file", own_text: "or paste here", own_check: "Check and save", unanswered: (n) => `No chosen model replied to ${n} of these cases, so ${n === 1 ? "it is" : "they are"} left out: `, balance_plan: (n) => `Planned: ${n} ${n === 1 ? "rater" : "raters"} per case.`, balance_assigned: "Assigned so far: ", balance_rated: "rated completely: ", balance_pair: (r, n) => `${n} ${n === 1 ? "case" : "cases"} by ${r} ${r === 1 ? "rater" : "raters"}`, balance_short: (n) => `${n} ${n === 1 ? "case has" : "cases have"} fewer raters than planned; invite more people: `, own_gone: "The file cannot be read any more; choose it again.", own_big: "The file is over 2.5 MB; split it.", own_saved: (o) => `${o.count === 1 ? "1 case" : `${o.count} cases`} of your own saved: ${o.crises} crisis, ${o.several_turns} with several turns.`, own_ask: (n) => (n === 1 ? "Ask the running model" : `Ask the ${n} running models`), own_asking: "The models are answering…", own_progress: (p) => `${p.model}: ${p.done} of ${p.of}`, own_failed: "no answer; the server's log says why", own_incomplete: "some cases got no reply; try again", own_none: (file) => `No model is running. Put cases: ${file} into the matrix and run pytest benchmarks/ -m judge to gather the replies of all models.`, n_replies: (n) => `${n} ${n === 1 ? "reply" : "replies"}`, qr: "QR code", no_study: "No studies yet.", people: "All raters", nobody: "No raters yet.", cancel: "Cancel", confirm: "Confirm" },
};
const TEXTS = ["purpose", "consent", "warning", "help"];
let page = {}, wish = null, texts = null, openStudy = null, notice = "", bad = false, pending = null, invited = { labels: "", days: 14 }, formOpen = null, brought = { name: "cases.jsonl", text: "", file: null }, ownOpen = false;
// What the study asks of raters follows the choices by itself. Such an answer changes its own line only, so that one can
// go on typing, and a click meanwhile waits for it.
let soon = 0, isPlanning = false, queued = null;
function ask(message) {
  if (isPlanning) { queued = message; return; }
  if (!post(message, trouble)) return;
  clearTimeout(soon); notice = ""; bad = false; showNotice("", false);
}
const untitled = () => ({ ...wish, title: wish.title.trim() || "–" });
function planSoon() {
  clearTimeout(soon);
  soon = setTimeout(() => {
    if (!element.isConnected || !element.querySelector(".new-study[open]")) return;
    if (isWaiting()) planSoon(); else isPlanning = post({ action: "plan", wish: untitled() }, () => { isPlanning = false; });
  }, 500);
}
function planned(value) {
  isPlanning = false;
  page = { ...page, plan: value.plan };
  const line = element.querySelector(".plan");
  if (line) line.replaceWith(planLine());
  if (queued) { const message = queued; queued = null; ask(message); }
}
const planLine = () => h("p", { class: "plan", role: "status", hidden: !page.plan }, page.plan ? [t("planned")(page.plan), " ", sentence(lang === "zh" ? page.plan.outlook_zh : page.plan.outlook), page.plan.unanswered.length ? h("b", { class: "off" }, ` ${t("unanswered")(page.plan.unanswered.length)}${page.plan.unanswered.slice(0, 12).join(lang === "zh" ? "、" : ", ")}`) : null] : null);
const base = () => location.href.split(/[?#]/)[0].replace(/\/$/, "");
const number = (label, key, attrs) => h("label", { class: "pick" }, h("span", {}, label), h("input", { type: "number", "data-field": key, value: String(wish[key]), ...attrs, oninput: (event) => { wish[key] = Number(event.target.value); planSoon(); } }));
const choice = (label, key, options) => h("label", { class: "pick" }, h("span", {}, label), h("select", { "data-field": key, onchange: (event) => { wish[key] = event.target.value; planSoon(); } }, options.map((one) => h("option", { value: one, selected: wish[key] === one }, t(one)))));
const tick = (label, on, change, extra) => h("label", { class: "tick" }, h("input", { type: "checkbox", checked: on, onchange: (event) => change(event.target.checked) }), " ", label, extra);
const toggle = (list, name, on) => (on ? [...new Set([...list, name])] : list.filter((one) => one !== name));
const local = (iso) => { if (!iso) return ""; const d = new Date(iso); return new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 16); };
const zoned = (text) => (text ? new Date(text).toISOString() : "");

function qr(rows) {
  const size = rows.length + 8;
  const d = rows.flatMap((row, y) => [...row].map((cell, x) => (cell === "1" ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  return h("svg", { viewBox: `0 0 ${size} ${size}`, class: "qr", role: "img", "aria-label": t("qr") }, h("path", { d: `M0 0h${size}v${size}h-${size}z`, fill: "#fff" }), h("path", { d, fill: "#000" }));
}

function textFields(values) {
  return h("details", { class: "texts" }, h("summary", {}, t("texts")), TEXTS.map((name) => h("div", { class: "pair-of-texts" }, h("b", {}, t(name)), ["zh", "en"].map((code) => {
    const box = h("textarea", { rows: 3, maxlength: 4000, "data-text": `${name}_${code}`, "aria-label": `${t(name)} ${t(code)}`, placeholder: t(code), oninput: (event) => { values[`${name}_${code}`] = event.target.value; } });
    box.value = values[`${name}_${code}`] || ""; return box;
  }))));
}

function rules(values) {
  return h("div", { class: "picks" },
    h("label", { class: "pick" }, h("span", {}, t("deadline")), h("input", { type: "datetime-local", value: local(values.deadline), oninput: (event) => { values.deadline = zoned(event.target.value); } })),
    h("label", { class: "pick" }, h("span", {}, t("pause")), h("input", { type: "number", min: 0, max: 1000, value: String(values.pause_after), oninput: (event) => { values.pause_after = Number(event.target.value); } })),
    tick(t("may_skip"), values.may_skip_crises, (on) => { values.may_skip_crises = on; }));
}

// The bytes of a file as they are: what the browser takes for its text may have lost the encoding.
const base64 = (blob) => new Promise((resolve, reject) => { const reader = new FileReader(); reader.onload = () => resolve(reader.result.split(",")[1] || ""); reader.onerror = reject; reader.readAsDataURL(blob); });
async function takeCases() {
  if (!brought.text.trim()) return;
  const content = await base64(brought.file || new Blob([brought.text])).catch(() => null);
  if (content === null) trouble(t("own_gone")); else ask({ action: "take_cases", name: brought.name, content });
}

function ownCases() {
  const own = page.own || { count: 0, models: [], progress: [] };
  const text = h("textarea", { rows: 4, class: "own-text", "aria-label": t("own_text"), spellcheck: "false", placeholder: '{"id": "my-1", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, {"role": "user", "content": "…"}]}', oninput: (event) => { brought.text = event.target.value; brought.file = null; } });
  text.value = brought.text;
  const pick = h("input", { type: "file", accept: ".jsonl,.json,.txt", class: "own-file unseen", "aria-label": t("own_file"), onchange: async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    if (file.size > 2500000) { trouble(t("own_big")); return; }
    brought = { name: file.name, text: await file.text(), file }; render();
  } });
  const moves = own.progress.map((p) => h("li", {}, t("own_progress")(p), p.trouble ? h("span", { class: "off" }, ` ${t(`own_${p.trouble}`)}`) : null));
  return h("details", { class: "own-cases", open: ownOpen, ontoggle: (event) => { ownOpen = event.target.open; } }, h("summary", {}, t("own"), own.count ? ` · ${t("n_cases")(own.count)}` : ""), h("p", { class: "soft" }, t("own_hint")),
    h("p", {}, h("label", { class: "file" }, pick, h("span", {}, t("own_file"))), brought.file ? ` ${brought.name}` : null), h("label", { class: "pick full" }, h("span", {}, t("own_text")), text),
    h("p", {}, h("button", { type: "button", class: "take-cases", onclick: takeCases }, t("own_check"))),
    own.count ? h("p", { class: "own-saved" }, t("own_saved")(own), " ", own.asking ? t("own_asking") : own.models.length ? h("button", { type: "button", class: "ask-models", onclick: () => ask({ action: "ask_models" }) }, t("own_ask")(own.models.length)) : t("own_none")(own.file)) : null,
    moves.length ? h("ul", {}, moves) : null);
}
// What got its first replies meanwhile is ticked, as it would have been at the start.
function tickNews(before) {
  const cases = page.cases.filter((one) => one.answered && !before.cases.some((old) => old.id === one.id && old.answered));
  const models = page.subjects.filter((one) => (one.chosen || !page.subjects.some((any) => any.chosen)) && !before.subjects.some((old) => old.subject === one.subject));
  wish.cases = [...new Set([...wish.cases, ...cases.map((one) => one.id)])];
  wish.subjects = [...new Set([...wish.subjects, ...models.map((one) => one.subject)])];
  if (cases.length || models.length) planSoon();
}
// While models answer, the state is asked for again; what is typed meanwhile is kept in the variables above.
let watching = 0;
function watchModels() {
  clearTimeout(watching);
  if (page.own && page.own.asking) watching = setTimeout(() => { if (element.isConnected && !element.contains(document.activeElement)) ask({ action: "show" }); else watchModels(); }, 2000);
}

function newStudy() {
  if (!page.subjects.length) return h("section", { class: "box" }, h("h3", {}, t("fresh")), h("p", { class: "soft" }, t("no_material")), ownCases());
  wish = wish || { title: "", subjects: page.subjects.filter((one) => one.chosen).map((one) => one.subject), cases: page.cases.filter((one) => one.answered).map((one) => one.id), layout: "one-by-one", reference: "none", raters: 3, raters_per_case: 0, repeats: 0.1, training: page.practice.training, own_training: "", attention: Math.min(1, page.practice.attention) };
  if (!wish.subjects.length) wish.subjects = page.subjects.map((one) => one.subject);
  texts = texts || { ...page.suggested };
  const title = h("input", { type: "text", class: "name", maxlength: 120, "data-field": "title", "aria-label": t("title"), oninput: (event) => { wish.title = event.target.value; } });
  title.value = wish.title;
  const own = h("textarea", { rows: 2, "data-field": "own_training", "aria-label": t("own_training"), placeholder: '{"client": "…", "reply": "…", "scores": {"empathy": 2}, "why": "…"}', oninput: (event) => { wish.own_training = event.target.value; } });
  own.value = wish.own_training;
  const chips = (list) => h("span", { class: "chips" }, list);
  return h("details", { class: "box new-study", open: formOpen ?? !page.studies.some((one) => one.progress.length), ontoggle: (event) => { formOpen = event.target.open; if (formOpen && !page.plan) planSoon(); } }, h("summary", {}, h("h3", {}, t("fresh"))),
    h("label", { class: "pick" }, h("span", {}, t("title")), title),
    h("h4", {}, t("models")), page.subjects.map((one) => tick(one.subject, wish.subjects.includes(one.subject), (on) => { wish.subjects = toggle(wish.subjects, one.subject, on); planSoon(); }, h("small", {}, ` ${t("n_replies")(one.replies)}`))),
    h("h4", {}, t("cases"), " ", chips([h("button", { type: "button", onclick: () => { wish.cases = page.cases.map((one) => one.id); render(); planSoon(); } }, t("all")), h("button", { type: "button", onclick: () => { wish.cases = page.cases.filter((one) => !one.crisis).map((one) => one.id); render(); planSoon(); } }, t("no_crisis"))])),
    ownCases(), h("div", { class: "case-list" }, [...page.cases].sort((a, b) => b.answered - a.answered).map((one) => tick(one.title, wish.cases.includes(one.id), (on) => { wish.cases = toggle(wish.cases, one.id, on); planSoon(); }, h("small", {}, ` ${[...new Set([one.topic, t("turns")(one.turns), one.crisis ? t("crisis") : "", one.answered ? "" : t("no_reply")])].filter(Boolean).join(" · ")}`)))),
    h("div", { class: "picks" }, choice(t("layout"), "layout", ["one-by-one", "side-by-side"]), choice(t("reference"), "reference", ["none", "before", "after", "model"]),
      number(t("raters"), "raters", { min: 1, max: 500 }), number(t("per_case"), "raters_per_case", { min: 0, max: 500 }), number(t("repeats"), "repeats", { min: 0, max: 0.5, step: 0.05 }), number(t("training"), "training", { min: 0, max: page.practice.training }), number(t("attention"), "attention", { min: 0, max: page.practice.attention })),
    h("label", { class: "pick full" }, h("span", {}, t("own_training")), own), rules(texts), textFields(texts),
    page.left_out.length ? h("p", { class: "soft" }, named(t("left_out"), page.left_out.join(lang === "zh" ? "；" : "; "))) : null,
    planLine(),
    h("p", {}, h("button", { type: "button", class: "estimate", onclick: () => ask({ action: "plan", wish: untitled() }) }, t("plan")), " ", h("button", { type: "button", class: "submit make", onclick: () => ask({ action: "make", wish, arrangement: texts }) }, t("make"))));
}

function confirmed(text, message) {
  pending = { text, message }; render();
}

function personRow(one, study) {
  const p = study && study.progress.find((each) => each.rater === one.rater);
  const act = (key, run) => h("button", { type: "button", onclick: run }, t(key));
  return h("tr", {}, h("th", { scope: "row" }, one.rater), h("td", {}, one.label || "", one.link_until ? h("small", {}, ` ${t("link_out")}`) : one.joined ? h("small", {}, ` ${t("joined")} ${one.joined}`) : null),
    h("td", {}, p ? t("of")(p.done, p.total) : "–"), h("td", {}, p && p.median != null ? t("seconds")(p.median) : "–"), h("td", { class: p && p.speeding ? "off" : "" }, p && p.timed ? t("of")(p.speeding, p.timed) : "–"),
    h("td", { class: p && p.attention.passed < p.attention.of ? "off" : "" }, p && p.attention.of ? t("of")(p.attention.passed, p.attention.of) : "–"), h("td", {}, p && p.training.of ? t("of")(p.training.within_one, p.training.of) : "–"), h("td", {}, p && p.last ? new Date(p.last).toLocaleString(lang === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "short" }) : "–"),
    h("td", {}, h("div", { class: "acts" }, one.known ? [act("renew", () => ask({ action: "renew", rater: one.rater, base: base(), days: invited.days })), act("remove", () => confirmed(() => t("sure_remove")(who(one.rater)), { action: "remove", rater: one.rater }))] : null,
      act("erase_id", () => confirmed(() => t("sure_id")(who(one.rater)), { action: "erase", rater: one.rater, what: "identity" })), act("erase_all", () => confirmed(() => t("sure_all")(who(one.rater)), { action: "erase", rater: one.rater, what: "judgements" })))));
}

function people(study) {
  const known = page.people.filter((one) => !one.study || one.study === study.id).map((one) => ({ ...one, known: true }));
  const names = new Set(known.map((one) => one.rater));
  const rows = [...known, ...study.progress.filter((one) => !names.has(one.rater)).map((one) => ({ rater: one.rater, label: "" }))];
  if (!rows.length) return h("p", { class: "soft" }, t("nobody"));
  return wide(t("progress"), asSlips(h("table", { class: "people" }, h("thead", {}, h("tr", {}, ["rater", "label", "done", "median", "speeding", "attention_col", "training_col", "last", "actions"].map((key) => h("th", { scope: "col" }, t(key))))), h("tbody", {}, rows.map((one) => personRow(one, study))))));
}

// How many raters the cases really have: plans meet people who leave, skip or were erased.
function balance(study) {
  const { planned, assigned, rated, short } = study.balance;
  const words = (pairs) => pairs.map(([raters, cases]) => t("balance_pair")(raters, cases)).join(lang === "zh" ? "，" : ", ");
  return [h("p", { class: "soft balance" }, planned ? `${t("balance_plan")(planned)} ` : "", `${t("balance_assigned")}${words(assigned)}${lang === "zh" ? "；" : "; "}${t("balance_rated")}${words(rated)}${lang === "zh" ? "。" : "."}`),
    study.progress.length && short.length ? h("p", { class: "off short" }, t("balance_short")(short.length), short.slice(0, 12).join(lang === "zh" ? "、" : ", "), short.length > 12 ? " …" : "") : null];
}

function studyBox(study) {
  const values = study.arrangement;
  const labels = h("textarea", { rows: 3, "data-field": "labels", "aria-label": t("labels"), oninput: (event) => { invited.labels = event.target.value; } });
  labels.value = invited.labels;
  return h("details", { class: "box study", "data-study": study.id, open: openStudy === study.id, ontoggle: (event) => { if (event.target.open) openStudy = study.id; else if (openStudy === study.id) openStudy = null; } },
    h("summary", {}, h("b", {}, inOne(study.title)), " ", study.is_current ? h("span", { class: "tag reliable" }, t("current")) : null, values.frozen || !study.is_open ? h("span", { class: "tag not-reliable" }, t(values.frozen ? "frozen" : "closed")) : null, h("small", {}, ` ${t("subjects")(study.subjects.length)} × ${t("n_cases")(study.cases)} · ${t(study.layout)} · ${t("rated_by")(study.raters_per_case)}${study.progress.map((one) => `${one.rater} ${one.done}/${one.total}`).map((text) => ` · ${text}`).join("")}`)),
    h("h4", {}, t("progress")), people(study), balance(study),
    study.erased.length ? h("p", { class: "soft" }, named(t("erased"), study.erased.map((one) => t(`erased_${one.what}`)(one)).join(lang === "zh" ? "；" : "; "))) : null,
    h("h4", {}, t("invite")), h("div", { class: "picks" }, h("label", { class: "pick full" }, h("span", {}, t("labels")), labels), h("label", { class: "pick" }, h("span", {}, t("days")), h("input", { type: "number", min: 1, max: 365, value: String(invited.days), oninput: (event) => { invited.days = Number(event.target.value); } })),
      h("button", { type: "button", class: "submit invite", onclick: () => { const list = invited.labels.split("\n").map((line) => line.trim()).filter(Boolean); ask({ action: "invite", study: study.id, base: base(), labels: list, count: Math.max(1, list.length), days: invited.days }); } }, t("make_links"))),
    rules(values), textFields(values),
    h("p", {}, h("button", { type: "button", class: "save", onclick: () => { const changes = { ...values }; delete changes.frozen; ask({ action: "arrange", study: study.id, changes }); } }, t("save")), " ",
      h("button", { type: "button", class: "freeze", onclick: () => ask({ action: "arrange", study: study.id, changes: { frozen: !values.frozen } }) }, values.frozen ? t("thaw") : t("freeze")), " ",
      study.is_current ? null : h("button", { type: "button", onclick: () => ask({ action: "open", study: study.id }) }, t("open"))));
}

// The one who is to get a link, as the owner wrote it, before the code.
const who = (rater) => [(page.people.find((each) => each.rater === rater) || {}).label, rater].filter(Boolean).join(" · ");

function links() {
  return page.links ? h("section", { class: "box links" }, h("h3", {}, t("invite")), h("p", { class: "soft" }, t("once")), page.links.map((one) => h("div", { class: "link" }, qr(one.qr), h("div", {}, h("b", {}, who(one.rater)), h("code", { class: "address" }, one.link), h("button", { type: "button", onclick: (event) => { navigator.clipboard.writeText(one.link).then(() => { event.target.textContent = t("copied"); }); } }, t("copy")))))) : null;
}

function render() {
  const head = h("header", {}, h("button", { type: "button", onclick: () => ask({ action: "show" }) }, t("refresh")), h("span", { class: `notice ${bad ? "bad" : ""}`, role: "status", "aria-live": "polite" }, notice), languageButton());
  const sure = pending ? h("section", { class: "box sure", role: "alertdialog", "aria-label": pending.text() }, h("p", {}, pending.text()), h("button", { type: "button", class: "submit confirm", onclick: () => { const { message } = pending; pending = null; ask(message); } }, t("confirm")), " ", h("button", { type: "button", onclick: () => { pending = null; render(); } }, t("cancel"))) : null;
  const body = page.view === "studio" ? [sure, links(), newStudy(), h("h3", {}, t("studies")), page.studies.length ? page.studies.map(studyBox) : h("p", { class: "soft" }, t("no_study"))] : [h("p", { class: "soft" }, page.why ? t(page.why) : t("wait"))];
  element.replaceChildren(h("div", { class: "desk results studio" }, unseenTitle(t("studio")), head, ...body.flat().filter(Boolean)));
  const dialog = element.querySelector(".sure .confirm"); if (dialog) dialog.focus();
}
function arrived() {
  const value = props.value || {};
  if (!value.view) return;
  posted();
  if (isPlanning && (value.plan || value.view === "trouble")) { planned(value); return; }
  if (value.view === "trouble") { notice = inLanguage(value, "error"); bad = true; render(); window.scrollTo({ top: 0 }); return; }
  const kept = page.links, plan = page.plan, before = page;
  page = value; notice = value.arranged ? t("saved") : ""; bad = false;
  if (value.made) { openStudy = value.made; wish = texts = null; formOpen = false; }
  if (value.links) invited.labels = "";
  if (value.taken) { brought = { name: "cases.jsonl", text: "", file: null }; wish = null; notice = t("own_saved")(value.own); }
  if (wish && before.cases && page.cases) tickNews(before);
  watchModels();
  if (!page.plan && !value.made && !value.taken) page.plan = plan;
  if (!page.links && kept && !value.made) page.links = kept;
  render();
  if (value.links) window.scrollTo({ top: 0 });
}
onLanguage(() => { notice = ""; render(); });
watch("value", arrived);
render(); arrived();
