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
      // A button with words keeps them as its name; its hint is a description.
      if (node.tagName !== "BUTTON" || !/\p{L}/u.test(node.textContent)) node.setAttribute("aria-label", hint);
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

  const inflated = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
  };
  // What is loaded on the way moves the place that was asked for, until the reader takes over.
  const goTo = (node) => {
    const keep = new ResizeObserver(() => node.scrollIntoView());
    const stop = () => keep.disconnect();
    keep.observe(root);
    node.scrollIntoView();
    for (const type of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(type, stop, { once: true });
    setTimeout(stop, 3000);
  };
  root.bakeoff = { make, both, inflated, goTo };

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

  // A table that is wider than its place can be scrolled by keyboard, too.
  const overflow = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const node of root.querySelectorAll(".scroll")) overflow.observe(node);

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
          const data = await inflated(script.textContent.trim());
          if (!script.dataset.partial) data.rows.sort((a, b) => a[1] - b[1]);
          data.graded = data.rows.some((row) => row[7].some((one) => one && one[3] !== null && one[3] !== 0 && one[3] !== 1));
          return data;
        })());
      }
      return loaded.get(name);
    };
    // Side files call this: a page opened from a disk may load scripts beside it, and cannot fetch.
    const arrived = new Map();
    window.bakeoffSamples = (begin, number, text) => arrived.set(begin + number, text);
    const side = (address) => new Promise((resolve, reject) => {
      const script = make("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error(address));
      script.src = address;
      document.head.append(script);
    });
    const complete = (data) => data.whole ||= (async () => {
      const { side: begin, files } = [...area.querySelectorAll("script[data-suite]")].find((one) => one.dataset.suite === data.suite).dataset;
      const rows = [];
      for (let number = 0; number < +files; number++) {
        await side(`${begin}${number}.js`);
        const part = await inflated(arrived.get(begin + number));
        arrived.delete(begin + number);
        part.rows.forEach((row, i) => { row.sent = part.sent[i].map((sha) => part.prompts[sha]); });
        rows.push(...part.rows);
      }
      data.rows = rows;
      return true;
    })().catch(() => false);
    const right = (one) => one && one[3] !== null && one[3] >= 0.5;
    const spread = (row) => {
      const values = row[7].filter((one) => one && one[3] !== null).map((one) => one[3]);
      return values.length ? Math.max(...values) - Math.min(...values) : 0;
    };
    const tuningMoved = (row, sign) => suite.subjects.some(([model, variant], i) => {
      if (variant !== "base" || (pick("model").value && !pick("model").value.startsWith(model + "/"))) return false;
      const j = suite.subjects.findIndex(([m, v]) => m === model && v !== "base");
      if (j < 0 || !row[7][i] || !row[7][j] || row[7][i][3] === null || row[7][j][3] === null) return false;
      return Math.sign(row[7][j][3] - row[7][i][3]) === sign;
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

    const IS = {
      right,
      wrong: (one) => one && !right(one),
      gone: (one) => one && one[2] > 0,
      truncated: (one) => one && one[2] === 3,
      unparsed: (one) => one && one[2] === 1,
      empty: (one) => one && one[2] === 2,
      errored: (one) => one && one[2] === 4,
    };
    const outcomeOf = (name) => name.startsWith("said:") ? (one) => one && one[1] === name.slice(5) : IS[name];
    // Of graded replies the better comes first: few ROUGE scores would count as right.
    const behind = (one, other) => suite.graded ? one[3] > (other[3] ?? -1) : !right(other);
    const placeOf = (name) => suite.subjects.findIndex(([model, variant]) => `${model}/${variant}` === name);

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
      const sent = make("details", "sent");
      sent.append(Object.assign(make("summary"), {}));
      sent.firstChild.append(both("实际发送的提示词", "Prompt as sent"));
      sent.addEventListener("toggle", async () => {
        if (!sent.open || sent.childNodes.length > 1) return;
        const mine = suite;
        const there = await complete(mine);
        const whole = there && mine.rows.find((other) => other[0] === row[0] && other[1] === row[1]);
        const prompts = (whole && whole.sent) || [];
        for (const messages of prompts) sent.append(make("pre", "", messages.map((one) => `[${one.role}]\n${one.content}`).join("\n\n")));
        if (!prompts.length) sent.append(both("提示词不在本页旁边的 samples 文件夹中。", "The prompt is not in the folder samples beside this page."));
      });
      body.append(sent);
      const replies = make("div", "replies");
      suite.order.forEach((i) => {
        const subject = suite.subjects[i];
        const one = row[7][i];
        if (!one || !isShown(subject)) return;
        const card = make("div", "reply" + (one[2] > 0 ? " gone" : right(one) ? " right" : ""));
        const head = make("h3", "", subject[0] + " ");
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
          node.setAttribute("role", "img");
          node.setAttribute("aria-label", node.title);
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
        found.length ? `${found.length.toLocaleString("en")} 题，第 ${at + 1} / ${pages} 页` : "没有符合条件的题",
        found.length ? `${found.length.toLocaleString("en")} question${found.length === 1 ? "" : "s"}, page ${at + 1} of ${pages}` : "No question matches"));
    };

    // The address is the view: it can be sent to somebody who has the same page.
    const KEYS = { s: "suite", c: "subset", m: "model", is: "is", x: "versus", f: "filter", k: "kind", q: "text" };
    const address = () => {
      const parts = new URLSearchParams();
      for (const [key, name] of Object.entries(KEYS)) {
        const value = name === "subset" && pick(name).value !== "" ? suite.subsets[pick(name).value] : pick(name).value;
        if (value && value !== "all") parts.set(key, value);
      }
      try { history.replaceState(null, "", "#" + parts); } catch { /* an embedded page has no address of its own */ }
    };
    const narrowed = () => ["subset", "model", "is", "versus", "text"].some((name) => pick(name).value !== "") || pick("filter").value !== "all";
    const choose = async () => {
      const mine = ticket;
      const partial = area.querySelector(".whole");
      const script = [...area.querySelectorAll("script[data-suite]")].find((one) => one.dataset.suite === suite.suite);
      if (narrowed() && script.dataset.partial) {
        partial.lastElementChild.replaceChildren(both("正在载入…", "Loading…"));
        await complete(suite);
        if (mine !== ticket) return;
      }
      const there = suite.whole ? await suite.whole : null;
      partial.hidden = !script.dataset.partial || there === true;
      partial.lastElementChild.replaceChildren(there === false ? both("旁边没有 samples 文件夹，以下仅为本页收录的题目。", "There is no folder samples beside this page: only the questions that it holds are below.") : "");
      pick("is").hidden = pick("versus").hidden = pick("model").value === "";
      if (pick("model").value === "") pick("is").value = pick("versus").value = "";
      const whose = placeOf(pick("model").value), other = placeOf(pick("versus").value);
      const is = outcomeOf(pick("is").value);
      const subset = pick("subset").value;
      const filter = FILTERS[pick("filter").value] || FILTERS.all;
      const query = pick("text").value.trim().toLowerCase();
      found = suite.rows.filter((row) => (whose < 0 || (row[7][whose] && (!is || (suite.graded && other >= 0) || is(row[7][whose])))) &&
        (other < 0 || (row[7][other] && behind(row[7][whose], row[7][other]))) && (subset === "" || row[2] === +subset) && filter(row) &&
        (!query || row[3].toLowerCase().includes(query) || row[5].toLowerCase().includes(query) ||
          row[4].some((one) => String(one).toLowerCase().includes(query)) ||
          row[7].some((one) => one && one[0].toLowerCase().includes(query))));
      at = 0;
      show();
    };

    const load = async (view) => {
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
      for (const name of ["model", "versus"]) {
        const before = pick(name).value;
        pick(name).replaceChildren(pick(name).options[0], ...suite.order.map((i) => {
          const [zh, en] = namesOf(suite.subjects[i]);
          const item = make("option", "", language() === "zh" ? zh : en);
          item.value = suite.subjects[i].join("/");
          item.dataset.zh = zh;
          item.dataset.en = en;
          return item;
        }));
        pick(name).value = [...pick(name).options].some((item) => item.value === before) ? before : "";
      }
      // What was answered can be chosen where it is one of a few, as with letters.
      const given = new Set(suite.rows.flatMap((row) => row[7].filter(Boolean).map((one) => one[1])));
      for (const option of [...pick("is").options]) if (option.value.startsWith("said:")) option.remove();
      for (const text of given.size > 40 ? [] : [...given].sort()) {
        const item = make("option");
        item.value = "said:" + text;
        [item.dataset.zh, item.dataset.en] = text ? [`答案为 ${text}`, `Answered ${text}`] : ["没有提取到答案", "No answer at all"];
        item.textContent = item.dataset[language()];
        pick("is").append(item);
      }
      if (view instanceof URLSearchParams) {
        for (const [key, name] of Object.entries(KEYS)) {
          if (name === "suite") continue;
          const value = view.get(key) || "";
          const at = suite.subsets.indexOf(value);
          pick(name).value = name === "subset" ? (at < 0 ? "" : at) : value || (name === "filter" || name === "kind" ? "all" : "");
        }
      }
      await choose();
      if (mine !== ticket) return;
      area.dataset.ready = name;
    };

    let began = false;
    const follow = (hash) => {
      const view = new URLSearchParams(hash.replace(/^#/, ""));
      if (![...pick("suite").options].some((item) => item.value === view.get("s"))) return false;
      began = true;
      pick("suite").value = view.get("s");
      goTo(area);
      load(view);
      return true;
    };
    root.addEventListener("click", (event) => {
      // An address that is there already makes no hashchange.
      const link = event.target.closest("a[href^='#s=']");
      if (link && link.getAttribute("href") === location.hash) follow(location.hash);
    });
    addEventListener("hashchange", () => follow(location.hash));
    const changed = async () => { await choose(); address(); };
    pick("suite").addEventListener("change", async () => { await load(); address(); });
    for (const name of ["subset", "filter", "kind", "model", "is", "versus"]) pick(name).addEventListener("change", changed);
    area.querySelector("[data-whole]").addEventListener("click", async () => { await complete(suite); choose(); });
    let waiting = 0;
    pick("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, 150); });
    for (const button of area.querySelectorAll("[data-go]")) button.addEventListener("click", () => { at += +button.dataset.go; show(); });
    // Unpacked when first seen, so that the page opens at once.
    new IntersectionObserver((seen, observer) => {
      if (seen.some((one) => one.isIntersecting)) { observer.disconnect(); if (!began) load(); }
    }, { rootMargin: "600px" }).observe(area);
    follow(location.hash);
  };

  const section = () => {
    const node = /^#bk-/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!node) return;
    if (node.tagName === "DETAILS") node.open = true;
    goTo(node);
  };
  addEventListener("hashchange", section);

  const PYTEST = { Failed: "失败", Passed: "通过", Skipped: "跳过", "Expected failures": "预期失败", "Unexpected passes": "意外通过", Errors: "错误", Reruns: "重跑", Retried: "重试" };
  const gatherPytest = () => {
    if (!document.getElementById("results-table")) return;
    const rest = make("details", "bk-pytest");
    const head = make("summary");
    const counts = [...document.querySelectorAll("input[data-test-result]:not(:disabled) + span")].map((one) => one.textContent.trim().replace(/,$/, ""));
    const chinese = counts.map((text) => text.replace(/[A-Z][a-z ]+/, (name) => PYTEST[name.trim()] || name));
    const shown = make("span");
    shown.append(both(chinese.join(" · "), counts.join(" · ")));
    head.append(both("pytest 的检查结果", "Results of the pytest run"), shown);
    rest.append(head, ...[...document.body.childNodes].filter((one) => one !== root));
    rest.open = counts.some((one) => /Failed|Error|Unexpected/.test(one));
    document.body.append(rest);
  };

  setLanguage(memory.get("lang") || (/^zh/i.test(navigator.language || "") ? "zh" : "en"));
  const theme = memory.get("theme");
  if (theme === "light" || theme === "dark") setTheme(theme);
  const ready = () => { gatherPytest(); startBrowser(); section(); };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
