// The map: Leaflet's canvas, no tiles and no streets; a graticule, a scale and the equipment where it stands.

/* global L */
import { el, fill, setText } from "./dom.js";
import { RADIUS, draw, levelColour, palette } from "./signs.js";
import { STALE, age } from "./words.js";

const LABEL_ZOOM_MIN = 16;
const FULL_SIZE_ZOOM = 14;
const SCALE_MIN = 0.35;
const LABEL_SCALE_MIN = 0.7;
const RADIUS_PX_MIN = 5; // Below that nobody hits it with a mouse.
const LABELLED = new Set(["junction", "bollard", "segment"]);
const ORDER = ["lamp", "points", "meter", "segment", "bollard", "junction"];
const GRATICULE_STEPS_DEG = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 10, 30];
const GRATICULE_GAP_PX = 130;

export class StreetMap {
  /** @param {HTMLElement} node @param {District} district @param {function(string)} onPick called with an equipment's key */
  constructor(node, district, onPick) {
    this.node = node;
    this.district = district;
    this.onPick = onPick;
    this.signs = new Map();
    this.streets = new Map();
    this.selected = null;
    this.fitted = false;
    this.revision = -1;
    this.colours = palette();
    this.scale = 1;
    this.map = L.map(node, { preferCanvas: true, attributionControl: false, zoomAnimation: false, fadeAnimation: false, zoomSnap: 0.5 });
    this.map.setView([47.322, 5.041], 13);
    L.control.scale({ imperial: false }).addTo(this.map);
    this.map.createPane("graticule").style.zIndex = 250;
    this.graticule = L.layerGroup().addTo(this.map);
    this.grid = L.canvas({ pane: "graticule", padding: 0.1 });
    this.canvas = L.canvas({ padding: 0.2, tolerance: 4 });
    this.map.on("moveend", () => this.#drawGraticule());
    this.map.on("zoomend", () => this.#rescale());
    this.Sign = signClass(this);
    this.#addLegend();
    this.#addFit();
    new ResizeObserver(() => this.map.invalidateSize({ animate: false })).observe(node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    this.#drawGraticule();
  }

  /** Bring the signs named in `changed` up to date; all of them when the district is new. */
  update(changed, nowMs) {
    if (!this.district.loaded) return;
    if (this.revision !== this.district.revision) this.#rebuild();
    for (const key of changed) this.#refresh(key, nowMs);
  }

  select(key) {
    const before = this.selected;
    this.selected = key;
    for (const each of [before, key]) if (each) this.#refresh(each, Date.now());
    const sign = key && this.signs.get(key);
    if (sign && !this.map.getBounds().pad(-0.05).contains(sign.getLatLng())) this.map.panTo(sign.getLatLng(), { animate: false });
  }

  repaint() {
    this.colours = palette();
    this.#drawGraticule();
    for (const [key, street] of this.streets) street.setStyle(this.#streetStyle(key, Date.now()));
    this.#redrawAll();
  }

  fit() {
    const places = [...this.signs.values()].map((sign) => sign.getLatLng());
    if (places.length) this.map.fitBounds(L.latLngBounds(places).pad(0.08), { maxZoom: 17, animate: false });
  }

  #rebuild() {
    this.revision = this.district.revision;
    for (const layer of [...this.signs.values(), ...this.streets.values()]) layer.remove();
    this.signs.clear();
    this.streets.clear();
    const placed = [...this.district.equipment.values()].filter(isPlaced);
    for (const equipment of placed) if (equipment.kind === "segment") this.#addStreet(equipment);
    placed.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
    for (const equipment of placed) this.#addSign(equipment);
    this.node.dataset.drawn = String(this.signs.size);
    if (!this.fitted && this.signs.size) {
      this.fitted = true;
      this.fit();
    }
  }

  #addSign(equipment) {
    const sign = new this.Sign([equipment.latitude, equipment.longitude], {
      renderer: this.canvas,
      radius: this.#radius(equipment),
      look: this.#look(equipment, Date.now()),
    });
    sign.on("click", () => this.onPick(equipment.key));
    sign.bindTooltip(() => this.#tooltip(equipment.key), { direction: "top", opacity: 1, offset: [0, -10] });
    sign.addTo(this.map);
    this.signs.set(equipment.key, sign);
  }

  // A segment's lamps in the order of their distance along the street: as good a street as can be drawn without one.
  #addStreet(segment) {
    const lamps = segment.children.map((key) => this.district.equipment.get(key)).filter((each) => each && isPlaced(each));
    if (!lamps.length) return;
    const line = L.polyline(alongTheStreet([segment, ...lamps]), { renderer: this.canvas, interactive: false, ...this.#streetStyle(segment.key, Date.now()) });
    this.streets.set(segment.key, line.addTo(this.map));
  }

  #streetStyle(key, nowMs) {
    const segment = this.district.equipment.get(key);
    const state = this.district.state(segment, nowMs);
    const live = state.quality < STALE;
    const colour = live ? levelColour(state.level ?? 0, this.colours) : this.colours.stale;
    return { color: colour, weight: 2, opacity: live && state.level > 0 ? 0.25 + state.level / 200 : 0.5, dashArray: live ? null : "3 5" };
  }

  #refresh(key, nowMs) {
    const sign = this.signs.get(key);
    if (!sign) return;
    const look = this.#look(this.district.equipment.get(key), nowMs);
    const signature = JSON.stringify(look);
    if (signature === sign.signature) return;
    sign.signature = signature;
    sign.options.look = look;
    sign.redraw();
    this.streets.get(key)?.setStyle(this.#streetStyle(key, nowMs));
  }

  #look(equipment, nowMs) {
    const state = this.district.state(equipment, nowMs);
    const live = state.quality < STALE;
    const text = live ? state.text : state.ageMs === null ? "no values" : `stale ${age(state.silentMs)}`;
    return {
      kind: SIGN_KINDS.has(equipment.kind) ? equipment.kind : "points",
      live, latched: state.latched, tone: state.tone, level: state.level, bollard: state.bollard,
      flashing: state.flashing, count: state.count, selected: equipment.key === this.selected,
      label: LABELLED.has(equipment.kind) && this.scale >= LABEL_SCALE_MIN && (!live || this.map.getZoom() >= LABEL_ZOOM_MIN) ? text : "",
    };
  }

  #rescale() {
    this.scale = Math.max(SCALE_MIN, Math.min(1, 2 ** ((this.map.getZoom() - FULL_SIZE_ZOOM) / 2)));
    for (const [key, sign] of this.signs) sign.setRadius(this.#radius(this.district.equipment.get(key)));
    this.#redrawAll();
  }

  #radius(equipment) {
    return Math.max(RADIUS_PX_MIN, (RADIUS[equipment.kind] ?? RADIUS.points) * this.scale);
  }

  #redrawAll() {
    const nowMs = Date.now();
    for (const [key, sign] of this.signs) {
      sign.signature = "";
      sign.options.look = this.#look(this.district.equipment.get(key), nowMs);
      sign.redraw();
    }
  }

  #tooltip(key) {
    const equipment = this.district.equipment.get(key);
    const state = this.district.state(equipment, Date.now());
    const word = state.quality < STALE ? state.text : state.ageMs === null ? "no values" : `stale for ${age(state.silentMs)}, was ${state.text}`;
    return el("div", {}, el("strong", {}, equipment.name || equipment.id), el("div", {}, `${equipment.kind}: ${word || "no values"}`));
  }

  #drawGraticule() {
    this.graticule.clearLayers();
    const bounds = this.map.getBounds();
    const degreesPerPx = (bounds.getEast() - bounds.getWest()) / Math.max(1, this.map.getSize().x);
    const step = GRATICULE_STEPS_DEG.find((each) => each / degreesPerPx >= GRATICULE_GAP_PX) ?? GRATICULE_STEPS_DEG.at(-1);
    const style = { renderer: this.grid, interactive: false, color: this.colours.line, weight: 1, opacity: 0.8 };
    for (const x of steps(bounds.getWest(), bounds.getEast(), step)) L.polyline([[bounds.getSouth(), x], [bounds.getNorth(), x]], style).addTo(this.graticule);
    for (const y of steps(bounds.getSouth(), bounds.getNorth(), step)) L.polyline([[y, bounds.getWest()], [y, bounds.getEast()]], style).addTo(this.graticule);
    const centre = this.map.getCenter();
    if (this.place) setText(this.place, `${centre.lat.toFixed(4)} N  ${centre.lng.toFixed(4)} E`);
  }

  #addLegend() {
    const rows = [
      ["junction", { count: { R: 3, Y: 1, G: 2 } }, "junction: red, yellow, green groups"], ["junction", { flashing: true }, "junction in yellow flash"],
      ["bollard", { bollard: "up" }, "bollard up"], ["bollard", { bollard: "down" }, "bollard down"],
      ["segment", { level: 60 }, "segment, filled to its level"], ["lamp", { level: 100 }, "lamp lit"], ["lamp", { level: 0 }, "lamp off"],
      ["meter", {}, "meter"], ["points", {}, "other points"], ["junction", { live: false }, "dashed, grey: stale, not live"],
      ["bollard", { bollard: "down", latched: true }, "!: latched or in alarm"],
    ];
    const legend = L.control({ position: "bottomright" });
    legend.onAdd = () => {
      this.place = el("div", { class: "place" });
      const list = el("ul", {});
      const details = el("details", { class: "legend" }, el("summary", {}, "Legend"), list);
      details.addEventListener("toggle", () => fill(list, rows.map(([kind, look, text]) => el("li", {}, this.#sample(kind, look), text))));
      const box = el("div", { class: "map-box" }, details, this.place);
      L.DomEvent.disableClickPropagation(box);
      return box;
    };
    legend.addTo(this.map);
  }

  #sample(kind, look) {
    const ratio = devicePixelRatio || 1;
    const canvas = el("canvas", { width: 36 * ratio, height: 36 * ratio, class: "sample", "aria-hidden": "true" });
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    draw(ctx, { x: 18, y: 18 }, { kind, live: true, ...look }, this.colours);
    return canvas;
  }

  #addFit() {
    const control = L.control({ position: "topleft" });
    control.onAdd = () => {
      const button = el("button", { type: "button", class: "fit", title: "Show all equipment", on: { click: () => this.fit() } }, "All");
      L.DomEvent.disableClickPropagation(button);
      return button;
    };
    control.addTo(this.map);
  }
}

const SIGN_KINDS = new Set(Object.keys(RADIUS));

// Leaflet calls _updatePath of each layer when its canvas repaints; hit testing stays that of a circle.
function signClass(owner) {
  return L.CircleMarker.extend({
    _updatePath() {
      if (this._renderer._drawing && !this._empty()) draw(this._renderer._ctx, this._point, this.options.look, owner.colours, owner.scale);
    },
    // A label and the latch mark reach past the circle: repaint that much more.
    _updateBounds() {
      const reach = this._radius + 34;
      this._pxBounds = L.bounds(this._point.subtract([reach * 2, reach]), this._point.add([reach * 2, reach]));
    },
  });
}

function isPlaced(equipment) {
  const { latitude, longitude } = equipment;
  return Number.isFinite(latitude) && Number.isFinite(longitude) && (latitude !== 0 || longitude !== 0);
}

function* steps(from, to, step) {
  for (let n = Math.ceil(from / step); n * step <= to; n += 1) yield n * step;
}

/** Order places along their longer extent. */
function alongTheStreet(places) {
  const latitudes = places.map((each) => each.latitude);
  const longitudes = places.map((each) => each.longitude);
  const wide = Math.max(...longitudes) - Math.min(...longitudes) > 1.5 * (Math.max(...latitudes) - Math.min(...latitudes));
  const axis = wide ? "longitude" : "latitude";
  return [...places].sort((a, b) => a[axis] - b[axis]).map((each) => [each.latitude, each.longitude]);
}
