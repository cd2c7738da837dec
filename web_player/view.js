// @ts-check
/** What changes while it speaks: captions, figures, state of the connection, messages. Knows the DOM, and nothing of sockets or sound. */

import { t } from './i18n.js';

/** @typedef {import('./utterance.js').Utterance} Utterance */

/** Earlier utterances kept on the page. */
const KEPT = 12;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new (...args: any[]) => T} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!element || (kind && !(element instanceof kind))) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function make(tag, className, text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Colours of engines, in the order in which they were first named. */
export class Palette {
  constructor() {
    /** @type {string[]} */
    this._names = [];
  }

  /** @param {string} engine @returns {number} 0, 1, ...; -1 for no engine */
  index(engine) {
    if (!engine) return -1;
    if (!this._names.includes(engine)) this._names.push(engine);
    return this._names.indexOf(engine) % 4;
  }
}

export class CaptionView {
  /** @param {HTMLElement} box @param {Palette} palette */
  constructor(box, palette) {
    this._box = box;
    this._palette = palette;
    this._drawn = '';
    /** @type {HTMLElement | null} */
    this._text = null;
    this.empty();
  }

  /** The invitation, as long as nothing was said. */
  empty() {
    if (!this._text) this._box.replaceChildren(make('p', 'empty', t('captionsEmpty')));
  }

  /** @param {string} question that the text answers; '' where nobody asked */
  begin(question) {
    if (!this._text) this._box.replaceChildren();
    this._text?.parentElement?.setAttribute('data-phase', 'over');
    const article = make('article', '');
    article.dataset.phase = 'speaking';
    if (question) article.append(make('p', 'asked', question));
    this._text = make('p', 'text');
    article.append(this._text);
    this._box.append(article);
    while (this._box.children.length > KEPT) this._box.firstElementChild?.remove();
    this._drawn = '';
  }

  /**
   * @param {Utterance} utterance
   * @param {import('./captions.js').Reading} reading
   * @param {boolean} isOver nothing of it will sound any more
   */
  draw(utterance, reading, isOver) {
    const { track, written } = utterance;
    const key = [reading.heardEnd, reading.wordEnd, written.length, track.version, isOver].join();
    if (key === this._drawn || !this._text) return;
    this._drawn = key;
    this._text.parentElement?.setAttribute('data-phase', isOver ? 'over' : 'speaking');
    const runs = track.runs();
    runs.push({ start: track.spokenEnd, end: written.length, engine: '', isSwitch: false });
    this._text.replaceChildren(...runs.flatMap((run) => this._run(utterance, run, reading, isOver)));
    this._follow();
  }

  /**
   * @param {Utterance} utterance
   * @param {import('./captions.js').Run} run
   * @param {import('./captions.js').Reading} reading
   * @param {boolean} isOver
   */
  _run({ written }, run, { heardEnd, wordEnd }, isOver) {
    const pieces = [];
    if (run.isSwitch) pieces.push(make('span', 'seam', '⇄'));
    const later = isOver ? 'unheard' : run.engine ? 'ahead' : 'written';
    /** @type {[string, number, number][]} */
    const parts = [['heard', run.start, heardEnd], ['now', Math.max(run.start, heardEnd), wordEnd], [later, Math.max(run.start, wordEnd), run.end]];
    for (const [className, start, end] of parts) {
      const text = written.slice(start, Math.min(end, run.end));
      if (start >= run.end || end <= start || !text) continue;
      const span = make('span', className, text);
      if (run.engine) span.dataset.engine = String(this._palette.index(run.engine));
      pieces.push(span);
    }
    return pieces;
  }

  /** Keep the current word in sight, by moving the captions only and never the page. */
  _follow() {
    const now = /** @type {HTMLElement | null} */ (this._text?.querySelector('.now, .ahead, .written') ?? this._text?.lastElementChild);
    if (!now) return;
    const box = this._box.getBoundingClientRect();
    const word = now.getClientRects()[0] ?? now.getBoundingClientRect();
    if (word.bottom > box.bottom - 8) this._box.scrollTop += word.bottom - box.bottom + box.height / 3;
    else if (word.top < box.top) this._box.scrollTop -= box.top - word.top + 8;
  }
}

/**
 * @param {string} text
 * @param {'plain' | 'problem' | 'switch'} [kind]
 */
export function say(text, kind = 'plain') {
  const message = byId('message');
  message.dataset.kind = kind;
  message.textContent = text;
}

/**
 * @param {import('./connection.js').ConnectionState} state
 * @param {{ retryInMs?: number, reason?: string }} detail
 */
export function showConnection(state, { retryInMs = 0, reason = '' }) {
  byId('connection').dataset.connection = state;
  byId('connection').title = reason;
  byId('connection-text').textContent = t(state, { seconds: Math.max(1, Math.round(retryInMs / 1000)) });
  byId('retry').hidden = state !== 'waiting';
  byId('key-form').hidden = state !== 'unauthorized';
}

/**
 * @param {string} engine '' when nothing sounds
 * @param {number} colour
 */
export function showSpeaking(engine, colour) {
  const chip = byId('now');
  chip.dataset.state = engine ? 'speaking' : 'idle';
  chip.style.setProperty('--engine', engine ? `var(--engine-${colour})` : '');
  byId('now-text').textContent = engine ? `${t('speaking')}: ${engine}` : t('idle');
  byId('engine').textContent = engine || '–';
}

/**
 * @param {{ ttfaMs: number | null, underruns: number, underrunMs: number, switches: number }} listening
 * @param {number | null} leadMs
 */
export function showFigures({ ttfaMs, underruns, underrunMs, switches }, leadMs) {
  setText('ttfa', ttfaMs === null ? '–' : `${Math.round(ttfaMs)} ms`);
  setText('lead', leadMs === null ? '–' : `${(leadMs / 1000).toFixed(1)} s`);
  setText('underruns', underruns ? `${underruns} · ${Math.round(underrunMs)} ms` : '0');
  byId('underruns').dataset.alarm = String(underruns > 0);
  setText('switches', String(switches));
}

/** @param {string} id @param {string} text */
export function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
