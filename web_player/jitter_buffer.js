// @ts-check
/**
 * Sound that has come and is not heard yet. Pure: no clock, no audio API; the worklet asks for samples and time passes by that.
 *
 * One utterance at a time. States: WAITING collects the prefetch before a burst, PLAYING gives samples, DRY ran out before the end.
 * The ring is made once, so that neither push nor read allocates. When it is full, push takes what fits and says so.
 */

/** @enum {string} */
export const State = { WAITING: 'waiting', PLAYING: 'playing', DRY: 'dry', ENDED: 'ended' };

/** Length of the ramps that keep a stop, a gap and a restart from clicking. 3 ms is under one audio block at 24 kHz. */
const RAMP_MS = 3;

export class JitterBuffer {
  /**
   * @param {number} sampleRate in Hz
   * @param {number} capacityMs most sound held
   * @param {number} prefetchMs held before a burst begins to sound
   */
  constructor(sampleRate, capacityMs, prefetchMs) {
    this._ring = new Float32Array(Math.ceil((sampleRate * capacityMs) / 1000));
    this._perMs = sampleRate / 1000;
    this._ramp = Math.round(RAMP_MS * this._perMs);
    this.prefetch = Math.round(prefetchMs * this._perMs);
    this._from = 0;
    /** @type {string} */
    this.state = State.WAITING;
    /** Samples held. */
    this.lead = 0;
    /** Samples of the utterance given out so far. */
    this.played = 0;
    /** How often the sound ran out before the end, and the silence since in samples. */
    this.gaps = 0;
    this.gapSamples = 0;
    /** Where the last of them was, in samples of the utterance. */
    this.gapAt = 0;
    this._isComplete = false;
    this._rampIn = 0;
    /** The last sample given out, where a fade begins. */
    this._last = 0;
  }

  /** Ready for the next utterance. */
  clear() {
    this.state = State.WAITING;
    this.lead = 0;
    this.played = 0;
    this.gaps = 0;
    this.gapSamples = 0;
    this._isComplete = false;
    this._rampIn = 0;
  }

  /** @param {number} prefetchMs */
  setPrefetch(prefetchMs) {
    this.prefetch = Math.min(this._ring.length, Math.round(prefetchMs * this._perMs));
  }

  /**
   * Take samples. Returns how many fitted.
   * @param {Float32Array} samples
   */
  push(samples) {
    const count = Math.min(samples.length, this._ring.length - this.lead);
    const to = (this._from + this.lead) % this._ring.length;
    const first = Math.min(count, this._ring.length - to);
    this._ring.set(samples.subarray(0, first), to);
    this._ring.set(samples.subarray(first, count), 0);
    this.lead += count;
    return count;
  }

  /** No more comes: what is held is played without waiting for the prefetch. */
  complete() {
    this._isComplete = true;
  }

  /**
   * Forget what lies behind a sample of the utterance and was not given out yet.
   * @param {number} sample
   */
  cut(sample) {
    this.lead = Math.max(0, Math.min(this.lead, sample - this.played));
  }

  /**
   * Forget what is held, at once. Returns how many samples nobody will hear; the next read fades out from the last sample heard.
   */
  flush() {
    const dropped = this.lead;
    this.lead = 0;
    this._isComplete = true;
    this.state = State.ENDED;
    return dropped;
  }

  /**
   * Fill a block; what is not sound is silence. Returns the number of samples of sound.
   * @param {Float32Array} block
   */
  read(block) {
    this._decide();
    const count = this.state === State.PLAYING ? Math.min(block.length, this.lead) : 0;
    this._copy(block, count);
    this.lead -= count;
    this.played += count;
    if (count < block.length) this._fadeOut(block, count);
    if (this.state === State.PLAYING && count < block.length) {
      this.state = this._isComplete ? State.ENDED : State.DRY;
      if (this.state === State.DRY) this._ranDry();
    }
    if (this.state === State.DRY) this.gapSamples += block.length - count;
    this._last = count === block.length ? block[count - 1] : 0;
    return count;
  }

  _ranDry() {
    this.gaps += 1;
    this.gapAt = this.played;
  }

  _decide() {
    if (this.state === State.PLAYING || this.state === State.ENDED) return;
    const isEnough = this.lead >= Math.max(1, this.prefetch) || (this._isComplete && this.lead > 0);
    if (isEnough) {
      if (this.state === State.DRY) this._rampIn = this._ramp;
      this.state = State.PLAYING;
    } else if (this._isComplete && this.lead === 0) this.state = State.ENDED;
  }

  /** @param {Float32Array} block @param {number} count */
  _copy(block, count) {
    for (let index = 0; index < count; index += 1) {
      block[index] = this._ring[this._from];
      this._from = this._from + 1 === this._ring.length ? 0 : this._from + 1;
      if (this._rampIn > 0) {
        block[index] *= 1 - this._rampIn / this._ramp;
        this._rampIn -= 1;
      }
    }
  }

  /**
   * Silence from `count` on, led in by a ramp from the last sample so that it does not click.
   * @param {Float32Array} block
   * @param {number} count
   */
  _fadeOut(block, count) {
    const from = count > 0 ? block[count - 1] : this._last;
    for (let index = count; index < block.length; index += 1) {
      const left = 1 - (index - count + 1) / this._ramp;
      block[index] = left > 0 ? from * left : 0;
    }
  }
}
