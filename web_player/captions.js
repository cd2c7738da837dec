// @ts-check
/**
 * Which words were heard, which one sounds now, and who spoke what. Pure: fed with the service's `segment` and `switch` messages, asked
 * with a position on the output timeline. Characters are Unicode code points, times are milliseconds.
 *
 * @typedef {import('./dialect.js').SegmentMessage} SegmentMessage
 * @typedef {import('./dialect.js').SwitchMessage} SwitchMessage
 * @typedef {{ heardEnd: number, wordEnd: number }} Reading  heard up to `heardEnd`; the current word reaches to `wordEnd` (none: equal)
 * @typedef {{ start: number, end: number, engine: string, isSwitch: boolean }} Run  characters of one engine
 */

export class CaptionTrack {
  /** @param {number} sampleRate of the output timeline */
  constructor(sampleRate) {
    this._rate = sampleRate;
    /** @type {SegmentMessage[]} by index */
    this._segments = [];
    /** @type {SwitchMessage[]} in order */
    this.switches = [];
    /** @type {import('./dialect.js').WordTime[] | null} all words in order; null when it has to be put together again */
    this._words = null;
    /** Goes up with each change. */
    this.version = 0;
    /** @type {{ offset: number, engine: string }[]} who speaks from which sample on */
    this._voices = [];
  }

  /** @param {SegmentMessage} message a later one with the same index replaces the earlier one */
  segment(message) {
    this._segments[message.index] = message;
    this._words = null;
    this.version += 1;
  }

  /** @param {SwitchMessage} message */
  switched(message) {
    this.switches.push(message);
    this.version += 1;
  }

  /**
   * Where a stream that broke off can go on: behind the last word that has come whole.
   * @param {number} received samples
   * @returns {{ character: number, sample: number }}
   */
  wholeBefore(received) {
    const toSample = (/** @type {number} */ ms) => Math.round((ms * this._rate) / 1000);
    const word = this.words.findLast(([, , , endMs]) => toSample(endMs) <= received);
    return word ? { character: word[1], sample: toSample(word[3]) } : { character: 0, sample: 0 };
  }

  /**
   * Forget everything from there on; the next segment's index.
   * @param {{ character: number, sample: number }} end
   */
  cut({ character, sample }) {
    const kept = this._segments.filter((segment) => segment.span_start < character);
    this._segments = kept.map((segment) => ({
      ...segment,
      span_end: Math.min(segment.span_end, character),
      words: segment.words?.filter(([, wordEnd]) => wordEnd <= character),
    }));
    this.switches = this.switches.filter((message) => message.text_offset < character);
    this._voices = this._voices.filter(({ offset }) => offset < sample);
    this._words = null;
    this.version += 1;
    return kept.length;
  }

  /** Characters that sound has begun for. */
  get spokenEnd() {
    return this._segments.reduce((end, segment) => Math.max(end, segment.span_end), 0);
  }

  get words() {
    this._words ??= this._segments.flatMap((segment) => segment.words ?? []);
    return this._words;
  }

  /**
   * The segment that begins within a few samples of a position: silence there lies between segments.
   * @param {number} sample
   * @param {number} tolerance
   */
  segmentAt(sample, tolerance) {
    return this._segments.find((segment) => Math.abs(segment.sample_offset - sample) <= tolerance);
  }

  /**
   * @param {number} ms position of the ear
   * @returns {Reading}
   */
  at(ms) {
    const words = this.words;
    const index = lastBegun(words, ms);
    const floor = this._segmentStart(ms);
    if (index < 0) return { heardEnd: floor, wordEnd: floor };
    const [start, end, , endMs] = words[index];
    if (ms < endMs) return { heardEnd: Math.max(floor, start), wordEnd: Math.max(floor, end) };
    const heard = Math.max(floor, end);
    return { heardEnd: heard, wordEnd: heard };
  }

  /**
   * Everything before the segment that sounds was heard, also what has no word times (marks, emoji).
   * @param {number} ms
   */
  _segmentStart(ms) {
    const sample = (ms * this._rate) / 1000;
    return this._segments.reduce((start, segment) => (segment.sample_offset <= sample ? Math.max(start, segment.span_start) : start), 0);
  }

  /**
   * A piece of sound by an engine, in the order in which it comes.
   * @param {number} offset its first sample
   * @param {string} engine
   */
  audio(offset, engine) {
    if (this._voices.at(-1)?.engine !== engine) this._voices.push({ offset, engine });
  }

  /**
   * Who speaks at a position; '' before the first sound.
   * @param {number} ms
   */
  engineAt(ms) {
    const sample = (ms * this._rate) / 1000;
    return this._voices.findLast((voice) => voice.offset <= sample)?.engine ?? '';
  }

  /**
   * The spoken text cut where the engine changes.
   * @returns {Run[]}
   */
  runs() {
    /** @type {Run[]} */
    const runs = [];
    for (const segment of this._segments.filter(Boolean)) {
      const inside = this.switches.filter((one) => one.text_offset > segment.span_start && one.text_offset < segment.span_end);
      let start = segment.span_start;
      for (const one of inside) {
        add(runs, start, one.text_offset, one.from_engine);
        start = one.text_offset;
      }
      add(runs, start, segment.span_end, inside.at(-1)?.to_engine ?? segment.engine);
    }
    return runs;
  }
}

/** @param {Run[]} runs @param {number} start @param {number} end @param {string} engine */
function add(runs, start, end, engine) {
  const last = runs.at(-1);
  if (end <= start) return;
  if (last && last.engine === engine && last.end === start) last.end = end;
  else runs.push({ start, end, engine, isSwitch: last !== undefined && last.engine !== engine });
}

/**
 * Index of the last word that has begun, -1 if none.
 * @param {import('./dialect.js').WordTime[]} words
 * @param {number} ms
 */
function lastBegun(words, ms) {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle][2] <= ms) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
