// Tables that sort by a click on a column's head, and the grid as a heat map.

/** Makes the heads of a table sort its rows: by `data-value` as numbers, else as text. */
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const label = head.textContent;
    head.replaceChildren(element("button", { type: "button", onclick: () => sort(column) }, label));
  });

  function sort(column) {
    const rising = heads[column].getAttribute("aria-sort") !== "ascending";
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
    rows.sort(([a], [b]) => compare(a, b, rising));
    body.append(...rows.map(([, row]) => row));
  }
}

function sortKey(cell) {
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent.trim().toLowerCase();
  return value === "" ? null : Number(value);
}

/** Orders numbers and texts; what is missing comes last either way. */
function compare(a, b, rising) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return rising ? order : -order;
}

/** Shows the grid as a table of coloured cells in `host`; `open` is called with a cell's index. */
function heatMap(host, controls, open) {
  let metric = grid.metrics[0].key;
  let estimator = grid.estimators.find((e) => e.key.startsWith("probe"))?.key;
  estimator ??= grid.estimators.find((e) => !e.oracle)?.key ?? grid.estimators[0].key;
  const named = (list) => list.map(({ key, name }) => [key, name]);
  controls.append(
    chooser("Metric", named(grid.metrics), metric, (key) => { metric = key; draw(); }),
    chooser("Estimator", named(grid.estimators), estimator, (key) => { estimator = key; draw(); }),
  );
  const legend = element("p", { class: "soft" });
  draw();

  function draw() {
    const look = grid.metrics.find(({ key }) => key === metric);
    const own = (holder, key) => (Object.hasOwn(holder, key) ? holder[key] : undefined);
    const values = grid.cells.map((cell) => own(own(cell.estimators, estimator)?.metrics ?? {}, metric));
    const marks = values.map((value) => goodness(value?.[0], look.best));
    const known = marks.filter((mark) => mark != null);
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const table = element("table", { class: "heat" });
    const corner = element("td");
    table.append(element("thead", {}, element("tr", {}, corner, ...grid.datasets.map(heading))));
    const body = element("tbody");
    for (const model of grid.models) {
      const row = element("tr", {}, element("th", { scope: "row" }, model.name));
      for (const dataset of grid.datasets) row.append(place(model, dataset));
      body.append(row);
    }
    table.append(body);
    legend.textContent =
      `Darker is ${look.best ? "better" : "higher"}, from the worst to the best cell shown. ` +
      "Choose a cell to see its questions.";
    if (!look.best) legend.textContent = legend.textContent.replace("worst to the best", "lowest to the highest");
    host.replaceChildren(table, legend);

    function place(model, dataset) {
      const at = grid.cells.findIndex((c) => c.model === model.key && c.dataset === dataset.key);
      if (at < 0) return element("td", { class: "soft" }, "not run");
      const share = most > least ? (marks[at] - least) / (most - least) : 0.5;
      const light = marks[at] == null ? 96 : 94 - 62 * share;
      const style = { background: `hsl(205 70% ${light}%)`, color: light > 60 ? "#111" : "#fff" };
      const [value, low, high] = values[at] ?? [null, null, null];
      const span = `${number(low, look.decimals)} to ${number(high, look.decimals)}`;
      const title = `${model.name} on ${dataset.name}: ${number(value, look.decimals)} (${span})`;
      const button = element(
        "button", { type: "button", style, title, onclick: () => open(at) },
        number(value, look.decimals),
      );
      return element("td", {}, button);
    }
  }
}

function heading({ name }) {
  return element("th", { scope: "col" }, name);
}

/** Returns a number that is the greater the better the value; null where there is none. */
function goodness(value, best) {
  if (value == null) return null;
  if (best === "lowest") return -value;
  return best === "nearest zero" ? -Math.abs(value) : value;
}
