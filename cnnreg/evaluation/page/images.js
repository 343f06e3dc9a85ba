// From the stored text of a pair to canvases. An image is decoded only when it is about to be seen.

const FIXED = 0, MOVING = 1, WARPED = 2, JACOBIAN = 3; // panels, from top to bottom
const BLOCK = 16; // panels start at multiples of so many rows
const GRID_STEP = 1 / 4096;
let decoded = 0;

function bytesOf(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < characters.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

function pointsOf(text) { // (y, x), as shares of the image
  const view = new DataView(bytesOf(text).buffer), points = [];
  for (let i = 0; i < view.byteLength; i += 4) {
    points.push([view.getInt16(i, true) * GRID_STEP, view.getInt16(i + 2, true) * GRID_STEP]);
  }
  return points;
}

async function storedOf(entry) {
  const name = `p${entry.index}`;
  while (document.readyState === "loading" && !byId(name)?.nextSibling) { // images come last: the page is still read
    await new Promise((resume) => setTimeout(resume, 50));
  }
  return JSON.parse(byId(name).textContent);
}

async function previewOf(entry) {
  const stored = await storedOf(entry), [width, height] = stored.size;
  const whole = await createImageBitmap(new Blob([bytesOf(stored.image)]));
  const rows = Math.ceil(height / BLOCK) * BLOCK;
  const cuts = [FIXED, MOVING, WARPED, JACOBIAN].map((n) => createImageBitmap(whole, 0, n * rows, width, height));
  const panels = await Promise.all(cuts); // apart, or the edge of one would be mixed with the next when it is enlarged
  whole.close();
  document.body.dataset.decoded = ++decoded;
  const outlines = stored.outlines.map((lines) => lines.map(pointsOf));
  return { panels, width, height, nodes: stored.nodes, grid: pointsOf(stored.grid), outlines, confidence: stored.confidence };
}

function release(preview) {
  preview?.panels.forEach((panel) => panel.close());
}

function sized(canvas, preview, longest) {
  const scale = longest / Math.max(preview.width, preview.height);
  canvas.width = Math.max(Math.round(preview.width * scale), 1);
  canvas.height = Math.max(Math.round(preview.height * scale), 1);
  return canvas.getContext("2d", { willReadFrequently: true });
}

function drawPanel(context, preview, panel) {
  const { width, height } = context.canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(preview.panels[panel], 0, 0, width, height);
}

function pixelsOf(context, preview, panel) {
  drawPanel(context, preview, panel);
  return context.getImageData(0, 0, context.canvas.width, context.canvas.height);
}

function drawOverlay(context, preview, other) {
  const fixed = pixelsOf(context, preview, FIXED).data, image = pixelsOf(context, preview, other);
  for (let i = 0; i < fixed.length; i += 4) {
    const level = image.data[i];
    image.data[i] = image.data[i + 2] = level;
    image.data[i + 1] = fixed[i];
  }
  context.putImageData(image, 0, 0);
}

const BLUE = [33, 82, 173], WHITE = [250, 250, 250], RED = [186, 30, 40];

function drawDifference(context, preview, other) {
  const fixed = pixelsOf(context, preview, FIXED).data, image = pixelsOf(context, preview, other);
  for (let i = 0; i < fixed.length; i += 4) {
    const share = Math.max(-1, Math.min(1, (fixed[i] - image.data[i]) / 128));
    const end = share < 0 ? BLUE : RED;
    for (let c = 0; c < 3; c++) image.data[i + c] = WHITE[c] + Math.abs(share) * (end[c] - WHITE[c]);
  }
  context.putImageData(image, 0, 0);
}

function drawGrid(context, preview) {
  const { width, height } = context.canvas, [rows, columns] = preview.nodes;
  drawPanel(context, preview, MOVING);
  context.fillStyle = "rgb(0 0 0 / 45%)";
  context.fillRect(0, 0, width, height);
  const at = (row, column) => {
    const [y, x] = preview.grid[row * columns + column];
    return [x * width, y * height];
  };
  context.strokeStyle = "rgb(255 196 60)";
  context.lineWidth = Math.max(1, width / 400);
  context.beginPath();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const here = at(row, column);
      for (const [r, c] of [[row + 1, column], [row, column + 1]]) {
        if (r === rows || c === columns) continue;
        context.moveTo(...here);
        context.lineTo(...at(r, c));
      }
    }
  }
  context.stroke();
}

const AGAINST = [230, 110, 0], EVEN = [245, 245, 240], FOR = [0, 90, 200], TINT = 0.5; // as in the picture

function drawConfidence(context, preview) {
  const { width, height } = context.canvas, [rows, columns] = preview.confidence.size;
  const values = bytesOf(preview.confidence.values), count = rows * columns, tint = new ImageData(columns, rows);
  for (let i = 0; i < count; i++) {
    const share = 2 * values[i] / 255 - 1, end = share < 0 ? AGAINST : FOR;
    for (let c = 0; c < 3; c++) tint.data[4 * i + c] = EVEN[c] + Math.abs(share) * (end[c] - EVEN[c]);
    tint.data[4 * i + 3] = TINT * values[count + i];
  }
  const small = element("canvas", { width: columns, height: rows });
  small.getContext("2d").putImageData(tint, 0, 0);
  drawPanel(context, preview, FIXED);
  context.fillStyle = "rgb(255 255 255 / 25%)"; // colours show on dark images, too
  context.fillRect(0, 0, width, height);
  context.drawImage(small, 0, 0, width, height);
}

const INKS = { [FIXED]: "rgb(255 214 0)", [MOVING]: "rgb(0 200 255)", [WARPED]: "rgb(0 200 255)" };

function drawOutlines(context, preview, panel) {
  const { width, height } = context.canvas;
  context.strokeStyle = INKS[panel];
  context.lineWidth = Math.max(1, width / 400);
  context.beginPath();
  for (const line of preview.outlines[panel] ?? []) {
    line.forEach(([y, x], index) => (index ? context.lineTo(x * width, y * height) : context.moveTo(x * width, y * height)));
  }
  context.stroke();
}

const THUMB = 72;
const waiting = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    waiting.unobserve(target);
    drawThumbs(target);
  }
}, { rootMargin: "100px" });

async function drawThumbs(cell) {
  const preview = await previewOf(entries[cell.dataset.index]);
  const longest = THUMB * Math.min(devicePixelRatio, 2);
  for (const canvas of cell.querySelectorAll("canvas")) {
    drawOverlay(sized(canvas, preview, longest), preview, canvas.dataset.state === "before" ? MOVING : WARPED);
  }
  release(preview);
}
