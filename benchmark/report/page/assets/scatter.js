// Scatterplots of confidence against expected accuracy, one for each estimator, drawn by uPlot.

const EDGE = [-0.04, 1.04]; // limits of both axes, with room for the points at 0 and 1
const REACH = 12; // CSS pixels within which the pointer takes a point
const MOST_ROUND = 3000; // more points are drawn as squares, which is several times faster

/** Returns a small shift, the same for a question whenever it is drawn, so that ties show. */
function shift(index, salt) {
  const mixed = Math.imul(index + 1, 2654435761) ^ Math.imul(salt, 40503);
  return (((mixed >>> 8) % 1000) / 1000 - 0.5) * 0.024;
}

/**
 * Draws the scatterplot of one estimator in `host`.
 *
 * `points` holds x and y by question (null: none) and the colour of each; `visible` says which
 * questions pass the filter; `hover` and `open` are called with a question's index (hover: or null).
 */
function scatterplot(host, points, visible, hover, open) {
  const css = getComputedStyle(document.documentElement);
  const ink = css.getPropertyValue("--soft").trim();
  const line = css.getPropertyValue("--line").trim();
  const shown = [...points.x.keys()].filter((i) => points.x[i] != null && points.y[i] != null);
  const axis = (label, size) => ({
    label, size, labelSize: 18, labelGap: 0, gap: 2, stroke: ink, font: "11px system-ui",
    labelFont: "11px system-ui", grid: { stroke: line, width: 1 }, ticks: { show: false },
    incrs: [0.01, 0.02, 0.05, 0.1, 0.25, 0.5], space: 55,
    values: (u, splits) => splits.map((v) => String(Number(v.toFixed(2)))),
  });
  const side = Math.max(200, Math.min(320, host.clientWidth || 260));
  const plot = new uPlot(
    {
      mode: 2, width: side, height: side, legend: { show: false }, padding: [6, 8, 0, 0],
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, dist: 8 } },
      scales: { x: { time: false, auto: false, range: EDGE }, y: { auto: false, range: EDGE } },
      axes: [axis("Confidence", 22), axis("Expected accuracy c/n", 30)],
      series: [{}, { paths: paint, facets: [{ scale: "x" }, { scale: "y" }] }],
    },
    [null, [shown.map((i) => points.x[i]), shown.map((i) => points.y[i])]],
    host,
  );
  const ring = element("span", { class: "ring", hidden: true });
  plot.over.append(ring);
  plot.over.addEventListener("mousemove", () => hover(nearest()));
  plot.over.addEventListener("mouseleave", () => hover(null));
  plot.over.addEventListener("click", () => {
    const at = nearest();
    if (at !== null) open(at);
  });
  plot.over.addEventListener("dblclick", () => {
    for (const key of ["x", "y"]) plot.setScale(key, { min: EDGE[0], max: EDGE[1] });
  });

  function place(i) {
    return [
      plot.valToPos(points.x[i] + shift(i, 1), "x"), plot.valToPos(points.y[i] + shift(i, 2), "y"),
    ];
  }

  function paint(u) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    diagonal(u, ink);
    const drawn = shown.filter((i) => visible[i]);
    ctx.globalAlpha = Math.min(0.75, Math.max(0.15, 300 / Math.max(1, drawn.length)));
    const round = drawn.length <= MOST_ROUND;
    const radius = (round ? 3 : 2) * devicePixelRatio;
    for (const i of drawn) {
      const x = u.valToPos(points.x[i] + shift(i, 1), "x", true);
      const y = u.valToPos(points.y[i] + shift(i, 2), "y", true);
      ctx.fillStyle = points.colour[i];
      if (round) {
        ctx.beginPath();
        ctx.arc(x, y, radius, 0, 2 * Math.PI);
        ctx.fill();
      } else {
        ctx.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      }
    }
    ctx.restore();
    return null;
  }

  function nearest() {
    const { left, top } = plot.cursor;
    let best = null;
    let distance = REACH * REACH;
    for (const i of shown) {
      if (!visible[i]) continue;
      const [x, y] = place(i);
      const square = (x - left) ** 2 + (y - top) ** 2;
      if (square < distance) [best, distance] = [i, square];
    }
    return best;
  }

  return {
    destroy: () => plot.destroy(),
    redraw: () => plot.redraw(false),
    mark(i) {
      ring.hidden = i === null || points.x[i] == null || points.y[i] == null;
      if (!ring.hidden) [ring.style.left, ring.style.top] = place(i).map((v) => `${v}px`);
    },
  };
}

/** Draws where confidence equals expected accuracy. */
function diagonal(u, colour) {
  const { ctx } = u;
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(u.valToPos(0, "x", true), u.valToPos(0, "y", true));
  ctx.lineTo(u.valToPos(1, "x", true), u.valToPos(1, "y", true));
  ctx.stroke();
  ctx.setLineDash([]);
}
