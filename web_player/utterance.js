// @ts-check
/**
 * One utterance as the page knows it: what was written, what the service said of it, and the text that waits while the service wants none.
 * No DOM and no audio; messages go out through `send`.
 *
 * @typedef {import('./dialect.js').ServerMessage} ServerMessage
 * @typedef {{ voice?: string, language?: string, speed: number, cache?: boolean, format: { codec: string, sample_rate: number },
 *   budget: Record<string, unknown> }} OpenOptions
 */

import { CaptionTrack } from './captions.js';
import { CodePointText, cutByCodePoints, wellFormed } from './codepoints.js';
import { rebased } from './rebase.js';

/** @enum {string} */
export const Phase = { SPEAKING: 'speaking', ENDED: 'ended', STOPPED: 'stopped', FAILED: 'failed' };

/** Characters per `text` message: far under the service's limit, so that a paste does not hold up a stop behind it. */
const PIECE = 2000;
/** Heard characters that a resumed utterance tells the service, for its prosody. */
const CONTEXT = 500;
/** How near to a segment's first sample a silence lies between segments. 20 ms, one frame. */
const SEAM_MS = 20;

export class Utterance {
  /**
   * @param {string} id
   * @param {OpenOptions} options
   * @param {(message: import('./dialect.js').ClientMessage) => boolean} send
   */
  constructor(id, options, send) {
    this.id = id;
    this.rate = options.format.sample_rate;
    this.track = new CaptionTrack(this.rate);
    this.written = new CodePointText();
    this.phase = Phase.SPEAKING;
    /** Samples received. */
    this.received = 0;
    this.firstAudioMs = 1500;
    this.prefetchMs = 100;
    this.isTextComplete = false;
    /** @type {string[]} pieces held while the service wants no text */
    this._held = [];
    this._isPaused = false;
    this._send = send;
    /** @type {{ total: number, at: number }[]} when the text was that long */
    this._history = [];
    this.begunAt = 0;
    this._isEndSent = false;
    this._options = options;
    /** Where the service's own count of this stream begins; not 0 once it was resumed. */
    this._base = { character: 0, sample: 0, index: 0 };
    this._send({ type: 'open', utterance: id, priority: 'interactive', ...options });
  }

  /**
   * More text, as it is written.
   * @param {string} text
   * @param {number} now in ms, of the page's clock
   */
  write(text, now) {
    if (this.phase !== Phase.SPEAKING || this.isTextComplete || text === '') return;
    if (this.written.length === 0) this.begunAt = now;
    const clean = wellFormed(text);
    this.written.append(clean);
    this._history.push({ total: this.written.length, at: now });
    this._held.push(...cutByCodePoints(clean, PIECE));
    this._pump();
  }

  /** No more text comes. */
  end() {
    if (this.isTextComplete || this.phase !== Phase.SPEAKING) return;
    this.isTextComplete = true;
    this._pump();
  }

  /** Barge-in. What comes after it of this utterance is not heard. */
  cancel() {
    if (this.phase !== Phase.SPEAKING) return;
    this.phase = Phase.STOPPED;
    this._held.length = 0;
    this._send({ type: 'cancel', utterance: this.id });
  }

  /** @param {number} sample that the ear has reached */
  played(sample) {
    const own = Math.min(sample, this.received) - this._base.sample;
    if (own >= 0) this._send({ type: 'played', utterance: this.id, sample: own });
  }

  /** The connection broke: forget what came in part. Returns the sample behind the last word that came whole. */
  breakOff() {
    const cut = this.track.wholeBefore(this.received);
    this._base = { ...cut, index: this.track.cut(cut) };
    this.received = cut.sample;
    return cut.sample;
  }

  /**
   * Go on under another id with what was not received whole; what was is the context. False when nothing is left to be said.
   * @param {string} id
   * @param {number} sample at which its sound will begin
   */
  resume(id, sample) {
    const { character } = this._base;
    this._base.sample = sample;
    this.received = sample;
    const rest = this.written.slice(character);
    if (this.isTextComplete && rest.trim() === '') {
      this.phase = Phase.ENDED;
      return false;
    }
    this.id = id;
    this._isPaused = false;
    this._isEndSent = false;
    this._held = cutByCodePoints(rest, PIECE);
    const context = this.written.slice(Math.max(0, character - CONTEXT), character);
    this._send({ type: 'open', utterance: id, priority: 'interactive', ...this._options, context });
    this._pump();
    return true;
  }

  /** @param {ServerMessage} message about this utterance */
  receive(message) {
    this._take(rebased(message, this._base, this.rate));
  }

  /** @param {ServerMessage} message with positions of the whole utterance */
  _take(message) {
    switch (message.type) {
      case 'opened':
        this.firstAudioMs = message.budget.first_audio_ms;
        this.prefetchMs = message.budget.start_buffer_ms;
        break;
      case 'segment': this.track.segment(message); break;
      case 'switch': this.track.switched(message); break;
      case 'audio':
        this.track.audio(message.offset, message.engine);
        this.received = message.offset + message.samples;
        break;
      case 'text_paused': this._isPaused = true; break;
      case 'text_resumed':
        this._isPaused = false;
        this._pump();
        break;
      case 'done': this.phase = this.phase === Phase.SPEAKING ? Phase.ENDED : this.phase; break;
      case 'error': this.phase = this.phase === Phase.SPEAKING ? Phase.FAILED : this.phase; break;
      default: break;
    }
  }

  /**
   * Whether a silence is the service's fault. Between two segments it is not when the text of the next one was still being written, less
   * the time that first audio may take.
   * @param {number} sample at which the sound ran out
   * @param {number} dryAt when, in ms of the page's clock
   */
  isOwed(sample, dryAt) {
    const next = this.track.segmentAt(sample, (SEAM_MS * this.rate) / 1000);
    if (!next) return true;
    const writtenAt = this._history.find(({ total }) => total >= next.span_end)?.at ?? dryAt;
    return writtenAt + this.firstAudioMs < dryAt;
  }

  _pump() {
    while (this._held.length > 0 && !this._isPaused) {
      if (!this._send({ type: 'text', utterance: this.id, text: this._held[0] })) return;
      this._held.shift();
    }
    if (this.isTextComplete && this._held.length === 0 && this.phase === Phase.SPEAKING && !this._isEndSent) {
      this._isEndSent = this._send({ type: 'end', utterance: this.id });
    }
  }
}
