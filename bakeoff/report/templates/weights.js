// Weights of the answer card: sorts the models again whenever a slider moves.
(() => {
  "use strict";
  const area = document.querySelector("#bk .weights");
  if (!area) return;
  const sliders = [...area.querySelectorAll("[data-weight]")];
  const body = area.querySelector("tbody");
  const mean = (row) => {
    let sum = 0, total = 0;
    [...row.querySelectorAll("[data-points]")].forEach((cell, i) => {
      const weight = +sliders[i].value;
      if (weight === 0) return;
      total += weight;
      sum += weight * (cell.dataset.points === "" ? NaN : +cell.dataset.points);
    });
    return total ? sum / total : NaN;
  };
  const sort = () => {
    for (const slider of sliders) slider.nextElementSibling.textContent = slider.value;
    const rows = [...body.rows].map((row) => [row, mean(row)]);
    for (const [row, value] of rows) row.querySelector("b").textContent = Number.isNaN(value) ? "–" : value.toFixed(1);
    rows.sort(([, a], [, b]) => (Number.isNaN(a) ? 1 : 0) - (Number.isNaN(b) ? 1 : 0) || b - a || 0);
    body.replaceChildren(...rows.map(([row]) => row));
  };
  const follow = () => {
    const values = (new URLSearchParams(location.hash.slice(1)).get("w") || "").split(".");
    if (values.length !== sliders.length || !values.every((value) => /^[0-4]$/.test(value))) return;
    values.forEach((value, i) => { sliders[i].value = value; });
    area.open = true;
    sort();
  };
  area.addEventListener("input", () => {
    sort();
    try { history.replaceState(null, "", "#w=" + sliders.map((slider) => slider.value).join(".")); } catch { /* an embedded page has no address of its own */ }
  });
  addEventListener("hashchange", follow);
  follow();
})();
