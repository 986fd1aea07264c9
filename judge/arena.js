// The blind arena. Runs as the js_on_load of a gr.HTML. Text is set by textContent only.
const T = {
  zh: { arena: "盲测对比", hint: "以来访者的身份写一段话，两个匿名模型会同时回复。每轮选出更好的一条；结束时分别评分。模型名称始终隐藏，结果与正式研究分开保存。", name_q: "您的评分者编号", start: "开始", you: "来访者", left: "左", right: "右", say: "发送", placeholder: "以来访者的身份输入，Enter 发送，Shift+Enter 换行", waiting: "两个模型正在回复…", better_left: "左边更好", better_right: "右边更好", tie: "差不多", bad: "都不好", chosen: "已选", finish: "结束并评分", final: "整段对话评分", overall: "整段对话哪边更好？", comment: "意见（可选）", submit: "提交", done: "已保存，谢谢！", anew: "开始新的对话", finished: (n) => `已完成 ${n} 段`, lang: "English", missing: "请为两侧的所有维度评分并选出更好的一侧", empty: "（没有可见的回复）" },
  en: { arena: "Blind arena", hint: "Write as a client; two anonymous models answer at the same time. Pick the better reply each turn, and rate both sides at the end. Model names stay hidden, and results are kept apart from the study.", name_q: "Your rater ID", start: "Start", you: "Client", left: "Left", right: "Right", say: "Send", placeholder: "Write as the client; Enter sends, Shift+Enter breaks the line", waiting: "Both models are answering…", better_left: "Left is better", better_right: "Right is better", tie: "About the same", bad: "Neither is good", chosen: "Chosen", finish: "Finish and rate", final: "Rate the whole conversation", overall: "Which side was better overall?", comment: "Comment (optional)", submit: "Submit", done: "Saved. Thank you!", anew: "Start a new conversation", finished: (n) => `${n} finished`, lang: "中文", missing: "Rate every dimension on both sides and choose the better one", empty: "(no visible reply)" },
};
let page = {}, notice = "", bad = false, waiting = false, ending = false, draft = "", final = { scores: { left: {}, right: {} }, choice: null, comment: "" };
function ask(message) {
  if (!post({ rater: page.rater || sessionStorage.getItem("bakeoff-rater") || "", talk: page.talk, ...message }, (words, signedOut) => { waiting = false; notice = words; bad = true; render(); if (signedOut) trouble(words, true); })) return;
  waiting = true; notice = message.action === "say" ? t("waiting") : ""; bad = false; render();
}
const CHOICES = [["left", "better_left"], ["tie", "tie"], ["bad", "bad"], ["right", "better_right"]];

function turn(one, place) {
  const last = place === page.turns.length - 1;
  return h("div", { class: "round" }, h("div", { class: "turn client" }, h("b", {}, t("you")), h("p", {}, one.text)),
    h("div", { class: "two" }, ["left", "right"].map((side) => h("section", { class: `side ${one.choice === side ? "won" : ""}` }, h("h3", {}, t(side)), h("p", {}, one[side] || t("empty"))))),
    one.choice === null && last ? h("div", { class: "votes", role: "group" }, CHOICES.map(([key, text]) => h("button", { type: "button", "data-choice": key, disabled: waiting, onclick: () => ask({ action: "prefer", turn: place, choice: key }) }, t(text))))
      : h("p", { class: "soft" }, named(t("chosen"), t((CHOICES.find(([key]) => key === one.choice) || CHOICES[1])[1]))));
}
// The anchors of the dimension at hand, below both sides.
let explained = R.dimensions[0];
function explain(d) {
  explained = d;
  const box = element.querySelector(".anchors");
  if (box) box.replaceChildren(h("b", {}, d.name[lang]), ` ${d.question[lang]}`, h("ol", {}, [1, 2, 3, 4, 5].map((n) => h("li", {}, d.anchors[n][lang]))));
}
function ratings() {
  const points = (side, d) => h("fieldset", { class: "row", "data-row": `${side}/${d.key}` }, h("legend", {}, d.name[lang]), h("div", { class: "points" }, [1, 2, 3, 4, 5].map((n) => h("label", { title: d.anchors[n][lang] },
    h("input", { type: "radio", name: `arena-${side}-${d.key}`, value: n, checked: final.scores[side][d.key] === n, "aria-label": `${t(side)} ${n} · ${d.anchors[n][lang]}`, onchange: () => { final.scores[side][d.key] = n; }, onfocus: () => explain(d) }), h("span", {}, String(n))))));
  const comment = h("textarea", { rows: 2, maxlength: 4000, "aria-label": t("comment"), placeholder: t("comment"), oninput: (event) => { final.comment = event.target.value; } });
  comment.value = final.comment;
  const complete = () => final.choice && ["left", "right"].every((side) => R.dimensions.every((d) => final.scores[side][d.key]));
  return h("div", { class: "ratings" }, h("h3", {}, t("final")), h("div", { class: "two" }, ["left", "right"].map((side) => h("section", { class: "side" }, h("h3", {}, t(side)), R.dimensions.map((d) => points(side, d))))), h("div", { class: "anchors" }),
    h("p", {}, t("overall")), h("div", { class: "votes", role: "group" }, CHOICES.map(([key, text]) => h("button", { type: "button", "data-final": key, "aria-pressed": String(final.choice === key), onclick: () => { final.choice = key; render(); } }, t(text)))), comment,
    h("button", { type: "button", class: "submit hand-in", disabled: waiting, onclick: () => { if (complete()) ask({ action: "finish", ...final }); else { notice = t("missing"); bad = true; render(); } } }, t("submit")),
    // The header may be out of sight.
    bad ? h("p", { class: "notice bad" }, notice) : null);
}
function composer() {
  const box = h("textarea", { rows: 2, maxlength: 8000, class: "say", "aria-label": t("placeholder"), placeholder: t("placeholder"), disabled: waiting, oninput: (event) => { draft = event.target.value; },
    onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (draft.trim()) ask({ action: "say", text: draft }); } } });
  box.value = draft;
  return h("div", { class: "composer" }, box, h("button", { type: "button", class: "submit", disabled: waiting, onclick: () => { if (draft.trim()) ask({ action: "say", text: draft }); } }, t("say")),
    page.turns.length ? h("button", { type: "button", class: "finish", disabled: waiting, onclick: () => { ending = true; render(); } }, t("finish")) : null);
}
function body() {
  if (page.view === "name") {
    const input = h("input", { type: "text", class: "name", maxlength: 40, "aria-label": t("name_q"), placeholder: t("name_q") });
    const enter = () => { page.rater = input.value; sessionStorage.setItem("bakeoff-rater", input.value); ask({ action: "open" }); };
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
    return [h("div", { class: "card" }, h("p", {}, t("hint")), h("label", {}, t("name_q"), input), h("button", { type: "button", class: "submit", onclick: enter }, t("start")))];
  }
  if (page.view !== "arena") return [];
  if (page.final) return [h("div", { class: "card" }, h("h2", {}, t("done")), h("button", { type: "button", class: "submit anew", onclick: () => { final = { scores: { left: {}, right: {} }, choice: null, comment: "" }; ending = false; ask({ action: "anew" }); } }, t("anew")))];
  const voted = page.turns.every((one) => one.choice);
  return [h("p", { class: "hint" }, t("hint")), page.turns.map(turn), ending && voted ? ratings() : voted ? composer() : null].flat();
}
function render() {
  const said = element.querySelector("textarea.say:focus");
  element.replaceChildren(h("div", { class: "desk arena" }, unseenTitle(t("arena")), h("header", {}, h("span", { class: "count" }, page.finished ? t("finished")(page.finished) : ""), h("span", { class: `notice ${bad ? "bad" : ""}`, role: "status", "aria-live": "polite" }, notice),
    languageButton()), ...body()));
  explain(explained);
  if (said && element.querySelector("textarea.say")) element.querySelector("textarea.say").focus();
}
function arrived() {
  const value = props.value || {};
  if (!value.view) return;
  posted(); waiting = false; notice = ""; bad = false;
  if (value.view === "refused") { notice = inLanguage(value, "error"); bad = true; }
  else { if (value.turns && page.turns && value.turns.length > page.turns.length) draft = ""; page = value; }
  if (page.view === "name" && sessionStorage.getItem("bakeoff-rater") && !bad) { ask({ action: "open" }); return; }
  render();
}
onLanguage(render);
watch("value", arrived);
render(); arrived();
