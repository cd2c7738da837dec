// Both subprotocols: what is encoded comes back, garbage is refused with the one declared error.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MalformedMessage, decode, encode } from '../../web_player/dialect.js';
import { unpack } from '../../web_player/msgpack_reader.js';
import { pack } from '../../web_player/msgpack_writer.js';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const bytes = (text) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

test('values take the shortest form of the MessagePack specification', () => {
  const forms = [
    [null, 'c0'], [true, 'c3'], [false, 'c2'], [0, '00'], [127, '7f'], [128, 'cc80'], [256, 'cd0100'], [65536, 'ce00010000'], [-1, 'ff'], [-32, 'e0'],
    [0.5, 'cb3fe0000000000000'], [-33, 'd3ffffffffffffffdf'], [2 ** 32, 'd30000000100000000'], ['', 'a0'], ['你', 'a3e4bda0'], [[], '90'], [{}, '80'], [{ a: [1] }, '81a1619101'],
    [new Uint8Array([1, 2]), 'c4020102'],
  ];
  for (const [value, expected] of forms) assert.equal(hex(pack(value)), expected, JSON.stringify(value));
});

test('numbers, strings, lists and byte strings of any length come back', () => {
  const numbers = [0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -128, -40000, 0.1, -1e300];
  for (const number of numbers) assert.equal(unpack(pack(number)), number);
  for (const length of [0, 1, 31, 32, 255, 256, 65535, 65536]) {
    assert.equal(unpack(pack('x'.repeat(length))).length, length);
    assert.equal(unpack(pack(new Uint8Array(length))).length, length);
    assert.equal(unpack(pack(Array(length).fill(7))).length, length);
  }
});

test('forms that only a service writes are read', () => {
  const forms = [
    ['d0 80', -128], ['d1 8000', -32768], ['d2 80000000', -2147483648], ['d3 ffffffffffffffff', -1], ['cf 0000000100000000', 2 ** 32],
    ['ca 3fc00000', 1.5], ['d9 01 61', 'a'], ['da 0001 61', 'a'], ['db 00000001 61', 'a'],
  ];
  for (const [form, value] of forms) assert.equal(unpack(bytes(form)), value, form);
});

test('a message survives both subprotocols', () => {
  const message = { type: 'text', utterance: 'a', text: '你好 👋 "quoted"\n' };
  assert.deepEqual({ ...decode(encode(message, 'realtime.v1.json')) }, message);
  const frame = encode(message, 'realtime.v1.msgpack');
  assert.deepEqual({ ...decode(frame.buffer) }, message);
});

test('fields that are not set are left out', () => {
  assert.equal(encode({ type: 'open', voice: undefined }, 'realtime.v1.json'), '{"type":"open"}');
  assert.deepEqual({ ...decode(encode({ type: 'open', voice: undefined }, 'realtime.v1.msgpack').buffer) }, { type: 'open' });
});

test('a payload is bytes in both', () => {
  const audio = { type: 'audio', utterance: 'a', seq: 0, offset: 0, samples: 2, engine: 'e' };
  assert.deepEqual([...decode(JSON.stringify({ ...audio, payload: 'AQD//w==' })).payload], [1, 0, 255, 255]);
  const frame = pack({ ...audio, payload: new Uint8Array([1, 0, 255, 255]) });
  assert.deepEqual([...decode(frame.buffer).payload], [1, 0, 255, 255]);
});

test('whatever is cut off, left over, nested too deeply or of another kind is malformed', () => {
  const whole = pack({ type: 'audio', payload: new Uint8Array(40), words: [[0, 1, 2.5, 3]] });
  for (let length = 0; length < whole.length; length += 1) {
    assert.throws(() => decode(whole.slice(0, length).buffer), MalformedMessage, `cut at ${length}`);
  }
  const wrong = ['c1', 'd4 00 00', '81 01 02', '01', 'c0', '90', `${'91'.repeat(40)}c0`, 'dd ffffffff', 'df ffffffff', 'a1 ff', 'c0 c0'];
  for (const form of wrong) assert.throws(() => decode(bytes(form).buffer), MalformedMessage, form);
  for (const text of ['', '{', '[]', 'null', '7', '{"kind":"x"}', '{"type":7}']) assert.throws(() => decode(text), MalformedMessage, text);
});

test('a key named __proto__ is a key', () => {
  const message = decode(pack(JSON.parse('{"type":"x","__proto__":{"polluted":1}}')).buffer);
  assert.equal({}.polluted, undefined);
  assert.equal(message.polluted, undefined);
});
