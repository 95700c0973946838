// The gateways, in a dialog over the page: link, when last heard, what they still hold and why, what was not believed.

import { badge, el, fill } from "./dom.js";
import { shortfalls, spaced, time } from "./words.js";

const LINKS = { up: ["ok", "●"], lost: ["alarm", "▲"], never: ["plain", "○"] };
const TITLES = ["Gateway", "Link", "Last heard", "Mode", "Backlog", "Rejected", "Software"];

export class GatewayBoard {
  /** @param {HTMLDialogElement} node @param {District} district @param {function(string)} onPick called with a gateway's id */
  constructor(node, district, onPick) {
    this.node = node;
    this.district = district;
    this.onPick = onPick;
    this.body = el("tbody");
    const close = el("button", { type: "button", class: "close", on: { click: () => node.close() } }, "Close");
    fill(
      node, el("div", { class: "bar" }, el("h2", {}, "Gateways"), close),
      el("table", { class: "points" }, el("thead", {}, el("tr", {}, TITLES.map((title) => el("th", { scope: "col" }, title)))), this.body),
    );
  }

  open() {
    this.signature = "";
    this.update();
    this.node.showModal();
  }

  update() {
    const gateways = [...this.district.gateways.values()];
    const signature = JSON.stringify([gateways, this.district.live]);
    if (signature === this.signature) return;
    this.signature = signature;
    fill(this.body, gateways.map((gateway) => this.#row(gateway)));
  }

  #row(gateway) {
    const link = this.district.live ? badge(...(LINKS[gateway.link] ?? LINKS.lost), gateway.link) : badge("stale", "○", `was ${gateway.link}`);
    const held = Object.entries(gateway.held ?? {}).map(([stream, why]) => el("div", {}, badge("alarm", "■", `stream ${stream} stopped: ${why}`)));
    const short = shortfalls(gateway).map((sentence) => el("div", {}, badge("warn", "◐", sentence)));
    const pick = () => {
      this.node.close();
      this.onPick(gateway.id);
    };
    return el(
      "tr", {},
      el("th", { scope: "row" }, el("button", { type: "button", class: "link", on: { click: pick } }, gateway.name || gateway.id), el("div", { class: "quiet" }, gateway.id), held, short),
      [link, time(gateway.last_seen_ms), spaced(gateway.mode || "–"), gateway.backlog ?? "–", gateway.rejected ?? "–", gateway.software || "–"].map((cell) => el("td", {}, cell)),
    );
  }
}
