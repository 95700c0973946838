// The table of all equipment. Only the rows in view exist, so a city's worth of lamps scrolls as fast as ten.

import { badge, el, fill, setText } from "./dom.js";
import { STALE, QUALITIES, age, qualitySymbol, spaced } from "./words.js";

const ROW_PX = 30;
const ROWS_BEYOND = 8;
const MODE_TONES = { held: "alarm", local: "warn", autonomous: "warn" };
const MODE_SYMBOLS = { supervised: "○", autonomous: "◇", local: "⚒", held: "■" };
const COLUMNS = [
  ["kind", "Kind"], ["name", "Name"], ["gateway", "Gateway"], ["state", "State"], ["quality", "Quality"], ["age", "Age"], ["mode", "Mode"],
];

export class EquipmentTable {
  /** @param {HTMLElement} node @param {District} district @param {function(string)} onPick */
  constructor(node, district, onPick) {
    this.scroller = node;
    this.district = district;
    this.onPick = onPick;
    this.sort = { column: "kind", up: true };
    this.words = [];
    this.order = [];
    this.rows = new Map();
    this.active = null;
    this.selected = null;
    this.heads = new Map(COLUMNS.map(([column, title]) => [column, this.#head(column, title)]));
    this.before = el("tr", { class: "spacer", "aria-hidden": "true" });
    this.after = el("tr", { class: "spacer", "aria-hidden": "true" });
    this.body = el("tbody", { on: { keydown: (event) => this.#key(event) } });
    this.table = el("table", { class: "equipment" }, el("thead", {}, el("tr", {}, [...this.heads.values()])), this.body);
    fill(node, this.table);
    node.addEventListener("scroll", () => this.#window(), { passive: true });
    new ResizeObserver(() => this.#window()).observe(node);
  }

  filter(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.reorder();
    this.scroller.scrollTop = 0;
  }

  select(key) {
    this.selected = key;
    if (key) this.active = key;
    this.#window();
  }

  /** Filter and sort anew, and show what is in view. */
  reorder(nowMs = Date.now()) {
    const entries = [];
    for (const equipment of this.district.equipment.values()) {
      const cells = this.#cells(equipment, nowMs);
      if (this.words.every((word) => cells.text.includes(word))) entries.push([equipment.key, cells.sort[this.sort.column], cells.sort.name]);
    }
    const sign = this.sort.up ? 1 : -1;
    entries.sort((a, b) => sign * compare(a[1], b[1]) || compare(a[2], b[2]));
    this.order = entries.map(([key]) => key);
    this.table.setAttribute("aria-rowcount", String(this.order.length + 1));
    this.#window(nowMs);
  }

  /** Refresh what is in view; the order only follows when somebody sorts, filters or the district changes. */
  refresh(nowMs) {
    this.#window(nowMs);
  }

  focus() {
    const row = this.rows.get(this.active) ?? this.rows.values().next().value;
    row?.node.focus();
  }

  #head(column, title) {
    const button = el("button", { type: "button", on: { click: () => this.#sortBy(column) } }, title);
    return el("th", { scope: "col", class: `c-${column}`, "aria-sort": column === "kind" ? "ascending" : "none" }, button);
  }

  #sortBy(column) {
    this.sort = { column, up: this.sort.column === column ? !this.sort.up : true };
    for (const [name, head] of this.heads) head.setAttribute("aria-sort", name !== column ? "none" : this.sort.up ? "ascending" : "descending");
    this.reorder();
  }

  #cells(equipment, nowMs) {
    const state = this.district.state(equipment, nowMs);
    const word = state.quality < STALE ? QUALITIES[state.quality] : state.ageMs === null ? "no values" : QUALITIES[state.quality];
    const mode = String(equipment.mode ?? "").toLowerCase();
    const name = equipment.name || equipment.id;
    return {
      state, word, mode, name,
      text: `${equipment.kind} ${name} ${equipment.id} ${equipment.gateway} ${state.text} ${word} ${mode} ${state.latched ? "latched" : ""}`.toLowerCase(),
      sort: { kind: equipment.kind, name, gateway: equipment.gateway, state: state.text, quality: state.quality, age: state.ageMs ?? Infinity, mode },
    };
  }

  #window(nowMs = Date.now()) {
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ROW_PX) - ROWS_BEYOND);
    const last = Math.min(this.order.length, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / ROW_PX) + ROWS_BEYOND);
    const keys = this.order.slice(first, last);
    const wanted = new Set(keys);
    if (!wanted.has(this.active)) this.tabKey = keys[0];
    else this.tabKey = this.active;
    const focused = document.activeElement?.closest?.("tr.row")?.dataset.key;
    for (const [key, row] of this.rows) if (!wanted.has(key)) this.rows.delete(key) && row.node.remove();
    keys.forEach((key, index) => this.#show(key, first + index, nowMs));
    const nodes = keys.map((key) => this.rows.get(key).node);
    const inPlace = nodes.every((node, index) => this.body.children[index + 1] === node) && this.body.children.length === nodes.length + 2;
    if (!inPlace) fill(this.body, this.before, nodes, this.after);
    if (!inPlace && focused && this.rows.has(focused)) this.rows.get(focused).node.focus({ preventScroll: true });
    this.before.style.height = `${first * ROW_PX}px`;
    this.after.style.height = `${(this.order.length - last) * ROW_PX}px`;
  }

  #show(key, index, nowMs) {
    const equipment = this.district.equipment.get(key);
    let row = this.rows.get(key);
    if (!row) this.rows.set(key, (row = this.#row(key)));
    const { state, word, mode, name } = this.#cells(equipment, nowMs);
    const live = state.quality < STALE;
    row.node.setAttribute("aria-rowindex", String(index + 2));
    row.node.setAttribute("aria-selected", String(key === this.selected));
    row.node.tabIndex = key === this.tabKey ? 0 : -1;
    row.node.className = `row${live ? "" : " stale"}${key === this.selected ? " selected" : ""}`;
    setText(row.kind, equipment.kind);
    setText(row.name, name);
    row.name.title = `${name} (${equipment.id})`;
    setText(row.gateway, equipment.gateway);
    setText(row.quality, `${qualitySymbol(state.quality)} ${word}`);
    setText(row.age, age(live || state.ageMs === null ? state.ageMs : state.silentMs));
    const shown = state.text || "–";
    const text = live ? shown : state.ageMs === null ? "–" : `was: ${shown}`;
    const signature = [text, state.tone, state.latched, mode, live].join("|");
    if (row.signature === signature) return;
    row.signature = signature;
    const tone = live ? state.tone : undefined;
    fill(row.state, state.latched && badge("alarm", "!", "latched"), tone ? badge(tone, tone === "alarm" ? "▲" : "△", text) : text);
    row.state.title = text;
    fill(row.mode, mode ? badge(MODE_TONES[mode] ?? "plain", MODE_SYMBOLS[mode] ?? "·", spaced(mode)) : "–");
  }

  #row(key) {
    const cells = Object.fromEntries(COLUMNS.map(([column]) => [column, el("td", { class: `c-${column}` })]));
    const node = el("tr", { class: "row", "data-key": key, on: { click: () => this.onPick(key), focus: () => (this.active = key) } }, Object.values(cells));
    return { node, ...cells, signature: "" };
  }

  #key(event) {
    const here = this.order.indexOf(event.target.closest("tr.row")?.dataset.key);
    if (here < 0) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_PX) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" || event.key === " ") this.onPick(this.order[here]);
    else if (event.key in moves) this.#moveTo(Math.max(0, Math.min(this.order.length - 1, here + moves[event.key])));
    else return;
    event.preventDefault();
  }

  #moveTo(index) {
    const headPx = this.table.tHead.offsetHeight;
    const top = index * ROW_PX;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    const bottom = top + ROW_PX + headPx;
    if (bottom > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = bottom - this.scroller.clientHeight;
    this.active = this.order[index];
    this.#window();
    this.rows.get(this.active)?.node.focus({ preventScroll: true });
  }
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
