// The console: wires the manager's stream to the map, the table, the lists and the sheet.

import { api } from "./api.js";
import { District, keyOf } from "./district.js";
import { badge, byId, el, fill, setText } from "./dom.js";
import { CommandList, EventList } from "./events.js";
import { GatewayBoard } from "./gateways.js";
import { Link } from "./link.js";
import { StreetMap } from "./map.js";
import { Sheet } from "./sheet.js";
import { EquipmentTable } from "./table.js";
import { longTime, time } from "./words.js";

const LIST_LENGTH = 200;
const REORDER_MS = 5_000;
const DRAW_MS = 200;
const OPERATOR_KEY = "armoire.operator";

const district = new District();
const operator = byId("operator");
const desk = { operator: () => operator.value, took: (command) => takeCommand(command) };
const map = new StreetMap(byId("map"), district, pick);
const table = new EquipmentTable(byId("table"), district, pick);
const events = new EventList(byId("events"), byId("alarms-only"), pickNamed);
const commands = new CommandList(byId("commands"), desk, pickNamed);
const sheet = new Sheet(byId("sheet"), district, desk, { close: () => pick(null), pick });
const board = new GatewayBoard(byId("gateways"), district, showGateway);
const link = new Link({ state: linkChanged, district: takeDistrict, event: takeEvent });
let framed = false;
let drawnMs = 0;
let reorderedMs = 0;
let listsProblem = "";

function pick(key) {
  const known = key && district.equipment.has(key) ? key : null;
  table.select(known);
  map.select(known);
  byId("main").classList.toggle("with-sheet", Boolean(known));
  if (known) {
    sheet.open(known);
    byId("sheet").focus({ preventScroll: true });
  } else if (sheet.key) {
    sheet.close();
    table.focus();
  }
}

function pickNamed({ gateway, equipment }) {
  if (gateway && equipment) pick(keyOf(gateway, equipment));
}

function linkChanged() {
  district.live = link.state === "live";
  district.heardMs = link.heardMs;
  district.touchAll();
  showHeader();
  draw();
}

function takeDistrict(answer) {
  district.load(answer, Date.now());
  district.live = true;
  table.reorder();
  showHeader();
  draw();
  loadLists();
}

async function loadLists() {
  try {
    const [newestEvents, newestCommands] = await Promise.all([api.events({ limit: LIST_LENGTH }), api.commands(LIST_LENGTH)]);
    events.load(newestEvents);
    commands.load(newestCommands);
    listsProblem = "";
    showHeader();
  } catch (error) {
    listsProblem = `The lists of events and commands are not up to date: ${error.message}.`;
    showHeader();
  }
}

function takeEvent(name, message) {
  if (name === "points") district.applyPoints(message, Date.now()) || link.resync();
  else if (name === "gateway") takeGateway(message);
  else if (name === "command") takeCommand(message);
  else if (name === "event") {
    events.take(message);
    sheet.takeEvent(message);
  }
  draw();
}

// When a link comes or goes, the manager judges every point of that gateway anew.
function takeGateway(message) {
  const before = district.gateways.get(message.id)?.link;
  if (!district.applyGateway(message) || before !== message.link) link.resync();
}

function takeCommand(command) {
  const whole = commands.take(command);
  sheet.takeCommand(whole);
  showHeader();
}

// Many changes, one picture; and no more pictures a second than an eye or a city of 34,000 lamps has use for.
function draw() {
  if (framed) return;
  framed = true;
  const waitMs = Math.max(0, Math.min(DRAW_MS, drawnMs + DRAW_MS - Date.now()));
  setTimeout(() => requestAnimationFrame(() => {
    framed = false;
    const nowMs = Date.now();
    drawnMs = nowMs;
    map.update(district.takeChanged(), nowMs);
    table.refresh(nowMs);
    sheet.update(nowMs);
    if (board.node.open) board.update();
    setText(byId("count"), `${table.order.length} of ${district.equipment.size}`);
    showHeader();
  }), waitMs);
}

function tick() {
  const nowMs = Date.now();
  setText(byId("clock"), longTime(nowMs));
  const busy = byId("table").matches(":hover, :focus-within");
  if (nowMs - reorderedMs > REORDER_MS && !busy) {
    reorderedMs = nowMs;
    table.reorder(nowMs); // Not under somebody's pointer: a row that moves is a wrong row clicked.
  }
  for (const equipment of district.equipment.values()) if (!district.live || district.linkOf(equipment) !== "up") district.changed.add(equipment.key);
  draw();
}

function showHeader() {
  setText(byId("city"), district.city ? `Armoire · ${district.city}` : "Armoire");
  setText(byId("fleet"), district.fleet ? `manager ${district.fleet}${district.term === null ? "" : `, term ${district.term}`}` : "");
  const words = { live: ["●", "live"], connecting: ["◐", "connecting"], stale: ["○", `stale since ${time(link.heardMs)}`] };
  const [symbol, text] = words[link.state];
  const connection = byId("connection");
  if (connection.dataset.state !== link.state || connection.textContent !== `${symbol} ${text}`) {
    connection.dataset.state = link.state;
    setText(connection, `${symbol} ${text}`);
  }
  document.body.classList.toggle("not-live", link.state !== "live");
  const stale = link.state === "stale";
  if (stale) notice(`No connection to the manager: ${link.detail}. Everything below is as of ${time(link.heardMs)} and is not live. Trying again by itself.`);
  else if (link.state === "connecting" && link.detail) notice(`No connection to the manager yet: ${link.detail}. Trying again by itself.`);
  else if (district.broker !== "connected") notice(`The manager has no connection to its broker: ${district.broker}. No gateway can be heard or commanded.`);
  else if (district.standby) notice(`This manager does not lead. ${district.standby}.`);
  else notice(listsProblem);
  showFigures();
  showAlarms();
}

function showFigures() {
  const { up, lost, never } = district.gatewayCounts();
  const latched = district.latched().length;
  const waiting = commands.waiting();
  const signature = [up, lost, never, latched, waiting, link.state].join();
  const node = byId("figures");
  if (node.dataset.signature === signature) return;
  node.dataset.signature = signature;
  const were = link.state === "live" ? "" : "were ";
  const open = { type: "button", class: "figure", title: "Show the gateways", on: { click: () => board.open() } };
  fill(
    node,
    el("button", open, badge(link.state === "live" ? "ok" : "plain", "●", `${up} ${up === 1 ? "gateway" : "gateways"} ${were}up`),
      badge(lost ? "alarm" : "plain", lost ? "▲" : "·", `${lost} lost`),
      never ? badge("plain", "○", `${never} never seen`) : null),
    badge(latched ? "alarm" : "plain", latched ? "!" : "·", `${latched} latched`),
    waiting ? badge("warn", "‖", `${waiting} awaiting approval`) : null,
  );
}

function showAlarms() {
  const lost = [...district.gateways.values()].filter((gateway) => gateway.link === "lost");
  const latched = district.latched();
  const node = byId("alarms");
  const signature = JSON.stringify([lost.map((each) => each.id), latched.map((each) => [each.key, each.latch])]);
  if (node.dataset.signature === signature) return;
  node.dataset.signature = signature;
  node.hidden = !lost.length && !latched.length;
  fill(
    node,
    latched.map((each) => el("button", { type: "button", class: "alarm-item", on: { click: () => pick(each.key) } },
      badge("alarm", "!", `${each.name || each.id}: latched by ${each.latch.rule}`), ` ${each.latch.reason}`)),
    lost.map((each) => el("button", { type: "button", class: "alarm-item", on: { click: () => showGateway(each.id) } },
      badge("alarm", "▲", `gateway ${each.name || each.id} lost`), ` last heard ${time(each.last_seen_ms)}`)),
  );
}

function showGateway(id) {
  byId("filter").value = id;
  table.filter(id);
  draw();
}

function notice(text) {
  const node = byId("notice");
  setText(node, text);
  node.hidden = !text;
}

async function loadOperators() {
  for (;;) { // Until the manager has told.
    try {
      const names = await api.operators();
      fill(operator, el("option", { value: "" }, "choose…"), names.map((name) => el("option", { value: name }, name)));
      const before = sessionStorage.getItem(OPERATOR_KEY);
      if (names.includes(before)) operator.value = before;
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5_000));
    }
  }
}

function actingChanged() {
  sessionStorage.setItem(OPERATOR_KEY, operator.value);
  commands.render();
  sheet.actingChanged();
}

function shortcut(event) {
  const typing = event.target.matches?.("input, select, textarea");
  if (board.node.open) return;
  if (event.key === "Escape" && sheet.key) pick(null);
  else if (event.key === "Escape" && event.target === byId("filter")) byId("filter").blur();
  else if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("filter").focus();
  }
}

byId("filter").addEventListener("input", (event) => {
  table.filter(event.target.value);
  draw();
});
byId("filter").addEventListener("keydown", (event) => event.key === "ArrowDown" && (event.preventDefault(), table.focus()));
operator.addEventListener("change", actingChanged);
addEventListener("keydown", shortcut);
setInterval(tick, 1000);
tick();
loadOperators();
link.start();
