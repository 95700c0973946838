// What a piece of equipment is doing, in words, from its points. One function per kind; anything unknown lists its points. Pure.

import { GOOD, STALE, qualityNumber, spaced, unit, value, valueWithUnit } from "./words.js";

export const KINDS = ["junction", "bollard", "segment", "lamp", "meter", "points"];
const FLASHING = new Set(["automatic", "local-manual", "fault-monitor", "mmu", "preempt"]);
const BOLLARD_FAULTS = new Set(["fault-down", "fault-stuck", "powerfail", "efo"]);
const PATTERN_FREE = 254;
const PATTERN_FLASH = 255;

function read(points, ...names) {
  for (const name of names) if (points[name] !== undefined) return points[name].value;
  return undefined;
}

/** [{number, aspect: "G"|"Y"|"R"|"-"}] of a junction. */
export function groups(points) {
  const aspects = String(read(points, "aspects") ?? "");
  const numbers = String(read(points, "groups") ?? "").split(/\s+/).filter(Boolean);
  return [...aspects].map((aspect, index) => ({ number: numbers[index] ?? String(index + 1), aspect }));
}

function junction(points) {
  const shown = groups(points);
  const flash = read(points, "flash");
  const pattern = read(points, "pattern");
  const count = { R: 0, Y: 0, G: 0 };
  for (const { aspect } of shown) if (aspect in count) count[aspect] += 1;
  const signs = { flashing: FLASHING.has(flash) || pattern === PATTERN_FLASH, starting: flash === "startup", count };
  if (signs.flashing) return { text: `yellow flash${FLASHING.has(flash) ? ` (${flash})` : ""}`, tone: "warn", ...signs };
  if (signs.starting) return { text: "starting up", tone: "warn", ...signs };
  if (!shown.length) return { text: "", ...signs };
  const plan = pattern === undefined || pattern === null ? "" : pattern === PATTERN_FREE || pattern === 0 ? ", own plan" : `, plan ${pattern}`;
  const green = shown.filter(({ aspect }) => aspect === "G").map(({ number }) => number);
  const yellow = shown.filter(({ aspect }) => aspect === "Y").map(({ number }) => number);
  const parts = [green.length ? `green ${green.join(" ")}` : "", yellow.length ? `yellow ${yellow.join(" ")}` : ""].filter(Boolean);
  return { text: `${parts.join(", ") || (count.R ? "all red" : "dark")}${plan}`, ...signs };
}

function bollard(points) {
  const state = read(points, "state");
  if (state === undefined || state === null) return { text: "" };
  const occupied = ["loop_a", "loop_b"].filter((loop) => read(points, loop) === true).map((loop) => loop.at(-1).toUpperCase());
  const extra = [
    occupied.length ? `loop ${occupied.join(" and ")} occupied` : "",
    read(points, "loop_fault") === true ? "loop fault" : "",
    read(points, "mains_ok") === false ? "no mains" : "",
    read(points, "local_key") === true ? "local key" : "",
  ].filter(Boolean);
  const fault = BOLLARD_FAULTS.has(state) || read(points, "fault_latched") === true;
  return { text: [String(state), ...extra].join(", "), tone: fault ? "alarm" : undefined, bollard: String(state) };
}

function segment(points) {
  const level = read(points, "level_percent", "level");
  const on = read(points, "contactor_on", "on");
  if (level === undefined && on === undefined) return { text: "" };
  const shown = on === false ? 0 : level ?? (on ? 100 : 0);
  const tripped = read(points, "breaker_tripped") === true;
  const extra = [
    tripped ? "breaker tripped" : "",
    read(points, "local_override") === true ? "local override" : "",
    read(points, "commanded_on") === !on ? "contactor does not follow" : "",
  ].filter(Boolean);
  return { text: [on === false ? "off" : `${shown} %`, ...extra].join(", "), tone: tripped ? "alarm" : undefined, level: Number(shown) };
}

function listed(points) {
  const names = Object.keys(points).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return { text: names.slice(0, 3).map((name) => brief(name, points[name].value)).join(", ") };
}

// A unit says what a number is; anything else needs its name.
function brief(name, raw) {
  return unit(name, raw) ? valueWithUnit(name, raw) : `${spaced(name)} ${value(raw)}`;
}

function rank(name) {
  const index = ["power", "voltage", "current", "energy"].findIndex((word) => name.includes(word));
  return index < 0 ? 9 : index;
}

const DESCRIBE = { junction, bollard, segment };
const NEEDED = {
  junction: ["aspects", "flash"],
  bollard: ["state", "loop_a", "loop_b", "loop_fault", "at_bottom", "at_top"],
  segment: ["level_percent", "level", "contactor_on", "on"],
};

/**
 * What it does: {text, tone?, level?, bollard?, flashing?, count?}.
 * A lamp has no feedback of its own: it shows its segment's level.
 * @param {object} equipment
 * @param {object|undefined} parent the lamp's segment
 */
export function describe(equipment, parent) {
  if (equipment.kind === "lamp" && parent && !Object.keys(equipment.points).length) {
    const of = segment(parent.points);
    return { ...of, text: of.text && `segment ${of.text}` };
  }
  return (DESCRIBE[equipment.kind] ?? listed)(equipment.points);
}

/** The worst quality among the points its state is read from; stale when there is none. */
export function pointQuality(equipment) {
  const names = Object.keys(equipment.points);
  const needed = (NEEDED[equipment.kind] ?? names).filter((name) => name in equipment.points);
  const used = needed.length ? needed : names;
  if (!used.length) return STALE;
  return used.reduce((worst, name) => Math.max(worst, qualityNumber(equipment.points[name].quality)), GOOD);
}
