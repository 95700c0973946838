// The two lists on the right: what happened, and what was asked. Newest first, live.

import { approvalButton, asked, idOf, issuedMs, outcomeBadge, statusOf } from "./commands.js";
import { badge, el, fill } from "./dom.js";
import { spaced, time } from "./words.js";

const EVENTS_MAX = 300;
const COMMANDS_MAX = 100;
const ALARM = /^(trip|alarm|latch\.set|fault|fork|(link|gateway)\.lost|quarantine|conflict|breaker|clone)/;
const WARNING = /(refused|expired|failed|unknown|lost|stale|mode|reject|silent|gap)/;

/** "alarm", "warn" or "plain", from the kind of an event. */
export function severity(event) {
  if (ALARM.test(event.kind ?? "")) return "alarm";
  return WARNING.test(event.kind ?? "") ? "warn" : "plain";
}

export function eventItem(event, onPick, withEquipment = true) {
  const tone = severity(event);
  const symbol = { alarm: "▲", warn: "△", plain: "·" }[tone];
  const where = event.equipment ? `${event.equipment} · ${event.gateway}` : event.gateway;
  return el(
    "li", { class: `event ${tone}` },
    el("div", { class: "line" }, el("time", {}, time(event.t_ms)), badge(tone, symbol, spaced(event.kind)), event.rule ? el("span", { class: "rule" }, event.rule) : null,
      withEquipment && where ? el("button", { type: "button", class: "link", on: { click: () => onPick(event) } }, where) : null),
    event.text ? el("div", { class: "text" }, event.text) : null,
  );
}

export class EventList {
  /** @param {HTMLElement} node @param {HTMLInputElement} alarmsOnly @param {function(object)} onPick */
  constructor(node, alarmsOnly, onPick) {
    this.node = node;
    this.alarmsOnly = alarmsOnly;
    this.onPick = onPick;
    this.events = [];
    this.seen = new Set();
    alarmsOnly.addEventListener("change", () => this.#render());
  }

  load(events) {
    this.events = [];
    this.seen = new Set();
    for (const event of [...events].sort((a, b) => a.t_ms - b.t_ms)) this.#remember(event);
    this.#render();
  }

  take(event) {
    if (!this.#remember(event)) return;
    if (!this.#wanted(event)) return;
    this.node.querySelector(".empty")?.remove();
    this.node.prepend(eventItem(event, this.onPick));
    while (this.node.childElementCount > EVENTS_MAX) this.node.lastElementChild.remove();
  }

  #wanted(event) {
    return !this.alarmsOnly.checked || severity(event) === "alarm";
  }

  #remember(event) {
    const key = event.id ?? JSON.stringify(event);
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    this.events.unshift({ ...event, key });
    while (this.events.length > EVENTS_MAX) this.seen.delete(this.events.pop().key);
    return true;
  }

  #render() {
    const shown = this.events.filter((event) => this.#wanted(event));
    fill(this.node, shown.length ? shown.map((event) => eventItem(event, this.onPick)) : el("li", { class: "empty quiet" }, "Nothing yet."));
  }
}

export class CommandList {
  /** @param {HTMLElement} node @param {{operator, took}} desk @param {function(object)} onPick */
  constructor(node, desk, onPick) {
    this.node = node;
    this.desk = desk;
    this.onPick = onPick;
    this.commands = new Map();
  }

  load(commands) {
    this.commands = new Map();
    for (const command of commands) this.commands.set(idOf(command), command);
    this.render();
  }

  /** Take what is newly known of a command; returns it whole. */
  take(command) {
    const id = idOf(command);
    const whole = { ...this.commands.get(id), ...command };
    this.commands.set(id, whole);
    this.render();
    return whole;
  }

  waiting() {
    return [...this.commands.values()].filter((command) => statusOf(command) === "awaiting-approval").length;
  }

  render() {
    const newest = [...this.commands.values()].sort((a, b) => issuedMs(b) - issuedMs(a)).slice(0, COMMANDS_MAX);
    this.commands = new Map(newest.map((command) => [idOf(command), command]));
    fill(this.node, newest.length ? newest.map((command) => this.#item(command)) : el("li", { class: "empty quiet" }, "None yet."));
  }

  #item(command) {
    const approvals = (command.approvers ?? []).filter((each) => each !== command.operator);
    const by = [command.operator, ...approvals].filter(Boolean).join(" + ");
    return el(
      "li", { class: "event", "data-command": idOf(command) },
      el("div", { class: "line" }, el("time", {}, time(issuedMs(command))), el("strong", {}, asked(command)),
        el("button", { type: "button", class: "link", on: { click: () => this.onPick(command) } }, `${command.equipment} · ${command.gateway}`),
        by ? el("span", { class: "quiet" }, `by ${by}`) : null),
      el("div", { class: "text" }, outcomeBadge(command), approvalButton(command, this.desk)),
    );
  }
}
