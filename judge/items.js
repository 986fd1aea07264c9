// The items tab of the owner. Runs as the js_on_load of a gr.HTML. Text is set by textContent only.
const T = {
  zh: { items: "条目", saved: "已保存", study: "研究", all: "全部", queue: "分歧待裁定", failed: "危机核查未通过", commented: "有文字意见", sort: "排序", by_mean: "整体质量（低→高）", by_range: "分歧（大→小）", by_case: "个案", lang: "English", none: "没有符合条件的回复。", nothing: "还没有研究，因此没有可查看的回复。", topic: "主题", any: "全部主题", model: "模型", every: "全部模型",
    case: "个案", reply: "回复", mean: "整体质量", range: "最大分差", raters: "评分者数", checks: "核查", comments: "意见", rater: "评分者", back: "← 返回列表", client: "来访者", counsellor: "咨询师", dialogue: "对话", ratings: "各评分者的评分", repeat: "重复", cannot: "无法判断", settle: "裁定", settle_hint: "裁定单独保存，不替换任何评分，也不计入平均。", plus_cannot: (n) => `（另有 ${n} 人无法判断）`, incomplete: (names) => `尚未裁定：${names.join("、")}`, note: "裁定理由", save: "保存裁定", settled: "已裁定", crisis: "危机", reference: "好的回复应当", owner: "仅研究负责人可见；需先登录。", wait: "正在读取…", hidden: "已遮盖的名称", truncated: "（回复因长度上限被截断）", yes: "是", no: "否", count: (n) => `${n} 条`, seconds: (s) => `${Math.round(s)} 秒`, next: "下一条 →", refresh: "刷新" },
  en: { items: "Items", saved: "Saved", study: "Study", all: "All", queue: "Disagreements to settle", failed: "Failed crisis check", commented: "With comments", sort: "Sort by", by_mean: "overall quality (low first)", by_range: "disagreement (wide first)", by_case: "case", lang: "中文", none: "No replies match.", nothing: "No study yet, so no replies to read.", topic: "Topic", any: "all topics", model: "Model", every: "all models",
    case: "Case", reply: "Reply", mean: "Overall", range: "Widest gap", raters: "Raters", checks: "Checks", comments: "Comments", rater: "Rater", back: "← Back to the list", client: "Client", counsellor: "Counsellor", dialogue: "Dialogue", ratings: "What each rater gave", repeat: "repeat", cannot: "cannot judge", settle: "Adjudicate", settle_hint: "An adjudication is stored on its own: it replaces no rating and enters no mean.", plus_cannot: (n) => ` (and ${n} who cannot judge)`, incomplete: (names) => `Still to be settled: ${names.join(", ")}`, note: "Reason", save: "Save adjudication", settled: "adjudicated", crisis: "crisis", reference: "A good reply should", owner: "Visible to the study owner only, after signing in.", wait: "Loading…", hidden: "Names that were hidden", truncated: "(the reply was cut off at the length limit)", yes: "yes", no: "no", count: (n) => `${n} ${n === 1 ? "item" : "items"}`, seconds: (s) => `${Math.round(s)} s`, next: "Next reply →", refresh: "Refresh" },
};
let page = {}, filter = "all", order = "by_mean", topic = "", model = "", queue = [], settling = {};
const ask = (message) => { if (post({ study: page.study, ...message }, trouble)) showNotice("", false); };
const nameOf = (key) => ([...R.dimensions, ...R.crisis].find((one) => one.key === key) || { name: { zh: key, en: key } }).name[lang];
const select = (label, value, options, change) => h("label", { class: "pick" }, h("span", {}, label), h("select", { onchange: (event) => change(event.target.value) }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text))));

function list() {
  const kinds = { all: () => true, queue: (one) => page.queue.includes(one.reply), failed: (one) => one.failed.length, commented: (one) => one.comments };
  const orders = { by_mean: (a, b) => (a.mean ?? 9) - (b.mean ?? 9), by_range: (a, b) => b.range - a.range, by_case: (a, b) => a.case.localeCompare(b.case) };
  const shown = page.items.filter(kinds[filter]).filter((one) => !topic || one.topic === topic).filter((one) => !model || one.subject === model).sort(orders[order]);
  queue = shown.map((one) => one.reply);
  const topics = [...new Set(page.items.map((one) => one.topic))], models = [...new Set(page.items.map((one) => one.subject))];
  return [h("div", { class: "picks" },
    page.studies.length > 1 ? select(t("study"), page.study, page.studies.map((one) => [one.id, inOne(one.title)]), (id) => ask({ action: "show", study: id })) : null,
    h("div", { class: "chips", role: "group" }, Object.keys(kinds).map((key) => h("button", { type: "button", "aria-pressed": String(filter === key), onclick: () => { filter = key; render(); } }, `${t(key)} ${page.items.filter(kinds[key]).length}`))),
    select(t("topic"), topic, [["", t("any")], ...topics.filter(Boolean).map((one) => [one, one])], (value) => { topic = value; render(); }),
    select(t("model"), model, [["", t("every")], ...models.map((one) => [one, one])], (value) => { model = value; render(); }),
    select(t("sort"), order, Object.keys(orders).map((key) => [key, t(key)]), (value) => { order = value; render(); })),
    shown.length ? wide(t("items"), asSlips(h("table", {}, h("thead", {}, h("tr", {}, ["case", "model", "reply", "mean", "range", "raters", "checks", "comments"].map((key) => h("th", { scope: "col" }, t(key))))),
      h("tbody", {}, shown.map((one) => h("tr", {},
        h("td", {}, one.title, " ", one.crisis ? h("span", { class: "tag not-reliable" }, t("crisis")) : null, h("small", {}, ` ${one.topic}`)), h("td", {}, one.subject),
        h("td", {}, h("button", { type: "button", class: "read", onclick: () => ask({ action: "read", reply: one.reply }) }, one.text.replace(/\s+/g, " ").trim() || "—"), one.adjudicated ? h("span", { class: "tag reliable" }, t("settled")) : null),
        h("td", {}, one.mean == null ? "–" : one.mean.toFixed(2)), h("td", {}, one.range ? `${one.range} · ${nameOf(one.widest)}` : "0"), h("td", {}, String(one.raters) + (one.cannot ? t("plus_cannot")(one.cannot) : "")),
        h("td", {}, one.failed.map((key) => h("span", { class: "tag not-reliable" }, nameOf(key)))), h("td", {}, one.comments ? String(one.comments) : ""))))))) : h("p", { class: "soft" }, t("none"))];
}

function item() {
  const one = page.item, keys = [...R.dimensions, ...(one.crisis ? R.crisis : [])];
  const cell = (row, d) => { const value = row[d.key]; return row.outcome !== "scored" ? "–" : value == null ? "–" : R.crisis.includes(d) ? t(value ? "yes" : "no") : String(value); };
  const last = one.adjudications[one.adjudications.length - 1];
  // What is being written outlives a change of language.
  if (settling.reply !== one.reply || settling.count !== one.adjudications.length) settling = { reply: one.reply, count: one.adjudications.length, scores: { ...last?.scores }, checks: { ...last?.crisis }, note: last ? last.note : "" };
  const { scores, checks } = settling;
  const pick = (d, values, into) => h("label", { class: "pick" }, h("span", {}, d.name[lang]), h("select", { "data-key": d.key, onchange: (event) => { into[d.key] = values.find(([key]) => String(key) === event.target.value)?.[0]; } },
    h("option", { value: "" }, "–"), values.map(([key, text]) => h("option", { value: String(key), selected: into[d.key] === key }, text))));
  const note = h("textarea", { rows: 2, maxlength: 4000, "aria-label": t("note"), placeholder: t("note"), oninput: (event) => { settling.note = event.target.value; } });
  note.value = settling.note;
  const settle = () => {
    const lacking = keys.filter((d) => (R.crisis.includes(d) ? checks : scores)[d.key] === undefined);
    if (lacking.length) showNotice(t("incomplete")(lacking.map((d) => d.name[lang])), true);
    else ask({ action: "adjudicate", reply: one.reply, verdict: { scores, crisis: checks, note: note.value } });
  };
  const at = queue.indexOf(one.reply), next = at >= 0 ? queue[at + 1] : null;
  return [h("p", { class: "moves" }, h("button", { type: "button", class: "back-to-list", onclick: () => ask({ action: "show" }) }, t("back")), " ", next ? h("button", { type: "button", onclick: () => ask({ action: "read", reply: next }) }, t("next")) : null),
    h("div", { class: "grid" }, h("section", { class: "box" }, h("h3", {}, [one.title, one.topic, one.subject].filter(Boolean).join(" · ")), one.crisis ? h("div", { class: "crisis-flag" }, t("crisis")) : null,
      h("div", { class: "turns" }, one.messages.filter((m) => m.role !== "system").map((m) => h("div", { class: `turn ${m.role === "user" ? "client" : "counsellor"}` }, h("b", {}, m.role === "user" ? t("client") : t("counsellor")), h("p", {}, m.content)))),
      h("div", { class: "reply" }, h("h3", {}, t("reply")), h("div", { class: "text" }, one.shown, one.status === "truncated" ? h("em", {}, ` ${t("truncated")}`) : null)),
      one.hidden.length ? h("p", { class: "soft" }, named(t("hidden"), one.hidden.join(lang === "zh" ? "、" : ", "))) : null,
      one.reference.length ? h("div", { class: "reference" }, h("b", {}, t("reference")), h("ul", {}, one.reference.map((point) => h("li", {}, point)))) : null),
    h("section", { class: "box" }, h("h3", {}, t("ratings")), wide(t("ratings"), h("table", { class: "marks" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("rater")), keys.map((d) => h("th", { scope: "col" }, d.name[lang])))),
      h("tbody", {}, one.judgements.map((row) => h("tr", {}, h("th", { scope: "row" }, row.judge_id, row.repeat ? h("small", {}, ` ${t("repeat")}`) : null, row.outcome === "cannot_judge" ? h("small", {}, ` ${t("cannot")}`) : null, row.seconds != null ? h("small", {}, ` ${t("seconds")(row.seconds)}`) : null), keys.map((d) => h("td", {}, cell(row, d)))))))),
      h("ul", {}, one.judgements.filter((row) => row.strengths || row.weaknesses || row.suggestions).map((row) => h("li", {}, h("b", {}, row.judge_id), " ", [row.strengths && `+ ${row.strengths}`, row.weaknesses && `− ${row.weaknesses}`, row.suggestions && `→ ${row.suggestions}`].filter(Boolean).join(" ")))),
      h("h3", {}, t("settle")), h("p", { class: "soft" }, t("settle_hint")), h("div", { class: "picks" }, R.dimensions.map((d) => pick(d, [1, 2, 3, 4, 5].map((n) => [n, String(n)]), scores)), one.crisis ? R.crisis.map((d) => pick(d, [[true, t("yes")], [false, t("no")]], checks)) : null), note,
      h("p", {}, h("button", { type: "button", class: "submit", onclick: settle }, t("save")), " ", h("span", { class: "notice", role: "status" })),
      h("ul", {}, one.adjudications.map((row) => h("li", {}, `${named(`${row.at.slice(0, 16).replace("T", " ")} ${row.owner}`, "")}${[...R.dimensions.map((d) => `${d.name[lang]} ${row.scores[d.key]}`), ...R.crisis.filter((d) => d.key in row.crisis).map((d) => `${d.name[lang]} ${t(row.crisis[d.key] ? "yes" : "no")}`)].join(" · ")} ${row.note}`)))))];
}

function render() {
  const head = h("header", {}, page.view === "items" ? h("button", { type: "button", onclick: () => ask({ action: "show" }) }, t("refresh")) : null, page.view === "item" ? null : h("span", { class: "notice", role: "status" }), languageButton());
  const body = page.view === "items" ? (page.items.length ? list() : [h("p", { class: "soft" }, t("nothing"))]) : page.view === "item" ? item() : [h("p", { class: "soft" }, page.why ? t(page.why) : t("wait"))];
  element.replaceChildren(h("div", { class: "desk results items" }, unseenTitle(t("items")), head, ...body.filter(Boolean)));
}
function arrived() {
  const value = props.value || {};
  if (!value.view) return;
  posted();
  if (value.view === "trouble") { showNotice(inLanguage(value, "error"), true); return; }
  const before = page.item;
  page = value; render();
  if (before && page.item && page.item.reply === before.reply && page.item.adjudications.length > before.adjudications.length) showNotice(t("saved"), false);
}
onLanguage(render);
watch("value", arrived);
render(); arrived();
