// How values, ages and times read. Pure.

export const QUALITIES = ["good", "uncertain", "stale", "bad"];
export const GOOD = 0;
export const UNCERTAIN = 1;
export const STALE = 2;
export const BAD = 3;

const QUALITY_SYMBOLS = ["●", "◐", "○", "✕"];
const UNITS = {
  percent: "%", w: "W", kw: "kW", wh: "Wh", kwh: "kWh", v: "V", a: "A", hz: "Hz", va: "VA", var: "var", c: "°C", lux: "lx",
  lx: "lx", s: "s", ms: "ms", min: "min", h: "h", bar: "bar", dbm: "dBm", kg: "kg", m: "m",
};
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** 0..3 from what the API says, a number or a word; what cannot be understood is bad. */
export function qualityNumber(quality) {
  if (Number.isInteger(quality) && quality >= GOOD && quality <= BAD) return quality;
  const index = QUALITIES.indexOf(String(quality).toLowerCase());
  return index < 0 ? BAD : index;
}

export function qualitySymbol(quality) {
  return QUALITY_SYMBOLS[quality];
}

/** "4 s", "12 min", "3 h 05", "2 d". */
export function age(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < MINUTE_MS) return `${Math.max(0, Math.floor(ms / 1000))} s`;
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min`;
  if (ms < DAY_MS) return `${Math.floor(ms / HOUR_MS)} h ${String(Math.floor((ms % HOUR_MS) / MINUTE_MS)).padStart(2, "0")}`;
  return `${Math.floor(ms / DAY_MS)} d`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const SHORT_TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const LONG_DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });

/** Local time, 24 h; with the day when it is not today. */
export function time(tMs, nowMs = Date.now()) {
  if (!tMs) return "–";
  const then = new Date(tMs);
  const sameDay = then.toDateString() === new Date(nowMs).toDateString();
  return sameDay ? TIME.format(then) : `${DAY.format(then)} ${TIME.format(then)}`;
}

export function shortTime(tMs) {
  return SHORT_TIME.format(new Date(tMs));
}

export function longTime(tMs) {
  const then = new Date(tMs);
  return `${LONG_DAY.format(then)}  ${TIME.format(then)}`;
}

/** The unit is the last word of a number's name: `power_w` is in watts; `loop_a` is no number. */
export function unit(name, raw) {
  if (typeof raw !== "number") return "";
  const last = name.toLowerCase().split(/[_.]/).at(-1);
  return name.includes("_") || name.includes(".") ? UNITS[last] ?? "" : "";
}

/** A value for a person, without its unit. */
export function value(raw) {
  if (raw === null || raw === undefined) return "no value";
  if (raw === true) return "yes";
  if (raw === false) return "no";
  if (typeof raw === "number" && !Number.isInteger(raw)) return String(Number(Math.abs(raw) < 1 ? raw.toPrecision(3) : raw.toFixed(2)));
  return String(raw);
}

export function valueWithUnit(name, raw) {
  const suffix = unit(name, raw);
  return suffix ? `${value(raw)} ${suffix}` : value(raw);
}

/** "select-plan" as "select plan". */
export function spaced(word) {
  return String(word ?? "").replace(/[-_]/g, " ");
}

/** Why what a gateway told last may not be all there is, one sentence each; nothing if it keeps up. */
export function shortfalls(gateway) {
  const unsealed = gateway?.unsealed ?? 0;
  return [
    ...Object.entries(gateway?.behind ?? {}).map(([stream, why]) => `stream ${stream} is behind: ${why}`),
    ...(unsealed ? [`its disk does not take ${unsealed} ${unsealed === 1 ? "record, which waits" : "records, which wait"} in its memory`] : []),
  ];
}
