// One cell: its scatterplots, its list of questions, and the dialog that shows a question.

const ROWS = 50; // questions that the list shows at a time
const HOVERED = 300; // characters of a question below the pointer

/** Returns a cell's questions with their counts, confidences and texts. */
async function readCell(cell) {
  const [data, texts] = await Promise.all([unpack(cell.points), unpack(cell.texts)]);
  const share = (n, c) => n.map((count, i) => (count ? c[i] / count : null));
  const accuracy = share(data.n, data.c);
  const targets = new Map(
    Object.entries(data.targets).map(([name, { n, c }]) => [name, share(n, c)]),
  );
  const colour = data.outcomes.map((counts) => {
    const most = counts.indexOf(Math.max(...counts));
    return outcomesOf(cell)[most].colour;
  });
  return { cell, ...data, ...texts, accuracy, colour, target: (name) => targets.get(name) ?? accuracy };
}

const looks = new Map(grid.estimators.map((estimator) => [estimator.key, estimator]));

/** Shows the cell that is chosen in `host`; returns a function that chooses another. */
function questionBrowser(host, controls) {
  let at = 0;
  let state = null;
  let plots = [];
  let words = "";
  const checked = new Set(grid.outcomes.keys());
  const cells = grid.cells.map((cell, i) => [String(i), cell.name]);
  const picker = chooser("Cell", cells, "0", (value) => choose(Number(value)));
  const find = element("input", {
    type: "search", placeholder: "words of the question", oninput: () => { words = find.value; filter(); },
  });
  const boxes = element("span", { class: "boxes" });
  controls.append(
    picker, element("label", {}, "Search ", find),
    boxes,
  );
  const count = element("p", { class: "soft", id: "count" });
  const panels = element("div", { class: "panels" });
  const tip = element("div", { class: "tip", hidden: true });
  const list = element("div", { class: "scroll" });
  host.append(count, panels, list, tip);
  document.addEventListener("themechange", () => state && drawPlots());

  async function choose(index) {
    at = index;
    const outcomes = outcomesOf(grid.cells[index]);
    boxes.replaceChildren("With a response that is: ", ...outcomeBoxes(outcomes, checked, filter));
    picker.querySelector("select").value = String(index);
    host.setAttribute("aria-busy", "true");
    const read = await readCell(grid.cells[index]);
    if (at !== index) return; // another was chosen meanwhile
    state = { ...read, visible: [], sorted: { by: null, rising: true }, rows: ROWS };
    filter();
    drawPlots();
    host.removeAttribute("aria-busy");
  }

  function filter() {
    const wanted = words.trim().toLowerCase();
    state.ids.forEach((id, i) => {
      const met = state.outcomes[i].some((number, outcome) => number > 0 && checked.has(outcome));
      const text = () => `${id}\n${state.question[i]}`.toLowerCase().includes(wanted);
      state.visible[i] = met && (wanted === "" || text());
    });
    const passing = state.visible.filter(Boolean).length;
    count.textContent =
      `${passing.toLocaleString("en")} of ${state.ids.length.toLocaleString("en")} questions. ` +
      "A point's colour is the most frequent outcome of its responses.";
    for (const plot of plots) plot.redraw();
    drawList();
  }

  function drawPlots() {
    for (const plot of plots) plot.destroy();
    panels.replaceChildren();
    plots = Object.keys(state.confidences).map((name) => {
      const about = state.cell.estimators[name];
      const title = element("h3", {}, looks.get(name).name);
      if (about.draws > 1) title.append(element("small", {}, ` first of ${about.draws} draws`));
      const plotHost = element("div");
      panels.append(element("figure", {}, title, plotHost));
      const points = { x: state.confidences[name], y: state.target(name), colour: state.colour };
      const open = (i) => showQuestion(state, i, checked);
      return scatterplot(plotHost, points, state.visible, hover, open);
    });
  }

  function hover(i) {
    for (const plot of plots) plot.mark(i);
    tip.hidden = i === null;
    if (i === null) return;
    const counts = `${state.c[i]} of ${state.n[i]} correct`;
    tip.replaceChildren(element("strong", {}, counts), element("div", {}, state.question[i].slice(0, HOVERED)));
  }

  document.addEventListener("mousemove", (event) => {
    const beside = event.clientX > innerWidth / 2 ? -tip.offsetWidth - 16 : 16;
    tip.style.left = `${event.clientX + beside}px`;
    tip.style.top = `${Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 8)}px`;
  });

  function drawList() {
    const names = Object.keys(state.confidences);
    const columns = [["Question", state.question], ["c/n", state.accuracy]];
    columns.push(...names.map((name) => [looks.get(name).name, state.confidences[name]]));
    const { by, rising } = state.sorted;
    const order = [...state.ids.keys()].filter((i) => state.visible[i]);
    if (by !== null) order.sort((a, b) => compare(columns[by][1][a], columns[by][1][b], rising));
    const heads = columns.map(([label], at) => {
      const button = element("button", { type: "button", onclick: () => sortBy(at) }, label);
      const sort = by === at && (rising ? "ascending" : "descending");
      return element("th", { scope: "col", "aria-sort": sort }, button);
    });
    const body = element("tbody");
    for (const i of order.slice(0, state.rows)) {
      const open = () => showQuestion(state, i, checked);
      const button = element("button", { type: "button", class: "link", onclick: open });
      button.append(element("bdi", {}, state.question[i].slice(0, 120)));
      const row = element("tr", {}, element("td", { class: "words" }, button));
      row.append(element("td", {}, `${state.c[i]}/${state.n[i]}`));
      for (const name of names) row.append(element("td", {}, confidence(state, name, i)));
      body.append(row);
    }
    const table = element("table", { id: "list" }, element("thead", {}, element("tr", {}, ...heads)), body);
    const left = order.length - state.rows;
    const more = () => { state.rows += ROWS; drawList(); };
    const button = element("button", { type: "button", onclick: more }, `Show more of ${left.toLocaleString("en")}`);
    list.replaceChildren(table, ...(left > 0 ? [button] : []));
  }

  function sortBy(column) {
    const rising = state.sorted.by !== column || !state.sorted.rising;
    state.sorted = { by: column, rising };
    drawList();
  }

  choose(0);
  return (index) => {
    host.closest("section").scrollIntoView({ behavior: "smooth" });
    return choose(index);
  };
}

/** Returns a confidence, or the state of one that is missing. */
function confidence(state, name, i) {
  const value = state.confidences[name][i];
  return value == null ? (state.statuses[name][i] ?? MISSING) : number(value, 3);
}

/** Opens the dialog of a question. */
async function showQuestion(state, i, checked) {
  const dialog = document.getElementById("question");
  const { cell } = state;
  const block = await unpack(cell.blocks[Math.floor(i / cell.block)]);
  const responses = block[i % cell.block];
  const shown = new Set(checked);
  const list = element("div");
  const boxes = outcomeBoxes(outcomesOf(cell), shown, drawResponses);
  const close = element("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close");
  const total = state.outcomes[i].reduce((sum, count) => sum + count, 0);
  dialog.replaceChildren(
    close,
    element("h2", {}, `${state.c[i]} of ${state.n[i]} correct`),
    element("p", { class: "soft" }, [cell.name, state.ids[i], state.group[i]].filter(Boolean).join(" · ")),
    pre(state.prompt[i]),
  );
  if (state.references[i]) dialog.append(element("p", {}, "Accepted: ", element("bdi", {}, state.references[i])));
  dialog.append(confidenceTable(state, i));
  if (cell.counted) dialog.append(element("p", { class: "soft" }, "Only the counts were given, no responses."));
  else {
    dialog.append(
      element("h3", {}, `Responses, ${responses.length} of ${total}`),
      element("p", { class: "soft boxes" }, "Taken in turn from the outcomes that occur. ", ...boxes),
      list,
    );
  }
  drawResponses();
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;

  function drawResponses() {
    list.replaceChildren(...responses.filter(([, outcome]) => shown.has(outcome)).map(response));
  }
}

function confidenceTable(state, i) {
  const body = element("tbody");
  for (const name of Object.keys(state.confidences)) {
    const value = state.confidences[name][i];
    const target = state.target(name)[i];
    const error = value == null || target == null ? null : (value - target) ** 2;
    const cells = [looks.get(name).name, confidence(state, name, i), number(target, 3), number(error, 3)];
    body.append(element("tr", {}, ...cells.map((text) => element("td", {}, text))));
  }
  const heads = ["Estimator", "Confidence", "Target c/n", "Squared error"];
  const head = element("tr", {}, ...heads.map((name) => element("th", {}, name)));
  return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), body));
}

function response([sample, outcome, tokens, answer, reason, text, reasoning]) {
  const look = grid.outcomes[outcome];
  const key = element("span", { class: "key", style: { background: look.colour } });
  const line = element("span", { class: "soft" }, key, `${look.name} · sample ${sample} · ${tokens ?? "unknown"} tokens`);
  if (answer !== null) line.append(" · answer ", element("bdi", {}, answer));
  if (reason) line.append(" (", element("bdi", {}, reason), ")");
  const parts = [line];
  if (reasoning) parts.push(element("details", {}, element("summary", {}, "reasoning"), pre(reasoning)));
  parts.push(pre(text));
  return element("div", { class: "response", style: { borderColor: look.colour } }, ...parts);
}

function pre(text) {
  return element("pre", { dir: "auto" }, text);
}
