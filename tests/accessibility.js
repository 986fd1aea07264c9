// What keeps somebody from using the judge's page: controls without a name, names twice, text that is hard to read.
const problems = [];
const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";
const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
const labelOf = (node) => node.getAttribute("aria-label") || node.textContent.trim()
  || [...(node.labels || [])].map((label) => label.textContent.trim()).join(" ");
for (const node of all(".desk button, .desk input, .desk select, .desk textarea, .desk summary")) {
  if (!labelOf(node)) problems.push(`no name: ${node.outerHTML.slice(0, 90)}`);
}
for (const node of all(".desk .progress")) if (!node.getAttribute("aria-label")) problems.push("progress without a name");
const ids = [...document.querySelectorAll(".desk [id]")].map((node) => node.id);
if (new Set(ids).size !== ids.length) problems.push("an id twice");

const numbers = (text) => text.match(/[\d.]+/g).map(Number);
const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const light = (text) => {
  const [red, green, blue] = numbers(text).map((value) => linear(value / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (!color.startsWith("rgba") || numbers(color)[3] > 0.9) return color;
  }
  return "rgb(255, 255, 255)";
};
const texts = ["p", "span", "b", "small", "button", "legend", "summary", "li", "label", "th", "td"];
for (const node of all(texts.map((tag) => `.desk ${tag}`).join(", "))) {
  const speaks = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!speaks || node.closest(":disabled")) continue;
  const [front, back] = [light(getComputedStyle(node).color), light(ground(node))];
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(1)}: ${node.className} ${node.textContent.slice(0, 30)}`);
}
return problems;
