// One pair: fixed image against warped or moving image, deformation grid, Jacobian, numbers.

const STAGE = 1000, PANEL = 480; // pixels of the longer side
const PERIOD = 600; // ms between two swaps: fewer than the three flashes a second that can do harm
const view = { entry: null, preview: null, mode: "wipe", other: "after", share: 0.5, front: false, timer: 0 };

async function openView(entry, which) {
  view.other = which;
  document.querySelector(`[name="other"][value="${which}"]`).checked = true;
  if (entries.length > 1 && !byId("dialog").open) byId("dialog").showModal();
  setMode(view.mode);
  await showPair(entry);
}

async function showPair(entry) {
  view.entry = entry;
  byId("name").textContent = entry.id;
  byId("verdict").replaceChildren(entry.verdict ? verdictLabel(entry) : "",
    element("ul", {}, ...entry.reasons.map((reason) => element("li", {}, reason))));
  byId("links").replaceChildren(...entry.links.map(([name, href]) => element("a", { href }, name)));
  byId("numbers").replaceChildren(numbersOf(entry));
  const at = listed.indexOf(entry);
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at < 0 || at === listed.length - 1;
  for (const part of [byId("controls"), ...document.querySelectorAll(".panels figure")]) part.hidden = !entry.shown;
  const preview = entry.shown ? await previewOf(entry) : null;
  if (view.entry !== entry) return release(preview); // another was asked for meanwhile
  release(view.preview);
  view.preview = preview;
  if (!preview) return;
  drawGrid(sized(byId("grid"), preview, PANEL), preview);
  drawPanel(sized(byId("jacobian"), preview, PANEL), preview, JACOBIAN);
  const judged = Boolean(preview.confidence);
  byId("confidence").parentNode.hidden = !judged;
  byId("numbers").classList.toggle("narrow", judged);
  if (judged) drawConfidence(sized(byId("confidence"), preview, PANEL), preview);
  byId("outlined").parentNode.hidden = !preview.outlines.length;
  sized(byId("stage"), preview, STAGE);
  drawStage();
}

function drawStage() {
  if (!view.preview) return;
  const canvas = byId("stage"), context = canvas.getContext("2d", { willReadFrequently: true }), { preview } = view;
  const other = view.other === "after" ? WARPED : MOVING, name = other === WARPED ? "warped" : "moving";
  let told;
  if (view.mode === "wipe") {
    const edge = Math.round(view.share * canvas.width);
    drawPanel(context, preview, other);
    context.save();
    context.beginPath();
    context.rect(0, 0, edge, canvas.height);
    context.clip();
    drawPanel(context, preview, FIXED);
    context.restore();
    context.fillStyle = "rgb(255 196 60)";
    context.fillRect(edge - 1, 0, 2, canvas.height);
    told = `left: fixed image; right: ${name} image`;
  } else if (view.mode === "flicker") {
    drawPanel(context, preview, view.front ? other : FIXED);
    told = view.front ? `${name} image` : "fixed image";
  } else if (view.mode === "overlay") {
    drawOverlay(context, preview, other);
    told = `fixed image green, ${name} image magenta; grey where they agree`;
  } else {
    drawDifference(context, preview, other);
    told = `fixed - ${name} image: blue -0.5, white 0, red +0.5 of the intensity range`;
  }
  if (byId("outlined").checked && preview.outlines.length) {
    const bare = view.mode === "flicker"; // one image at a time, with its own outline
    if (!bare || !view.front) drawOutlines(context, preview, FIXED);
    if (!bare || view.front) drawOutlines(context, preview, other);
    told += `; outlines of labels: fixed yellow, ${name} blue`;
  }
  byId("legend").textContent = told;
  canvas.setAttribute("aria-label", told);
  byId("wipe").hidden = view.mode !== "wipe";
  document.querySelector(".flicker").hidden = view.mode !== "flicker";
}

function numbersOf(entry) {
  const rows = columns
    .filter((column) => valueOf(entry, column, "before") !== null || valueOf(entry, column, "after") !== null)
    .map((column) => element("tr", {}, element("th", { scope: "row" }, column.name),
      ...["before", "after"].map((which) => element("td", {}, written(valueOf(entry, column, which), column)))));
  if (!rows.length) return "";
  const head = ["", "before", "after"].map((name) => element("th", { scope: "col" }, name));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function swap() {
  view.front = !view.front;
  drawStage();
}

function setMode(mode) {
  view.mode = mode;
  document.querySelector(`[name="mode"][value="${mode}"]`).checked = true;
  run(mode === "flicker" && byId("running").checked);
  drawStage();
}

function run(running) {
  clearInterval(view.timer);
  view.timer = running ? setInterval(swap, PERIOD) : 0;
}

function step(by) {
  const next = listed[listed.indexOf(view.entry) + by];
  if (next && listed.includes(view.entry)) showPair(next);
}

function wipeTo(share) {
  view.share = Math.max(0, Math.min(1, share));
  byId("wipe").value = 100 * view.share;
  drawStage();
}

function pointAt(event) {
  const box = byId("stage").getBoundingClientRect();
  wipeTo((event.clientX - box.left) / box.width);
}

function onKey(event) {
  if (!byId("dialog").open && entries.length > 1) return;
  const typing = event.target.matches("input:not([type=checkbox])"); // arrows move sliders and radio buttons
  if (event.key === " " && view.mode === "flicker" && !event.target.matches("button, a, [type=checkbox]")) swap();
  else if (event.key === "ArrowLeft" && !typing) step(-1);
  else if (event.key === "ArrowRight" && !typing) step(1);
  else return;
  event.preventDefault();
}

function makeView() {
  for (const input of document.querySelectorAll('[name="mode"]')) input.onchange = () => setMode(input.value);
  for (const input of document.querySelectorAll('[name="other"]')) {
    input.onchange = () => { view.other = input.value; drawStage(); };
  }
  byId("wipe").oninput = (event) => wipeTo(event.target.value / 100);
  byId("stage").onpointerdown = (event) => { byId("stage").setPointerCapture(event.pointerId); dragged(event); };
  byId("stage").onpointermove = (event) => event.buttons && dragged(event);
  byId("outlined").onchange = drawStage;
  byId("swap").onclick = swap;
  byId("running").onchange = (event) => run(event.target.checked);
  byId("previous").onclick = () => step(-1);
  byId("next").onclick = () => step(1);
  byId("close").onclick = () => byId("dialog").close();
  byId("dialog").onclose = () => run(false);
  document.addEventListener("keydown", onKey);
  byId("running").checked = !matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function dragged(event) {
  if (view.mode === "wipe") pointAt(event);
}

function start() {
  makeView();
  const left = data.left_out ? ` The images of ${data.left_out} pairs are left out of this page, for its size.` : "";
  if (entries.length === 1) {
    listed = entries;
    document.querySelector("main").append(byId("view"));
    document.querySelector("#view .bar").hidden = true; // the page's own heading says it
    openView(entries[0], "after");
  } else {
    byId("about").textContent =
      `${entries.length} pairs. Blue: after registration; orange line: before. Drag over a distribution to filter by it.${left}`;
    byId("overview").hidden = false;
    makeTools();
    makePlots();
    changed();
  }
  document.body.dataset.ready = "true";
}

start();
