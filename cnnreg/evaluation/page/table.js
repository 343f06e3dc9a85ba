// The table: rows are made as they are scrolled to, so that ten thousand cost no more than fifty.

const CHUNK = 50;
let listed = []; // the pairs that pass, in order
let made = 0; // rows of them that exist

const bottom = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && addRows(), {
  root: byId("region"), rootMargin: "400px",
});

function changed() {
  listed = selected();
  drawPlots(listed);
  drawHead();
  byId("count").textContent = `${listed.length} of ${entries.length} pairs`;
  document.querySelector("#region tbody").replaceChildren();
  made = 0;
  addRows();
  byId("region").scrollTop = 0;
}

function addRows() {
  const rows = listed.slice(made, made + CHUNK).map(rowOf);
  made += rows.length;
  document.querySelector("#region tbody").append(...rows);
  bottom.unobserve(byId("more")); // observed anew, it is told again while it is still in sight
  if (made < listed.length) bottom.observe(byId("more"));
  for (const cell of document.querySelectorAll(".thumbs[data-index]:not([data-seen])")) {
    cell.dataset.seen = "";
    waiting.observe(cell);
  }
}

function drawHead() {
  const heads = [
    ["", "before, after"], ["id", "pair"], ["verdict", "verdict"],
    ...columns.filter((column) => column.shown).map((column) => [column.index, column.name]),
  ];
  const cells = heads.map(([key, name]) => {
    if (key === "") return element("th", { scope: "col" }, name);
    const own = state.sort.key === key;
    const arrow = own ? (state.sort.down ? " ↓" : " ↑") : "";
    const button = element("button", { type: "button", onclick: () => sortBy(key) }, `${name}${arrow}`);
    button.dataset.key = key;
    button.title = columns[key]?.better ? `${columns[key].better} is better` : "";
    const order = own ? (state.sort.down ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", "aria-sort": order, className: typeof key === "number" ? "number" : "" }, button);
  });
  const focused = document.activeElement?.dataset?.key;
  document.querySelector("#region thead").replaceChildren(element("tr", {}, ...cells));
  if (focused) document.querySelector(`#region thead [data-key="${focused}"]`)?.focus();
}

function sortBy(key) {
  state.sort = { key, down: state.sort.key === key && !state.sort.down };
  changed();
}

function rowOf(entry) {
  const thumbs = element("td", { className: "thumbs" });
  if (entry.shown) {
    thumbs.dataset.index = entry.index;
    thumbs.append(...["before", "after"].map((which) => thumb(entry, which)));
  } else {
    const open = { type: "button", className: "open", onclick: () => openView(entry, "after") };
    thumbs.append(element("button", open, "open"));
    thumbs.firstChild.setAttribute("aria-label", `${entry.id}: open`);
  }
  const files = [entry.moving, entry.fixed].every(Boolean) ? `${entry.moving} to ${entry.fixed}` : "";
  const reason = entry.reasons.length ? element("small", { className: "reason" }, entry.reasons[0]) : "";
  return element("tr", {},
    thumbs,
    element("th", { scope: "row", className: "pair" }, element("b", {}, entry.id), element("small", {}, files)),
    element("td", {}, verdictLabel(entry), reason),
    ...columns.filter((column) => column.shown).map((column) => numberCell(entry, column)));
}

function numberCell(entry, column) {
  const cell = element("td", { className: "number" }, written(valueOf(entry, column), column, state.value === "change"));
  const before = valueOf(entry, column, "before");
  if (state.value === "after" && before !== null) {
    const worse = worsened(entry, column);
    cell.append(element("small", { className: worse ? "failed" : "" }, `${worse ? "worse, " : ""}from ${written(before, column)}`));
  }
  return cell;
}

function thumb(entry, which) {
  const canvas = element("canvas", { width: 1, height: 1 });
  canvas.dataset.state = which;
  const button = element("button", { type: "button", onclick: () => openView(entry, which) }, canvas);
  button.setAttribute("aria-label", `${entry.id}: compare ${which}`);
  return button;
}

function makeTools() {
  const found = ORDER.filter((kind) => entries.some((entry) => verdictOf(entry) === kind));
  byId("verdicts").replaceChildren(...(found.length < 2 ? [] : found).map((kind) => {
    const { word, sign } = VERDICTS[kind], number = entries.filter((entry) => verdictOf(entry) === kind).length;
    const button = element("button", { type: "button", className: `verdict ${kind}` }, `${sign} ${word} ${number}`);
    button.dataset.verdict = kind;
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      state.verdicts.has(kind) ? state.verdicts.delete(kind) : state.verdicts.add(kind);
      button.setAttribute("aria-pressed", state.verdicts.has(kind));
      changed();
    };
    return button;
  }));
  byId("columns").replaceChildren(...columns.map((column) => element("label", {},
    element("input", {
      type: "checkbox", checked: column.shown,
      onchange: (event) => { column.shown = event.target.checked; makePlots(); changed(); },
    }), ` ${column.name}`)));
  byId("search").oninput = (event) => { state.text = event.target.value.trim().toLowerCase(); changed(); };
  byId("value").onchange = (event) => { state.value = event.target.value; state.ranges.clear(); changed(); };
  byId("reset").onclick = () => {
    state.verdicts.clear(); state.ranges.clear();
    state.text = byId("search").value = "";
    for (const button of byId("verdicts").children) button.setAttribute("aria-pressed", "false");
    changed();
  };
}
