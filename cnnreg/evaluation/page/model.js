// The pairs, what is shown of them, and small helpers. All text of others goes through textContent.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const data = JSON.parse(byId("data").textContent);
const entries = data.entries;
entries.forEach((entry, index) => Object.assign(entry, { index, words: searched(entry) }));

const VERDICTS = {
  error: { word: "not registered", sign: "∅" },
  failed: { word: "failed", sign: "✕" },
  check: { word: "check", sign: "?" },
  good: { word: "good", sign: "✓" },
  "": { word: "registered", sign: "–" }, // without a verdict
};
const ORDER = Object.keys(VERDICTS);

const SECONDARY = new Set([
  "NMI", "TRE median [px]", "TRE max [px]", "SD log J", "mean length [px]", "max length [px]",
]);
const names = data.columns.map(([name]) => name);
const columns = data.columns.map(([name, digits, better], index) => ({
  name, digits, better, index,
  shown: !SECONDARY.has(name) && !(name.endsWith("[px]") && names.includes(name.replace("[px]", "[mm]"))),
}));

const state = {
  value: "after", // or before, change
  verdicts: new Set(), // those shown; none chosen: all
  text: "",
  ranges: new Map(), // column index -> [from, to], each a number or null
  sort: { key: "", down: false }, // "id", "verdict" or a column's index; "": as they came
};

function searched(entry) {
  return [entry.id, entry.fixed, entry.moving, ...entry.reasons].join("\n").toLowerCase();
}

function valueOf(entry, column, which = state.value) {
  const before = entry.before[column.index], after = entry.after[column.index];
  if (which === "before") return before;
  if (which === "after") return after;
  return before === null || after === null ? null : after - before;
}

function written(value, column, signed = false) {
  if (value === null) return "";
  const text = value.toFixed(column.digits);
  return signed && value > 0 ? `+${text}` : text;
}

function worsened(entry, column) {
  const change = valueOf(entry, column, "change");
  return change !== null && (column.better === "lower" ? change > 0 : column.better === "higher" && change < 0);
}

function passes(entry) {
  if (state.verdicts.size && !state.verdicts.has(verdictOf(entry))) return false;
  if (!entry.words.includes(state.text)) return false;
  for (const [index, [from, to]] of state.ranges) {
    const value = valueOf(entry, columns[index]);
    if (value === null || (from !== null && value < from) || (to !== null && value > to)) return false;
  }
  return true;
}

function verdictOf(entry) {
  return entry.verdict in VERDICTS ? entry.verdict : "";
}

const collator = new Intl.Collator(undefined, { numeric: true });

function sorted(list) {
  const { key, down } = state.sort;
  const sign = down ? -1 : 1;
  if (key === "") return list;
  if (key === "id") return list.sort((a, b) => sign * collator.compare(a.id, b.id));
  if (key === "verdict") {
    const rank = (entry) => ORDER.indexOf(verdictOf(entry)) + (entry.probability ?? 0.5) / 2;
    return list.sort((a, b) => sign * (rank(a) - rank(b)) || a.index - b.index);
  }
  const column = columns[key];
  return list.sort((a, b) => {
    const one = valueOf(a, column), other = valueOf(b, column);
    if (one === null || other === null) return (one === null) - (other === null) || a.index - b.index; // last
    return sign * (one - other) || a.index - b.index;
  });
}

const selected = () => sorted(entries.filter(passes));

function verdictLabel(entry) {
  const kind = verdictOf(entry), { word, sign } = VERDICTS[kind];
  const known = entry.probability !== null ? ` (${entry.probability.toFixed(2)})` : "";
  const title = known ? "in brackets: the probability that the registration went well" : "";
  return element("span", { className: `verdict ${kind}`, title }, `${sign} ${word}${known}`);
}
