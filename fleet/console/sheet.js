// The sheet of one piece of equipment: what it is, how it is, what may be asked of it, what happened to it.

import { api } from "./api.js";
import { Chart } from "./chart.js";
import { CommandPanel } from "./commands.js";
import { badge, el, fill, setText } from "./dom.js";
import { eventItem } from "./events.js";
import { groups } from "./kinds.js";
import { QUALITIES, STALE, age, qualitySymbol, shortfalls, spaced, time, valueWithUnit } from "./words.js";

const EVENTS_SHOWN = 20;
const ASPECT_WORDS = { R: "red", Y: "yellow", G: "green", "-": "dark" };

export class Sheet {
  /** @param {HTMLElement} node @param {District} district @param {object} desk @param {{close: function(), pick: function(string)}} on */
  constructor(node, district, desk, on) {
    this.node = node;
    this.district = district;
    this.desk = desk;
    this.on = on;
    this.key = null;
  }

  open(key) {
    const equipment = this.district.equipment.get(key);
    if (!equipment) return;
    this.key = key;
    this.revision = this.district.revision;
    this.rows = new Map();
    this.stateSignature = "";
    this.events = [];
    this.status = el("div", { class: "status" });
    this.groups = el("div", { class: "groups" });
    this.mode = el("div", { class: "facts" });
    this.points = el("tbody");
    this.eventList = el("ol", { class: "list" });
    this.panel = new CommandPanel(equipment, this.desk, (of, name) => this.district.quality(of, name));
    this.chart = new Chart(equipment, this.district);
    fill(
      this.node, this.#head(equipment), this.status, this.groups, this.mode, this.panel.node,
      el("section", { "aria-label": "Points" }, el("h3", {}, "Points"), el("table", { class: "points" },
        el("thead", {}, el("tr", {}, ["Point", "Value", "Quality", "Age"].map((title) => el("th", { scope: "col" }, title)))), this.points)),
      this.chart.node,
      el("section", { "aria-label": "Recent events" }, el("h3", {}, "Recent events"), this.eventList),
    );
    this.node.hidden = false;
    this.node.scrollTop = 0;
    this.update(Date.now());
    this.#fetchEvents();
  }

  close() {
    this.key = null;
    this.node.hidden = true;
    fill(this.node);
  }

  /** Bring everything shown up to date; cheap when nothing changed. */
  update(nowMs) {
    if (!this.key) return;
    const equipment = this.district.equipment.get(this.key);
    if (!equipment) return void this.on.close();
    this.chart.equipment = this.panel.equipment = equipment;
    const state = this.district.state(equipment, nowMs);
    this.#showState(equipment, state);
    for (const name of Object.keys(equipment.points).sort()) this.#showPoint(equipment, name, nowMs);
    for (const [name, row] of this.rows) if (!(name in equipment.points)) this.rows.delete(name) && row.node.remove();
    if (!this.rows.size && !this.points.childElementCount) fill(this.points, el("tr", {}, el("td", { colspan: 4, class: "quiet" }, "No values have been received.")));
    this.chart.tick(nowMs);
  }

  takeEvent(event) {
    const equipment = this.key && this.district.equipment.get(this.key);
    if (!equipment || event.gateway !== equipment.gateway || event.equipment !== equipment.id) return;
    this.events = [event, ...this.events].slice(0, EVENTS_SHOWN);
    this.#showEvents();
  }

  takeCommand(command) {
    if (this.key) this.panel.take(command);
  }

  actingChanged() {
    if (this.key) this.panel.actingChanged();
  }

  #head(equipment) {
    const parent = this.district.parentOf(equipment);
    const place = Number.isFinite(equipment.latitude) ? `${equipment.latitude.toFixed(5)} N ${equipment.longitude.toFixed(5)} E` : "";
    return el(
      "header", {},
      el("div", { class: "bar" }, el("h2", {}, equipment.name || equipment.id),
        el("button", { type: "button", class: "close", "aria-label": "Close the sheet (Esc)", title: "Close (Esc)", on: { click: () => this.on.close() } }, "Close")),
      el("div", { class: "quiet" }, [equipment.kind, equipment.id, `gateway ${equipment.gateway}`, place].filter(Boolean).join(" · ")),
      parent ? el("div", { class: "quiet" }, "part of ", el("button", { type: "button", class: "link", on: { click: () => this.on.pick(parent.key) } }, parent.name || parent.id)) : null,
      equipment.children.length ? el("div", { class: "quiet" }, `drives ${equipment.children.length} ${equipment.children.length === 1 ? "piece" : "pieces"} of equipment`) : null,
    );
  }

  #showState(equipment, state) {
    const link = this.district.linkOf(equipment);
    const live = state.quality < STALE;
    const why = !this.district.live ? "this page has no connection to the manager" : link === "lost" ? "its gateway is lost" : link === "never" ? "its gateway was never connected" : quiet(this.district.gateways.get(equipment.gateway));
    const forMs = live ? 0 : Math.floor(state.silentMs / 1000) * 1000;
    const latch = equipment.latch;
    const cause = equipment.mode_cause ?? equipment.cause ?? "";
    const gatewayMode = this.district.gateways.get(equipment.gateway)?.mode;
    const signature = JSON.stringify([state.text, state.tone, live, why, forMs, latch, equipment.mode, cause, gatewayMode, equipment.holding, equipment.points.aspects?.value, equipment.points.groups?.value]);
    if (signature === this.stateSignature) return;
    this.stateSignature = signature;
    fill(
      this.status,
      live ? badge(state.tone ?? "plain", state.tone ? "▲" : "●", state.text || "no state to show")
        : badge("stale", "○", state.ageMs === null ? `no values: ${why}` : `stale for ${age(forMs)}: ${why}`),
      !live && state.text ? el("span", { class: "quiet" }, `last known: ${state.text}`) : null,
    );
    this.#showGroups(equipment, live);
    fill(
      this.mode,
      fact(live ? "Mode" : "Mode, last known", [spaced(equipment.mode || gatewayMode || "–"), cause && cause !== "-" ? `: ${cause}` : ""].join("")),
      equipment.cleared_by && equipment.cleared_by !== "-" ? fact("Cleared by", equipment.cleared_by) : null,
      equipment.holding ? fact("In force", equipment.holding) : null,
      latch ? el("div", { class: "latch", role: "alert" }, badge("alarm", "!", `Latched by ${latch.rule}`), el("div", {}, latch.reason),
        el("div", { class: "quiet" }, latch.since_ms ? `since ${time(latch.since_ms)}; ` : "", "reset only on site, door open and local key turned")) : null,
    );
  }

  #showGroups(equipment, live) {
    const shown = equipment.kind === "junction" ? groups(equipment.points) : [];
    fill(this.groups, shown.map(({ number, aspect }) => {
      const word = ASPECT_WORDS[aspect] ?? "unknown";
      return el("span", { class: `group ${live ? word : "stale"}`, title: `group ${number}: ${live ? word : `was ${word}`}` },
        el("span", { class: "dot" }, aspect), el("span", { class: "number" }, number));
    }));
  }

  #showPoint(equipment, name, nowMs) {
    const point = equipment.points[name];
    let row = this.rows.get(name);
    if (!row) {
      if (!this.rows.size) fill(this.points);
      const cells = { name: el("th", { scope: "row" }, name), value: el("td"), quality: el("td", { class: "whole" }), age: el("td", { class: "c-age" }) };
      row = { node: el("tr", {}, Object.values(cells)), ...cells };
      this.rows.set(name, row);
      this.points.append(row.node);
    }
    const quality = this.district.quality(equipment, name);
    row.node.className = quality >= STALE ? "stale" : "";
    setText(row.value, valueWithUnit(name, point.value));
    setText(row.quality, `${qualitySymbol(quality)} ${QUALITIES[quality]}`);
    setText(row.age, age(this.district.age(point, nowMs)));
    row.age.title = point.t_ms ? `read at ${time(point.t_ms)}` : "";
  }

  async #fetchEvents() {
    const key = this.key;
    const { gateway, id } = this.district.equipment.get(key);
    try {
      const events = await api.events({ equipment: id, gateway, limit: EVENTS_SHOWN });
      if (this.key !== key) return;
      this.events = [...events].sort((a, b) => b.t_ms - a.t_ms);
      this.#showEvents();
    } catch (error) {
      if (this.key === key) fill(this.eventList, el("li", { class: "quiet" }, `The events cannot be shown: ${error.message}.`));
    }
  }

  #showEvents() {
    const items = this.events.map((event) => eventItem(event, () => {}, false));
    fill(this.eventList, items.length ? items : el("li", { class: "quiet" }, "None recorded."));
  }
}

/** Why there may be no present value although the gateway is up. */
function quiet(gateway) {
  const short = shortfalls(gateway);
  return short.length ? `the cabinet does not hear it, or what it heard has not arrived: ${short.join("; ")}` : "the cabinet does not hear it";
}

function fact(name, text) {
  return el("div", {}, el("span", { class: "quiet" }, `${name}: `), text);
}
