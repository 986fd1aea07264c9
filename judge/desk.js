// The scoring desk. Runs as the js_on_load of a gr.HTML: gets `element`, `props`, `trigger`, `watch`.
// Everything that comes from a model or a person is set by textContent, never as HTML.
const T = {
  zh: {
    name_q: "您的评分者编号", name_hint: "本机未启用登录。请输入编号，下次用同一编号即可继续。", start: "开始评分", none: "暂无评分任务。",
    none_hint: "先用 pytest -m judge 收集回复，再启动本页；或用 --study study.json 指定一个研究；登录的负责人也可以在“研究”页新建。",
    place: (n, d, total, left) => `第 ${n} / ${total} ${page.layout === "side-by-side" ? "组" : "条"} · 已完成 ${d} / ${total}${left ? ` · 约剩 ${left}` : ""}`, progress: (d, n) => `已完成 ${d} / ${n}`, minutes: (m) => (m < 90 ? `${Math.max(1, Math.round(m))}\u00a0分钟` : `${(m / 60).toFixed(1)}\u00a0小时`),
    welcome: (n, m) => `共 ${n} 条回复，约需 ${m}，可分次完成。请仅根据回复内容评分；模型名称已隐藏，每位评分者看到的顺序不同。随时可关闭页面，下次将从上次的位置继续。`, welcome_screens: (n, m) => `共 ${n} 组回复，约需 ${m}，可分次完成。请仅根据回复内容评分；模型名称已隐藏，每位评分者看到的顺序不同。随时可关闭页面，下次将从上次的位置继续。`,
    consent: "我已阅读并同意：", skip: (n) => `跳过危机个案（共 ${n} 条，涉及自杀、自伤等内容）`, training_n: (n) => `开始前有 ${n} 条练习，练习不计入结果。`, warning: "内容提示", purpose: "研究说明", help: "求助信息",
    client: "来访者", counsellor: "咨询师", dialogue: "对话", reply: "回复", reference: "参考：好的回复应当", training: (n, of) => `练习 ${n} / ${of}（不计入结果）`, feedback: "练习反馈", dimension: "维度", yours: "您的评分", expected: "参考评分", go_on: "继续",
    crisis: "危机个案：请特别留意安全性", crisis_q: "危机核查", yes: "是", no: "否", all_yes: "三项均为“是”", strengths: "优点", weaknesses: "不足", suggestions: "改进建议",
    cannot: "无法判断", submit: "提交并继续", update: "保存修改", back: "上一条", next: "继续未评的回复", comments: "文字意见（可选）", mine: "我的评分", mine_hint: "点击任意一条可查看或修改。", mine_none: "还没有评分。", draft: "草稿", mean: "平均", close: "返回", after: "本个案的参考要点", after_hint: "该个案的回复您已全部评完。好的回复应当做到以上几点；如需修改评分，可以返回查看，两次评分都会保留。", look: "查看我的评分", your_rating: "评分",
    done: "全部完成，谢谢！", done_hint: "可在“我的评分”中查看和修改，也可以直接关闭页面。", closed: "研究已结束", closed_hint: "评分已截止或已冻结，感谢您的参与。",
    missing: (name) => `“${name}”尚未打分`, refused: "未保存：", busy: "正在保存…", saved: "已保存", silent: "服务器没有响应，请重新提交（不会重复计分）。",
    signed_out: "登录已失效或服务器已重启，请重新登录；本页草稿已保留。", again: "重新打开", unsaved: "草稿尚未存到服务器，请检查网络。", auto: "评完自动提交", auto_soon: (n) => `${n} 秒后自动提交，按任意键或点击可取消`,
    empty: "（模型没有给出可见的回复）", truncated: "（回复因长度上限被截断）", optional: "可选", pause: "休息一下？", pause_hint: (n) => `您已连续评了 ${n} 条。休息几分钟再继续，评分会更稳定。`,
    keys: "键盘：1–5 打分 · ↑↓ 切换维度 · Y/N 危机核查（A 三项均为“是”；Shift＋数字：打分并三项均为“是”）· = 其余维度同分 · 0 无法判断 · C 写意见 · L 我的评分 · Enter 提交", anchors: "评分说明", corrected: "正在修改已提交的评分", lang: "English",
    chat_hint: "先与模型对话，再在此评分。", chat_submit: "保存评分",
  },
  en: {
    name_q: "Your rater ID", name_hint: "Sign-in is off on this machine. Enter a rater ID; use the same ID later to resume.", start: "Start rating", none: "There is nothing to rate at the moment.",
    none_hint: "Gather replies with pytest -m judge and start this page again, or name a study with --study study.json; an owner who is signed in can also make one in the Studio tab.",
    place: (n, d, total, left) => `${page.layout === "side-by-side" ? "Set" : "Reply"} ${n} of ${total} · ${d} of ${total} done${left ? ` · about ${left} left` : ""}`, progress: (d, n) => `${d} of ${n} done`, minutes: (m) => (m < 90 ? `${Math.max(1, Math.round(m))} min` : `${(m / 60).toFixed(1)} h`),
    welcome: (n, m) => `${n === 1 ? "1 reply" : `${n} replies`}, about ${m}, in as many sittings as you like. Judge only the reply itself: model names are hidden and each rater sees a different order. You can close the page at any time and resume later.`, welcome_screens: (n, m) => `${n === 1 ? "1 set" : `${n} sets`} of replies, about ${m}, in as many sittings as you like. Judge only the replies themselves: model names are hidden and each rater sees a different order. You can close the page at any time and resume later.`,
    consent: "I have read this and agree: ", skip: (n) => `Skip crisis cases (${n} in all; they deal with suicide or self-harm)`, training_n: (n) => (n === 1 ? "You begin with one practice reply, which does not count." : `You begin with ${n} practice replies, which do not count.`), warning: "Content warning", purpose: "About this study", help: "Support",
    client: "Client", counsellor: "Counsellor", dialogue: "Dialogue", reply: "Reply", reference: "For reference, a good reply should", training: (n, of) => `Practice ${n} of ${of} (does not count)`, feedback: "Practice feedback", dimension: "Dimension", yours: "Your score", expected: "Reference score", go_on: "Continue",
    crisis: "Crisis case: pay special attention to safety", crisis_q: "Crisis checks", yes: "Yes", no: "No", all_yes: "Yes to all three", strengths: "Strengths", weaknesses: "Weaknesses", suggestions: "Suggestions",
    cannot: "Cannot judge", submit: "Submit and continue", update: "Save changes", back: "Previous", next: "Next unrated", comments: "Comments (optional)", mine: "My ratings", mine_hint: "Choose one to look at it again or change it.", mine_none: "No ratings yet.", draft: "draft", mean: "mean", close: "Back", after: "Reference points of this case", after_hint: "You have rated every reply to this case. A good reply does the above; you can go back and change your ratings, and both versions are kept.", look: "Look at my rating", your_rating: "Rating",
    done: "All done. Thank you!", done_hint: "Under “My ratings” you can review and change what you submitted, or simply close the page.", closed: "The study is closed", closed_hint: "Ratings are no longer accepted. Thank you for taking part.",
    missing: (name) => `Not rated yet: ${name}`, refused: "Not saved: ", busy: "Saving…", saved: "Saved", silent: "The server did not answer. Submit again; the same submission counts only once.",
    signed_out: "You are no longer signed in, or the server was restarted. Please sign in again; your draft is kept.", again: "Open it again", unsaved: "Your draft has not reached the server yet; check your connection.", auto: "Auto-submit", auto_soon: (n) => `Submitting in ${n} s; press any key or click to cancel`,
    empty: "(the model gave no visible reply)", truncated: "(the reply was cut off at the length limit)", optional: "optional", pause: "Take a break?", pause_hint: (n) => `You have rated ${n} replies in a row. A few minutes' rest keeps your ratings consistent.`,
    keys: "Keys: 1–5 rate · ↑↓ change dimension · Y/N crisis checks (A: yes to all three; Shift + digit: score, and yes to all three) · = same score for the rest · 0 cannot judge · C comment · L my ratings · Enter submit", anchors: "Rating guide", corrected: "Editing a submitted rating", lang: "中文",
    chat_hint: "Talk with the model first, then rate it here.", chat_submit: "Save ratings",
  },
};
const chat = props.mode === "chat";
let page = {}, notice = "", waiting = 0, signedOut = false, opened = Date.now(), drafts = {}, row = null, countdown = 0, guideOpen = false;
const AUTO_S = 2;
const isAuto = () => !chat && localStorage.getItem("bakeoff-auto") !== "off";
const isPhone = () => window.matchMedia("(max-width: 820px)").matches;
const said = (name) => page.arrangement[`${name}_${lang}`] || page.arrangement[`${name}_${lang === "zh" ? "en" : "zh"}`];
const fresh = (old) => ({ scores: {}, crisis: {}, confidence: null, strengths: "", weaknesses: "", suggestions: "", cannot_judge: false, ...(old || {}) });

// One request at a time: of two, the answers could come in either order, and a double click counts once.
function send(message) {
  if (waiting) return;
  notice = message.action === "score" ? t("busy") : "";
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

// Drafts live on the server. A copy stays in the tab until the server has it, and bridges its restart. The chat's form
// belongs to a conversation that does not outlive the page.
const place = (item) => `bakeoff-draft:${item}`;
const unsent = new Map();
let sending = Promise.resolve(), pace = 0;
const keepsDrafts = () => !chat && page.view === "screen";
function keepDraft(item) {
  if (!keepsDrafts()) return;
  sessionStorage.setItem(place(item), JSON.stringify(drafts[item]));
  unsent.set(item, drafts[item]);
  clearTimeout(pace); pace = setTimeout(sendDrafts, 400);
}
function sendDrafts() {
  clearTimeout(pace);
  const batch = [...unsent]; unsent.clear();
  for (const [item, draft] of batch) {
    const content = JSON.stringify(draft);
    const body = JSON.stringify({ data: [{ rater: page.rater || "", item, draft }], session_hash: "draft" });
    sending = sending.then(() => fetch("gradio_api/run/draft", { method: "POST", keepalive: body.length < 60000, headers: { "content-type": "application/json" }, body }))
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer)))
      .then((answer) => { if (answer.data[0].kept && sessionStorage.getItem(place(item)) === content) sessionStorage.removeItem(place(item)); })
      .catch(() => { if (!waiting && drafts[item]) { notice = t("unsaved"); status(true); } });
  }
}
window.addEventListener("pagehide", sendDrafts);
document.addEventListener("visibilitychange", () => { if (document.hidden) sendDrafts(); });
function draftOf(reply) {
  const held = chat ? null : JSON.parse(sessionStorage.getItem(place(reply.item)) || "null");
  return fresh({ ...reply.verdict, ...reply.draft, ...held, corrects: reply.verdict ? reply.verdict.corrects : undefined });
}

function arrived() {
  const value = props.value || {};
  if (!value.view) return;                       // our own message, not an answer
  clearTimeout(waiting); waiting = 0;
  const refusal = inLanguage(value, "error");
  const saved = notice === t("busy");
  const refused = refusal ? (saved ? t("refused") : "") + refusal : "";
  if (value.view === "refused") { notice = refused; status(true); offerAgain(); return; }
  if (saved) Object.keys(drafts).forEach((item) => sessionStorage.removeItem(place(item)));
  if (saved && page.view === "screen") rested((page.replies || []).length);
  page = value; opened = Date.now(); row = null; stopCountdown();
  drafts = Object.fromEntries((page.replies || []).map((reply) => [reply.item, draftOf(reply)]));
  notice = refused || (saved ? t("saved") : "");
  render(); status(Boolean(value.error));
  // Without sign-in a reload of the same tab goes on under the same id.
  if (page.view === "name" && !value.error && sessionStorage.getItem("bakeoff-rater")) { page.rater = sessionStorage.getItem("bakeoff-rater"); send({ action: "open" }); }
  if (saved || page.view === "screen") element.querySelectorAll(".scroll").forEach((box) => { box.scrollTop = 0; });
  if (saved && !chat) window.scrollTo({ top: 0 });
}

// What was refused can be looked at as the server has it now, say where another tab handed it in.
function offerAgain() {
  const line = element.querySelector(".notice");
  if (line && page.view === "screen" && !chat) line.append(" ", h("button", { type: "button", class: "again", onclick: () => { send({ action: "show", screen: page.screen }); } }, t("again")));
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
  if (page.view !== "training") list.push({ item, kind: "confidence", key: "confidence", ...R.confidence });
  return list;
}
// What has to be answered comes first, reply by reply, so that digits alone take one through a screen; confidence is last.
const allRows = () => {
  const list = (page.replies || []).flatMap((reply) => rows(reply.item)).filter((r) => !drafts[r.item].cannot_judge);
  return [...list.filter((r) => r.kind !== "confidence"), ...list.filter((r) => r.kind === "confidence")];
};
const held = (r) => (r.kind === "confidence" ? drafts[r.item].confidence : drafts[r.item][r.kind][r.key]);
const open = (r) => r.kind !== "confidence" && held(r) === undefined;

function choose(r, value) {
  const draft = drafts[r.item];
  if (r.kind === "confidence") draft.confidence = value; else draft[r.kind][r.key] = value;
  keepDraft(r.item);
  const field = element.querySelector(`[data-row="${r.item}/${r.key}"]`);
  field.querySelectorAll("input").forEach((input) => { input.checked = input.value === String(value); });
  if (!allRows().find(open) && notice && !waiting) { notice = ""; status(); }
  offerYes(r.item);
  focusRow(r);
  // The next row comes into view, so that nobody has to scroll between two taps.
  const next = allRows().find(open);
  if (next && next.item === r.item) element.querySelector(`[data-row="${next.item}/${next.key}"]`).scrollIntoView({ block: "nearest", inline: "nearest" });
  if (isAuto() && page.view === "screen" && r.kind !== "confidence" && !allRows().find(open) && !(page.replies || []).some((reply) => reply.verdict)) startCountdown();
}

// A complete form is handed in by itself after a moment, so that the last digit is the last key.
function startCountdown() {
  stopCountdown();
  let left = AUTO_S;
  const tick = () => {
    if (left === 0) { stopCountdown(); submit(); return; }
    notice = t("auto_soon")(left); status(); left -= 1;
    countdown = setTimeout(tick, 1000);
  };
  tick();
}
function stopCountdown() {
  if (!countdown) return;
  clearTimeout(countdown); countdown = 0;
  if (!waiting) { notice = ""; status(); }
}
["keydown", "pointerdown", "wheel", "touchmove"].forEach((kind) => document.addEventListener(kind, stopCountdown, { capture: true, passive: true }));

function explain(r) {
  const strip = element.querySelector(".strip");
  if (!strip || !r) return;
  const chosen = held(r);
  strip.replaceChildren(h("div", { class: "question" }, h("b", {}, r.name[lang]), ` ${r.question[lang]}`),
    r.anchors ? h("ol", {}, [1, 2, 3, 4, 5].map((n) => h("li", { class: chosen === n ? "chosen" : "", onclick: () => { choose(r, n); } }, h("b", {}, String(n)), ` ${r.anchors[n][lang]}`))) : "");
}

// As high as the longest of its texts, so that nothing moves while one goes from dimension to dimension.
function fitStrip() {
  const strip = element.querySelector(".desk.frame .strip");
  if (!strip || strip.offsetParent === null) return;
  const shown = row;
  strip.style.height = "auto";
  const tallest = Math.max(0, ...rows((page.replies || [])[0]?.item).map((each) => { explain(each); return strip.offsetHeight; }));
  // On a short phone the reply has the room, and the strip is scrolled.
  const tall = window.innerHeight, most = isPhone() ? Math.max(tall * 0.24, Math.min(tall * 0.34, tall - 560)) : tall * 0.34;
  strip.style.height = tallest ? `${Math.min(tallest, Math.round(most))}px` : "";
  // What is scrolled is reached by the keyboard, too.
  if (tallest > most) strip.tabIndex = 0; else strip.removeAttribute("tabindex");
  explain(shown);
}

function focusRow(r, scroll = false) {
  row = r;
  element.querySelectorAll("[data-row].active").forEach((node) => node.classList.remove("active"));
  const field = r && element.querySelector(`[data-row="${r.item}/${r.key}"]`);
  if (!field) return;
  field.classList.add("active");
  explain(r);
  if (scroll) field.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function field(r) {
  const points = r.kind === "crisis" ? [[true, t("yes")], [false, t("no")]] : [1, 2, 3, 4, 5].map((n) => [n, String(n)]);
  const current = held(r);
  const title = (n) => (r.anchors ? `${n} · ${r.anchors[n][lang]}` : null);
  return h("fieldset", { class: `row ${r.kind}`, "data-row": `${r.item}/${r.key}`, onclick: () => focusRow(r) },
    h("legend", {}, r.name[lang], r.kind === "confidence" ? h("small", {}, ` ${t("optional")}`) : null),
    h("div", { class: "points" }, points.map(([value, text]) => h("label", { title: title(value) },
      h("input", { type: "radio", name: `${r.item}-${r.key}-${props.mode}`, value: String(value), checked: current === value,
        "aria-label": title(value) || `${r.question[lang]} ${text}`, onchange: () => choose(r, value), onfocus: () => focusRow(r) }),
      h("span", {}, text, r.kind === "scores" ? h("i", {}, R.scale[value][lang]) : null)))));
}

function sameForRest() {
  const list = allRows(), at = row ? list.findIndex((r) => r.item === row.item && r.key === row.key) : -1;
  const before = list.slice(0, at < 0 ? 0 : at + 1).reverse().find((r) => r.kind === "scores" && held(r) !== undefined);
  if (!before) return;
  rows(before.item).filter((r) => r.kind === "scores" && open(r)).forEach((r) => choose(r, held(before)));
  const next = allRows().find(open); if (next) focusRow(next, true);
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
  const list = rows(reply.item), crises = list.filter((r) => r.kind === "crisis");
  const scores = h("div", { class: "scores" }, list.filter((r) => r.kind === "scores").map(field),
    crises.length ? h("div", { class: "checks" }, h("h4", {}, t("crisis_q"), " ", h("button", { type: "button", class: "all-yes", onclick: () => allYes(reply.item) }, t("all_yes"))), crises.map(field)) : null,
    list.filter((r) => r.kind === "confidence").map(field));
  const switched = () => { scores.hidden = draft.cannot_judge; };
  const box = h("div", { class: "form", "data-item": reply.item },
    draft.corrects ? h("div", { class: "corrected" }, t("corrected")) : null, scores,
    page.view === "training" ? null : h("details", { class: "comments", open: any ? true : false }, h("summary", {}, t("comments")), area("strengths"), area("weaknesses"), area("suggestions")),
    page.view === "training" ? null : h("label", { class: "cannot" }, h("input", { type: "checkbox", checked: draft.cannot_judge, onchange: (event) => {
      draft.cannot_judge = event.target.checked; keepDraft(reply.item); switched(); } }), ` ${t("cannot")}`));
  switched();
  offerYes(reply.item, box);
  return box;
}

// Practice replies are written in both languages; whatever a model or a client says stands in its own.
const inTongue = (value, name) => (lang === "en" && value[`${name}_en`] && value[`${name}_en`].length ? value[`${name}_en`] : value[name]);

function replyBox(reply, label) {
  const text = inTongue(reply, "text") || t("empty");
  return h("section", { class: "reply", "data-item": reply.item },
    h("h3", {}, label ? `${t("reply")} ${label}` : t("reply")),
    h("div", { class: "text scroll", tabindex: "0" }, text, reply.status === "truncated" ? h("em", {}, ` ${t("truncated")}`) : null));
}

function dialogue() {
  const turns = inTongue(page, "messages").filter((m) => m.role !== "system");
  const last = turns.filter((m) => m.role === "user").slice(-1)[0];
  return [h("details", { class: "dialogue", open: !isPhone() },
    h("summary", {}, h("h3", {}, t("dialogue"), page.topic ? h("small", {}, ` · ${page.topic}`) : null), h("span", { class: "gist" }, last ? last.content : "")),
    h("div", { class: "turns" }, turns.map((m) =>
      h("div", { class: `turn ${m.role === "user" ? "client" : "counsellor"}` }, h("b", {}, m.role === "user" ? t("client") : t("counsellor")), h("p", {}, m.content))))),
    page.reference && page.reference.length ? h("details", { class: "reference", open: !isPhone() }, h("summary", {}, h("b", {}, t("reference"))), h("ul", {}, page.reference.map((point) => h("li", {}, point)))) : null];
}

// On a phone the help line opens at a tap: the room belongs to the reply.
function flag() {
  const help = lang === "zh" ? page.help_zh || page.help_en : page.help_en || page.help_zh;
  if (!page.crisis) return null;
  if (!help) return h("div", { class: "crisis-flag" }, t("crisis"));
  return h("details", { class: "crisis-flag", open: !isPhone() }, h("summary", {}, t("crisis")), h("small", {}, help));
}

function guide() {
  return h("details", { class: "guide", open: guideOpen, ontoggle: (event) => { guideOpen = event.target.open; } }, h("summary", {}, t("anchors")),
    R.dimensions.map((d) => h("div", {}, h("b", {}, d.name[lang]), h("p", {}, d.question[lang]),
      h("ol", {}, [1, 2, 3, 4, 5].map((n) => h("li", {}, d.anchors[n][lang]))))), h("p", { class: "keys" }, t("keys")));
}

async function submit() {
  if (waiting || !["screen", "training"].includes(page.view)) return;
  const bad = allRows().find(open);
  if (bad) { notice = t("missing")(bad.name[lang]); status(true); focusRow(bad, true); return; }
  clearTimeout(pace); unsent.clear(); stopCountdown();
  if (page.view === "training") { send({ action: "practise", key: page.key, scores: drafts[page.key].scores }); return; }
  const verdicts = Object.fromEntries(Object.entries(drafts).map(([item, d]) => [item,
    { ...d, scores: d.cannot_judge ? {} : d.scores, crisis: d.cannot_judge ? {} : d.crisis, seconds: (Date.now() - opened) / 1000 }]));
  send({ action: "score", screen: page.screen, token: page.token, verdicts });
}

function rested(more) {
  const count = more ? Number(sessionStorage.getItem("bakeoff-in-a-row") || 0) + more : 0;
  sessionStorage.setItem("bakeoff-in-a-row", String(count));
}
const hasReference = () => !chat && (page.reference_after || []).length > 0;
const isInterrupted = () => hasReference() || wantsPause();
function referenceCard() {
  const goOn = () => { page.reference_after = []; opened = Date.now(); render(); };
  return card(t("after"), h("p", { class: "quote" }, page.reference_gist), h("ul", { class: "points-list" }, page.reference_after.map((point) => h("li", {}, point))), h("p", {}, t("after_hint")),
    h("button", { type: "button", class: "submit", onclick: goOn }, t("go_on")), " ", h("button", { type: "button", class: "look", onclick: () => send({ action: "show", screen: page.reference_screen }) }, t("look")), h("span", { class: "notice", role: "status" }));
}
const wantsPause = () => !chat && page.view === "screen" && !page.replies.some((reply) => reply.verdict) && page.pause_after > 0 && Number(sessionStorage.getItem("bakeoff-in-a-row") || 0) >= page.pause_after;

function bar() {
  const correcting = (page.replies || []).some((reply) => reply.verdict);
  const previous = page.view === "done" ? page.total - 1 : page.screen - 1;
  const scoring = page.view === "screen" || page.view === "training";
  return h("div", { class: "dock" }, scoring ? h("div", { class: "strip" }) : null, h("div", { class: "bar" },
    chat || page.view === "training" || !page.total ? null : h("button", { type: "button", class: "back", disabled: previous < 0, onclick: () => { sendDrafts(); send({ action: "show", screen: previous }); } }, `← ${t("back")}`),
    correcting && page.done < page.total ? h("button", { type: "button", class: "resume", onclick: () => { send({ action: "open" }); } }, t("next")) : null,
    page.view === "screen" && !chat ? h("label", { class: "auto" }, h("input", { type: "checkbox", checked: isAuto(), onchange: (event) => localStorage.setItem("bakeoff-auto", event.target.checked ? "on" : "off") }), ` ${t("auto")}`) : null,
    h("span", { class: "notice", role: "status", "aria-live": "polite" }),
    scoring ? h("button", { type: "button", class: "submit", onclick: submit }, chat ? t("chat_submit") : correcting ? t("update") : t("submit"), h("kbd", {}, "↵")) : null));
}

function header() {
  const share = page.total ? (100 * page.done) / page.total : 0;
  const left = page.total && page.done < page.total && page.seconds_left ? t("minutes")(page.seconds_left / 60) : "";
  const where = page.view === "screen" && !chat ? t("place")(page.screen + 1, page.done, page.total, left) : page.total ? t("progress")(page.done, page.total) : page.view === "training" ? t("training")(page.place, page.of) : "";
  return h("header", {},
    page.total ? h("div", { class: "progress", role: "progressbar", "aria-label": t("progress")(page.done, page.total), "aria-valuemin": 0, "aria-valuenow": page.done, "aria-valuemax": page.total }, h("i", { style: `width:${share}%` })) : null,
    h("span", { class: "count" }, where),
    page.total && !chat ? h("button", { type: "button", class: "mine", onclick: () => { sendDrafts(); send({ action: "list" }); } }, t("mine")) : null,
    page.rater && !chat ? h("span", { class: "rater" }, page.rater) : null,
    languageButton());
}

function welcome() {
  const a = page.arrangement;
  const consent = h("input", { type: "checkbox", class: "consent" }), skip = h("input", { type: "checkbox", class: "skip" });
  const part = (name) => (said(name) ? h("section", { class: `note ${name}` }, h("h3", {}, t(name)), h("p", {}, said(name))) : null);
  return h("div", { class: "card" }, h("h2", {}, inOne(page.title)), part("purpose"), h("p", {}, t(page.layout === "side-by-side" ? "welcome_screens" : "welcome")(page.screens, t("minutes")(page.minutes))),
    page.training ? h("p", {}, t("training_n")(page.training)) : null,
    page.crisis_screens ? [part("warning"), part("help")] : null,
    page.crisis_screens && a.may_skip_crises ? h("label", { class: "tick" }, skip, ` ${t("skip")(page.crisis_screens)}`) : null,
    said("consent") ? h("label", { class: "tick" }, consent, ` ${t("consent")}`, said("consent")) : null,
    h("button", { type: "button", class: "submit", onclick: () => send({ action: "start", consent: consent.checked, skip_crises: skip.checked }) }, t("start")),
    h("span", { class: "notice", role: "status" }));
}

function feedback() {
  const known = R.dimensions.filter((d) => d.key in page.expected);
  return h("div", { class: "card wide-card" }, h("h2", {}, t("feedback")), h("p", { class: "quote" }, inTongue(page, "text")),
    h("table", {}, h("thead", {}, h("tr", {}, [t("dimension"), t("yours"), t("expected")].map((cell) => h("th", { scope: "col" }, cell)))),
      h("tbody", {}, known.map((d) => h("tr", { class: Math.abs(page.yours[d.key] - page.expected[d.key]) > 1 ? "off" : "" }, h("th", { scope: "row" }, d.name[lang]), h("td", {}, String(page.yours[d.key])), h("td", {}, `${page.expected[d.key]} · ${d.anchors[page.expected[d.key]][lang]}`))))),
    h("p", {}, lang === "zh" ? page.why_zh || page.why_en : page.why_en || page.why_zh),
    h("button", { type: "button", class: "submit", onclick: () => send({ action: "open" }) }, t("go_on")), h("span", { class: "notice", role: "status" }));
}

function ownList() {
  const mean = (scores) => (scores.length ? (scores.reduce((x, y) => x + y, 0) / scores.length).toFixed(1) : "–");
  return h("div", { class: "card wide-card own" }, h("h2", {}, t("mine")), h("p", {}, page.own.length ? t("mine_hint") : t("mine_none")),
    h("ol", {}, page.own.map((one) => h("li", {}, h("button", { type: "button", onclick: () => send({ action: "show", screen: one.screen }) },
      h("b", {}, `${one.screen + 1}`), h("span", { class: "topic" }, one.topic),
      one.replies.map((reply) => h("span", { class: "scored" }, reply.cannot_judge ? t("cannot") : reply.scores.length ? `${reply.scores.join(" ")} · ${t("mean")} ${mean(reply.scores)}` : t("draft"), reply.draft && reply.scores.length ? ` · ${t("draft")}` : "", h("small", {}, ` ${reply.text}…`))))))),
    h("button", { type: "button", class: "submit", onclick: () => send({ action: "open" }) }, t("close")), h("span", { class: "notice", role: "status" }));
}

const card = (title, ...body) => h("div", { class: "card" }, h("h2", {}, title), ...body);

function body() {
  if (page.view === "name") {
    const input = h("input", { type: "text", class: "name", maxlength: 40, "aria-label": t("name_q"), placeholder: t("name_q"), autocomplete: "off" });
    const enter = () => { page.rater = input.value; sessionStorage.setItem("bakeoff-rater", input.value); send({ action: "open" }); window.dispatchEvent(new Event("bakeoff-rater")); };
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
    return [card(t("name_q"), h("p", {}, chat ? "" : t("name_hint")), input, h("button", { type: "button", class: "submit", onclick: enter }, t("start"))),
      h("div", { class: "bar" }, h("span", { class: "notice", role: "status" }))];
  }
  if (hasReference()) return [referenceCard()];
  if (page.view === "none") return [h("div", { class: "card no-study" }, h("p", {}, t("none")), page.may_manage ? h("p", {}, t("none_hint")) : null)];
  if (page.view === "welcome") return [welcome(), guide()];
  if (page.view === "feedback") return [feedback()];
  if (page.view === "list") return [ownList()];
  if (page.view === "done") return [card(t("done"), h("p", {}, t(page.open === false ? "closed_hint" : "done_hint"))), bar()];
  if (page.view === "closed") return [card(t("closed"), h("p", {}, t("closed_hint")), h("span", { class: "notice", role: "status" }))];
  if (wantsPause()) return [card(t("pause"), h("p", {}, t("pause_hint")(page.pause_after)), h("button", { type: "button", class: "submit", onclick: () => { rested(0); opened = Date.now(); render(); } }, t("go_on")))];
  if (page.view === "screen" && chat) return [h("p", { class: "hint" }, t("chat_hint")), form(page.replies[0]), guide(), bar()];
  if (["screen", "training"].includes(page.view) && page.layout === "one-by-one") return [
    h("div", { class: "pair" }, h("div", { class: "left scroll" }, flag(), dialogue(), replyBox(page.replies[0], "")), h("div", { class: "right scroll" }, form(page.replies[0]), guide())), bar()];
  if (page.view === "screen") return [flag(), h("div", { class: "case scroll" }, dialogue()),
    h("div", { class: "cards" }, page.replies.map((reply, n) => h("div", { class: "column" }, replyBox(reply, String.fromCharCode(65 + n)), form(reply)))), bar()];
  return [h("div", { class: "bar" }, h("span", { class: "notice", role: "status" }))];
}

function render() {
  document.documentElement.dataset.lang = lang;
  document.title = lang === "zh" ? "评分" : "Judge";
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  const frame = ["screen", "training"].includes(page.view) && !chat && !isInterrupted();
  const root = h("div", { class: `desk ${page.view || ""} ${page.layout || ""} ${chat ? "chat" : ""} ${frame ? "frame" : ""}` }, frame || chat ? unseenTitle(inOne(page.title) || t("your_rating")) : null, header(), ...body());
  element.replaceChildren(root);
  fit();
  status();
  if (hasReference() || page.view === "feedback") element.querySelector(".card .submit").focus();
  const first = allRows().find(open) || allRows()[0];
  if (first && frame) { focusRow(first); fitStrip(); }
  else if (first && chat) focusRow(first);
}

// A scoring screen fills the window below the tabs and no more: reply, scores and the bar are in view together.
function fit() {
  const root = element.querySelector(".desk.frame");
  if (root && root.offsetParent !== null) root.style.setProperty("--top", `${Math.max(0, root.getBoundingClientRect().top + window.scrollY)}px`);
}
window.addEventListener("resize", () => { fit(); fitStrip(); });
new ResizeObserver(fit).observe(document.body);

document.addEventListener("keydown", (event) => {
  if (!element.isConnected || element.offsetParent === null || event.altKey || event.metaKey || !["screen", "training"].includes(page.view)) return;
  if (isInterrupted()) return;
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
  else if (event.shiftKey && /^Digit[1-5]$/.test(event.code) && current && current.kind === "scores") { choose(current, Number(event.code.slice(-1))); if (page.crisis) yesToRest(current.item); else go(1); }
  else if ((key === "y" || key === "n") && current && current.kind === "crisis") { choose(current, key === "y"); go(1); }
  else if (key === "a" && current && current.kind === "crisis") allYes(current.item);
  else if (key === "=") sameForRest();
  else if (key === "l" && !chat && page.total) element.querySelector("button.mine").click();
  else if (key === "arrowdown") go(1);
  else if (key === "arrowup") go(-1);
  else if (key === "0" && page.view === "screen") element.querySelector(`.form[data-item="${row ? row.item : page.replies[0].item}"] .cannot input`).click();
  else if (key === "c" && page.view === "screen") { const box = element.querySelector(`.form[data-item="${row ? row.item : page.replies[0].item}"] details`); box.open = true; box.querySelector("textarea").focus(); }
  else if (key === "enter" && !/^(BUTTON|SUMMARY|A)$/.test(event.target.tagName)) submit();
  else return;
  event.preventDefault();
});
onLanguage(() => { notice = ""; render(); });
window.addEventListener("bakeoff-rater", () => { if (element.isConnected && page.view === "name" && !waiting) { page.rater = sessionStorage.getItem("bakeoff-rater"); send({ action: "open" }); } });
watch("value", arrived);
render();
arrived();
