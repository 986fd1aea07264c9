// The ratings behind the means: one reply after the other, with its dialogue, scores and comments.
(() => {
  "use strict";
  const root = document.getElementById("bk");
  const area = document.getElementById("bk-evidence");
  if (!area) return;
  const { make, both, inflated, goTo } = root.bakeoff;
  const COMMENTS = { strengths: ["优点", "Strengths"], weaknesses: ["不足", "Weaknesses"], suggestions: ["建议", "Suggestions"] };
  const ROLES = { user: ["来访者", "Client"], assistant: ["咨询师", "Counsellor"], system: ["系统提示", "System prompt"] };
  const pick = (name) => area.querySelector(`[data-rated=${name}]`);
  const KEYS = ["r", "p", "m", "d", "a"];
  const list = area.querySelector(".list");
  let studies = null;

  const namesOf = (name, value) => {
    const option = [...pick(name).options].find((item) => item.value === value);
    return option && option.dataset.zh ? [option.dataset.zh, option.dataset.en] : [value, value];
  };
  const answers = { true: ["是", "yes"], false: ["否", "no"] };
  const valueOf = (rating, key) => key in rating.scores ? rating.scores[key] : key in rating.checks ? +rating.checks[key] : null;
  const shown = (rating, key) => {
    if (key in rating.checks) return both(...answers[rating.checks[key]]);
    return make("span", "", key in rating.scores ? String(rating.scores[key]) : "–");
  };
  const nameOf = (rater) => rater.replace(/^model:/, "");
  const who = (rating) => {
    const name = make("span", "", nameOf(rating.rater));
    if (rating.by_model) name.append(both("（评审模型）", " (judge model)"));
    if (rating.repeat) name.append(both("（重复评分）", " (repeated)"));
    return name;
  };
  const chosen = (item) => item.ratings.filter((rating) => pick("a").value === "" || rating.rater === pick("a").value);
  const valuesOf = (item) => {
    const people = chosen(item).filter((rating) => !rating.by_model && !rating.repeat);
    return (people.length ? people : chosen(item)).map((rating) => valueOf(rating, pick("d").value)).filter((value) => value !== null);
  };
  const sumOf = (item) => valuesOf(item).reduce((sum, value) => sum + value, 0);
  const meanOf = (item) => { const { length } = valuesOf(item); return length ? sumOf(item) / length : NaN; };
  const meanShown = (item) => {
    if (Number.isNaN(meanOf(item))) return "–";
    return item.ratings.some((rating) => pick("d").value in rating.checks) ? `${sumOf(item)}/${valuesOf(item).length}` : meanOf(item).toFixed(1);
  };

  const open = (item) => {
    const body = make("div", "open");
    for (const message of item.messages) {
      const turn = make("p", "turn");
      const role = make("b");
      role.append(both(...(ROLES[message.role] || [message.role, message.role])));
      turn.append(role, make("span", "question", message.content));
      body.append(turn);
    }
    const card = make("div", "reply right");
    const head = make("h3");
    head.append(both("回复：", "Reply: "), both(...namesOf("m", item.subject)));
    card.append(head, make("div", "text", item.text));
    body.append(card);
    const scroll = make("div", "scroll"), table = make("table");
    scroll.tabIndex = 0;
    const keys = [...pick("d").options].map((option) => option.value).filter((key) => item.ratings.some((rating) => valueOf(rating, key) !== null));
    const top = table.createTHead().insertRow();
    const cell = (row, content, head, cls) => {
      const node = make(head ? "th" : "td", cls || "");
      node.append(content);
      row.append(node);
    };
    cell(top, both("评分者", "Rater"), true);
    for (const key of keys) cell(top, both(...namesOf("d", key)), true, "n");
    cell(top, both("评语", "Comments"), true);
    const rows = table.createTBody();
    for (const rating of chosen(item)) {
      const row = rows.insertRow();
      cell(row, who(rating), true);
      for (const key of keys) cell(row, shown(rating, key), false, "n");
      const said = make("span");
      if (rating.cannot_judge) said.append(both("无法评分", "cannot judge"));
      for (const [name, text] of Object.entries(rating.comments)) {
        const line = make("p", "comment");
        line.append(both(...(COMMENTS[name] || [name, name])), both("：", ": "), make("span", "", text));
        said.append(line);
      }
      cell(row, said, false);
    }
    scroll.append(table);
    body.append(scroll);
    return body;
  };

  const show = () => {
    const crisis = pick("p").value === "crisis", key = pick("d").value;
    const items = (studies[pick("r").value] || []).filter((item) => item.crisis === crisis && (pick("m").value === "" || item.subject === pick("m").value) && chosen(item).length);
    const means = new Map(items.map((item) => [item, meanOf(item)]));
    items.sort((a, b) => (Number.isNaN(means.get(a)) ? 1 : 0) - (Number.isNaN(means.get(b)) ? 1 : 0) || means.get(a) - means.get(b) || 0);
    area.querySelector(".where").replaceChildren(both(`${items.length} 条回复`, items.length === 1 ? "1 reply" : `${items.length} replies`));
    list.replaceChildren(...items.map((item) => {
      const node = make("details", "sample rated");
      const head = make("summary");
      const values = make("span", "marks");
      for (const rating of chosen(item)) {
        if (rating.repeat || valueOf(rating, key) === null) continue;
        const mark = make("span", "mark", nameOf(rating.rater) + " ");
        const value = make("b");
        value.append(shown(rating, key));
        mark.append(value);
        values.append(mark);
      }
      const title = make("span", "q", item.title + " · ");
      title.append(both(...namesOf("m", item.subject)));
      head.append(make("span", "no", meanShown(item)), title, values);
      node.append(head);
      node.addEventListener("toggle", () => { if (node.open && node.childNodes.length === 1) node.append(open(item)); });
      return node;
    }));
    area.dataset.ready = KEYS.map((name) => pick(name).value).join("/");
  };
  const load = async () => {
    try {
      studies ||= await inflated(area.querySelector("script[data-ratings]").textContent.trim());
    } catch (error) {
      list.replaceChildren(both("此浏览器无法解压评分（需要 DecompressionStream）：", "This browser cannot unpack the ratings (DecompressionStream needed): "), make("code", "", String(error)));
      return;
    }
    show();
  };
  const follow = () => {
    const view = new URLSearchParams(location.hash.slice(1));
    if (!view.has("r")) return;
    for (const name of KEYS) {
      const value = view.get(name) || "";
      if ([...pick(name).options].some((option) => option.value === value)) pick(name).value = value;
    }
    goTo(area);
    load();
  };
  for (const name of KEYS) {
    pick(name).addEventListener("change", () => {
      const parts = new URLSearchParams();
      for (const key of KEYS) if (pick(key).value) parts.set(key, pick(key).value);
      try { history.replaceState(null, "", "#" + parts); } catch { /* an embedded page has no address of its own */ }
      load();
    });
  }
  addEventListener("hashchange", follow);
  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#r=']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  new IntersectionObserver((seen, observer) => {
    if (seen.some((entry) => entry.isIntersecting)) { observer.disconnect(); if (!area.dataset.ready) load(); }
  }, { rootMargin: "600px" }).observe(area);
  follow();
})();
