// @ts-check
/**
 * A growing text that is addressed by Unicode code points, as the service does, while JavaScript strings count UTF-16 units.
 *
 * Cost: append is linear in what is appended; a conversion is a binary search over the characters beyond U+FFFF only.
 */

const LONE_SURROGATES = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/**
 * A text that the service accepts: lone surrogates have no UTF-8 form and become U+FFFD.
 * @param {string} text
 */
export const wellFormed = (text) => text.replace(LONE_SURROGATES, '\uFFFD');

/** @param {string} text */
export function countCodePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/**
 * Cut a text into pieces of at most `size` code points.
 * @param {string} text
 * @param {number} size
 * @returns {string[]}
 */
export function cutByCodePoints(text, size) {
  const characters = [...text];
  const pieces = [];
  for (let at = 0; at < characters.length; at += size) pieces.push(characters.slice(at, at + size).join(''));
  return pieces;
}

export class CodePointText {
  constructor() {
    this.text = '';
    /** Code points so far. */
    this.length = 0;
    /** @type {number[]} positions, in code points, of characters that take two UTF-16 units */
    this._wide = [];
  }

  /** @param {string} more */
  append(more) {
    for (const character of more) {
      if (character.length === 2) this._wide.push(this.length);
      this.length += 1;
    }
    this.text += more;
  }

  /**
   * The UTF-16 index of a code point position; positions outside the text are moved to its ends.
   * @param {number} position
   */
  toUtf16(position) {
    const bounded = Math.max(0, Math.min(this.length, position));
    let low = 0;
    let high = this._wide.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this._wide[middle] < bounded) low = middle + 1;
      else high = middle;
    }
    return bounded + low;
  }

  /**
   * Characters from one position up to another.
   * @param {number} start
   * @param {number} [end]
   */
  slice(start, end = this.length) {
    return this.text.slice(this.toUtf16(start), this.toUtf16(Math.max(start, end)));
  }
}
