// @ts-check
/** The settings card: what the listener chose, kept for the next visit. */

import { t } from './i18n.js';
import { byId } from './view.js';

/** @typedef {import('./dialect.js').Voice} Voice */

const STORE = 'realtime-player';
const KEPT = ['voice', 'spoken', 'speed', 'format', 'lead-limit', 'pace'];
/** Where faults are allowed, little sound is kept ahead, so that a broken engine is soon heard (or rather is not). */
const DEMO_LEAD_MS = '2000';

export class Settings {
  constructor() {
    this._stored = read();
    this._isDemo = false;
    for (const id of KEPT) byId(id).addEventListener('change', () => this._keep());
    for (const id of ['speed', 'pace']) byId(id).addEventListener('input', () => this.label());
    for (const id of KEPT) if (id !== 'voice' && this._stored[id] !== undefined) field(id).value = this._stored[id];
    this.label();
  }

  /** @param {Voice[]} voices */
  offerVoices(voices) {
    const select = byId('voice', HTMLSelectElement);
    const wanted = select.value || this._stored.voice;
    const groups = new Map(voices.map((voice) => [voice.engine, document.createElement('optgroup')]));
    for (const [engine, group] of groups) group.label = engine;
    for (const voice of voices) {
      const option = new Option(voice.id, voice.id, false, voice.id === wanted);
      option.title = voice.description;
      groups.get(voice.engine)?.append(option);
    }
    select.replaceChildren(...groups.values());
  }

  /** @param {boolean} isDemo whether faults are allowed */
  suggest(isDemo) {
    this._isDemo = isDemo;
    if (isDemo && this._stored['lead-limit'] === undefined) field('lead-limit').value = DEMO_LEAD_MS;
  }

  /** Words that carry a value. */
  label() {
    byId('speed-value').textContent = `${this.speed.toFixed(2)}×`;
    byId('pace-value').textContent = t('paceUnit', { n: this.pace });
  }

  get speed() {
    return Number(field('speed').value);
  }

  get pace() {
    return Number(field('pace').value);
  }

  /** @returns {'opus' | 'pcm'} */
  get format() {
    return field('format').value === 'opus' ? 'opus' : 'pcm';
  }

  /** The choices that go into `open`. */
  open() {
    const limit = Number(field('lead-limit').value);
    return {
      voice: field('voice').value || undefined,
      language: field('spoken').value || undefined,
      speed: this.speed,
      // What comes from the cache keeps no engine busy, and an idle engine breaks unheard.
      cache: !this._isDemo,
      budget: { profile: 'browser', ...(limit ? { max_lead_ms: limit } : {}) },
    };
  }

  _keep() {
    this._stored = Object.fromEntries(KEPT.map((id) => [id, field(id).value]));
    try {
      localStorage.setItem(STORE, JSON.stringify(this._stored));
    } catch (error) {
      // A browser that keeps nothing (private mode, full disk) still lets one choose.
      if (!(error instanceof DOMException)) throw error;
    }
  }
}

/** @param {string} id @returns {HTMLInputElement | HTMLSelectElement} */
function field(id) {
  return /** @type {HTMLInputElement | HTMLSelectElement} */ (byId(id));
}

/** @returns {Record<string, string>} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? '{}') ?? {};
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return {};
    throw error;
  }
}
