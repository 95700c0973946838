// The district as this page knows it. Pure bookkeeping: no network, no page.
//
// Nothing stale is ever shown as live: the quality shown is the worst of the point's own, its gateway's link and this page's link.

import { describe, pointQuality } from "./kinds.js";
import { GOOD, STALE, qualityNumber } from "./words.js";

export function keyOf(gateway, id) {
  return `${gateway}/${id}`;
}

export class District {
  constructor() {
    this.city = "";
    this.fleet = "";
    this.term = null;
    /** "connected", or why the manager hears no gateway. */
    this.broker = "connected";
    /** Why nothing can be commanded at this manager; empty if it leads. */
    this.standby = "";
    this.equipment = new Map();
    this.gateways = new Map();
    /** True while this page hears the manager; set by the page's link. */
    this.live = false;
    /** Unix time, by this page's clock, when it last heard the manager. */
    this.heardMs = 0;
    this.loaded = false;
    this.clockOffsetMs = 0;
    this.changed = new Set();
    this.revision = 0;
  }

  /** Take a whole district; what it does not name is gone. */
  load(answer, nowMs) {
    this.city = answer.city ?? "";
    this.fleet = answer.fleet ?? "";
    this.term = answer.term ?? null;
    this.broker = answer.broker ?? "connected";
    this.standby = answer.standby ?? "";
    if (Number.isFinite(answer.t_ms)) this.clockOffsetMs = answer.t_ms - nowMs;
    this.gateways = new Map((answer.gateways ?? []).map((gateway) => [gateway.id, gateway]));
    const before = this.equipment;
    this.equipment = new Map();
    for (const card of answer.equipment ?? []) {
      const key = keyOf(card.gateway, card.id);
      const points = {};
      for (const [name, point] of Object.entries(card.points ?? {})) points[name] = this.#dated(point, nowMs);
      const children = before.get(key)?.children ?? [];
      this.equipment.set(key, { ...card, key, points, verbs: card.verbs ?? [], children });
    }
    this.#link();
    this.loaded = true;
    this.revision += 1;
    for (const key of this.equipment.keys()) this.changed.add(key);
  }

  /** Take new values of one piece of equipment; false if it is unknown and the district must be fetched again. */
  applyPoints(message, nowMs) {
    const equipment = this.equipment.get(keyOf(message.gateway, message.equipment));
    if (!equipment) return false;
    for (const [name, point] of Object.entries(message.points ?? {})) {
      const held = equipment.points[name];
      if (!held || (point.t_ms ?? Infinity) >= (held.t_ms ?? 0)) equipment.points[name] = this.#dated(point, nowMs);
    }
    for (const field of ["mode", "mode_cause", "cleared_by", "latch", "holding"]) {
      if (field in message) equipment[field] = message[field];
    }
    this.#touch(equipment);
    return true;
  }

  /** Take a gateway's new link, mode or figures; false if it is unknown. */
  applyGateway(message) {
    const held = this.gateways.get(message.id);
    if (!held) return false;
    this.gateways.set(message.id, { ...held, ...message });
    if (message.link !== undefined && message.link !== held.link) this.touchAll();
    return true;
  }

  touchAll() {
    for (const key of this.equipment.keys()) this.changed.add(key);
  }

  takeChanged() {
    const changed = this.changed;
    this.changed = new Set();
    return changed;
  }

  parentOf(equipment) {
    return equipment.parent ? this.equipment.get(keyOf(equipment.gateway, equipment.parent)) : undefined;
  }

  /** "up", "lost" or "never"; an unknown gateway is lost. */
  linkOf(equipment) {
    return this.gateways.get(equipment.gateway)?.link ?? "lost";
  }

  /** Quality of one point as it may be shown. */
  quality(equipment, name) {
    return Math.max(qualityNumber(equipment.points[name]?.quality), this.#floor(equipment));
  }

  /** What it does and how far to believe it: describe()'s answer with {quality, ageMs, silentMs, latched}. */
  state(equipment, nowMs) {
    const parent = this.parentOf(equipment);
    const source = equipment.kind === "lamp" && parent && !Object.keys(equipment.points).length ? parent : equipment;
    const shown = describe(equipment, parent);
    const quality = Math.max(pointQuality(source), this.#floor(source));
    return { ...shown, quality, ageMs: this.newestAge(source, nowMs), silentMs: this.#silence(source, nowMs), latched: Boolean(equipment.latch) };
  }

  /** Age of a point, in ms; null if it never had a value. */
  age(point, nowMs) {
    return point ? point.age_ms + Math.max(0, nowMs - point.at) : null;
  }

  /** Time since anything was heard of it; null if nothing ever was. */
  newestAge(equipment, nowMs) {
    const ages = Object.values(equipment.points).map((point) => this.age(point, nowMs));
    return ages.length ? Math.min(...ages) : null;
  }

  gatewayCounts() {
    const counts = { up: 0, lost: 0, never: 0 };
    for (const gateway of this.gateways.values()) counts[gateway.link in counts ? gateway.link : "lost"] += 1;
    return counts;
  }

  latched() {
    return [...this.equipment.values()].filter((equipment) => equipment.latch);
  }

  // Values are sent when they change, so a lost gateway's silence counts from its last beat, not from the last change.
  #silence(equipment, nowMs) {
    const seenMs = this.gateways.get(equipment.gateway)?.last_seen_ms;
    const gatewayMs = this.linkOf(equipment) !== "up" && seenMs ? nowMs + this.clockOffsetMs - seenMs : 0;
    const pageMs = this.live ? 0 : nowMs - this.heardMs;
    const silentMs = Math.max(gatewayMs, pageMs);
    return silentMs > 0 ? silentMs : this.newestAge(equipment, nowMs);
  }

  #floor(equipment) {
    return this.live && this.linkOf(equipment) === "up" ? GOOD : STALE;
  }

  #dated(point, nowMs) {
    const byClock = Number.isFinite(point.t_ms) ? Math.max(0, nowMs + this.clockOffsetMs - point.t_ms) : 0;
    return { ...point, age_ms: Number.isFinite(point.age_ms) ? point.age_ms : byClock, at: nowMs };
  }

  #link() {
    for (const equipment of this.equipment.values()) equipment.children = [];
    for (const equipment of this.equipment.values()) this.parentOf(equipment)?.children.push(equipment.key);
  }

  #touch(equipment) {
    this.changed.add(equipment.key);
    if (equipment.kind === "segment") for (const child of equipment.children) this.changed.add(child);
  }
}
