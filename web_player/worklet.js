// @ts-check
/**
 * The audio thread's end: copies samples out of the jitter buffer and reports where the ear is.
 *
 * process() runs every 128 samples and allocates nothing but the report, which goes out about 30 times per second and on each change of
 * state. Messages in: `push` (samples, transferred), `complete`, `flush`, `cut` (sample), `begin` (prefetchMs). Each carries the number of the utterance it
 * is for, so that sound that was under way at a stop is not heard after it.
 */

import { JitterBuffer } from './jitter_buffer.js';

/** @typedef {{ kind: 'begin', run: number, prefetchMs: number } | { kind: 'push', run: number, samples: Float32Array }
 *   | { kind: 'complete' | 'flush', run: number } | { kind: 'cut', run: number, sample: number }} Order */
/** @typedef {{ run: number, played: number, lead: number, state: string, gaps: number, gapMs: number, gapAt: number, frame: number,
 *   overflow: number, cuts: number }} Report */

/** The most sound held: three times the largest lead that a listening profile of the service allows (8 s). */
const CAPACITY_MS = 24_000;
const REPORTS_PER_S = 30;

class PlayerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this._buffer = new JitterBuffer(sampleRate, CAPACITY_MS, 0);
    this._run = 0;
    this._overflow = 0;
    this._cuts = 0;
    this._reported = { frame: 0, state: '' };
    this.port.onmessage = ({ data }) => this._obey(data);
  }

  /** @param {Order} order */
  _obey(order) {
    if (order.kind === 'begin') {
      this._run = order.run;
      this._overflow = 0;
      this._buffer.clear();
      this._buffer.setPrefetch(order.prefetchMs);
    }
    if (order.run !== this._run) return;
    if (order.kind === 'push') this._overflow += order.samples.length - this._buffer.push(order.samples);
    if (order.kind === 'complete') this._buffer.complete();
    if (order.kind === 'cut') this._cut(order.sample);
    if (order.kind === 'flush') this._buffer.flush();
  }

  /** @param {number} sample */
  _cut(sample) {
    this._buffer.cut(sample);
    this._cuts += 1;
    this._report(0);
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, outputs) {
    const channels = outputs[0];
    this._buffer.read(channels[0]);
    for (let index = 1; index < channels.length; index += 1) channels[index].set(channels[0]);
    const isDue = currentFrame - this._reported.frame >= sampleRate / REPORTS_PER_S;
    if (isDue || this._buffer.state !== this._reported.state) this._report(channels[0].length);
    return true;
  }

  /** @param {number} blockLength */
  _report(blockLength) {
    const { played, lead, state, gaps, gapSamples, gapAt } = this._buffer;
    this._reported.frame = currentFrame;
    this._reported.state = state;
    const gapMs = (gapSamples * 1000) / sampleRate;
    const frame = currentFrame + blockLength;
    this.port.postMessage({ run: this._run, played, lead, state, gaps, gapMs, gapAt, frame, overflow: this._overflow, cuts: this._cuts });
  }
}

registerProcessor('realtime-player', PlayerProcessor);
