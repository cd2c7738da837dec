// @ts-check
/**
 * One utterance after another, from text to ear: opens them, plays their sound, tells the service what was heard, stops at once, and goes
 * on after a lost connection. Knows nothing of this page: example.html has a page of twenty lines around it.
 *
 * @typedef {import('./listening.js').ListeningHandlers} ListeningHandlers
 * @typedef {{ onBegin?: (question: string) => void, onOver?: () => void } & Partial<ListeningHandlers>} TalkHandlers
 * @typedef {{ format: 'opus' | 'pcm', open: () => Omit<import('./utterance.js').OpenOptions, 'format'> }} Choices  asked at each beginning
 */

import { Listening } from './listening.js';
import { Sound } from './sound.js';
import { Phase, Utterance } from './utterance.js';

export class Talk {
  /**
   * @param {import('./connection.js').Connection} connection
   * @param {Choices} choices
   * @param {TalkHandlers} [handlers]
   */
  constructor(connection, choices, handlers = {}) {
    this._connection = connection;
    this._choices = choices;
    this._handlers = { onBegin() {}, onOver() {}, onMark() {}, onSay() {}, ...handlers };
    this._sound = new Sound((report) => this._report(report), () => {
      this.stop();
      this._handlers.onSay('decodeFailed', {}, 'problem');
    });
    /** @type {Utterance | null} */
    this.utterance = null;
    /** What the listener experiences of it. @type {Listening | null} */
    this.listening = null;
    /** Nothing of it will sound any more. */
    this.isOver = true;
    /** The connection broke in the middle of it. @type {Promise<number> | null} */
    this._broken = null;
    /** All its sound has come and is decoded. */
    this._isComplete = false;
    /** Where the ear was when it was stopped, in samples; -1: it was not. */
    this._stoppedAt = -1;
    this._state = 'waiting';
    this._count = 0;
    this._begins = 0;
  }

  /**
   * A new utterance; the one before is stopped.
   * @param {string} [question] that it answers
   * @returns {Promise<boolean>} whether text may follow
   */
  async begin(question = '') {
    this.stop();
    this._begins += 1;
    const turn = this._begins;
    if (typeof AudioWorkletNode === 'undefined') return this._refuse('noAudio');
    const format = await this._sound.open(this._choices.format).catch(() => this._refuse('noAudio'));
    if (!format || turn !== this._begins) return false;
    if (this._connection.state !== 'ready') return this._refuse('closed');
    const options = { ...this._choices.open(), format };
    this.utterance = new Utterance(this._nextId(), options, (message) => this._connection.send(message));
    this.listening = new Listening(this.utterance, this._handlers);
    this.isOver = false;
    this._broken = null;
    this._isComplete = false;
    this._stoppedAt = -1;
    this._state = 'waiting';
    this._sound.begin(this.utterance.prefetchMs);
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
    this._stoppedAt = this._sound.stop();
    this.utterance.played(this._stoppedAt);
    this.utterance.cancel();
    this._handlers.onMark('stop', '');
    this._sayHeard(this.utterance.track.at(this._positionMs()).heardEnd);
    this._over();
  }

  /** The connection broke. What has come is still heard; the rest is asked for when the service is back. */
  lost() {
    const { utterance } = this;
    if (!utterance || this.isOver || utterance.phase !== Phase.SPEAKING) return;
    this._broken = this._sound.cut(utterance.breakOff());
    this._handlers.onSay('lost', {}, 'problem');
  }

  /** The service is there, and warm: go on where the connection broke. */
  async resume() {
    const { utterance, _broken: broken } = this;
    if (!utterance || !broken || this._connection.state !== 'ready') return;
    this._broken = null;
    const sample = await broken;
    if (this.isOver || this.utterance !== utterance) return;
    this._handlers.onSay('resumed', {}, 'plain');
    if (!utterance.resume(this._nextId(), sample)) this._complete();
  }

  /** @param {import('./dialect.js').ServerMessage} message */
  receive(message) {
    if (!('utterance' in message) || message.utterance !== this.utterance?.id) {
      if (message.type === 'error' && !message.utterance) this._handlers.onSay('failed', { reason: message.message }, 'problem');
      return;
    }
    this.utterance?.receive(message);
    if (this.isOver) {
      if (message.type === 'cancelled') this._sayHeard(message.heard_characters);
      return;
    }
    if (message.type === 'audio') this._sound.push(message);
    if (message.type === 'done') this._complete();
    if (message.type === 'error') this._failed(message);
  }

  /** Sound received and not heard, in ms. */
  leadMs() {
    if (!this.utterance || this.isOver) return 0;
    return (Math.max(0, this.utterance.received - this._sound.heard()) * 1000) / this.utterance.rate;
  }

  /** Who sounds at this moment; '' if nobody. */
  engine() {
    return (!this.isOver && this._state === 'playing' && this.utterance?.track.engineAt(this._positionMs())) || '';
  }

  reading() {
    const { track, phase, written } = /** @type {Utterance} */ (this.utterance);
    if (!this.isOver || phase !== Phase.ENDED) return track.at(this._positionMs());
    return { heardEnd: written.length, wordEnd: written.length };
  }

  _positionMs() {
    const sample = this._stoppedAt >= 0 ? this._stoppedAt : this._sound.heard();
    return (sample * 1000) / (this.utterance?.rate ?? 1);
  }

  _nextId() {
    this._count += 1;
    return `page-${this._count}`;
  }

  /** All sound has come. */
  async _complete() {
    const { utterance } = this;
    const isStillWanted = () => utterance === this.utterance && !this.isOver;
    await this._sound.complete(isStillWanted);
    if (isStillWanted()) this._isComplete = true;
  }

  /** @param {import('./dialect.js').ErrorMessage} message what was sent before it is still heard */
  _failed({ message, retry_after_ms: waitMs }) {
    const seconds = Math.ceil((waitMs ?? 0) / 1000);
    this._handlers.onSay(seconds ? 'failedFor' : 'failed', { reason: message, seconds }, 'problem');
    this._complete();
  }

  /** @param {import('./worklet.js').Report} report from the audio thread, some 30 times per second */
  _report(report) {
    if (!this.utterance || this.isOver) return;
    this._state = report.state;
    this.listening?.take(report, this._sound.heard(), performance.now());
    if (report.overflow) this._handlers.onSay('overflow', {}, 'problem');
    if (report.state === 'ended' && this._isComplete) this._over();
  }

  _over() {
    if (this.utterance?.phase === Phase.ENDED) this.utterance.played(this.utterance.received);
    this.isOver = true;
    this._broken = null;
    this._handlers.onOver();
  }

  /** @param {number} heard characters */
  _sayHeard(heard) {
    this._handlers.onSay('stopped', { heard, all: this.utterance?.written.length ?? 0 }, 'plain');
  }

  /** @param {string} key @returns {false} */
  _refuse(key) {
    this._handlers.onSay(key, {}, 'problem');
    return false;
  }
}
