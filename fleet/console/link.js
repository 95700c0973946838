// The page's own link to the manager: connecting, live, or stale. Fetches the district after each (re)connection.

import { api, readStream } from "./api.js";

const SILENCE_MS_MAX = 20_000; // The manager says something at least every 15 s.
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 15_000;
const RECONCILE_MS = 30_000; // Catches whatever no event announced.
const HELD_EVENTS_MAX = 5_000;

export class Link {
  /** @param {{state: function(), district: function(object), event: function(string, object)}} on */
  constructor(on) {
    this.on = on;
    this.state = "connecting";
    /** Why it is not live, for a person. */
    this.detail = "";
    /** Unix time of the last proof of life; 0 if there was none. */
    this.heardMs = 0;
    this.heardTick = 0;
    this.attempts = 0;
    this.held = [];
    this.abort = null;
    this.wake = () => {};
    this.fetchedMs = 0;
    this.fetching = null;
    this.wanted = false;
  }

  start() {
    setInterval(() => this.#tick(), 1000);
    addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.wake());
    this.#run();
  }

  /** Fetch the district again; what arrives meanwhile is held back and applied after it. */
  resync() {
    this.held ??= [];
    this.wanted = true;
    this.fetching ??= this.#fetchWhileWanted().finally(() => (this.fetching = null));
  }

  async #run() {
    for (;;) { // For as long as the page is open.
      this.abort = new AbortController();
      try {
        await readStream(this.abort.signal, {
          open: () => this.#opened(),
          alive: () => this.#heard(),
          event: (name, message) => this.#event(name, message),
        });
        this.#lost("the manager closed the stream");
      } catch (error) {
        this.#lost(this.abort.signal.aborted ? String(this.abort.signal.reason) : "the manager cannot be reached");
        if (!this.abort.signal.aborted) this.abort.abort(error);
      }
      this.attempts += 1;
      const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** this.attempts);
      await this.#pause(BACKOFF_MS_MIN + Math.random() * (ceiling - BACKOFF_MS_MIN));
    }
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #opened() {
    this.#heard();
    this.held = [];
    this.resync();
  }

  #heard() {
    this.heardMs = Date.now();
    this.heardTick = performance.now();
  }

  async #fetchWhileWanted() {
    while (this.wanted) { // One round per wish.
      this.wanted = false;
      await this.#fetch(this.abort);
    }
  }

  async #fetch(stream) {
    try {
      const district = await api.district();
      if (stream !== this.abort || stream.signal.aborted) return;
      const held = this.held ?? [];
      this.held = this.wanted ? [] : null;
      this.on.district(district);
      this.#heard();
      this.fetchedMs = Date.now();
      this.attempts = 0;
      if (this.state !== "live") this.#become("live", "");
      for (const [name, message] of held) this.on.event(name, message);
    } catch (error) {
      if (stream === this.abort) stream.abort(error.message);
    }
  }

  #event(name, message) {
    if (name === "resync") this.resync();
    else if (!message) return;
    else if (this.held === null) this.on.event(name, message);
    else if (this.held.length < HELD_EVENTS_MAX) this.held.push([name, message]);
    else this.abort.abort("too much arrived before the district did");
  }

  // Two clocks, because one stands still while the computer sleeps and the other may be set.
  #tick() {
    if (this.state !== "live") return;
    const silentMs = Math.max(Date.now() - this.heardMs, performance.now() - this.heardTick);
    if (silentMs > SILENCE_MS_MAX) this.abort.abort("the manager has fallen silent");
    else if (Date.now() - this.fetchedMs > RECONCILE_MS && !this.fetching) this.resync();
  }

  #lost(reason) {
    this.#become(this.fetchedMs ? "stale" : "connecting", reason);
  }

  #become(state, detail) {
    this.state = state;
    this.detail = detail;
    this.on.state();
  }
}
