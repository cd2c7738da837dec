// @ts-check
/**
 * MessagePack to values (the specification at github.com/msgpack/msgpack, spec.md). 64-bit integers become numbers, which is exact up to
 * 2^53; byte strings are views of the message. Extension types, deep nesting and anything cut off or left over are refused.
 */

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Nesting beyond this is refused (guess: the protocol's own messages nest 4 deep). */
const MAX_DEPTH = 32;

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** @param {1 | 2 | 4} width */
  uint(width) {
    const at = this.at;
    this.at += width;
    return width === 1 ? this.view.getUint8(at) : width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {1 | 2 | 4} width */
  int(width) {
    const bits = 32 - 8 * width;
    return (this.uint(width) << bits) >> bits;
  }

  /** @param {number} length */
  raw(length) {
    if (this.at + length > this.bytes.length) throw new RangeError('the message is cut off');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** @param {8} width @param {boolean} isSigned */
  wide(width, isSigned) {
    const value = isSigned ? this.view.getBigInt64(this.at) : this.view.getBigUint64(this.at);
    this.at += width;
    return Number(value);
  }

  /** @param {4 | 8} width */
  float(width) {
    const value = width === 4 ? this.view.getFloat32(this.at) : this.view.getFloat64(this.at);
    this.at += width;
    return value;
  }

  /** @param {number} count @param {number} depth @returns {unknown[]} */
  array(count, depth) {
    if (count > this.bytes.length - this.at) throw new RangeError('the message is cut off');
    return Array.from({ length: count }, () => this.value(depth + 1));
  }

  /** @param {number} count @param {number} depth */
  map(count, depth) {
    if (count * 2 > this.bytes.length - this.at) throw new RangeError('the message is cut off');
    /** @type {Record<string, unknown>} */
    const map = Object.create(null);
    for (let index = 0; index < count; index += 1) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new TypeError('a key must be a string');
      map[key] = this.value(depth + 1);
    }
    return map;
  }

  /** @param {number} depth @returns {unknown} */
  value(depth = 0) {
    if (depth > MAX_DEPTH) throw new RangeError('nested too deeply');
    const head = this.uint(1);
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f, depth);
    if (head < 0xa0) return this.array(head & 0x0f, depth);
    if (head < 0xc0) return decoder.decode(this.raw(head & 0x1f));
    if (head >= 0xe0) return head - 0x100;
    return this._long(head, depth);
  }

  /** @param {number} head @param {number} depth @returns {unknown} */
  _long(head, depth) {
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.raw(this.uint(1));
      case 0xc5: return this.raw(this.uint(2));
      case 0xc6: return this.raw(this.uint(4));
      case 0xca: return this.float(4);
      case 0xcb: return this.float(8);
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return this.wide(8, false);
      case 0xd0: return this.int(1);
      case 0xd1: return this.int(2);
      case 0xd2: return this.int(4);
      case 0xd3: return this.wide(8, true);
      case 0xd9: return decoder.decode(this.raw(this.uint(1)));
      case 0xda: return decoder.decode(this.raw(this.uint(2)));
      case 0xdb: return decoder.decode(this.raw(this.uint(4)));
      case 0xdc: return this.array(this.uint(2), depth);
      case 0xdd: return this.array(this.uint(4), depth);
      case 0xde: return this.map(this.uint(2), depth);
      case 0xdf: return this.map(this.uint(4), depth);
      default: throw new TypeError(`MessagePack head 0x${head.toString(16)} has no meaning here`);
    }
  }
}

/**
 * The one value in the bytes. Throws when they hold anything else.
 * @param {Uint8Array} bytes
 * @returns {unknown}
 */
export function unpack(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new RangeError('bytes are left over after the message');
  return value;
}
