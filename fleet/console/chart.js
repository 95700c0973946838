// The history of one point: a small line on a canvas, a gap wherever the value could not be believed.

import { api } from "./api.js";
import { el, fill, setText } from "./dom.js";
import { palette } from "./signs.js";
import { GOOD, STALE, qualityNumber, shortTime, value, valueWithUnit } from "./words.js";

const SPANS_MS = [[15 * 60_000, "15 min"], [2 * 3_600_000, "2 h"]];
const SAMPLES_MAX = 5_000;
const REFETCH_MS = 15_000;
const HEIGHT_PX = 120;
const MARGIN = { left: 44, right: 8, top: 8, bottom: 18 };

export class Chart {
  /** @param {object} equipment @param {District} district */
  constructor(equipment, district) {
    this.equipment = equipment;
    this.district = district;
    this.spanMs = SPANS_MS[0][0];
    this.samples = [];
    this.fetchedMs = 0;
    this.names = [];
    this.picker = el("select", { "aria-label": "Point", on: { change: () => this.#refetch() } });
    this.spans = SPANS_MS.map(([ms, text]) => el("button", { type: "button", "aria-pressed": String(ms === this.spanMs), on: { click: () => this.#span(ms) } }, text));
    this.canvas = el("canvas", { class: "chart", role: "img" });
    this.summary = el("p", { class: "quiet" });
    this.node = el("section", { "aria-label": "History" }, el("div", { class: "bar" }, el("h3", {}, "History"), this.picker, this.spans), this.canvas, this.summary);
  }

  /** Follow the present; fetch again now and then. */
  tick(nowMs) {
    this.#offer();
    if (this.names.length && nowMs - this.fetchedMs > REFETCH_MS && this.district.live) this.#refetch();
    else this.#draw(nowMs);
  }

  #offer() {
    const names = Object.keys(this.equipment.points).filter((name) => isDrawn(this.equipment.points[name].value)).sort();
    if (names.join() === this.names.join()) return;
    const chosen = this.picker.value || names.find((name) => /power|level|position|pattern/.test(name)) || names[0];
    this.names = names;
    fill(this.picker, names.map((name) => el("option", { value: name }, name)));
    if (names.includes(chosen)) this.picker.value = chosen;
    this.fetchedMs = 0;
  }

  #span(ms) {
    this.spanMs = ms;
    this.spans.forEach((button, index) => button.setAttribute("aria-pressed", String(SPANS_MS[index][0] === ms)));
    this.#refetch();
  }

  async #refetch() {
    const point = this.picker.value;
    if (!point) return;
    this.fetchedMs = Date.now();
    try {
      const rows = await api.history(this.equipment, point, Date.now() + this.district.clockOffsetMs - this.spanMs, SAMPLES_MAX);
      if (point !== this.picker.value) return;
      this.samples = rows.filter((row) => Number.isFinite(row.t_ms)).sort((a, b) => a.t_ms - b.t_ms);
      if (!this.samples.length) this.samples = this.#unchanged(point);
      this.failed = "";
    } catch (error) {
      this.failed = error.message;
    }
    this.#draw(Date.now());
  }

  // Values are recorded when they change: none since the start of the chart means that the present one has held.
  #unchanged(point) {
    const held = this.equipment.points[point];
    const startMs = Date.now() + this.district.clockOffsetMs - this.spanMs;
    return held && held.t_ms < startMs ? [{ ...held, t_ms: startMs }] : [];
  }

  #draw(nowMs) {
    const width = this.canvas.clientWidth;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = HEIGHT_PX * ratio;
    const ctx = this.canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    const endMs = nowMs + this.district.clockOffsetMs;
    const frame = { ctx, width, colours: palette(), endMs, startMs: endMs - this.spanMs };
    const believed = this.samples.filter((row) => isDrawn(row.value) && qualityNumber(row.quality ?? GOOD) < STALE).map((row) => Number(row.value));
    this.#axes(frame, believed);
    if (believed.length) this.#line(frame);
    this.#describe(believed);
  }

  #axes(frame, believed) {
    const { ctx, width, colours } = frame;
    let low = Math.min(...believed.length ? believed : [0]);
    let high = Math.max(...believed.length ? believed : [1]);
    if (high - low < 1e-9) [low, high] = [low - 1, high + 1];
    frame.x = (tMs) => MARGIN.left + ((tMs - frame.startMs) / (frame.endMs - frame.startMs)) * (width - MARGIN.left - MARGIN.right);
    frame.y = (number) => HEIGHT_PX - MARGIN.bottom - ((number - low) / (high - low)) * (HEIGHT_PX - MARGIN.top - MARGIN.bottom);
    ctx.strokeStyle = colours.line;
    ctx.fillStyle = colours.quiet;
    ctx.font = "11px system-ui, sans-serif";
    ctx.lineWidth = 1;
    for (const number of [low, (low + high) / 2, high]) {
      const y = Math.round(frame.y(number)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(MARGIN.left, y);
      ctx.lineTo(width - MARGIN.right, y);
      ctx.stroke();
      ctx.textAlign = "right";
      ctx.textBaseline = "middle";
      ctx.fillText(value(Number(number.toPrecision(4))), MARGIN.left - 5, y);
    }
    ctx.textBaseline = "alphabetic";
    [0, 0.5, 1].forEach((part, index) => {
      const tMs = frame.startMs + part * this.spanMs;
      ctx.textAlign = ["left", "center", "right"][index];
      ctx.fillText(shortTime(tMs - this.district.clockOffsetMs), frame.x(tMs), HEIGHT_PX - 4);
    });
  }

  // A value holds until the next one; one that cannot be believed ends the line.
  #line({ ctx, colours, x, y, startMs, endMs }) {
    ctx.strokeStyle = colours.accent;
    ctx.lineWidth = 1.75;
    ctx.beginPath();
    let down = false;
    let lastY = 0;
    for (const row of this.samples) {
      const good = isDrawn(row.value) && qualityNumber(row.quality ?? GOOD) < STALE;
      const at = x(Math.max(startMs, row.t_ms));
      if (down) ctx.lineTo(at, lastY);
      if (good) {
        lastY = y(Number(row.value));
        if (down) ctx.lineTo(at, lastY);
        else ctx.moveTo(at, lastY);
      }
      down = good;
    }
    const live = this.district.quality(this.equipment, this.picker.value) < STALE;
    if (down && live) ctx.lineTo(x(endMs), lastY);
    ctx.stroke();
  }

  #describe(believed) {
    const point = this.picker.value;
    let text = "No numbers to draw.";
    if (this.failed) text = `The history cannot be shown: ${this.failed}.`;
    else if (believed.length) {
      const span = SPANS_MS.find(([ms]) => ms === this.spanMs)[1];
      const [lowest, highest, last] = [Math.min(...believed), Math.max(...believed), believed.at(-1)].map((each) => valueWithUnit(point, each));
      text = `${span}: lowest ${lowest}, highest ${highest}, last ${last}.`;
    } else if (point) text = `No values of ${point} in this time.`;
    setText(this.summary, text);
    if (this.canvas.getAttribute("aria-label") !== `${point}: ${text}`) this.canvas.setAttribute("aria-label", `${point}: ${text}`);
  }
}

function isDrawn(raw) {
  return typeof raw === "number" || typeof raw === "boolean";
}
