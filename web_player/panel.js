// @ts-check
/** The engines' panel: breakers, workers, and the button that breaks what is speaking. Asks the service every two seconds while seen. */

import { t } from './i18n.js';
import { byId, make, say } from './view.js';

/**
 * @typedef {import('./api.js').Capabilities} Capabilities
 * @typedef {import('./api.js').WorkerRow} WorkerRow
 */

const EVERY_MS = 2000;
/** Where in the next piece of speech a fault strikes: in the middle of its first words, where a switch is hardest. */
const STRIKE_AT_MS = 350;
/** How long "freeze" freezes: beyond any lead that the page asks for by default. */
const STALL_MS = 5000;

/** @type {Record<string, string>} */
const BREAKERS = { closed: 'breakerClosed', open: 'breakerOpen', half_open: 'breakerHalfOpen' };

export class Panel {
  /**
   * @param {import('./api.js').Api} api
   * @param {import('./view.js').Palette} palette
   * @param {(voices: import('./dialect.js').Voice[]) => void} onVoices called whenever other engines are there than before
   * @param {() => void} onFault called when an engine was harmed
   */
  constructor(api, palette, onVoices, onFault) {
    this._api = api;
    this._palette = palette;
    this._onVoices = onVoices;
    this._onFault = onFault;
    this._engines = '';
    /** @type {Capabilities | null} */
    this.capabilities = null;
    /** @type {WorkerRow[]} */
    this._workers = [];
    this._speaking = '';
    byId('break').addEventListener('click', () => this.breakEngine());
    setInterval(() => this.refresh(), EVERY_MS);
    document.addEventListener('visibilitychange', () => this.refresh());
  }

  /** Ask and draw. A service that does not answer keeps the last picture; the connection's own state says what is wrong. */
  async refresh() {
    if (document.hidden || !this.capabilities) return;
    try {
      await this.load();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      byId('engines').title = error.message;
    }
  }

  /** Raises `ApiError`. */
  async load() {
    const [capabilities, workers] = await Promise.all([this._api.capabilities(), this._api.workers()]);
    this.capabilities = capabilities;
    this._workers = workers;
    for (const engine of capabilities.engines) this._palette.index(engine.name);
    const engines = capabilities.engines.map(({ name }) => name).join();
    if (engines !== this._engines) this._onVoices(await this._api.voices());
    this._engines = engines;
    this.draw();
    return capabilities;
  }

  /** @param {string} engine that sounds now, '' if none */
  speaking(engine) {
    if (engine === this._speaking) return;
    this._speaking = engine;
    this.draw();
  }

  draw() {
    if (!this.capabilities) return;
    const { engines, allows_faults: allowsFaults } = this.capabilities;
    const rows = engines.map((engine) => this._row(engine));
    byId('engines').replaceChildren(...(rows.length ? rows : [make('li', 'detail', t('warming'))]));
    byId('legend').replaceChildren(...engines.map((engine) => this._legend(engine.name)));
    byId('break-box').hidden = !allowsFaults;
    const button = byId('break', HTMLButtonElement);
    button.disabled = !this._speaking;
    const others = engines.filter(({ name, breaker }) => name !== this._speaking && breaker === 'closed');
    byId('break-hint').textContent = t(others.length ? 'breakHint' : 'breakLast');
    const label = t('breakIt', { engine: this._speaking || engines[0]?.name || '' });
    button.replaceChildren(`${label} `, make('kbd', '', 'Alt B'));
  }

  /** @param {import('./api.js').EngineRow} engine */
  _row({ name, breaker, too_slow_for: tooSlowFor = [] }) {
    const row = make('li', '');
    row.style.setProperty('--engine', `var(--engine-${this._palette.index(name)})`);
    row.dataset.speaking = String(name === this._speaking);
    row.dataset.engine = name;
    const badge = make('span', 'badge', t(BREAKERS[breaker] ?? breaker));
    badge.dataset.breaker = breaker;
    row.append(make('span', 'swatch'), make('span', 'name', name), badge, make('span', 'detail', this._detail(name)));
    if (tooSlowFor.length) {
      const hint = make('span', 'detail slow', t('tooSlow', { profiles: tooSlowFor.map(({ profile }) => profile).join(', ') }));
      hint.title = tooSlowFor.map((one) => one.hint).join('\n');
      row.append(hint);
    }
    return row;
  }

  /** @param {string} name */
  _detail(name) {
    const mine = this._workers.filter((worker) => worker.engine === name);
    const ready = mine.filter((worker) => worker.state === 'ready').length;
    const jobs = mine.reduce((sum, worker) => sum + worker.jobs, 0);
    const restarts = Math.max(0, ...mine.map((worker) => worker.restarts));
    const error = mine.find((worker) => worker.last_error)?.last_error;
    const parts = [t('workers', { ready, all: mine.length, jobs })];
    if (restarts) parts.push(t('restarts', { n: restarts }));
    if (error && ready < mine.length) parts.push(error);
    return parts.join(' · ');
  }

  /** @param {string} name */
  _legend(name) {
    const item = make('li', '', name);
    item.style.setProperty('--engine', `var(--engine-${this._palette.index(name)})`);
    return item;
  }

  /** Harm the engine that speaks. */
  async breakEngine() {
    const engine = this._speaking;
    if (!engine || !this.capabilities?.allows_faults) return;
    const kind = byId('fault', HTMLSelectElement).value;
    const value = kind === 'stall' ? STALL_MS : 0;
    try {
      await this._api.fault({ kind, engine, at_ms: STRIKE_AT_MS, value });
      say(t('faultSet', { engine }), 'switch');
      this._onFault();
    } catch (error) {
      say(t('faultFailed', { reason: /** @type {Error} */ (error).message }), 'problem');
    }
    await this.refresh();
  }
}
