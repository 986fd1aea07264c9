// What the pages of the judge share; stands before each of them. Text is set by textContent only.
const SHARED = {
  zh: { silent: "服务器没有响应，请检查网络后重试。", signed_out: "登录已失效或服务器已重启，请重新登录。", sign_in: "重新登录" },
  en: { silent: "The server did not answer. Check your connection and try again.", signed_out: "You are no longer signed in, or the server was restarted. Please sign in again.", sign_in: "Sign in again" },
};
const R = props.rubric;
let lang = localStorage.getItem("bakeoff-lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
const t = (key) => T[lang][key] ?? SHARED[lang][key];
// Words of the server as a sentence of their own.
const sentence = (words) => words && `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.。!?！？]$/.test(words) ? "" : lang === "zh" ? "。" : "."}`;
// A name and what it stands for, as the language punctuates it.
const named = (name, words) => `${name}${lang === "zh" ? "：" : ": "}${words}`;
const inLanguage = (value, name) => (lang === "zh" && value[`${name}_zh`] ? value[`${name}_zh`] : value[name]);
const DRAWN = ["svg", "path", "line", "circle"];
const h = (tag, attrs = {}, ...children) => {
  const made = DRAWN.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(2).filter((child) => child != null && child !== false));
  return made;
};
// A table that may be wider than the window: reached and scrolled by the keyboard, too.
const wide = (label, table) => h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": label }, table);
// On a phone every row is a slip of its own, and each cell says what it is.
function asSlips(table) {
  const heads = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
  table.classList.add("slips");
  for (const row of table.querySelectorAll("tbody tr")) [...row.cells].forEach((cell, n) => {
    const inner = h("div", {}, [...cell.childNodes]);
    if (inner.textContent) { cell.dataset.label = heads[n]; cell.replaceChildren(inner); }
  });
  return table;
}
// What this tab is, for those who hear the page.
const unseenTitle = (words) => h("h2", { class: "unseen" }, words);
function switchLanguage() {
  localStorage.setItem("bakeoff-lang", lang === "zh" ? "en" : "zh");
  window.dispatchEvent(new Event("bakeoff-lang"));
}
const languageButton = () => h("button", { type: "button", class: "lang", lang: lang === "zh" ? "en" : "zh-CN", onclick: switchLanguage }, t("lang"));
const onLanguage = (work) => window.addEventListener("bakeoff-lang", () => { lang = localStorage.getItem("bakeoff-lang"); if (element.isConnected) work(); });

// Gradio writes its own labels as they were given to it, in both languages; the page shows the chosen one.
const IN_BOTH = /^(.*[\u4e00-\u9fff]) (?:· )?([A-Za-z][^\u4e00-\u9fff]*)$/;
const GRADIO_NAMES = [[".overflow-menu > button", "更多标签页", "More tabs"], ['[role="log"]', "对话", "Conversation"]];
const LABELS = ".tab-container button, .overflow-dropdown button, [data-testid=block-info], [data-testid=block-label], .new-talk";
// A title that its author wrote in both languages, such as the one of a run's own study.
const inOne = (words) => { const pair = /^([^·]*[\u4e00-\u9fff][^·]*) · ([^\u4e00-\u9fff]+)$/.exec(words || ""); return pair ? pair[lang === "zh" ? 1 : 2] : words; };
function labelled(words, both) {
  // Gradio reuses an element for another tab: words in both languages are newer than what is remembered.
  const pair = IN_BOTH.exec(words.trim()) ?? IN_BOTH.exec(both ?? "");
  return pair ? [pair[0], pair[lang === "zh" ? 1 : 2]] : null;
}
function chooseLabels() {
  for (const label of document.querySelectorAll(LABELS)) for (const node of label.childNodes) {
    const named = node.nodeType === Node.TEXT_NODE ? labelled(node.data, node.both) : null;
    if (!named) continue;
    [node.both, label.dataset.both] = [named[0], named[0]];
    if (node.data !== named[1]) node.data = named[1];
  }
  for (const box of document.querySelectorAll("textarea[placeholder]")) {
    const named = element.contains(box) ? null : labelled(box.placeholder, box.dataset.both);
    if (named) { box.dataset.both = named[0]; if (box.placeholder !== named[1]) box.placeholder = named[1]; }
  }
  for (const box of document.querySelectorAll("input[aria-label]")) {
    const named = element.contains(box) ? null : labelled(box.ariaLabel, box.dataset.bothHeard);
    if (named) [box.dataset.bothHeard, box.ariaLabel] = named;
  }
  // What Gradio has no words of ours for.
  for (const [part, zh, en] of GRADIO_NAMES) for (const node of document.querySelectorAll(part)) node.ariaLabel = lang === "zh" ? zh : en;
}
if (!window.bakeoffLabels) {
  window.bakeoffLabels = new MutationObserver(chooseLabels);
  window.bakeoffLabels.observe(document.body, { childList: true, characterData: true, subtree: true });
  window.addEventListener("bakeoff-lang", () => { lang = localStorage.getItem("bakeoff-lang"); chooseLabels(); });
}
chooseLabels();

// One request at a time, so that a double click counts once. A server that was started again, or knows the person no
// more, never answers in this page's own way: after a while the page asks for the reason itself.
let pendingPost = 0;
const isWaiting = () => pendingPost !== 0;
function post(message, explain) {
  if (pendingPost) return false;
  pendingPost = setTimeout(lookWhy, 3000, explain, 40);
  element.setAttribute("aria-busy", "true");
  props.value = { ...message, at: Date.now() };
  trigger("submit");
  return true;
}
function posted() {
  clearTimeout(pendingPost); pendingPost = 0;
  element.removeAttribute("aria-busy");
}
async function lookWhy(explain, looks) {
  const mine = pendingPost;
  const answer = await fetch("config", { cache: "no-store" }).catch(() => null);
  if (pendingPost !== mine) return;
  if (answer && answer.ok && looks > 0) { pendingPost = setTimeout(lookWhy, 3000, explain, looks - 1); return; }
  posted();
  explain(t(answer && answer.status === 401 ? "signed_out" : "silent"), Boolean(answer && answer.status === 401));
}
// A line of words in place, with the way back in where the sign-in is over.
function showNotice(words, isBad, isSignedOut = false) {
  const line = element.querySelector(".notice");
  if (!line) return;
  line.textContent = words;
  line.classList.toggle("bad", isBad);
  if (isSignedOut) line.append(" ", h("button", { type: "button", class: "sign-in", onclick: () => location.reload() }, t("sign_in")));
}
const trouble = (words, isSignedOut) => showNotice(words, true, isSignedOut);
