(() => {
  "use strict";
  const root = document.getElementById("bk");
  const page = document.documentElement;
  const inPytest = root.parentElement !== document.body;
  const memory = {
    get(key) { try { return localStorage.getItem("bakeoff-" + key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem("bakeoff-" + key, value); } catch { /* private mode: forgotten */ } },
  };

  // pytest-html has no viewport, and puts this section below its own head.
  if (!document.querySelector("meta[name=viewport]")) {
    const meta = document.createElement("meta");
    meta.name = "viewport";
    meta.content = "width=device-width, initial-scale=1";
    document.head.append(meta);
  }
  if (inPytest) document.body.prepend(root);

  const language = () => root.dataset.lang;
  const setLanguage = (lang) => {
    root.dataset.lang = lang;
    page.lang = lang === "zh" ? "zh-CN" : "en";
    for (const node of root.querySelectorAll("[data-hint-zh]")) {
      const hint = lang === "zh" ? node.dataset.hintZh : node.dataset.hintEn;
      if (node.tagName === "INPUT") node.placeholder = hint;
      else node.title = hint;
      node.setAttribute("aria-label", hint);
    }
    for (const option of root.querySelectorAll("option[data-zh]")) option.textContent = option.dataset[lang];
    document.dispatchEvent(new CustomEvent("bk-language"));
  };
  const setTheme = (theme) => { page.dataset.bkTheme = theme; };

  const make = (tag, cls, text) => {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const both = (zh, en) => {
    const span = make("span");
    for (const [lang, text] of [["zh", zh], ["en", en]]) {
      const part = make("span", "", text);
      part.lang = lang;
      span.append(part);
    }
    return span;
  };

  const copy = async (text, button) => {
    let done = false;
    try { await navigator.clipboard.writeText(text); done = true; } catch {
      const area = make("textarea");
      area.value = text;
      root.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const before = [...button.childNodes];
    button.replaceChildren(done ? both("已复制", "Copied") : both("复制失败", "Not copied"));
    setTimeout(() => button.replaceChildren(...before), 1200);
  };

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-bk]");
    if (!button) return;
    if (button.dataset.bk === "lang") {
      setLanguage(language() === "en" ? "zh" : "en");
      memory.set("lang", language());
    } else if (button.dataset.bk === "theme") {
      const dark = page.dataset.bkTheme ? page.dataset.bkTheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      setTheme(dark ? "light" : "dark");
      memory.set("theme", page.dataset.bkTheme);
    } else if (button.dataset.bk === "print") {
      root.dataset.print = "summary";
      print();
    } else if (button.dataset.bk === "copy") {
      copy(button.closest(".command").querySelector("pre").textContent, button);
    } else if (button.dataset.bk === "copy-all") {
      copy(button.closest("details").querySelector("template").content.textContent, button);
    }
  });

  let opened = [];
  addEventListener("beforeprint", () => {
    const left = root.dataset.print === "summary" ? "#bk-samples, #bk-suites, #bk-cautions details" : "#bk-samples";
    opened = [...root.querySelectorAll("details:not([open])")].filter((one) => !one.closest(left));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    delete root.dataset.print;
  });

  const startBrowser = () => {
    const area = document.getElementById("bk-samples");
    if (!area) return;
    const PAGE = 20;
    const GONE = { unparsed: ["未能提取答案", "no answer extracted"], empty: ["空回复", "empty"], truncated: ["被截断", "cut off"], errored: ["请求出错", "failed"] };
    const STATUS = ["answered", "unparsed", "empty", "truncated", "errored"];
    const pick = (name) => area.querySelector(`[data-pick=${name}]`);
    const list = area.querySelector(".list");
    const loaded = new Map();
    let suite = null, found = [], at = 0, ticket = 0;

    const unpack = async (name) => {
      if (!loaded.has(name)) {
        loaded.set(name, (async () => {
          const script = [...area.querySelectorAll("script[data-suite]")].find((one) => one.dataset.suite === name);
          const bytes = Uint8Array.from(atob(script.textContent.trim()), (c) => c.charCodeAt(0));
          const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
          const data = JSON.parse(await new Response(stream).text());
          data.graded = data.rows.some((row) => row[7].some((one) => one && one[3] !== null && one[3] !== 0 && one[3] !== 1));
          return data;
        })());
      }
      return loaded.get(name);
    };
    const right = (one) => one && one[3] !== null && one[3] >= 0.5;
    const spread = (row) => {
      const values = row[7].filter((one) => one && one[3] !== null).map((one) => one[3]);
      return values.length ? Math.max(...values) - Math.min(...values) : 0;
    };
    const tuningMoved = (row, sign) => suite.subjects.some(([model, variant], i) => {
      if (variant !== "base") return false;
      const j = suite.subjects.findIndex(([m, v]) => m === model && v !== "base");
      if (j < 0 || !row[7][i] || !row[7][j] || row[7][i][3] === null || row[7][j][3] === null) return false;
      return Math.sign(row[7][j][3] - row[7][i][3]) === sign && Math.abs(row[7][j][3] - row[7][i][3]) > (suite.graded ? 0.2 : 0);
    });
    const FILTERS = {
      all: () => true,
      disagree: (row) => spread(row) > (suite.graded ? 0.2 : 0),
      wrong: (row) => !row[7].some(right),
      right: (row) => row[7].every((one) => !one || right(one)),
      fixed: (row) => tuningMoved(row, 1),
      broke: (row) => tuningMoved(row, -1),
      gone: (row) => row[7].some((one) => one && one[2] > 0),
      rules: (row) => row[7].some((one) => one && one.length > 4),
      leaked: (row) => row[6] === 1,
    };

    const mark = (one) => {
      const node = make("i");
      if (!one) node.style.visibility = "hidden";
      else if (one[2] > 0 && !one[3]) node.className = "gone";
      else if (one[3] === 1) node.className = "right";
      else if (one[3] > 0) { node.className = "partly"; node.style.setProperty("--v", one[3]); }
      return node;
    };
    const verdict = (one) => {
      if (one[2] > 0) { const words = GONE[STATUS[one[2]]]; return both(...words); }
      if (one[3] === null) return both("未评分", "not scored");
      if (suite.graded) return make("span", "", (100 * one[3]).toFixed(1));
      return one[3] === 1 ? both("正确", "right") : one[3] === 0 ? both("错误", "wrong") : make("span", "", (100 * one[3]).toFixed(1));
    };
    const isShown = ([, variant]) => { const kind = pick("kind").value; return kind === "all" || kind === variant; };

    const namesOf = ([model, variant]) => {
      const kinds = { base: ["基座", "base"], tuned: ["微调", "tuned"] };
      const [zh, en] = kinds[variant] || [variant, variant];
      return [`${model}（${zh}）`, `${model} (${en})`];
    };
    const open = (row) => {
      const body = make("div", "open");
      const meta = make("p", "kind", `${suite.subsets[row[2]]} · #${row[1]} · ${row[0]}`);
      if (row[6]) meta.append(" · ", both("出现在训练数据中", "in training data"));
      body.append(meta, make("div", "question", row[3]));
      if (row[4].length) {
        const options = make("ol");
        row[4].forEach((text, i) => {
          const letter = String.fromCharCode(65 + i);
          options.append(make("li", (row[5].includes(letter) && row[5].length <= row[4].length) || row[5] === text ? "target" : "", `${letter}. ${text}`));
        });
        body.append(options);
      }
      const target = make("p", "note");
      target.append(both("标准答案：", "Correct answer: "), make("span", "", row[5]));
      body.append(target);
      const replies = make("div", "replies");
      suite.order.forEach((i) => {
        const subject = suite.subjects[i];
        const one = row[7][i];
        if (!one || !isShown(subject)) return;
        const card = make("div", "reply" + (one[2] > 0 ? " gone" : right(one) ? " right" : ""));
        const head = make("h4", "", subject[0] + " ");
        const kind = make("span", "kind");
        kind.append(subject[1] === "base" ? both("基座", "base") : subject[1] === "tuned" ? both("微调", "tuned") : subject[1]);
        head.append(kind);
        const line = make("div", "kind");
        line.append(verdict(one));
        if (one[1]) line.append(" · ", both("提取的答案 ", "extracted "), make("b", "", one[1]));
        if (one.length > 4) line.append(" · ", both("第二套规则 ", "second rule "), make("b", "", one[4] || "–"));
        card.append(head, line, make("div", "text", one[0]));
        replies.append(card);
      });
      body.append(replies);
      return body;
    };

    const show = () => {
      const from = at * PAGE;
      const names = area.querySelector(".names");
      let number = 0;
      names.replaceChildren(...suite.order.map((i) => suite.subjects[i]).filter(isShown).map(([model, variant]) => {
        const item = make("span", "", `${++number} ${model} `);
        item.append(variant === "base" ? both("基座", "base") : variant === "tuned" ? both("微调", "tuned") : variant);
        return item;
      }));
      list.replaceChildren(...found.slice(from, from + PAGE).map((row) => {
        const item = make("details", "sample");
        const head = make("summary");
        const marks = make("span", "marks");
        let last = null, number = 0;
        suite.order.forEach((i) => {
          const subject = suite.subjects[i];
          if (!isShown(subject)) return;
          const node = mark(row[7][i]);
          if (last !== null && last !== subject[0]) node.classList.add("gap");
          last = subject[0];
          const [zh, en] = namesOf(subject);
          node.dataset.hintZh = zh;
          node.dataset.hintEn = en;
          node.title = language() === "zh" ? zh : en;
          node.textContent = ++number;
          marks.append(node);
        });
        head.append(make("span", "no", "#" + row[1]), make("span", "q", row[3]), marks);
        item.append(head);
        item.addEventListener("toggle", () => { if (item.open && item.childNodes.length === 1) item.append(open(row)); });
        return item;
      }));
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      area.querySelector("[data-go='-1']").disabled = at === 0;
      area.querySelector("[data-go='1']").disabled = at >= pages - 1;
      area.querySelector(".where").replaceChildren(both(
        found.length ? `${found.length.toLocaleString()} 题，第 ${at + 1} / ${pages} 页` : "没有符合条件的题",
        found.length ? `${found.length.toLocaleString()} questions, page ${at + 1} of ${pages}` : "No question matches"));
    };

    const choose = () => {
      const subset = pick("subset").value;
      const filter = FILTERS[pick("filter").value] || FILTERS.all;
      const query = pick("text").value.trim().toLowerCase();
      found = suite.rows.filter((row) => (subset === "" || row[2] === +subset) && filter(row) &&
        (!query || row[3].toLowerCase().includes(query) || row[5].toLowerCase().includes(query) ||
          row[4].some((one) => String(one).toLowerCase().includes(query)) ||
          row[7].some((one) => one && one[0].toLowerCase().includes(query))));
      at = 0;
      show();
    };

    const load = async () => {
      const mine = ++ticket;
      const name = pick("suite").value;
      for (const note of area.querySelectorAll("[data-of]")) note.hidden = note.dataset.of !== name;
      list.replaceChildren(make("p", "note", "…"));
      try {
        const data = await unpack(name);
        if (mine !== ticket) return;
        suite = data;
      } catch (error) {
        list.replaceChildren(both("此浏览器无法解压样本（需要 DecompressionStream）：", "This browser cannot unpack the samples (DecompressionStream needed): "), make("code", "", String(error)));
        return;
      }
      const subsets = pick("subset");
      subsets.replaceChildren(subsets.options[0], ...suite.subsets.map((text, i) => { const one = make("option", "", text); one.value = i; return one; }));
      subsets.hidden = suite.subsets.length < 2;
      subsets.value = "";
      choose();
      area.dataset.ready = name;
    };

    pick("suite").addEventListener("change", load);
    for (const name of ["subset", "filter", "kind"]) pick(name).addEventListener("change", choose);
    let waiting = 0;
    pick("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 150); });
    for (const button of area.querySelectorAll("[data-go]")) button.addEventListener("click", () => { at += +button.dataset.go; show(); });
    // Unpacked when first seen, so that the page opens at once.
    new IntersectionObserver((seen, observer) => {
      if (seen.some((one) => one.isIntersecting)) { observer.disconnect(); load(); }
    }, { rootMargin: "600px" }).observe(area);
  };

  const gatherPytest = () => {
    if (!document.getElementById("results-table")) return;
    const rest = make("details", "bk-pytest");
    const head = make("summary");
    const counts = [...document.querySelectorAll("input[data-test-result]:not(:disabled) + span")].map((one) => one.textContent.trim().replace(/,$/, ""));
    head.append(both("pytest 的检查结果", "Results of the pytest run"), make("span", "", counts.join(" · ")));
    rest.append(head, ...[...document.body.childNodes].filter((one) => one !== root));
    rest.open = counts.some((one) => /Failed|Error|Unexpected/.test(one));
    document.body.append(rest);
  };

  setLanguage(memory.get("lang") || (/^zh/i.test(navigator.language || "") ? "zh" : "en"));
  const theme = memory.get("theme");
  if (theme === "light" || theme === "dark") setTheme(theme);
  const ready = () => { gatherPytest(); startBrowser(); };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
