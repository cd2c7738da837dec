// @ts-check
/**
 * The picture of the lead: how many seconds of sound were ahead of the ear, in the colour of the engine that spoke, over 30 s.
 * `LeadHistory` is pure; `drawLead` paints it.
 *
 * @typedef {{ at: number, leadS: number, engine: number }} Point  time in ms, lead in seconds, colour index (-1: silence)
 * @typedef {{ at: number, kind: import('./listening.js').MarkKind, label: string }} Mark
 */

export const WINDOW_MS = 30_000;
/** Points are kept at most this often: the plot is 30 s over some 800 pixels. */
const STEP_MS = 40;
const MARK_COLOURS = { first: '--good', switch: '--warn', gap: '--danger', stop: '--faint', fault: '--danger' };

export class LeadHistory {
  constructor() {
    /** @type {Point[]} */
    this.points = [];
    /** @type {Mark[]} */
    this.marks = [];
  }

  /** @param {Point} point */
  add(point) {
    const last = this.points.at(-1);
    if (last && point.at - last.at < STEP_MS && last.engine === point.engine) last.leadS = point.leadS;
    else this.points.push(point);
    this._forget(point.at - WINDOW_MS - 1000);
  }

  /** @param {Mark} mark */
  mark(mark) {
    this.marks.push(mark);
  }

  /** Top of the scale: a round number of seconds over everything shown. */
  topS() {
    const highest = this.points.reduce((top, point) => Math.max(top, point.leadS), 0);
    return [1, 2, 3, 4, 6, 8, 10, 15, 20, 30].find((top) => top >= highest * 1.15) ?? Math.ceil(highest * 1.2);
  }

  /** @param {number} before */
  _forget(before) {
    while (this.points.length && this.points[0].at < before) this.points.shift();
    while (this.marks.length && this.marks[0].at < before) this.marks.shift();
  }
}

/**
 * @typedef {{ context: CanvasRenderingContext2D, left: number, top: number, width: number, height: number, now: number, topS: number,
 *   colour: (name: string) => string }} Frame
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {LeadHistory} history
 * @param {number} now in ms
 * @param {{ now: string, seconds: (n: number) => string }} words
 */
export function drawLead(canvas, history, now, words) {
  const context = canvas.getContext('2d');
  const { clientWidth, clientHeight } = canvas;
  if (!context || clientWidth === 0) return;
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(clientWidth * scale), Math.round(clientHeight * scale)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, clientWidth, clientHeight);
  context.font = '12px system-ui, sans-serif';
  const styles = getComputedStyle(canvas);
  const colour = (/** @type {string} */ name) => styles.getPropertyValue(name);
  const topS = history.topS();
  const frame = { context, left: 42, top: 20, width: clientWidth - 48, height: clientHeight - 42, now, topS, colour };
  drawGrid(frame, words);
  drawArea(frame, history.points);
  drawMarks(frame, history.marks);
}

/** @param {Frame} frame @param {number} at */
const x = (frame, at) => frame.left + frame.width * (1 - (frame.now - at) / WINDOW_MS);
/** @param {Frame} frame @param {number} leadS */
const y = (frame, leadS) => frame.top + frame.height * (1 - leadS / frame.topS);

/** @param {Frame} frame @param {{ now: string, seconds: (n: number) => string }} words */
function drawGrid(frame, words) {
  const { context, left, top, width, height, topS, colour } = frame;
  context.strokeStyle = colour('--line');
  context.fillStyle = colour('--faint');
  context.lineWidth = 1;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const part of [0, 0.5, 1]) {
    const line = Math.round(y(frame, topS * part)) + 0.5;
    context.beginPath();
    context.moveTo(left, line);
    context.lineTo(left + width, line);
    context.stroke();
    context.fillText(words.seconds(topS * part), left - 5, line);
  }
  context.textBaseline = 'top';
  for (let second = 0; second <= 30; second += 10) {
    context.textAlign = second === 0 ? 'right' : 'center';
    const label = second === 0 ? words.now : `−${words.seconds(second)}`;
    context.textAlign = second === 0 ? 'right' : second === 30 ? 'left' : 'center';
    context.fillText(label, x(frame, frame.now - second * 1000), top + height + 6);
  }
}

/** @param {Frame} frame @param {Point[]} points */
function drawArea(frame, points) {
  const { context, left, top, width, height } = frame;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height + 1);
  context.clip();
  for (let start = 0; start < points.length; ) {
    let end = start;
    while (end + 1 < points.length && points[end + 1].engine === points[start].engine) end += 1;
    if (points[start].engine >= 0) drawRun(frame, points.slice(start, end + 2));
    start = end + 1;
  }
  context.restore();
}

/** @param {Frame} frame @param {Point[]} run of one engine, and the first point after it */
function drawRun(frame, run) {
  const { context } = frame;
  const colour = frame.colour(`--engine-${run[0].engine % 4}`);
  context.beginPath();
  run.forEach((point, index) => context[index ? 'lineTo' : 'moveTo'](x(frame, point.at), y(frame, point.leadS)));
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.lineJoin = 'round';
  context.stroke();
  context.lineTo(x(frame, run[run.length - 1].at), y(frame, 0));
  context.lineTo(x(frame, run[0].at), y(frame, 0));
  context.fillStyle = colour;
  context.globalAlpha = 0.16;
  context.fill();
  context.globalAlpha = 1;
}

/**
 * Lines for all marks; labels, newest first, as far as there is room for them.
 * @param {Frame} frame
 * @param {Mark[]} marks
 */
function drawMarks(frame, marks) {
  const { context, left, width } = frame;
  /** @type {[from: number, to: number][]} */
  const taken = [];
  for (const mark of marks.toReversed()) {
    const at = x(frame, mark.at);
    if (at < left || at > left + width) continue;
    drawLine(frame, at, mark.kind);
    const size = context.measureText(mark.label).width;
    const from = Math.min(at - 4, left + width - size);
    if (taken.some(([start, end]) => from < end + 8 && from + size > start - 8)) continue;
    taken.push([from, from + size]);
    context.textBaseline = 'bottom';
    context.textAlign = 'left';
    context.fillText(mark.label, from, frame.top - 5);
  }
}

/** @param {Frame} frame @param {number} at @param {Mark['kind']} kind */
function drawLine({ context, top, height, colour }, at, kind) {
  context.strokeStyle = colour(MARK_COLOURS[kind]);
  context.fillStyle = context.strokeStyle;
  context.lineWidth = kind === 'switch' ? 2 : 1.5;
  context.setLineDash(kind === 'switch' ? [] : [4, 3]);
  context.beginPath();
  context.moveTo(at, top - 4);
  context.lineTo(at, top + height);
  context.stroke();
  context.setLineDash([]);
}
