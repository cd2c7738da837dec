// @ts-check
/**
 * One utterance after another, from text to ear: opens them, decodes their sound, tells the service what was heard, stops at once.
 *
 * @typedef {{ onBegin: (question: string) => void, onOver: () => void,
 *   onMark: (kind: import('./plot.js').Mark['kind'], label: string) => void }} TalkHandlers
 */

import { canDecodeOpus, chooseFormat, makeDecoder } from './decoders.js';
import { t } from './i18n.js';
import { Listening } from './listening.js';
import { Speaker } from './speaker.js';
import { Phase, Utterance } from './utterance.js';
import { say } from './view.js';

export class Talk {
  /**
   * @param {import('./connection.js').Connection} connection
   * @param {import('./settings.js').Settings} settings
   * @param {TalkHandlers} handlers
   */
  constructor(connection, settings, handlers) {
    this._connection = connection;
    this._settings = settings;
    this._handlers = handlers;
    this._speaker = new Speaker((report) => this._report(report));
    /** @type {Utterance | null} */
    this.utterance = null;
    /** Nothing of it will sound any more. */
    this.isOver = true;
    this._count = 0;
    this._run = 0;
    /** @type {import('./decoders.js').Decoder | null} */
    this._decoder = null;
    this._isOpusBroken = false;
    this._isFlushed = false;
    /** Where the ear was when it was stopped, in samples; -1: it was not. */
    this._stoppedAt = -1;
    this._state = 'waiting';
    /** What the listener experiences of the utterance. @type {Listening | null} */
    this.listening = null;
  }

  /**
   * A new utterance; the one before is stopped.
   * @param {string} question
   * @returns {Promise<boolean>} whether text may follow
   */
  async begin(question) {
    this.stop();
    if (typeof AudioWorkletNode === 'undefined') return this._refuse(t('noAudio'));
    const hasOpus = !this._isOpusBroken && this._settings.format === 'opus' && (await canDecodeOpus());
    const format = chooseFormat(this._settings.format, hasOpus);
    await this._speaker.open(format.sample_rate);
    if (this._connection.state !== 'ready') return this._refuse(t('closed'));
    this._count += 1;
    const utterance = new Utterance(`page-${this._count}`, { ...this._settings.open(), format }, (message) => this._connection.send(message));
    this.utterance = utterance;
    this.listening = new Listening(utterance, this._handlers.onMark);
    this.isOver = false;
    this._isFlushed = false;
    this._stoppedAt = -1;
    this._state = 'waiting';
    this._run = this._speaker.begin(utterance.prefetchMs);
    const run = this._run;
    this._decoder?.close();
    this._decoder = makeDecoder(format.codec, (samples) => this._speaker.push(samples, run), () => this._decodeFailed());
    this._handlers.onBegin(question);
    return true;
  }

  /** @param {string} text */
  write(text) {
    this.utterance?.write(text, performance.now());
  }

  end() {
    this.utterance?.end();
  }

  isWriting() {
    return !this.isOver && this.utterance?.phase === Phase.SPEAKING && !this.utterance.isTextComplete;
  }

  /** Barge-in: silence first, then the message. */
  stop() {
    if (!this.utterance || this.isOver) return;
    this._stoppedAt = this._speaker.heard();
    this._speaker.flush();
    this.utterance.played(this._stoppedAt);
    this.utterance.cancel();
    this._handlers.onMark('stop', t('markStop'));
    this._sayHeard('stopped', this._heardCharacters());
    this._over();
  }

  /** The connection broke. */
  lost() {
    if (!this.utterance || this.isOver) return;
    this.utterance.phase = Phase.FAILED;
    this._stoppedAt = this._speaker.heard();
    this._speaker.flush();
    this._sayHeard('lost', this._heardCharacters(), 'problem');
    this._over();
  }

  /** @param {import('./dialect.js').ServerMessage} message */
  receive(message) {
    if (!('utterance' in message) || message.utterance !== this.utterance?.id) {
      if (message.type === 'error' && !message.utterance) say(t('failed', { reason: message.message }), 'problem');
      return;
    }
    this.utterance?.receive(message);
    if (this.isOver) {
      if (message.type === 'cancelled') this._sayHeard('stopped', message.heard_characters);
      return;
    }
    if (message.type === 'audio') this._decoder?.push(message.payload, message.samples);
    if (message.type === 'done') this._complete();
    if (message.type === 'error') this._failed(message);
  }

  /** Sound received and not heard, in ms. */
  leadMs() {
    if (!this.utterance || this.isOver) return 0;
    return (Math.max(0, this.utterance.received - this._speaker.heard()) * 1000) / this.utterance.rate;
  }

  get isSounding() {
    return !this.isOver && this._state === 'playing';
  }

  engine() {
    return this.utterance?.track.engineAt(this._positionMs()) ?? '';
  }

  reading() {
    const utterance = /** @type {Utterance} */ (this.utterance);
    const isAllHeard = this.isOver && utterance.phase === Phase.ENDED;
    const end = utterance.written.length;
    return isAllHeard ? { heardEnd: end, wordEnd: end } : utterance.track.at(this._positionMs());
  }

  _positionMs() {
    const sample = this._stoppedAt >= 0 ? this._stoppedAt : this._speaker.heard();
    return (sample * 1000) / (this.utterance?.rate ?? 1);
  }

  _heardCharacters() {
    return this.utterance?.track.at(this._positionMs()).heardEnd ?? 0;
  }

  /** All sound has come: play what is left without waiting. */
  async _complete() {
    const run = this._run;
    await this._decoder?.flush();
    this._isFlushed = true;
    this._speaker.complete(run);
  }

  /** @param {import('./dialect.js').ErrorMessage} message what was sent before it is still heard */
  _failed(message) {
    const again = message.retry_after_ms ? ` ${t('retryAfter', { seconds: Math.ceil(message.retry_after_ms / 1000) })}` : '';
    say(t('failed', { reason: message.message }) + again, 'problem');
    this._complete();
  }

  _decodeFailed() {
    this._isOpusBroken = true;
    this.stop();
    say(t('decodeFailed'), 'problem');
  }

  /** @param {import('./worklet.js').Report} report from the audio thread, some 30 times per second */
  _report(report) {
    if (!this.utterance || this.isOver) return;
    this._state = report.state;
    this.listening?.take(report, this._speaker.heard(), performance.now());
    if (report.overflow) say(t('overflow'), 'problem');
    if (report.state === 'ended' && this._isFlushed) this._over();
  }

  _over() {
    if (this.utterance?.phase === Phase.ENDED) this.utterance.played(this.utterance.received);
    this.isOver = true;
    this._state = 'ended';
    this._handlers.onOver();
  }

  /** @param {string} key @param {number} heard @param {'plain' | 'problem'} [kind] */
  _sayHeard(key, heard, kind = 'plain') {
    say(t(key, { heard, all: this.utterance?.written.length ?? 0 }), kind);
  }

  /** @param {string} text @returns {false} */
  _refuse(text) {
    say(text, 'problem');
    return false;
  }
}
