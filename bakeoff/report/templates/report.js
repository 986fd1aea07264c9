(() => {
  const root = document.getElementById("bk");
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-bk]");
    if (!button) return;
    if (button.dataset.bk === "lang") root.dataset.lang = root.dataset.lang === "en" ? "zh" : "en";
    if (button.dataset.bk === "copy") navigator.clipboard?.writeText(button.closest(".command").querySelector("pre").textContent);
  });
})();
