// Commands: the forms in the sheet, and how a command's outcome reads. The cabinet judges; this page only asks.

import { api } from "./api.js";
import { badge, el, fill } from "./dom.js";
import { GOOD, age, spaced, time } from "./words.js";

const LEASES_S = [[300, "5 min"], [600, "10 min"], [1800, "30 min"], [3600, "1 h"]];
const LONG_LEASES_S = [...LEASES_S, [14_400, "4 h"], [43_200, "12 h"]];
const FORMS = {
  "select-plan": { title: "Select plan", fields: [plan, (of) => lease(of, LEASES_S)] },
  flash: { title: "Yellow flash", fields: [(of) => lease(of, LEASES_S)], confirm: "Ask for yellow flash? A second operator must approve." },
  release: { title: "Release to the local plan", fields: [] },
  lower: { title: "Lower", fields: [] },
  raise: { title: "Raise", fields: [], confirm: "Raise the bollard? Look at the camera first." },
  "set-level": { title: "Set level", fields: [level, (of) => lease(of, LONG_LEASES_S)] },
  "release-level": { title: "Release to the local plan", fields: [] },
};
// What a person looks at before asking: sent along, so that the cabinet refuses if it is no longer so. Never for what lowers,
// releases or flashes: the way to the safe side must not wait for a picture to be right.
const ACTED_ON = { "select-plan": "pattern", raise: "state", "set-level": "level_percent" };
const ON_SITE = new Set(["reset"]);
const OUTCOMES = {
  done: ["ok", "✓"], refused: ["alarm", "⊘"], expired: ["warn", "⌛"], failed: ["alarm", "✕"], unknown: ["alarm", "?"],
  sent: ["plain", "→"], "awaiting-approval": ["warn", "‖"], "would-do": ["ok", "✓"], "dry-run": ["plain", "≈"],
};

export function statusOf(command) {
  return String(command.status ?? command.ended ?? "unknown").toLowerCase();
}

export function idOf(command) {
  return String(command.command_id ?? command.id ?? "");
}

export function issuedMs(command) {
  return command.t_ms ?? command.issued_ms ?? command.created_ms ?? 0;
}

/** One plain sentence: "refused by SR-19: loop A is occupied. The bollard stays down." */
export function sentence(command) {
  const status = statusOf(command);
  const rule = command.rule ? ` by ${command.rule}` : "";
  const state = command.state && command.state !== command.reason ? command.state : "";
  const about = [command.reason, state].filter(Boolean).map(closed).join(" ");
  if (status === "awaiting-approval") return about || "awaiting the approval of a second operator; nothing has been sent";
  if (status === "sent") return about || "sent, waiting for the cabinet's answer";
  const word = status === "would-do" ? "the cabinet would do it" : spaced(status);
  return about ? `${word}${rule}: ${about}` : `${word}${rule}`;
}

export function outcomeBadge(command) {
  const [tone, symbol] = OUTCOMES[statusOf(command)] ?? ["plain", "·"];
  return badge(tone, symbol, sentence(command));
}

function closed(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Verb with its arguments: "set level 60 % for 10 min". */
export function asked(command) {
  const words = { lease_s: (raw) => `for ${age(raw * 1000)}`, level_percent: (raw) => `${raw} %`, plan: (raw) => String(raw) };
  const args = Object.entries(command.args ?? {}).map(([name, raw]) => (typeof raw === "number" && words[name]?.(raw)) || `${name}=${raw}`);
  const expect = command.expect ? ` if ${spaced(command.expect.point.split("/").at(-1))} is still ${command.expect.value}` : "";
  return [spaced(command.verb), ...args].join(" ") + expect;
}

/** The value a command acts on, as this page shows it; nothing while it shows none that is good. */
function expectation(equipment, verb, quality) {
  const point = ACTED_ON[verb];
  const value = point && equipment.points[point]?.value;
  if (value === undefined || value === null || quality(equipment, point) !== GOOD) return {};
  return { expect: { point: `${equipment.id}/${point}`, value } };
}

/** "key=value" pairs to typed arguments. */
export function parseArgs(text) {
  const args = {};
  for (const pair of text.split(/\s+/).filter(Boolean)) {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`"${pair}" is not of the form name=value`);
    const raw = pair.slice(at + 1);
    const typed = { true: true, false: false, null: null };
    args[pair.slice(0, at)] = raw in typed ? typed[raw] : raw !== "" && Number.isFinite(Number(raw)) ? Number(raw) : raw;
  }
  return args;
}

/** The approval button of a command that awaits one; null for any other. */
export function approvalButton(command, desk) {
  if (statusOf(command) !== "awaiting-approval") return null;
  const operator = desk.operator();
  if (!operator) return el("div", { class: "quiet" }, "To approve, choose who you are acting as.");
  if (operator === command.operator) return el("div", { class: "quiet" }, `A different operator than ${operator} must approve.`);
  const button = el("button", { type: "button", class: "approve" }, `Approve as ${operator}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      desk.took({ ...command, ...(await api.approve(idOf(command), operator)) });
    } catch (error) {
      button.after(el("span", { class: "error", role: "alert" }, ` ${error.message}`));
      button.disabled = false;
    }
  });
  return button;
}

/** The commands part of one sheet. */
export class CommandPanel {
  /**
   * @param {object} equipment
   * @param {{operator: function(): string, took: function(object)}} desk who acts, and where outcomes go
   * @param {function(object, string): number} quality of a point as it is shown
   */
  constructor(equipment, desk, quality) {
    this.equipment = equipment;
    this.desk = desk;
    this.quality = quality;
    this.dryRun = el("input", { type: "checkbox" });
    this.outcome = el("div", { class: "outcome", role: "status", "aria-live": "polite" });
    this.latest = "";
    this.node = el("section", { class: "commands", "aria-label": "Commands" }, el("h3", {}, "Commands"));
    this.#build();
  }

  /** Show a newer word on the command last sent from here. */
  take(command) {
    if (this.latest && idOf(command) === this.latest) this.#show(command);
  }

  /** Who acts has changed. */
  actingChanged() {
    if (this.shown) this.#show(this.shown);
  }

  #build() {
    const known = this.equipment.verbs.filter((verb) => !ON_SITE.has(verb));
    if (!known.length) {
      const parent = this.equipment.kind === "lamp" && this.equipment.parent;
      this.node.append(el("p", { class: "quiet" }, parent ? `A lamp is driven by its segment ${parent}.` : "It takes no commands."));
    }
    for (const verb of known) this.node.append(this.#form(verb, FORMS[verb] ?? { title: spaced(verb), fields: [] }));
    if (this.equipment.verbs.includes("reset")) this.node.append(el("p", { class: "quiet" }, "Reset: only on site, with the door open and the local key turned."));
    this.node.append(el("label", { class: "check" }, this.dryRun, " dry run: send nothing, only show what would be sent"), this.outcome, this.#other());
  }

  #form(verb, { title, fields, confirm }) {
    const inputs = fields.map((field) => field(this.equipment));
    const button = el("button", { type: "submit" }, title);
    const form = el("form", { class: "verb", "data-verb": verb }, button, inputs.map((each) => each.node));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const args = Object.fromEntries(inputs.map((each) => [each.name, each.value()]));
      const go = () => this.#send(verb, args, form, expectation(this.equipment, verb, this.quality));
      if (confirm && !this.dryRun.checked) this.#confirm(form, button, confirm, go);
      else go();
    });
    return form;
  }

  // The safe button has the focus.
  #confirm(form, button, question, go) {
    form.querySelector(".confirm")?.remove();
    const close = () => {
      box.remove();
      button.focus();
    };
    const no = el("button", { type: "button", on: { click: close } }, "No");
    const yes = el("button", { type: "button", class: "danger" }, `Yes, ${button.textContent.toLowerCase()}`);
    const box = el("div", { class: "confirm", role: "group", "aria-label": question }, el("p", {}, question), no, yes);
    yes.addEventListener("click", () => {
      close();
      go();
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
    form.append(box);
    no.focus();
  }

  #other() {
    const verb = el("input", { type: "text", required: "", maxlength: 40, "aria-label": "Verb", placeholder: "verb", autocomplete: "off", spellcheck: "false" });
    const args = el("input", { type: "text", "aria-label": "Arguments", placeholder: "name=value name=value", autocomplete: "off", spellcheck: "false" });
    const form = el("form", { class: "verb", "data-verb": "other" }, verb, args, el("button", { type: "submit" }, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      let typed;
      try {
        typed = parseArgs(args.value);
      } catch (error) {
        return this.#fail(error.message);
      }
      return this.#send(verb.value.trim(), typed, form);
    });
    return el("details", { class: "other" }, el("summary", {}, "Other verb"), el("p", { class: "quiet" }, "Sent as it is. The cabinet refuses what it does not know."), form);
  }

  async #send(verb, args, form, expect = {}) {
    const operator = this.desk.operator();
    if (!operator) return this.#fail("choose who you are acting as first (top of the page)");
    const { gateway, id } = this.equipment;
    const command = { gateway, equipment: id, verb, args, operator, ...expect };
    const dryRun = this.dryRun.checked;
    const buttons = [...form.querySelectorAll("button")];
    for (const each of buttons) each.disabled = true;
    this.latest = "";
    this.shown = null;
    fill(this.outcome, badge("plain", "…", dryRun ? "dry run…" : `${asked(command)}: sent, waiting for the cabinet…`));
    try {
      const answer = await api.send({ ...command, dry_run: dryRun });
      const whole = { ...command, issued_ms: Date.now(), ...answer };
      if (!dryRun) {
        this.latest = idOf(whole);
        this.desk.took(whole);
      }
      this.#show(whole, dryRun);
    } catch (error) {
      this.#fail(error.message);
    } finally {
      for (const each of buttons) each.disabled = false;
    }
    return undefined;
  }

  #show(command, dryRun = false) {
    this.shown = dryRun ? null : command;
    fill(
      this.outcome,
      el("div", { class: "asked" }, `${dryRun ? "Dry run: " : ""}${asked(command)}`, el("time", { class: "quiet" }, ` ${time(command.ended_ms ?? Date.now())}`)),
      outcomeBadge(command),
      dryRun ? el("p", { class: "quiet" }, "Nothing was sent.") : approvalButton(command, this.desk),
    );
  }

  #fail(text) {
    fill(this.outcome, badge("alarm", "✕", `not sent: ${text}`));
  }
}

function plan() {
  const input = el("input", { type: "number", min: 1, max: 253, step: 1, value: "1", required: "", "aria-label": "Plan number" });
  return { name: "plan", node: el("label", {}, "plan ", input), value: () => Number(input.value) };
}

function level() {
  const shown = el("output", {}, "80 %");
  const input = el("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Level in percent" });
  input.value = "80";
  input.addEventListener("input", () => (shown.value = `${input.value} %`));
  return { name: "level_percent", node: el("label", { class: "slider" }, input, shown), value: () => Number(input.value) };
}

function lease(equipment, choices) {
  const select = el("select", { "aria-label": "For how long" }, choices.map(([seconds, text]) => el("option", { value: String(seconds) }, text)));
  select.value = "600";
  return { name: "lease_s", node: el("label", {}, "for ", select), value: () => Number(select.value) };
}
