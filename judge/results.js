const root = document.createElement("div");
root.textContent = "…";
element.replaceChildren(root);
watch("value", () => { root.textContent = JSON.stringify(props.value); });
