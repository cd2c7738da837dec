// @ts-check
/**
 * Values to MessagePack (the specification at github.com/msgpack/msgpack, spec.md), each in its shortest form: nil, booleans, numbers,
 * strings, byte strings, arrays and maps with string keys. Fields that are undefined are left out.
 */

const encoder = new TextEncoder();

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.at = 0;
  }

  /** @param {number} more */
  _room(more) {
    if (this.at + more <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }

  /** @param {number} value */
  u8(value) {
    this._room(1);
    this.view.setUint8(this.at++, value);
  }

  /** @param {Uint8Array} bytes */
  raw(bytes) {
    this._room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  /**
   * A length behind the smallest head that holds it.
   * @param {number} length
   * @param {[limit: number, head: number, width: 0 | 1 | 2 | 4][]} forms
   */
  head(length, forms) {
    const form = forms.find(([limit]) => length < limit);
    if (!form) throw new RangeError(`too long for MessagePack: ${length}`);
    const [, head, width] = form;
    this._room(5);
    this.view.setUint8(this.at++, width === 0 ? head | length : head);
    if (width === 1) this.view.setUint8(this.at, length);
    if (width === 2) this.view.setUint16(this.at, length);
    if (width === 4) this.view.setUint32(this.at, length);
    this.at += width;
  }

  /** @param {number} value */
  number(value) {
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) {
      this.head(value, [[128, 0x00, 0], [2 ** 8, 0xcc, 1], [2 ** 16, 0xcd, 2], [2 ** 32, 0xce, 4]]);
    } else if (Number.isInteger(value) && value < 0 && value >= -32) {
      this.u8(value & 0xff);
    } else {
      // The service takes whole numbers only as such: a position after a day of sound is over 2^32.
      this._room(9);
      if (Number.isSafeInteger(value)) {
        this.view.setUint8(this.at, 0xd3);
        this.view.setBigInt64(this.at + 1, BigInt(value));
      } else {
        this.view.setUint8(this.at, 0xcb);
        this.view.setFloat64(this.at + 1, value);
      }
      this.at += 9;
    }
  }

  /** @param {unknown} value */
  value(value) {
    if (value === null || value === undefined) this.u8(0xc0);
    else if (typeof value === 'boolean') this.u8(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.number(value);
    else if (typeof value === 'string') this.string(value);
    else if (value instanceof Uint8Array) {
      this.head(value.length, [[2 ** 8, 0xc4, 1], [2 ** 16, 0xc5, 2], [2 ** 32, 0xc6, 4]]);
      this.raw(value);
    } else if (Array.isArray(value)) {
      this.head(value.length, [[16, 0x90, 0], [2 ** 16, 0xdc, 2], [2 ** 32, 0xdd, 4]]);
      for (const item of value) this.value(item);
    } else if (typeof value === 'object') this.map(/** @type {Record<string, unknown>} */ (value));
    else throw new TypeError(`MessagePack has no ${typeof value}`);
  }

  /** @param {string} text */
  string(text) {
    const bytes = encoder.encode(text);
    this.head(bytes.length, [[32, 0xa0, 0], [2 ** 8, 0xd9, 1], [2 ** 16, 0xda, 2], [2 ** 32, 0xdb, 4]]);
    this.raw(bytes);
  }

  /** @param {Record<string, unknown>} map */
  map(map) {
    const entries = Object.entries(map).filter(([, item]) => item !== undefined);
    this.head(entries.length, [[16, 0x80, 0], [2 ** 16, 0xde, 2], [2 ** 32, 0xdf, 4]]);
    for (const [key, item] of entries) {
      this.string(key);
      this.value(item);
    }
  }
}

/** @param {unknown} value */
export function pack(value) {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes.slice(0, writer.at);
}
