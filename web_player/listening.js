// @ts-check
/**
 * What a listener experiences of one utterance: first sound, silences, switches; and the marks that tell the service of it.
 *
 * @typedef {'first' | 'switch' | 'gap' | 'stop' | 'fault'} MarkKind
 * @typedef {{ onMark: (kind: MarkKind, label: string) => void,
 *   onSay: (key: string, values: Record<string, string | number>, kind: 'plain' | 'problem' | 'switch') => void }} ListeningHandlers
 *   onMark: something to show on a time line; onSay: something to tell, as a key of i18n.js
 */

/** How often the service hears where the ear is. */
const MARK_EVERY_MS = 250;

export class Listening {
  /**
   * @param {import('./utterance.js').Utterance} utterance
   * @param {ListeningHandlers} handlers
   */
  constructor(utterance, handlers) {
    this._utterance = utterance;
    this._handlers = handlers;
    /** From the first text to the first sample that left the audio thread, on the page's clock. @type {number | null} */
    this.ttfaMs = null;
    /** Silences that were the service's fault. */
    this.underruns = 0;
    this.underrunMs = 0;
    this.switches = 0;
    /** Of the silences, what was told with a switch before. */
    this._toldGapMs = 0;
    this._state = 'waiting';
    this._dryAt = 0;
    this._gapMs = 0;
    this._toldAt = 0;
    this._told = -1;
  }

  /**
   * @param {import('./worklet.js').Report} report
   * @param {number} heard samples that have reached the ear
   * @param {number} now in ms, of the page's clock
   */
  take(report, heard, now) {
    if (report.played > 0 && this.ttfaMs === null) this._first(now);
    if (report.state === 'dry' && this._state !== 'dry') this._dryAt = now;
    if (report.state !== 'dry' && this._state === 'dry') this._gapOver(report);
    this._state = report.state;
    if (now - this._toldAt >= MARK_EVERY_MS || report.state === 'ended') this._tell(heard, now);
    this._showSwitches(heard);
  }

  /** @param {number} now */
  _first(now) {
    this.ttfaMs = now - this._utterance.begunAt;
    this._handlers.onMark('first', '');
  }

  /** @param {import('./worklet.js').Report} report */
  _gapOver(report) {
    const lengthMs = report.gapMs - this._gapMs;
    this._gapMs = report.gapMs;
    // Silence after the last sample is the end, however late the service says so.
    if (report.state === 'ended' || !this._utterance.isOwed(report.gapAt, this._dryAt)) return;
    this.underruns += 1;
    this.underrunMs += lengthMs;
    this._handlers.onMark('gap', '');
  }

  /** @param {number} heard @param {number} now */
  _tell(heard, now) {
    this._toldAt = now;
    if (heard === this._told) return;
    this._told = heard;
    this._utterance.played(heard);
  }

  /** @param {number} heard */
  _showSwitches(heard) {
    const message = this._utterance.track.switches[this.switches];
    if (!message || message.sample_offset > heard) return;
    this.switches += 1;
    const { from_engine: from, to_engine: to } = message;
    this._handlers.onMark('switch', `→ ${to}`);
    const gapMs = Math.round(this.underrunMs - this._toldGapMs);
    this._toldGapMs = this.underrunMs;
    this._handlers.onSay(gapMs > 0 ? 'switchedLate' : 'switched', { from, to, reason: message.reason, ms: gapMs }, 'switch');
  }
}
