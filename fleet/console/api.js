// The manager's HTTP API and its stream of server-sent events.
//
// The stream is read with fetch rather than EventSource because EventSource hides comments: the server's heartbeat is a
// comment, and only hearing it proves that silence means "nothing changed" and not "nothing arrives".

const REQUEST_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 30_000;
const EVENT_CHARACTERS_MAX = 1_000_000;

/** What the manager answered, in its own words, or that it did not. */
export class ApiError extends Error {}

async function request(path, { method = "GET", body, timeoutMs = REQUEST_TIMEOUT_MS } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      cache: "no-store",
      headers: body === undefined ? { accept: "application/json" } : { accept: "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (error) {
    throw new ApiError(error.name === "TimeoutError" ? "the manager did not answer in time" : "the manager cannot be reached", { cause: error });
  }
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    throw new ApiError(`the manager's answer (HTTP ${response.status}) cannot be read`, { cause: error });
  }
  if (!response.ok) throw new ApiError(answer?.detail ? String(answer.detail) : `the manager answered HTTP ${response.status}`);
  return answer;
}

/** The rows of an answer, whether it is a bare list or an object around one. */
function rows(answer) {
  if (Array.isArray(answer)) return answer;
  return Object.values(answer ?? {}).find(Array.isArray) ?? [];
}

function equipmentPath(equipment) {
  return `api/equipment/${encodeURIComponent(equipment.gateway)}/${encodeURIComponent(equipment.id)}`;
}

export const api = {
  district: () => request("api/district"),
  operators: async () => rows(await request("api/operators")).map((each) => (typeof each === "string" ? each : each.name)),
  events: async (query = {}) => rows(await request(`api/events?${new URLSearchParams(query)}`)),
  commands: async (limit) => rows(await request(`api/commands?limit=${limit}`)),
  history: async (equipment, point, sinceMs, limit) =>
    rows(await request(`${equipmentPath(equipment)}/history?${new URLSearchParams({ point, since_ms: Math.round(sinceMs), limit })}`)),
  send: (command) => request("api/commands", { method: "POST", body: command, timeoutMs: COMMAND_TIMEOUT_MS }),
  approve: (id, operator) =>
    request(`api/commands/${encodeURIComponent(id)}/approve`, { method: "POST", body: { operator }, timeoutMs: COMMAND_TIMEOUT_MS }),
};

/** Splits the text of a stream into events however the network cuts it. */
export class EventSplitter {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.name = "";
    this.lines = [];
  }

  feed(text) {
    this.rest += text;
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    if (this.rest.length > EVENT_CHARACTERS_MAX) throw new ApiError("the stream sent a line without end");
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      if (this.lines.length) this.onEvent(this.name || "message", this.lines.join("\n"));
      this.name = "";
      this.lines = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = content;
    if (field === "data") this.lines.push(content);
  }
}

/**
 * Read the stream until it ends, fails or is aborted.
 * @param {AbortSignal} signal
 * @param {{open: function(), alive: function(), event: function(string, any)}} on `alive` for every piece received, comments included.
 */
export async function readStream(signal, on) {
  const response = await fetch("api/stream", { signal, cache: "no-store", headers: { accept: "text/event-stream" } });
  if (!response.ok || !response.body) throw new ApiError(`the stream answered HTTP ${response.status}`);
  on.open();
  const splitter = new EventSplitter((name, data) => {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      message = null;
    }
    on.event(name, message);
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) { // Ends with the stream or with the signal.
    const { done, value } = await reader.read();
    if (done) return;
    on.alive();
    splitter.feed(value);
  }
}
