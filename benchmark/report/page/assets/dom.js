"use strict";
// Elements, numbers and packed data. Text reaches the page as text nodes only: none of what a model
// or a dataset wrote is ever parsed as markup.

const grid = JSON.parse(document.getElementById("grid").textContent);
const MISSING = "–";

/** Returns an element; children that are strings become text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(made.style, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Returns a number for people; null is shown as missing. */
function number(value, decimals) {
  if (value == null) return MISSING;
  const text = value.toFixed(decimals);
  return (Number(text) === 0 ? Math.abs(value).toFixed(decimals) : text).replace("-", "−");
}

const unpacked = new Map();

/** Returns the promise of a data block: JSON, compressed, in base 64. */
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, inflate(document.getElementById(id).textContent));
  return unpacked.get(id);
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Returns a labelled list to choose from; `choices` are [key, name]. */
function chooser(label, choices, chosen, onchange) {
  const list = element("select", { onchange: () => onchange(list.value) });
  for (const [key, name] of choices) list.append(element("option", { value: key }, name));
  list.value = chosen;
  return element("label", {}, `${label} `, list);
}

/** Returns the outcomes that a cell's responses can have: of counts from elsewhere two. */
function outcomesOf(cell) {
  return cell.counted ? grid.counted_outcomes : grid.outcomes;
}

/** Returns a check box for each outcome, with its colour; `onchange` gets the set of those checked. */
function outcomeBoxes(outcomes, checked, onchange) {
  return outcomes.map((outcome, index) => {
    const box = element("input", {
      type: "checkbox", checked: checked.has(index), "data-outcome": outcome.key,
      onchange: () => {
        if (box.checked) checked.add(index);
        else checked.delete(index);
        onchange(checked);
      },
    });
    const key = element("span", { class: "key", style: { background: outcome.colour } });
    return element("label", {}, box, key, outcome.name);
  });
}
