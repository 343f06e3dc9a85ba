// Distributions of the measures, which also filter: drag over a range, or type its ends.

const BINS = 28, HEIGHT = 60;
const plots = []; // functions that draw one plot anew

function makePlots() {
  plots.length = 0;
  byId("plots").replaceChildren(...columns.filter((column) => column.shown).map(makePlot));
}

function drawPlots(list) {
  for (const draw of plots) draw(list);
}

function spanOf(column) {
  const values = [];
  for (const entry of entries) {
    const states = state.value === "change" ? ["change"] : ["before", "after"];
    for (const which of states) values.push(valueOf(entry, column, which));
  }
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!known.length) return null;
  const at = (share) => known[Math.round(share * (known.length - 1))];
  const [low, high] = [at(0.005), at(0.995)]; // what lies beyond is counted in the outermost bars
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

function counts(list, column, which, [low, high]) {
  const bins = new Array(BINS).fill(0);
  for (const entry of list) {
    const value = valueOf(entry, column, which);
    if (value === null) continue;
    const bin = Math.floor(((value - low) / (high - low)) * BINS);
    bins[Math.max(0, Math.min(BINS - 1, bin))]++;
  }
  return bins;
}

const svg = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

const barsOf = (bins, most) =>
  bins.map((n, i) => (n ? `M${i} ${HEIGHT}V${HEIGHT - (n / most) * HEIGHT}h0.9V${HEIGHT}z` : "")).join("");

const outlineOf = (bins, most) =>
  `M0 ${HEIGHT}` + bins.map((n) => `V${HEIGHT - (n / most) * HEIGHT}h1`).join("") + `V${HEIGHT}`;

function makePlot(column) {
  const picture = svg("svg", { viewBox: `0 0 ${BINS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const told = element("span");
  const ends = ["from", "to"].map((end, which) =>
    element("input", {
      type: "number", step: "any", placeholder: end, "aria-label": `${column.name} ${end}`,
      oninput: (event) => limit(column, which, event.target.value),
    }));
  const card = element("div", { className: "plot" },
    element("h3", {}, column.name, told), picture, element("div", { className: "ends" }, ...ends));
  let span = null, brush = null;

  plots.push((list) => {
    span = spanOf(column);
    const [from, to] = state.ranges.get(column.index) ?? [null, null];
    [from, to].forEach((value, which) => {
      if (document.activeElement !== ends[which]) ends[which].value = value ?? "";
    });
    picture.replaceChildren();
    if (!span) return;
    const all = counts(entries, column, state.value, span), some = counts(list, column, state.value, span);
    const before = state.value === "after" ? counts(entries, column, "before", span) : [];
    const most = Math.max(1, ...all, ...before);
    picture.append(svg("path", { class: "all", d: barsOf(all, most) }), svg("path", { class: "some", d: barsOf(some, most) }));
    if (before.some(Boolean)) picture.append(svg("path", { class: "line", d: outlineOf(before, most) }));
    const middle = medianOf(list, column);
    told.textContent = middle === null ? "" : `median ${written(middle, column)}`;
    picture.setAttribute("aria-label", `Distribution of ${column.name} ${state.value}: ${told.textContent || "no value"}`);
  });

  const place = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.max(0, Math.min(BINS, ((event.clientX - box.left) / box.width) * BINS));
  };
  picture.onpointerdown = (event) => {
    if (!span) return;
    picture.setPointerCapture(event.pointerId);
    brush = { start: place(event), mark: svg("rect", { class: "brush", y: 0, height: HEIGHT, width: 0 }) };
    picture.append(brush.mark);
  };
  picture.onpointermove = (event) => {
    if (!brush) return;
    const here = place(event);
    brush.mark.setAttribute("x", Math.min(brush.start, here));
    brush.mark.setAttribute("width", Math.abs(here - brush.start));
  };
  picture.onpointercancel = () => { brush?.mark.remove(); brush = null; };
  picture.onpointerup = (event) => {
    if (!brush) return;
    const [low, high] = [Math.floor(Math.min(brush.start, place(event))), Math.ceil(Math.max(brush.start, place(event)))];
    const value = (bin) => Number((span[0] + (bin / BINS) * (span[1] - span[0])).toPrecision(4));
    brush = null;
    state.ranges.set(column.index, [low <= 0 ? null : value(low), high >= BINS ? null : value(high)]);
    changed();
  };
  return card;
}

function limit(column, which, text) {
  const range = [...(state.ranges.get(column.index) ?? [null, null])];
  range[which] = text === "" || Number.isNaN(Number(text)) ? null : Number(text);
  if (range[0] === null && range[1] === null) state.ranges.delete(column.index);
  else state.ranges.set(column.index, range);
  changed();
}

function medianOf(list, column) {
  const values = list.map((entry) => valueOf(entry, column)).filter((value) => value !== null).sort((a, b) => a - b);
  return values.length ? (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2 : null;
}
