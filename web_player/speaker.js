// @ts-check
/**
 * The way to the ear: an AudioContext at the stream's own rate, the worklet, and where the ear is at this moment.
 *
 * The browser resamples once, at the very end, with its own resampler; samples of the timeline are samples of the context.
 *
 * @typedef {import('./worklet.js').Report} Report
 */

export class Speaker {
  /** @param {(report: Report) => void} onReport */
  constructor(onReport) {
    this._onReport = onReport;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {AudioWorkletNode | null} */
    this._node = null;
    this._run = 0;
    /** Cuts that the audio thread has told of, and who waits for the next. */
    this._cuts = 0;
    this._onCut = (/** @type {number} */ _end) => {};
    /** @type {Report | null} */
    this._last = null;
  }

  /**
   * Get ready to play at a rate. Call it from a click or a key: browsers start audio on nothing less.
   * @param {number} sampleRate in Hz
   */
  async open(sampleRate) {
    if (this.context?.sampleRate !== sampleRate) {
      await this.close();
      const context = new AudioContext({ sampleRate, latencyHint: 'interactive' });
      this.context = context;
      const resumed = context.resume();
      await context.audioWorklet.addModule(new URL('./worklet.js', import.meta.url));
      this._node = new AudioWorkletNode(context, 'realtime-player', { numberOfInputs: 0, outputChannelCount: [1] });
      this._node.port.onmessage = ({ data }) => this._take(data);
      this._node.connect(context.destination);
      await resumed;
    }
    await this.context?.resume();
  }

  /**
   * A new utterance; what was held of the one before is forgotten.
   * @param {number} prefetchMs
   */
  begin(prefetchMs) {
    this._run += 1;
    this._last = null;
    this._node?.port.postMessage({ kind: 'begin', run: this._run, prefetchMs });
    return this._run;
  }

  /** @param {Float32Array} samples given away: the array is empty afterwards @param {number} run */
  push(samples, run) {
    if (samples.length) this._node?.port.postMessage({ kind: 'push', run, samples }, [samples.buffer]);
  }

  /** @param {number} run */
  complete(run) {
    this._node?.port.postMessage({ kind: 'complete', run });
  }

  /**
   * Forget what lies behind a sample and is not played yet.
   * @param {number} sample
   * @param {number} run
   * @returns {Promise<number>} where the sound ends now: there, or further on if more than that was played already
   */
  cut(sample, run) {
    return new Promise((resolve) => {
      this._onCut = resolve;
      this._node?.port.postMessage({ kind: 'cut', run, sample });
    });
  }

  /** Silence now. */
  flush() {
    this._node?.port.postMessage({ kind: 'flush', run: this._run });
  }

  /**
   * Samples of the utterance that have reached the ear: what the audio thread has given out, less what is still on its way through the
   * browser and the sound card, plus the time since its last report.
   */
  heard() {
    const { context, _last: last } = this;
    if (!context || !last || last.run !== this._run) return 0;
    const sinceReport = last.state === 'playing' ? context.currentTime * context.sampleRate - last.frame : 0;
    const latency = (context.outputLatency || context.baseLatency || 0) * context.sampleRate;
    const given = last.played + Math.min(Math.max(0, sinceReport), last.lead);
    // After the end the tail goes on sounding for as long as the latency lasts.
    const isTail = last.state !== 'playing' ? context.currentTime * context.sampleRate - last.frame : 0;
    return Math.max(0, Math.round(Math.min(last.played + last.lead, given - Math.max(0, latency - isTail))));
  }

  /** @param {Report} report */
  _take(report) {
    if (report.run !== this._run) return;
    if (report.cuts !== this._cuts) this._onCut(report.played + report.lead);
    this._cuts = report.cuts;
    this._last = report;
    this._onReport(report);
  }

  async close() {
    this._node?.disconnect();
    await this.context?.close();
    this.context = null;
    this._node = null;
    this._cuts = 0;
  }
}
