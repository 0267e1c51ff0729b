// The live page: /api/status every two seconds, alerts by server-sent events. Rows are the input of strangers:
// everything is shown by textContent.

import { paintGraphs } from "/static/graph.js";

const POLL_MS = 2000;
const RETRY_MS = 2000;
const PAINT_MS = 250; // a flood of alerts is painted in gulps
const MOST_ALERTS = 100;
const SHORT = 8; // as in page.css
const SPARK_POINTS = 60;
const LEVELS = new Set(["low", "medium", "high", "critical"]);

const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (value) => (value === null || value === undefined ? "–" : value < 100000 ? numbers.format(value) : compact.format(value));
const plural = (number, word) => `${numbers.format(number)} ${word}${number === 1 ? "" : "s"}`;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Whole numbers beyond 2^53 lose digits in JavaScript: keep their text where the browser gives it.
function exact(key, value, context) {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;
}

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return JSON.parse(await response.text(), exact);
}

const shown = (value) => (value === null ? "NULL" : typeof value === "object" ? JSON.stringify(value) : String(value));

// --- connection ---------------------------------------------------------------------------------

let lostAt = null;
let worker = null;

function paintState() {
  const state = $("state");
  const notice = $("notice");
  const waiting = worker && !(worker.ready && worker.healthy);
  state.className = `state ${lostAt ? "lost" : worker && !waiting ? "live" : ""}`;
  $("state-text").textContent = lostAt ? "connection lost" : !worker ? "connecting" : waiting ? "not ready" : "live";
  notice.hidden = !(lostAt || waiting);
  notice.className = `notice ${lostAt ? "lost" : ""}`;
  const text = lostAt
    ? `Connection lost at ${lostAt.toTimeString().slice(0, 8)}. What you see is from then; trying again.`
    : waiting ? `The worker is not ready: ${worker.reason}` : "";
  if (notice.textContent !== text) notice.textContent = text;
}

function lost() {
  lostAt ??= new Date();
  paintState();
}

function found() {
  lostAt = null;
  paintState();
}

// --- figures ------------------------------------------------------------------------------------

const rates = [];

function paintSpark() {
  const top = Math.max(1, ...rates) * 1.15;
  const step = 240 / (SPARK_POINTS - 1);
  const start = 240 - (rates.length - 1) * step;
  const points = rates.map((rate, n) => `${(start + n * step).toFixed(1)},${(47 - (rate / top) * 44).toFixed(1)}`);
  if (points.length < 2) return;
  $("spark-line").setAttribute("d", `M${points.join("L")}`);
  $("spark-area").setAttribute("d", `M${start.toFixed(1)},48L${points.join("L")}L240,48Z`);
}

const utc = (millis) => {
  const date = new Date(millis);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
};

function paintFigures() {
  rates.push(worker.rows_per_s);
  if (rates.length > SPARK_POINTS) rates.shift();
  paintSpark();
  $("rate").textContent = count(worker.rows_per_s);
  $("lag").textContent = count(worker.lag);
  $("alert-count").textContent = count(worker.alerts);
  $("row-count").textContent = `of ${count(worker.rows)} rows`;
  const watermark = worker.watermark_ms === null ? null : utc(worker.watermark_ms);
  $("watermark").textContent = watermark ? watermark.slice(11, 19) : "–";
  $("watermark-date").textContent = watermark ? `${watermark.slice(0, 10)}, event time UTC` : "event time, UTC";
}

// A topic that several jobs, or several plans of one, read has a row for each.
function readers(rows) {
  const placeOf = (row) => JSON.stringify([row.topic, row.partition, row.job]);
  const counts = new Map();
  for (const row of rows) counts.set(placeOf(row), (counts.get(placeOf(row)) ?? 0) + 1);
  return (row) => (counts.get(placeOf(row)) > 1 ? `${row.job}: ${row.queries.join(", ")}` : row.job);
}

function paintPartitions() {
  const rows = [...worker.partitions].sort((a, b) =>
    a.topic.localeCompare(b.topic) || a.partition - b.partition || a.job.localeCompare(b.job));
  const readerOf = readers(rows);
  $("no-partitions").hidden = rows.length > 0;
  $("partition-table").hidden = rows.length === 0;
  $("partitions").replaceChildren(...rows.map((row) => {
    const line = make("tr");
    const watermark = row.watermark_ms === null ? null : utc(row.watermark_ms);
    const cell = (name, className, text) => {
      const made = make("td", className, text);
      made.dataset.name = name; // shown beside the value where there is no room for a header
      return made;
    };
    const topic = cell("Topic", "topic", row.repartitioned ? `${row.source}, repartitioned` : row.topic);
    topic.title = row.topic;
    const number = (name, value) => cell(name, "n", count(value));
    const bad = (name, value) => cell(name, value ? "n some" : "n", count(value));
    line.append(
      topic,
      cell("Partition", "n", String(row.partition)),
      cell("For", "for quiet", readerOf(row)),
      number("Rows/s", row.rows_per_s),
      number("Lag", row.lag),
      cell("Watermark", "time", watermark ? watermark.slice(0, 23).replace("T", " ") : "–"),
      number("Waiting", row.buffered),
      bad("Late", row.late),
      bad("Rejected", row.rejected),
      bad("Dead letters", row.dead_letters),
    );
    return line;
  }));
}

function paintJobs(jobs) {
  $("no-jobs").hidden = jobs.length > 0;
  $("jobs").replaceChildren(...jobs.map((job) => {
    const item = make("li");
    const head = make("div", "job-head");
    head.append(make("span", "job-name", job.name), make("span", "quiet", `version ${job.version}`), make("span", "quiet", job.path));
    item.append(head, ...job.queries.map((query) => {
      const entry = make("div", "query");
      const flow = [query.source, query.sink].filter(Boolean).join(" → ");
      entry.append(make("div", "quiet", `${query.name}: ${flow}, ${query.routing}, ${plural(query.alerts, "alert")}`));
      if (query.description) entry.append(make("div", "rule", query.description));
      return entry;
    }));
    return item;
  }));
}

async function poll() {
  if (!document.hidden) {
    try {
      worker = await get("/api/status");
      paintFigures();
      paintPartitions();
      paintJobs((await get("/api/jobs")).jobs);
      paintGraphs((await get("/api/graph")).graphs, $("graphs"));
      $("no-graphs").hidden = $("graphs").childElementCount > 0;
      found();
    } catch {
      lost();
    }
  }
  setTimeout(poll, POLL_MS);
}

// --- alerts -------------------------------------------------------------------------------------

const known = new Set();
let coming = [];
let painting = null;
let first = true;

function rowsOf(alert) {
  const columns = [...new Set(alert.rows.flatMap((row) => Object.keys(row.values)))];
  const table = make("table");
  const head = make("tr");
  head.append(...["row", "event time", ...columns].map((name) => make("th", "", name)));
  const body = make("tbody");
  body.append(...alert.rows.map((row) => {
    const line = make("tr");
    line.append(make("td", "", row.variable), make("td", "", row.event_time.replace("T", " ").replace("Z", "")));
    line.append(...columns.map((name) => make("td", "", shown(row.values[name] ?? null))));
    return line;
  }));
  table.append(make("thead"), body);
  table.tHead.append(head);
  const scroll = make("div", "scroll");
  scroll.append(table);
  return scroll;
}

function details(alert) {
  const box = make("details");
  box.append(make("summary", "", alert.rows_total ? `Evidence: ${plural(alert.rows_total, "row")}` : "Details"));
  box.addEventListener("toggle", () => {
    if (box.childElementCount > 1) return;
    if (alert.rows.length) box.append(rowsOf(alert));
    if (alert.rows.length < alert.rows_total) {
      box.append(make("p", "facts", `The first and the last of ${plural(alert.rows_total, "row")}.`));
    }
    const output = Object.entries(alert.payload).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
    const { topic, partition, offset } = alert.source;
    box.append(
      make("p", "facts", `Output: ${output}`),
      make("p", "facts", `${partition < 0 ? `Topic ${topic}` : `Last row: ${topic}, partition ${partition}, offset ${offset}`}. Alert ${alert.id}, job version ${alert.version}.`),
    );
  });
  return box;
}

// What happened, and the evidence for it in a quieter tone. A wrong cut would only be a matter of tone.
function explanationOf(alert) {
  const text = alert.explanation;
  const begins = [...new Set(alert.rows.map((row) => `. ${row.variable}: `)), ". matched ", ". Rule: "];
  const cut = Math.min(...begins.map((begin) => text.indexOf(begin)).filter((place) => place >= 0));
  const paragraph = make("p", "explanation");
  if (cut < text.length) paragraph.append(text.slice(0, cut + 2), make("span", "evidence", text.slice(cut + 2)));
  else paragraph.append(text);
  return paragraph;
}

function itemOf(alert) {
  const level = LEVELS.has(alert.severity) ? alert.severity : "medium";
  const item = make("li", first ? level : `${level} fresh`);
  item.dataset.id = alert.id;
  const head = make("div", "alert-head");
  const key = Object.values(alert.key).map(shown).join(", ") || alert.query;
  const time = make("time", "", `${alert.event_time.replace("T", " ").replace("Z", "")} UTC`);
  time.dateTime = alert.event_time;
  head.append(make("span", "alert-key", key), make("span", "severity", level), make("span", "", alert.job), time);
  item.append(head, explanationOf(alert), details(alert));
  return item;
}

function paintMore() {
  const list = $("alerts");
  const short = list.classList.contains("short");
  $("more").hidden = list.childElementCount <= SHORT;
  $("more").textContent = short ? `Show all ${list.childElementCount}` : "Show fewer";
}

$("more").addEventListener("click", () => {
  $("alerts").classList.toggle("short");
  paintMore();
});

function paintAlerts() {
  painting = null;
  const items = coming.slice(-MOST_ALERTS).reverse().map(itemOf);
  for (const alert of coming.slice(0, -MOST_ALERTS)) known.delete(alert.id);
  coming = [];
  const list = $("alerts");
  list.prepend(...items);
  while (list.childElementCount > MOST_ALERTS) {
    known.delete(list.lastElementChild.dataset.id);
    list.lastElementChild.remove();
  }
  $("no-alerts").hidden = list.childElementCount > 0;
  paintMore();
  first = false;
}

function take(alerts) { // oldest first
  for (const alert of alerts) {
    if (known.has(alert.id)) continue;
    known.add(alert.id);
    coming.push(alert);
  }
  painting ??= setTimeout(paintAlerts, first ? 0 : PAINT_MS);
}

function listen() {
  const events = new EventSource("/api/alerts/stream");
  let earlier = Promise.resolve();
  let over = false;
  const again = () => {
    if (over) return;
    over = true;
    events.close();
    lost();
    setTimeout(listen, RETRY_MS);
  };
  events.onopen = () => {
    earlier = get(`/api/alerts?limit=${MOST_ALERTS}`).then((page) => take(page.alerts.reverse()), again);
  };
  events.onmessage = (event) => earlier.then(() => take([JSON.parse(event.data, exact)]));
  events.onerror = again;
}

listen();
poll();
