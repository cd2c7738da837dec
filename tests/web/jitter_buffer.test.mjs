// The jitter buffer: nothing lost, nothing twice, gaps counted, a stop is silent at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { JitterBuffer, State } from '../../web_player/jitter_buffer.js';

const RATE = 8000;
const BLOCK = 128;

const ramp = (from, count) => Float32Array.from({ length: count }, (_, index) => (from + index) / 100_000);

function readAll(buffer, blocks) {
  const out = [];
  for (let index = 0; index < blocks; index += 1) {
    const block = new Float32Array(BLOCK);
    const count = buffer.read(block);
    out.push(...block.subarray(0, count));
  }
  return Float32Array.from(out);
}

/** A small generator, so that a failure can be repeated. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test('samples come out once, in order, however they were cut and whenever they came', () => {
  let unbroken = 0;
  for (let seed = 1; seed <= 50; seed += 1) {
    const next = random(seed);
    const buffer = new JitterBuffer(RATE, 200, next() * 50);
    const whole = ramp(0, 5000);
    const heard = [];
    let sent = 0;
    while (sent < whole.length || buffer.lead > 0) {
      const room = 1600 - buffer.lead;
      const count = Math.min(Math.floor(next() * 400), room, whole.length - sent);
      assert.equal(buffer.push(whole.subarray(sent, sent + count)), count);
      sent += count;
      if (sent === whole.length) buffer.complete();
      heard.push(...readAll(buffer, Math.floor(next() * 3)));
    }
    assert.equal(buffer.played, whole.length, `seed ${seed}`);
    // Only the ramp after a gap changes values; without one all are as sent.
    if (buffer.gaps === 0) assert.deepEqual(Float32Array.from(heard), whole, `seed ${seed}`);
    assert.equal(heard.length, whole.length);
    unbroken += Number(buffer.gaps === 0);
  }
  assert.ok(unbroken > 5 && unbroken < 50, `${unbroken} of 50 runs without a gap`);
});

test('nothing sounds before the prefetch has come', () => {
  const buffer = new JitterBuffer(RATE, 1000, 100);
  buffer.push(ramp(0, 799));
  assert.equal(readAll(buffer, 1).length, 0);
  assert.equal(buffer.state, State.WAITING);
  buffer.push(ramp(799, 1));
  assert.equal(readAll(buffer, 1).length, BLOCK);
});

test('what is shorter than the prefetch sounds once it is complete', () => {
  const buffer = new JitterBuffer(RATE, 1000, 100);
  buffer.push(ramp(0, 200));
  assert.equal(readAll(buffer, 2).length, 0);
  buffer.complete();
  assert.equal(readAll(buffer, 3).length, 200);
  assert.equal(buffer.state, State.ENDED);
  assert.equal(buffer.gaps, 0);
});

test('running out before the end is a gap with a length and a place; running out at the end is none', () => {
  const buffer = new JitterBuffer(RATE, 1000, 20);
  buffer.push(ramp(0, 2 * BLOCK));
  readAll(buffer, 4);
  assert.equal(buffer.state, State.DRY);
  assert.deepEqual([buffer.gaps, buffer.gapAt, buffer.gapSamples], [1, 2 * BLOCK, 2 * BLOCK]);
  buffer.push(ramp(0, 2 * BLOCK));
  buffer.complete();
  readAll(buffer, 4);
  assert.equal(buffer.state, State.ENDED);
  assert.deepEqual([buffer.gaps, buffer.played], [1, 4 * BLOCK]);
});

test('a gap and the start after it do not click', () => {
  const buffer = new JitterBuffer(RATE, 1000, 0);
  const out = [];
  const read = () => {
    const block = new Float32Array(BLOCK);
    buffer.read(block);
    out.push(...block);
  };
  buffer.push(new Float32Array(BLOCK + 40).fill(0.8));
  read();
  read();
  read();
  buffer.push(new Float32Array(2 * BLOCK).fill(0.8));
  read();
  const steps = out.slice(1).map((value, index) => Math.abs(value - out[index]));
  assert.ok(Math.max(...steps) < 0.8 / 20, `largest step ${Math.max(...steps)}`);
  assert.equal(out[2 * BLOCK], 0);
});

test('after a flush the next block fades within 3 ms and everything later is silent, also what still comes', () => {
  const buffer = new JitterBuffer(RATE, 1000, 0);
  buffer.push(new Float32Array(4000).fill(0.5));
  readAll(buffer, 2);
  assert.equal(buffer.flush(), 4000 - 2 * BLOCK);
  const block = new Float32Array(BLOCK);
  assert.equal(buffer.read(block), 0);
  assert.ok(Math.abs(block[0]) <= 0.5);
  assert.ok(block.subarray((RATE * 3) / 1000).every((value) => value === 0));
  buffer.push(new Float32Array(4000).fill(0.5));
  buffer.read(block);
  assert.ok(block.every((value) => value === 0));
  assert.equal(buffer.played, 2 * BLOCK);
});

test('a full buffer takes what fits and says how much', () => {
  const buffer = new JitterBuffer(RATE, 100, 0);
  assert.equal(buffer.push(ramp(0, 1000)), 800);
  assert.equal(buffer.push(ramp(0, 1)), 0);
  assert.equal(readAll(buffer, 1).length, BLOCK);
  assert.equal(buffer.push(ramp(0, 1000)), BLOCK);
});

test('clear makes it ready for the next utterance', () => {
  const buffer = new JitterBuffer(RATE, 1000, 0);
  buffer.push(ramp(0, 300));
  readAll(buffer, 1);
  buffer.flush();
  buffer.clear();
  assert.deepEqual([buffer.state, buffer.lead, buffer.played, buffer.gaps], [State.WAITING, 0, 0, 0]);
  buffer.push(ramp(0, BLOCK));
  assert.deepEqual(readAll(buffer, 1), ramp(0, BLOCK));
});

test('a cut forgets what lies behind it and nothing that was heard', () => {
  const buffer = new JitterBuffer(RATE, 1000, 0);
  buffer.push(ramp(0, 1000));
  readAll(buffer, 2);
  buffer.cut(500);
  assert.equal(buffer.played + buffer.lead, 500);
  buffer.push(ramp(500, 100));
  assert.deepEqual(readAll(buffer, 3), ramp(2 * BLOCK, 600 - 2 * BLOCK));
  buffer.cut(100);
  assert.deepEqual([buffer.lead, buffer.played], [0, 600]);
});
