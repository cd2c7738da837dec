// Captions: code points, the word of the moment, replaced segments, engines; and the replay of a recorded conversation.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { CaptionTrack } from '../../web_player/captions.js';
import { CodePointText, countCodePoints, cutByCodePoints, wellFormed } from '../../web_player/codepoints.js';
import { PcmDecoder } from '../../web_player/decoders.js';
import { decode } from '../../web_player/dialect.js';
import { Utterance } from '../../web_player/utterance.js';

const transcript = readFileSync(new URL('transcripts/switch.jsonl', import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line));

test('positions count code points wherever wide characters stand and however the text came', () => {
  const whole = 'a👋你𠮷b🇨🇳c';
  const characters = [...whole];
  for (let size = 1; size <= characters.length; size += 1) {
    const text = new CodePointText();
    for (const piece of cutByCodePoints(whole, size)) text.append(piece);
    assert.equal(text.text, whole);
    assert.equal(text.length, countCodePoints(whole));
    for (let start = 0; start <= characters.length; start += 1) {
      for (let end = start; end <= characters.length; end += 1) {
        assert.equal(text.slice(start, end), characters.slice(start, end).join(''));
      }
    }
  }
});

test('positions outside the text are moved to its ends', () => {
  const text = new CodePointText();
  text.append('你👋');
  assert.equal(text.slice(-5, 99), '你👋');
  assert.equal(text.slice(2, 1), '');
});

test('half a surrogate pair is replaced, a whole one is not', () => {
  assert.equal(wellFormed('a\uD83D'), 'a\uFFFD');
  assert.equal(wellFormed('\uDC4Ba👋'), '\uFFFDa👋');
});

const segment = (fields) => ({ type: 'segment', utterance: 'a', language: 'zh', engine: 'x', ...fields });

function track() {
  const captions = new CaptionTrack(1000);
  captions.segment(segment({ index: 0, span_start: 0, span_end: 6, sample_offset: 0, words: [[0, 2, 100, 300], [3, 5, 400, 600]] }));
  captions.segment(segment({ index: 1, span_start: 6, span_end: 9, sample_offset: 1000, words: [[6, 9, 1050, 1500]] }));
  return captions;
}

test('the current word is the one whose time it is, and what lies before it was heard', () => {
  const expected = [[0, 0, 0], [99, 0, 0], [100, 0, 2], [299, 0, 2], [300, 2, 2], [399, 2, 2], [400, 3, 5], [700, 5, 5], [1000, 6, 6], [1060, 6, 9], [1500, 9, 9], [9e9, 9, 9]];
  for (const [ms, heardEnd, wordEnd] of expected) assert.deepEqual(track().at(ms), { heardEnd, wordEnd }, `${ms} ms`);
});

test('what was heard never shrinks while time goes on', () => {
  let last = 0;
  for (let ms = 0; ms < 2000; ms += 7) {
    const { heardEnd, wordEnd } = track().at(ms);
    assert.ok(heardEnd >= last && wordEnd >= heardEnd);
    last = heardEnd;
  }
});

test('a segment sent again replaces its words', () => {
  const captions = track();
  captions.segment(segment({ index: 0, span_start: 0, span_end: 6, sample_offset: 0, words: [[0, 1, 0, 50]] }));
  assert.deepEqual(captions.at(60), { heardEnd: 1, wordEnd: 1 });
  captions.segment(segment({ index: 0, span_start: 0, span_end: 6, sample_offset: 0 }));
  assert.deepEqual(captions.at(60), { heardEnd: 0, wordEnd: 0 });
});

test('the text is cut where the engine changed, in the middle of a segment too', () => {
  const captions = track();
  captions.switched({ type: 'switch', utterance: 'a', from_engine: 'x', to_engine: 'y', reason: 'stalled', text_offset: 3, sample_offset: 400 });
  captions.segment(segment({ index: 0, span_start: 0, span_end: 6, sample_offset: 0, engine: 'y', words: [] }));
  assert.deepEqual(captions.runs().map(({ start, end, engine, isSwitch }) => [start, end, engine, isSwitch]), [[0, 3, 'x', false], [3, 6, 'y', true], [6, 9, 'x', true]]);
});

test('a conversation with a switch replays to the recorded text, engines and sound', () => {
  const sent = [];
  const utterance = new Utterance('a', { speed: 1, format: { codec: 'pcm_s16le', sample_rate: 8000 }, budget: {} }, (message) => sent.push(message) > 0);
  const samples = [];
  const decoder = new PcmDecoder((more) => samples.push(...more));
  const seen = [];
  for (const { from, message } of transcript) {
    if (from === 'client' && message.type === 'text') utterance.write(message.text, 0);
    if (from === 'client' && message.type === 'end') utterance.end();
    if (from === 'client') continue;
    const received = decode(JSON.stringify(message));
    utterance.receive(received);
    if (received.type !== 'audio') continue;
    assert.equal(received.offset, samples.length, 'pieces join without gaps');
    decoder.push(received.payload, received.samples);
  }
  assert.deepEqual(sent.map(({ type }) => type), ['open', 'text', 'text', 'end']);
  assert.equal(samples.length, utterance.received);
  assert.ok(samples.some((sample) => Math.abs(sample) > 0.05), 'it sounds');
  const endMs = samples.length / 8;
  for (let ms = 0; ms <= endMs; ms += 10) {
    const { heardEnd, wordEnd } = utterance.track.at(ms);
    const engine = utterance.track.engineAt(ms);
    if (wordEnd > heardEnd && !seen.some(([text]) => text === heardEnd)) seen.push([heardEnd, utterance.written.slice(heardEnd, wordEnd), engine]);
  }
  assert.deepEqual(seen.slice(0, 5).map(([, word, engine]) => [word, engine]), [['你', 'beacon'], ['好', 'beacon'], ['，', 'beacon'], ['👋', 'beacon'], ['世', 'beacon']]);
  assert.ok(seen.some(([, word, engine]) => word === 'It' && engine === 'beacon2'));
  assert.equal(utterance.track.at(endMs).heardEnd, utterance.written.length);
  assert.equal(utterance.phase, 'ended');
});
