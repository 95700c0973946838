// Signs on the map's canvas: one shape per kind. Shape and text carry the meaning, colour repeats it.

const STALE_DASH = [3, 2];

/** Colours of the present theme, read from the style sheet once per theme. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["bg", "panel", "ink", "quiet", "line", "accent", "ok", "warn", "alarm", "stale", "lamp", "lamp-off", "red", "yellow", "green", "dark-aspect"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The colour of a lighting level: off is a hue of its own, the rest by brightness. */
export function levelColour(level, colours) {
  return level > 0 ? colours.lamp : colours["lamp-off"];
}

export const RADIUS = { junction: 13, bollard: 11, segment: 11, lamp: 4, meter: 8, points: 8 };

/**
 * Draw one sign.
 * @param {CanvasRenderingContext2D} ctx
 * @param {{x: number, y: number}} at centre in pixels
 * @param {object} look {kind, live, latched, tone, selected, label, ...describe()}
 * @param {number} scale 1 in a street, less over a city
 */
export function draw(ctx, at, look, colours, scale = 1) {
  ctx.save();
  ctx.translate(Math.round(at.x), Math.round(at.y));
  ctx.globalAlpha = 1; // Leaflet leaves the last street's opacity behind.
  if (look.selected) ring(ctx, RADIUS[look.kind] * scale + 6, colours);
  ctx.scale(scale, scale);
  ctx.lineWidth = 2;
  ctx.setLineDash(look.live ? [] : STALE_DASH);
  ctx.strokeStyle = look.live ? tone(look, colours) : colours.stale;
  (SIGNS[look.kind] ?? points)(ctx, look, colours);
  ctx.setLineDash([]);
  if (look.latched || look.tone === "alarm") mark(ctx, RADIUS[look.kind], colours);
  ctx.scale(1 / scale, 1 / scale);
  if (look.label) label(ctx, RADIUS[look.kind], look, colours);
  ctx.restore();
}

function tone(look, colours) {
  if (look.latched || look.tone === "alarm") return colours.alarm;
  return look.tone === "warn" ? colours.warn : colours.ink;
}

function ring(ctx, radius, colours) {
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.arc(0, 0, radius, 0, 2 * Math.PI);
  ctx.strokeStyle = colours.accent;
  ctx.lineWidth = 3;
  ctx.stroke();
}

function box(ctx, half, fill) {
  ctx.beginPath();
  ctx.rect(-half, -half, 2 * half, 2 * half);
  ctx.fillStyle = fill;
  ctx.fill();
  ctx.stroke();
}

// A signal head: red on top, yellow, green below; each bar as wide as its share of the groups.
function junction(ctx, look, colours) {
  box(ctx, 12, look.live ? colours["dark-aspect"] : colours.bg);
  if (!look.live) return hatch(ctx, 12, colours);
  if (look.flashing) return letter(ctx, "F", colours.yellow, 15);
  const count = look.count ?? { R: 0, Y: 0, G: 0 };
  const total = count.R + count.Y + count.G;
  ["R", "Y", "G"].forEach((aspect, row) => {
    if (!count[aspect]) return;
    const half = Math.max(2, (9 * count[aspect]) / total);
    ctx.fillStyle = { R: colours.red, Y: colours.yellow, G: colours.green }[aspect];
    ctx.fillRect(-half, -9 + row * 6.5, 2 * half, 5);
  });
}

// Seen from the side: a post that stands up, lies flat in the ground, or moves.
function bollard(ctx, look, colours) {
  const colour = look.live ? tone(look, colours) : colours.stale;
  ctx.fillStyle = look.live ? colour : colours.bg;
  const down = look.bollard === "down" || look.bollard === "held-down" || look.bollard === "fault-down";
  ctx.beginPath();
  if (down) ctx.rect(-5, 5, 10, 4);
  else ctx.roundRect(-5, -10, 10, 18, [5, 5, 0, 0]);
  if (look.live && (down || look.bollard === "up")) ctx.fill();
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(-11, 9);
  ctx.lineTo(11, 9);
  ctx.stroke();
  if (look.live && look.bollard && !down && look.bollard !== "up") letter(ctx, look.bollard === "lowering" ? "↓" : look.bollard === "rising" ? "↑" : "?", colour, 12);
}

// A disc filled from below to its level.
function segment(ctx, look, colours) {
  ctx.beginPath();
  ctx.arc(0, 0, 10, 0, 2 * Math.PI);
  ctx.fillStyle = colours.bg;
  ctx.fill();
  ctx.save();
  ctx.clip();
  if (look.live && look.level > 0) {
    ctx.fillStyle = colours.lamp;
    ctx.fillRect(-10, 10 - (20 * Math.min(100, look.level)) / 100, 20, 20);
  }
  ctx.restore();
  ctx.stroke();
  if (!look.live) hatch(ctx, 7, colours);
}

function lamp(ctx, look, colours) {
  ctx.beginPath();
  ctx.arc(0, 0, 3.5, 0, 2 * Math.PI);
  ctx.lineWidth = 1.5;
  ctx.setLineDash([]);
  if (look.live && look.level > 0) {
    ctx.fillStyle = colours.lamp;
    ctx.fill();
  } else {
    ctx.fillStyle = colours.bg;
    ctx.fill();
    ctx.strokeStyle = look.live && look.level === 0 ? colours["lamp-off"] : colours.stale;
    ctx.stroke();
  }
}

function meter(ctx, look, colours) {
  ctx.beginPath();
  ctx.moveTo(0, -9);
  ctx.lineTo(9, 7);
  ctx.lineTo(-9, 7);
  ctx.closePath();
  ctx.fillStyle = look.live ? colours.panel : colours.bg;
  ctx.fill();
  ctx.stroke();
}

function points(ctx, look, colours) {
  ctx.rotate(Math.PI / 4);
  box(ctx, 6, look.live ? colours.panel : colours.bg);
  ctx.rotate(-Math.PI / 4);
}

const SIGNS = { junction, bollard, segment, lamp, meter, points };

function hatch(ctx, half, colours) {
  ctx.save();
  ctx.setLineDash([]);
  ctx.lineWidth = 1;
  ctx.strokeStyle = colours.stale;
  ctx.beginPath();
  ctx.rect(-half, -half, 2 * half, 2 * half);
  ctx.clip();
  ctx.beginPath();
  for (let x = -2 * half; x < 2 * half; x += 5) {
    ctx.moveTo(x, half);
    ctx.lineTo(x + 2 * half, -half);
  }
  ctx.stroke();
  ctx.restore();
}

function letter(ctx, text, colour, size) {
  ctx.fillStyle = colour;
  ctx.font = `bold ${size}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(text, 0, 1);
}

function mark(ctx, radius, colours) {
  ctx.beginPath();
  ctx.arc(radius, -radius, 7, 0, 2 * Math.PI);
  ctx.fillStyle = colours.alarm;
  ctx.fill();
  ctx.save();
  ctx.translate(radius, -radius);
  letter(ctx, "!", colours.bg, 11);
  ctx.restore();
}

function label(ctx, radius, look, colours) {
  ctx.font = "11px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  ctx.lineWidth = 3;
  ctx.strokeStyle = colours.bg;
  ctx.fillStyle = look.live ? colours.ink : colours.quiet;
  ctx.strokeText(look.label, 0, radius + 4);
  ctx.fillText(look.label, 0, radius + 4);
}
