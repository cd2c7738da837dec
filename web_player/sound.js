// @ts-check
/** Payloads in, sound out: the decoder of one stream and the speaker behind it. */

import { canDecodeOpus, chooseFormat, makeDecoder } from './decoders.js';
import { Speaker } from './speaker.js';

/** @typedef {import('./worklet.js').Report} Report */

export class Sound {
  /**
   * @param {(report: Report) => void} onReport
   * @param {() => void} onBroken the decoder gave up; PCM is used from now on
   */
  constructor(onReport, onBroken) {
    this._speaker = new Speaker(onReport);
    this._onBroken = onBroken;
    this._isOpusBroken = false;
    this._run = 0;
    this._codec = '';
    /** @type {import('./decoders.js').Decoder | null} */
    this._decoder = null;
  }

  /**
   * Get ready to play. Raises `DOMException` when the browser has no way to.
   * @param {'opus' | 'pcm'} wanted
   * @returns {Promise<{ codec: string, sample_rate: number }>} what to ask the service for
   */
  async open(wanted) {
    const hasOpus = wanted === 'opus' && !this._isOpusBroken && (await canDecodeOpus());
    const format = chooseFormat(wanted, hasOpus);
    await this._speaker.open(format.sample_rate);
    this._codec = format.codec;
    return format;
  }

  /**
   * A new utterance.
   * @param {number} prefetchMs
   */
  begin(prefetchMs) {
    this._run = this._speaker.begin(prefetchMs);
    this._newDecoder();
  }

  /** @param {import('./dialect.js').AudioMessage} message */
  push({ payload, samples }) {
    this._decoder?.push(payload, samples);
  }

  /**
   * All has come: play what is left without waiting.
   * @param {() => boolean} isStillWanted asked when the decoder has given its last
   */
  async complete(isStillWanted) {
    const run = this._run;
    await this._decoder?.flush();
    if (isStillWanted()) this._speaker.complete(run);
  }

  /**
   * The stream broke off and will go on at a sample: forget what lies behind it.
   * @param {number} sample
   * @returns {Promise<number>} the sample at which it goes on: that one, or a later one if more was heard by now
   */
  async cut(sample) {
    const run = this._run;
    await this._decoder?.flush();
    const end = await this._speaker.cut(sample, run);
    if (run === this._run) this._newDecoder();
    return end;
  }

  /** Silence now. Returns where the ear was. */
  stop() {
    const heard = this._speaker.heard();
    this._speaker.flush();
    return heard;
  }

  heard() {
    return this._speaker.heard();
  }

  _newDecoder() {
    const run = this._run;
    this._decoder?.close();
    const take = (/** @type {Float32Array} */ samples) => this._speaker.push(samples, run);
    this._decoder = makeDecoder(this._codec, take, () => {
      this._isOpusBroken = true;
      this._onBroken();
    });
  }
}
