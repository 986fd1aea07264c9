// The checks of a crisis: answered one by one, all at once, or together with the last score. Stands before the desk.
const CHECK_WORDS = {
  zh: {
    with_yes: (n, names) => `打分，同时${["剩下的一项核查", "其余两项核查均", "三项核查均"][n - 1]}选“是”（${names.join("、")}）`,
    and_yes: (n) => `＋${["一项", "两项", "三项"][n - 1]}“是”`,
  },
  en: {
    with_yes: (n, names) => `Score and answer “Yes” to ${["the remaining check", "the two remaining checks", "all three checks"][n - 1]} (${names.join(" · ")})`,
    and_yes: (n) => ["+ Yes", "+ both Yes", "+ all Yes"][n - 1],
  },
};
// A second tap of the same finger on a row that has just come up answers no check.
const SETTLE_MS = 400;
const checksOf = (item) => rows(item).filter((r) => r.kind === "crisis");
const allYes = (item) => answerYes(checksOf(item));
const yesToRest = (item) => answerYes(checksOf(item).filter(open));
function answerYes(checks) {
  checks.forEach((r) => choose(r, true));
  const next = allRows().find(open);
  // What was answered comes into view, so that it can be taken back before the form is handed in.
  if (next) focusRow(next, true); else if (checks.length) focusRow(checks[checks.length - 1], true);
}

// By touch what Shift and a digit are on the keyboard: the last score of a reply can carry the checks that are open.
function offerYes(item, form = element.querySelector(`.form[data-item="${item}"]`)) {
  const last = rows(item).filter((r) => r.kind === "scores" && open(r)), checks = checksOf(item).filter(open);
  const old = form.querySelector(".with-yes"), offer = last.length === 1 && checks.length ? `${last[0].key}/${checks.map((r) => r.key)}` : "";
  if ((old ? old.dataset.offer : "") === offer) return;
  if (old) old.remove();
  if (!offer) return;
  const [r] = last, words = CHECK_WORDS[lang].with_yes(checks.length, checks.map((check) => check.name[lang]));
  const answer = (n) => {
    choose(r, n); yesToRest(item);
    form.querySelector(`[data-row="${item}/${checks[checks.length - 1].key}"] input:checked`).focus({ preventScroll: true });
    const next = allRows().find(open); if (next) focusRow(next);
  };
  const buttons = [1, 2, 3, 4, 5].map((n) => h("button", { type: "button", disabled: true, value: n, title: `${n} · ${r.anchors[n][lang]}`, onclick: () => answer(n) },
    String(n), h("i", {}, ` ${CHECK_WORDS[lang].and_yes(checks.length)}`)));
  form.querySelector(`[data-row="${item}/${r.key}"]`).append(
    h("div", { class: "with-yes", role: "group", "aria-label": words, "data-offer": offer }, h("p", { "aria-hidden": "true" }, words), buttons));
  setTimeout(() => buttons.forEach((button) => { button.disabled = false; }), SETTLE_MS);
}
