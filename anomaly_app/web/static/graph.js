// The graph of each query, as EXPLAIN shows it, with what passes through its nodes. Titles are the input of strangers:
// everything is shown by textContent.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 218, HEIGHT = 82, GAP_X = 44, GAP_Y = 14, LETTERS = 26;

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => (value < 100000 ? whole.format(value) : compact.format(value));

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Columns from left to right: a node stands one behind the last of those that it reads.
function placed(nodes) {
  const places = new Map();
  const heights = [];
  for (const node of nodes) { // each stands behind those that it reads
    const column = Math.max(-1, ...node.inputs.map((id) => places.get(id)?.column ?? -1)) + 1;
    heights[column] = (heights[column] ?? 0) + 1;
    places.set(node.id, { column, line: heights[column] - 1 });
  }
  for (const place of places.values()) {
    place.x = place.column * (WIDTH + GAP_X);
    place.y = place.line * (HEIGHT + GAP_Y);
  }
  return { places, columns: heights.length, lines: Math.max(1, ...heights) };
}

function behind(node, source) {
  if (node.watermark_ms === null || source === null) return "";
  const seconds = (source - node.watermark_ms) / 1000;
  return seconds >= 1 ? `${count(seconds)} s behind the source` : "";
}

function watermarkOf(node) {
  const date = node.watermark_ms === null ? null : new Date(node.watermark_ms);
  return date === null || Number.isNaN(date.getTime()) ? "no watermark" : `complete up to ${date.toISOString().slice(11, 19)}`;
}

function box(node, place, source) {
  const group = draw("g", { class: `node ${node.kind}`, transform: `translate(${place.x},${place.y})` });
  group.dataset.id = node.id;
  const short = node.title.length > LETTERS ? `${node.title.slice(0, LETTERS - 1)}…` : node.title;
  const flow = `${count(node.rows_per_s)} rows/s, ${count(node.rows)} in all`;
  const waits = node.lag === null ? behind(node, source) : `lag ${count(node.lag)}`;
  group.append(
    draw("rect", { width: WIDTH, height: HEIGHT, rx: 9 }),
    draw("title", {}, node.title),
    draw("text", { x: 11, y: 20, class: "name" }, short),
    draw("text", { x: 11, y: 38 }, flow),
    draw("text", { x: 11, y: 54 }, watermarkOf(node)),
    draw("text", { x: 11, y: 71 }, waits),
  );
  if (node.late) group.append(draw("text", { x: WIDTH - 11, y: 71, class: "some", "text-anchor": "end" }, `${count(node.late)} late`));
  return group;
}

function edge(from, to, flows) {
  const x = from.x + WIDTH, y = from.y + HEIGHT / 2, end = to.y + HEIGHT / 2, half = (to.x - x) / 2;
  return draw("path", { class: flows ? "edge flows" : "edge", d: `M${x},${y}C${x + half},${y} ${to.x - half},${end} ${to.x},${end}` });
}

function drawing(graph) {
  const { places, columns, lines } = placed(graph.nodes);
  const width = columns * (WIDTH + GAP_X) - GAP_X + 2, height = lines * (HEIGHT + GAP_Y) - GAP_Y + 2;
  const svg = draw("svg", { width, height, viewBox: `-1 -1 ${width} ${height}`, role: "img" });
  svg.append(draw("title", {}, `Graph of ${graph.job}, ${graph.query}`));
  const by = new Map(graph.nodes.map((node) => [node.id, node]));
  for (const node of graph.nodes) {
    for (const id of node.inputs) {
      if (places.has(id)) svg.append(edge(places.get(id), places.get(node.id), by.get(id).rows_per_s > 0));
    }
  }
  const source = graph.nodes.find((node) => node.kind === "source")?.watermark_ms ?? null;
  svg.append(...graph.nodes.map((node) => box(node, places.get(node.id), source)));
  return svg;
}

// Paints anew, but leaves each graph where somebody has scrolled it.
export function paintGraphs(graphs, target) {
  const scrolled = [...target.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  target.replaceChildren(...graphs.map((graph) => {
    const item = document.createElement("div");
    item.className = "graph";
    const head = document.createElement("div");
    head.className = "graph-head";
    head.textContent = `${graph.job}, ${graph.query}`;
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.append(drawing(graph));
    item.append(head, scroll);
    return item;
  }));
  [...target.querySelectorAll(".scroll")].forEach((element, n) => { element.scrollLeft = scrolled[n] ?? 0; });
}
