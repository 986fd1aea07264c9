// The scoring desk. Runs as the js_on_load of a gr.HTML: gets `element`, `props`, `trigger`, `watch`.
// Everything that comes from a model or a person is set by textContent, never as HTML.
const T = {
  zh: {
    name_q: "你的评审编号", name_hint: "本机未启用登录，请输入一个编号；之后用同一编号即可继续。", start: "开始评分",
    progress: (d, n) => `已完成 ${d} / ${n}`, welcome: (n) => `共 ${n} 屏。请只看回复本身打分：模型名称已隐藏，顺序因人而异。随时可以关闭页面，下次从停下的地方继续。`, client: "来访者", counsellor: "咨询师", dialogue: "对话", reply: "回复",
    crisis: "危机情境：请特别留意安全性", crisis_q: "危机核查", yes: "是", no: "否", strengths: "优点", weaknesses: "不足", suggestions: "改进建议",
    cannot: "无法判断", submit: "提交并继续", update: "保存修改", back: "上一个", next: "回到未完成", comments: "文字意见（可选）",
    done: "全部完成，谢谢！", done_hint: "可以点“上一个”回看并修改，也可以直接关闭页面。",
    missing: "还没有评分：", refused: "未保存：", busy: "正在保存…", saved: "已保存", silent: "没有收到服务器的回应。请再提交一次，同一次提交只计一次。",
    signed_out: "登录已失效（服务器重新启动过）。请重新登录：这一屏的草稿已保留。", sign_in: "重新登录",
    empty: "（模型没有给出可见的回复）", truncated: "（回复因长度上限被截断）", optional: "可选",
    keys: "键盘：1–5 打分 · ↑↓ 换行 · Y/N 危机核查 · 0 无法判断 · C 写意见 · Enter 提交", anchors: "评分说明", corrected: "已评过，正在修改", lang: "English",
    chat_hint: "先与模型对话，再在此评分。", chat_submit: "保存评分",
  },
  en: {
    name_q: "Your rater id", name_hint: "Nobody signs in on this machine. Type an id; the same id later takes you back to where you were.", start: "Start scoring",
    progress: (d, n) => `${d} of ${n} done`, welcome: (n) => `${n} screens. Score the replies alone: model names are hidden and everybody gets another order. Close the page whenever you like; next time you go on where you stopped.`, client: "Client", counsellor: "Counsellor", dialogue: "Dialogue", reply: "Reply",
    crisis: "Crisis case: watch safety closely", crisis_q: "Crisis checks", yes: "Yes", no: "No", strengths: "Strengths", weaknesses: "Weaknesses", suggestions: "Suggestions",
    cannot: "Cannot judge", submit: "Submit and go on", update: "Save the change", back: "Previous", next: "Back to the open one", comments: "Comments (optional)",
    done: "All done. Thank you!", done_hint: "“Previous” lets you look back and correct; or simply close the page.",
    missing: "Not scored yet: ", refused: "Not saved: ", busy: "Saving…", saved: "Saved", silent: "The server did not answer. Submit again: the same submission counts once.",
    signed_out: "You are signed out (the server was started again). Sign in again: the draft of this screen is kept.", sign_in: "Sign in again",
    empty: "(the model gave no visible reply)", truncated: "(the reply was cut at the length limit)", optional: "optional",
    keys: "Keys: 1–5 score · ↑↓ row · Y/N crisis checks · 0 cannot judge · C comments · Enter submit", anchors: "What the points mean", corrected: "Scored before; you are correcting it", lang: "中文",
    chat_hint: "Talk with the model first, then score it here.", chat_submit: "Save the scores",
  },
};
const R = props.rubric;
const chat = props.mode === "chat";
let lang = localStorage.getItem("bakeoff-lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
let page = {}, notice = "", waiting = 0, signedOut = false, opened = Date.now(), drafts = {}, row = null;
const t = (key) => T[lang][key];
const h = (tag, attrs = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
};
const fresh = (old) => ({ scores: {}, crisis: {}, confidence: null, strengths: "", weaknesses: "", suggestions: "", cannot_judge: false, ...(old || {}) });

function send(message) {
  clearTimeout(waiting);
  notice = message.action === "score" ? t("busy") : notice;
  status();
  waiting = setTimeout(unanswered, 3000, 4);
  props.value = { ...message, rater: page.rater || "" };
  trigger("submit");
}

// A server that was started again knows no sign-in of before: its refusals never reach this page as answers.
async function unanswered(looks) {
  const asked = waiting;
  const answer = await fetch("config", { cache: "no-store" }).catch(() => null);
  if (waiting !== asked) return;
  signedOut = Boolean(answer && answer.status === 401);
  if (!signedOut && looks > 0) { waiting = setTimeout(unanswered, 3000, looks - 1); return; }
  waiting = 0; notice = t(signedOut ? "signed_out" : "silent"); status(true);
}

// Drafts outlive a reload of the tab. The chat's form belongs to a conversation that does not.
const place = (item) => `bakeoff-draft:${item}`;
const keepDraft = (item) => { if (!chat) sessionStorage.setItem(place(item), JSON.stringify(drafts[item])); };
function draftOf(reply) {
  const held = chat ? null : JSON.parse(sessionStorage.getItem(place(reply.item)) || "null");
  return fresh({ ...reply.verdict, ...held, corrects: reply.verdict ? reply.verdict.corrects : undefined });
}

function arrived() {
  clearTimeout(waiting); waiting = 0;
  const value = props.value || {};
  if (!value.view) return;                       // our own message, not an answer
  const said = lang === "zh" && value.error_zh ? value.error_zh : value.error;
  if (value.view === "refused") { notice = t("refused") + said; status(true); return; }
  const saved = notice === t("busy");
  if (saved) Object.keys(drafts).forEach((item) => sessionStorage.removeItem(place(item)));
  page = value; opened = Date.now(); row = null;
  drafts = Object.fromEntries((page.replies || []).map((reply) => [reply.item, draftOf(reply)]));
  notice = said ? t("refused") + said : saved ? t("saved") : "";
  render(); status(Boolean(value.error));
  // Without sign-in a reload of the same tab goes on under the same id.
  if (page.view === "name" && !value.error && sessionStorage.getItem("bakeoff-rater")) { page.rater = sessionStorage.getItem("bakeoff-rater"); send({ action: "open" }); }
  if (saved || page.view === "screen") element.querySelectorAll(".scroll").forEach((box) => { box.scrollTop = 0; });
  if (saved && !chat) window.scrollTo({ top: 0 });
}

function status(bad = false) {
  const line = element.querySelector(".notice");
  if (line) {
    line.textContent = notice; line.classList.toggle("bad", bad);
    if (signedOut) line.append(" ", h("button", { type: "button", class: "sign-in", onclick: () => location.reload() }, t("sign_in")));
  }
  element.querySelectorAll("button.submit").forEach((button) => { button.disabled = Boolean(waiting); });
}

function rows(item) {
  const list = R.dimensions.map((d) => ({ item, kind: "scores", ...d }));
  if (page.crisis) list.push(...R.crisis.map((d) => ({ item, kind: "crisis", ...d })));
  list.push({ item, kind: "confidence", key: "confidence", ...R.confidence });
  return list;
}
const allRows = () => (page.replies || []).flatMap((reply) => rows(reply.item)).filter((r) => !drafts[r.item].cannot_judge);
const held = (r) => (r.kind === "confidence" ? drafts[r.item].confidence : drafts[r.item][r.kind][r.key]);
const open = (r) => r.kind !== "confidence" && held(r) === undefined;

function choose(r, value) {
  const draft = drafts[r.item];
  if (r.kind === "confidence") draft.confidence = value; else draft[r.kind][r.key] = value;
  keepDraft(r.item);
  const field = element.querySelector(`[data-row="${r.item}/${r.key}"]`);
  field.querySelectorAll("input").forEach((input) => { input.checked = input.value === String(value); });
  explain(field, r, value);
  focusRow(r);
}

function explain(field, r, value) {
  const anchor = r.anchors && r.anchors[value];
  field.querySelector(".anchor").textContent = anchor ? anchor[lang] : r.kind === "crisis" ? "" : r.question[lang];
}

function focusRow(r, scroll = false) {
  row = r;
  element.querySelectorAll("[data-row].active").forEach((node) => node.classList.remove("active"));
  const field = r && element.querySelector(`[data-row="${r.item}/${r.key}"]`);
  if (!field) return;
  field.classList.add("active");
  if (scroll) field.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function field(r) {
  const points = r.kind === "crisis" ? [[true, t("yes")], [false, t("no")]] : [1, 2, 3, 4, 5].map((n) => [n, String(n)]);
  const current = held(r);
  const title = (n) => (r.anchors ? `${n} · ${r.anchors[n][lang]}` : null);
  const node = h("fieldset", { class: `row ${r.kind}`, "data-row": `${r.item}/${r.key}`, onclick: () => focusRow(r) },
    h("legend", {}, r.name[lang], r.kind === "confidence" ? h("small", {}, ` ${t("optional")}`) : null),
    r.kind === "crisis" ? h("div", { class: "question" }, r.question[lang]) : null,
    h("div", { class: "points" }, points.map(([value, text]) => h("label", { title: title(value) },
      h("input", { type: "radio", name: `${r.item}-${r.key}-${props.mode}`, value: String(value), checked: current === value,
        "aria-label": title(value) || text, onchange: () => choose(r, value), onfocus: () => focusRow(r) }),
      h("span", {}, text, r.kind === "scores" ? h("i", {}, R.scale[value][lang]) : null)))),
    h("div", { class: "anchor" }));
  explain(node, r, current);
  return node;
}

function form(reply) {
  const draft = drafts[reply.item];
  const area = (name) => {
    const box = h("textarea", { rows: 2, maxlength: 4000, placeholder: t(name), "aria-label": t(name), "data-comment": name,
      oninput: (event) => { draft[name] = event.target.value; keepDraft(reply.item); } });
    box.value = draft[name] || "";
    return box;
  };
  const any = draft.strengths || draft.weaknesses || draft.suggestions;
  const scores = h("div", { class: "scores" }, rows(reply.item).map(field));
  const switched = () => { scores.hidden = draft.cannot_judge; };
  const box = h("div", { class: "form", "data-item": reply.item },
    draft.corrects ? h("div", { class: "corrected" }, t("corrected")) : null, scores,
    h("details", { class: "comments", open: any ? true : false }, h("summary", {}, t("comments")), area("strengths"), area("weaknesses"), area("suggestions")),
    h("label", { class: "cannot" }, h("input", { type: "checkbox", checked: draft.cannot_judge, onchange: (event) => {
      draft.cannot_judge = event.target.checked; keepDraft(reply.item); switched(); } }), ` ${t("cannot")}`));
  switched();
  return box;
}

function replyBox(reply, label) {
  const text = reply.text || t("empty");
  return h("section", { class: "reply", "data-item": reply.item },
    h("h3", {}, label ? `${t("reply")} ${label}` : t("reply")),
    h("div", { class: "text scroll", tabindex: "0" }, text, reply.status === "truncated" ? h("em", {}, ` ${t("truncated")}`) : null));
}

function dialogue() {
  return h("section", { class: "dialogue" },
    h("h3", {}, t("dialogue"), page.topic ? h("small", {}, ` · ${page.topic}`) : null),
    page.crisis ? h("div", { class: "crisis-flag" }, t("crisis")) : null,
    h("div", { class: "turns" }, page.messages.filter((m) => m.role !== "system").map((m) =>
      h("div", { class: `turn ${m.role === "user" ? "client" : "counsellor"}` }, h("b", {}, m.role === "user" ? t("client") : t("counsellor")), h("p", {}, m.content)))));
}

function guide() {
  return h("details", { class: "guide" }, h("summary", {}, t("anchors")),
    R.dimensions.map((d) => h("div", {}, h("b", {}, d.name[lang]), h("p", {}, d.question[lang]),
      h("ol", {}, [1, 2, 3, 4, 5].map((n) => h("li", {}, d.anchors[n][lang]))))));
}

function submit() {
  if (waiting || page.view !== "screen") return;
  const bad = allRows().find(open);
  if (bad) { notice = t("missing") + bad.name[lang]; status(true); focusRow(bad, true); return; }
  const verdicts = Object.fromEntries(Object.entries(drafts).map(([item, d]) => [item,
    { ...d, scores: d.cannot_judge ? {} : d.scores, crisis: d.cannot_judge ? {} : d.crisis, seconds: (Date.now() - opened) / 1000 }]));
  send({ action: "score", screen: page.screen, token: page.token, verdicts });
}

function bar() {
  const correcting = (page.replies || []).some((reply) => reply.verdict);
  const previous = page.view === "done" ? page.total - 1 : page.screen - 1;
  return h("div", { class: "bar" },
    chat ? null : h("button", { type: "button", class: "back", disabled: previous < 0, onclick: () => { notice = ""; send({ action: "show", screen: previous }); } }, `← ${t("back")}`),
    correcting && page.done < page.total ? h("button", { type: "button", class: "resume", onclick: () => { notice = ""; send({ action: "open" }); } }, t("next")) : null,
    h("span", { class: "notice", role: "status", "aria-live": "polite" }),
    page.view === "screen" ? h("button", { type: "button", class: "submit", onclick: submit }, chat ? t("chat_submit") : correcting ? t("update") : t("submit"), h("kbd", {}, "↵")) : null);
}

function header() {
  const share = page.total ? (100 * page.done) / page.total : 0;
  return h("header", {},
    page.total ? h("div", { class: "progress", role: "progressbar", "aria-valuenow": page.done, "aria-valuemax": page.total }, h("i", { style: `width:${share}%` })) : null,
    h("span", { class: "count" }, page.total ? t("progress")(page.done, page.total) : ""),
    page.rater && !chat ? h("span", { class: "rater" }, page.rater) : null,
    h("button", { type: "button", class: "lang", onclick: switchLanguage }, t("lang")));
}

function switchLanguage() {
  localStorage.setItem("bakeoff-lang", lang === "zh" ? "en" : "zh");
  window.dispatchEvent(new Event("bakeoff-lang"));
}

function render() {
  document.documentElement.dataset.lang = lang;
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  const root = h("div", { class: `desk ${page.view || ""} ${page.layout || ""} ${chat ? "chat" : ""}` });
  if (page.view === "name") {
    const input = h("input", { type: "text", class: "name", maxlength: 40, "aria-label": t("name_q"), placeholder: t("name_q"), autocomplete: "off" });
    const enter = () => { page.rater = input.value; sessionStorage.setItem("bakeoff-rater", input.value); send({ action: chat ? "open" : "start" }); window.dispatchEvent(new Event("bakeoff-rater")); };
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
    root.append(header(), h("div", { class: "card" }, h("h2", {}, t("name_q")), h("p", {}, chat ? "" : t("name_hint")), input,
      h("button", { type: "button", class: "submit", onclick: enter }, t("start"))), h("div", { class: "bar" }, h("span", { class: "notice", role: "status" })));
  } else if (page.view === "welcome") {
    root.append(header(), h("div", { class: "card" }, h("h2", {}, page.title), h("p", {}, t("welcome")(page.screens)), h("p", {}, t("keys")),
      h("button", { type: "button", class: "submit", onclick: () => send({ action: "start" }) }, t("start"))), guide());
  } else if (page.view === "done") {
    root.append(header(), h("div", { class: "card" }, h("h2", {}, t("done")), h("p", {}, t("done_hint"))), bar());
  } else if (page.view === "screen" && chat) {
    root.append(header(), h("p", { class: "keys" }, t("chat_hint")), form(page.replies[0]), guide(), bar());
  } else if (page.view === "screen" && page.layout === "one-by-one") {
    root.append(header(), h("div", { class: "pair" },
      h("div", { class: "left scroll" }, dialogue(), replyBox(page.replies[0], "")),
      h("div", { class: "right scroll" }, form(page.replies[0]), guide(), h("p", { class: "keys" }, t("keys")))), bar());
  } else if (page.view === "screen") {
    root.append(header(), h("details", { class: "case", open: true }, h("summary", {}, t("dialogue"), page.topic ? ` · ${page.topic}` : ""), h("div", { class: "scroll" }, dialogue())),
      h("div", { class: "cards" }, page.replies.map((reply, n) => h("div", { class: "column" }, replyBox(reply, String.fromCharCode(65 + n)), form(reply)))),
      guide(), h("p", { class: "keys" }, t("keys")), bar());
  } else {
    root.append(header(), h("div", { class: "bar" }, h("span", { class: "notice", role: "status" })));
  }
  element.replaceChildren(root);
  status();
  const first = allRows().find(open);
  if (first) focusRow(first);
}

document.addEventListener("keydown", (event) => {
  if (!element.isConnected || element.offsetParent === null || event.altKey || event.metaKey || page.view !== "screen") return;
  const typing = /^(TEXTAREA|SELECT)$/.test(event.target.tagName) || (event.target.tagName === "INPUT" && !/^(radio|checkbox)$/.test(event.target.type));
  if (typing && element.contains(event.target)) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && event.ctrlKey) submit();
  }
  if (typing || event.ctrlKey) return;
  const list = allRows(), at = row ? list.findIndex((r) => r.item === row.item && r.key === row.key) : -1;
  const go = (step) => { const to = list[Math.min(list.length - 1, Math.max(0, at + step))]; if (to) focusRow(to, true); };
  const key = event.key.toLowerCase();
  const current = list[at];
  if (/^[1-5]$/.test(key) && current && current.kind !== "crisis") { choose(current, Number(key)); go(1); }
  else if ((key === "y" || key === "n") && current && current.kind === "crisis") { choose(current, key === "y"); go(1); }
  else if (key === "arrowdown") go(1);
  else if (key === "arrowup") go(-1);
  else if (key === "0") element.querySelector(`.form[data-item="${row ? row.item : page.replies[0].item}"] .cannot input`).click();
  else if (key === "c") { const box = element.querySelector(`.form[data-item="${row ? row.item : page.replies[0].item}"] details`); box.open = true; box.querySelector("textarea").focus(); }
  else if (key === "enter" && !/^(BUTTON|SUMMARY|A)$/.test(event.target.tagName)) submit();
  else return;
  event.preventDefault();
});
window.addEventListener("bakeoff-lang", () => { lang = localStorage.getItem("bakeoff-lang"); if (element.isConnected) { notice = ""; render(); } });
window.addEventListener("bakeoff-rater", () => { if (element.isConnected && page.view === "name" && !waiting) { page.rater = sessionStorage.getItem("bakeoff-rater"); send({ action: "open" }); } });
watch("value", arrived);
render();
arrived();
