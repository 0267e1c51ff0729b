// Delivery's page: /api/status every two seconds. Labels and comments are the input of strangers: everything is shown
// by textContent.

const POLL_MS = 2000;

const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => (value === null || value === undefined ? "–" : numbers.format(value));
const plural = (number, word) => `${numbers.format(number)} ${word}${number === 1 ? "" : "s"}`;

let lostAt = null;

function cell(text, className) {
  const element = document.createElement("td");
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

const labels = (all) => Object.entries(all).map(([name, value]) => `${name}=${value}`).join(", ") || "all alerts";

function at(ms) {
  if (ms === null || ms === undefined) return "–";
  const moment = new Date(ms);
  const time = moment.toTimeString().slice(0, 8);
  return moment.toDateString() === new Date().toDateString() ? time : `${moment.toLocaleDateString("sv")} ${time}`;
}

function until(ms) {
  if (ms === null || ms === undefined) return "–";
  const seconds = Math.round((ms - Date.now()) / 1000);
  if (seconds <= 0) return "now";
  return seconds < 120 ? `in ${seconds} s` : seconds < 7200 ? `in ${Math.round(seconds / 60)} min` : at(ms);
}

function paintRows(name, rows) {
  // Cards on a phone have no head: each cell knows what it is.
  const heads = [...$(name).closest("table").querySelectorAll("th")].map((head) => head.textContent);
  for (const one of rows) [...one.cells].forEach((shown, place) => { shown.dataset.name = heads[place]; });
  $(name).replaceChildren(...rows);
  const table = $(`${name.replace(/s$/, "")}-table`);
  if (table) table.hidden = rows.length === 0;
  const empty = $(`no-${name}`);
  if (empty) empty.hidden = rows.length > 0;
  const section = $(`${name}-section`);
  if (section) section.hidden = rows.length === 0;
}

const STATES = { closed: "up", open: "left alone for a while", half_open: "trying again" };

function receiverRow(way) {
  const state = way.up ? "up" : way.breaker === "closed" ? "failing" : STATES[way.breaker];
  return row(
    cell(way.receiver, "strong"), cell(way.name.split("/").slice(1).join(" ") + (way.streaming ? ", every alert" : ""), "whole"),
    cell(state, way.up ? "good" : "bad"), cell(count(way.outstanding), way.outstanding > 0 ? "n some" : "n"),
    cell(count(way.sent), "n"), cell(count(way.failed), way.failed > 0 ? "n some" : "n"), cell(at(way.sent_ms), "whole"),
    cell(way.problem || "–", "wrap"),
  );
}

function groupRow(group) {
  return row(
    cell(labels(group.labels), "wrap strong"), cell(group.receiver || "nobody", "whole"), cell(count(group.firing), "n"),
    cell(count(group.alerts - group.firing), "n"), cell(at(group.told_ms)), cell(until(group.next_ms)),
  );
}

const SILENCE_STATES = { pending: "not yet", active: "active", ending_soon: "ends soon", expired: "over" };

function silenceRow(silence) {
  const shown = cell(SILENCE_STATES[silence.state], silence.state === "ending_soon" ? "some" : "");
  return row(
    cell(silence.matchers.join(", "), "wrap strong"), shown, cell(at(Date.parse(silence.ends_at))),
    cell(silence.created_by, "wrap"), cell(silence.comment, "wrap"), cell(silence.id, "whole"),
  );
}

const REASONS = { new: "new alerts", repeat: "still there", resolved: "over", digest: "digest of a flood" };

function toldRow(told) {
  return row(
    cell(at(told.at_ms)), cell(told.way, "whole"), cell(labels(told.group_labels), "wrap strong"), cell(REASONS[told.reason] ?? told.reason),
    cell(count(told.alerts), "n"),
    told.fate === "sent" ? cell("sent", "good") : cell(`given up: ${told.problem}`, "bad wrap"),
  );
}

function paint(status) {
  const state = $("state");
  const works = status.ready;
  state.className = `state ${works ? "live" : ""}`;
  $("state-text").textContent = !works ? "not ready" : status.state === "active" ? "delivering" : "standing by";
  const notice = $("notice");
  notice.hidden = works && status.state === "active";
  notice.className = "notice";
  notice.textContent = works
    ? "Another process of this name delivers; this one takes over when it is gone. Receivers and groups are on its page."
    : `Not ready: ${status.reason}`;
  const fates = Object.entries(status.fates).filter(([, number]) => number > 0);
  $("taken").textContent = count(fates.reduce((sum, [, number]) => sum + number, 0));
  $("fates").textContent = fates.map(([fate, number]) => `${numbers.format(number)} ${fate.replace("_", " ")}`).join(", ") || "nothing yet";
  $("group-count").textContent = count(status.group_count);
  $("lag").textContent = count(status.lag);
  const waiting = status.receivers.reduce((sum, way) => sum + way.outstanding, 0);
  $("outstanding").textContent = count(waiting);
  $("outstanding-note").textContent = `to ${plural(status.receivers.length, "way")} of ${plural(new Set(status.receivers.map((way) => way.receiver)).size, "receiver")}`;
  paintRows("receivers", status.receivers.map(receiverRow));
  paintRows("groups", status.groups.map(groupRow));
  paintRows("silences", status.silences.map(silenceRow));
  paintRows("told", status.notifications.map(toldRow));
  paintRows("acks", status.acks.map((ack) => row(cell(at(ack.at_ms)), cell(ack.by, "wrap strong"), cell(ack.alert, "wrap"), cell(ack.comment ?? "", "wrap"))));
  paintRows("archives", status.archives.map((one) => row(cell(one.name, "strong"), cell(count(one.files), "n"), cell(count(one.records), "n"), cell(count(one.pending_bytes), "n"), cell(one.problem || "–", "wrap"))));
}

function lost() {
  lostAt ??= new Date();
  $("state").className = "state lost";
  $("state-text").textContent = "connection lost";
  $("notice").hidden = false;
  $("notice").className = "notice lost";
  $("notice").textContent = `Connection lost at ${lostAt.toTimeString().slice(0, 8)}. What you see is from then; trying again.`;
}

async function poll() {
  try {
    const response = await fetch("/api/status", { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(String(response.status));
    const status = await response.json();
    lostAt = null;
    paint(status);
  } catch {
    lost();
  }
  setTimeout(poll, POLL_MS);
}

poll();
