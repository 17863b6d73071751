// Starts the page.

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.dispatchEvent(new Event("themechange")),
);
document.querySelectorAll("table.sortable").forEach(makeSortable);
const openCell = questionBrowser(
  document.getElementById("browser"), document.getElementById("browser-controls"),
);
const heat = document.getElementById("heat"); // one cell alone has none
if (heat) heatMap(heat, document.getElementById("heat-controls"), openCell);
