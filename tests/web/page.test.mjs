// The rest that needs no browser: text feed, backoff, chatbot, Opus trimming, words of the interface, the plot's history.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { TOPICS, tokens, writePaced } from '../../web_player/chatbot.js';
import { backoffMs } from '../../web_player/connection.js';
import { OpusTrim, chooseFormat } from '../../web_player/decoders.js';
import { KEYS, preferredLanguage, reasonWords, t } from '../../web_player/i18n.js';
import { Listening } from '../../web_player/listening.js';
import { LeadHistory } from '../../web_player/plot.js';
import { Utterance } from '../../web_player/utterance.js';

const OPTIONS = { speed: 1, format: { codec: 'pcm_s16le', sample_rate: 1000 }, budget: {} };
const player = new URL('../../web_player/', import.meta.url);

function speaking() {
  const sent = [];
  return { sent, utterance: new Utterance('u', OPTIONS, (message) => sent.push(message) > 0) };
}

test('text waits while the service wants none, and the end waits behind it', () => {
  const { sent, utterance } = speaking();
  utterance.write('one', 0);
  utterance.receive({ type: 'text_paused', utterance: 'u' });
  utterance.write('two', 1);
  utterance.write('three', 2);
  utterance.end();
  assert.deepEqual(sent.map((message) => message.text ?? message.type), ['open', 'one']);
  utterance.receive({ type: 'text_resumed', utterance: 'u' });
  assert.deepEqual(sent.map((message) => message.text ?? message.type), ['open', 'one', 'two', 'three', 'end']);
  utterance.write('late', 3);
  assert.equal(sent.length, 5);
});

test('a long paste goes out in pieces that never cut a character', () => {
  const { sent, utterance } = speaking();
  const text = '👋你a'.repeat(3000);
  utterance.write(text, 0);
  const pieces = sent.filter(({ type }) => type === 'text').map((message) => message.text);
  assert.equal(pieces.join(''), text);
  assert.ok(pieces.every((piece) => [...piece].length <= 2000 && !/[\uDC00-\uDFFF]/.test(piece[0])));
});

test('after a stop nothing but the cancel goes out', () => {
  const { sent, utterance } = speaking();
  utterance.receive({ type: 'text_paused', utterance: 'u' });
  utterance.write('held', 0);
  utterance.cancel();
  utterance.receive({ type: 'text_resumed', utterance: 'u' });
  utterance.write('more', 1);
  utterance.end();
  utterance.cancel();
  assert.deepEqual(sent.map(({ type }) => type), ['open', 'cancel']);
});

test('played marks never claim more than has come', () => {
  const { sent, utterance } = speaking();
  utterance.receive({ type: 'audio', utterance: 'u', seq: 0, offset: 0, samples: 100, engine: 'x', payload: new Uint8Array() });
  utterance.played(60);
  utterance.played(160);
  assert.deepEqual(sent.slice(1).map(({ sample }) => sample), [60, 100]);
});

test('a silence is owed inside a segment, and between segments only when the text was there in time', () => {
  const { utterance } = speaking();
  utterance.write('abcd', 1000);
  utterance.write('efgh', 9000);
  const segment = { type: 'segment', utterance: 'u', engine: 'x', language: 'en' };
  utterance.receive({ ...segment, index: 0, span_start: 0, span_end: 4, sample_offset: 0 });
  utterance.receive({ ...segment, index: 1, span_start: 4, span_end: 8, sample_offset: 5000 });
  assert.equal(utterance.isOwed(2500, 6000), true, 'in the middle of a segment');
  assert.equal(utterance.isOwed(5000, 6000), false, 'the text came 3 s after the sound had run out');
  assert.equal(utterance.isOwed(5000, 9500), false, 'the text came 0.5 s before, within the time that first audio may take');
  assert.equal(utterance.isOwed(5000, 12_000), true, 'the text came 3 s before');
});

test('after a lost connection the rest is asked for, and its positions continue the utterance', () => {
  const { sent, utterance } = speaking();
  const text = '你好👋世界，再见。';
  utterance.write(text, 0);
  const segment = { type: 'segment', utterance: 'u', engine: 'x', language: 'zh', index: 0, span_start: 0, span_end: 6, sample_offset: 0 };
  utterance.receive({ ...segment, words: [[0, 2, 0, 300], [3, 5, 400, 900]] });
  utterance.receive({ type: 'audio', utterance: 'u', seq: 0, offset: 0, samples: 700, engine: 'x', payload: new Uint8Array() });
  assert.equal(utterance.breakOff(), 300, 'behind the last word that came whole');
  utterance.end();
  assert.equal(utterance.resume('u2', 310), true);
  const [open, rest, end] = sent.slice(-3);
  assert.deepEqual([open.type, open.utterance, open.context], ['open', 'u2', '你好']);
  assert.deepEqual([rest.text, end.type, end.utterance], ['👋世界，再见。', 'end', 'u2']);
  utterance.receive({ ...segment, utterance: 'u2', index: 0, span_end: 4, words: [[1, 3, 100, 600]], engine: 'y' });
  utterance.receive({ type: 'audio', utterance: 'u2', seq: 0, offset: 0, samples: 800, engine: 'y', payload: new Uint8Array() });
  assert.deepEqual(utterance.track.at(500), { heardEnd: 3, wordEnd: 5 });
  assert.deepEqual([utterance.received, utterance.track.engineAt(305), utterance.track.engineAt(311)], [1110, 'x', 'y']);
  utterance.played(305);
  utterance.played(900);
  assert.deepEqual(sent.filter(({ type }) => type === 'played').map(({ sample }) => sample), [590]);
});

test('a connection lost behind the last word leaves nothing to ask for', () => {
  const { sent, utterance } = speaking();
  utterance.write('a b ', 0);
  utterance.end();
  utterance.receive({ type: 'segment', utterance: 'u', engine: 'x', language: 'en', index: 0, span_start: 0, span_end: 4, sample_offset: 0, words: [[0, 1, 0, 100], [2, 3, 100, 200]] });
  utterance.receive({ type: 'audio', utterance: 'u', seq: 0, offset: 0, samples: 250, engine: 'x', payload: new Uint8Array() });
  utterance.breakOff();
  const count = sent.length;
  assert.equal(utterance.resume('u2', 200), false);
  assert.deepEqual([sent.length, utterance.phase], [count, 'ended']);
});

test('waits between attempts grow to a bound and are spread', () => {
  assert.deepEqual([0, 1, 2, 3].map((attempt) => backoffMs(attempt, 1)), [500, 1000, 2000, 4000]);
  assert.equal(backoffMs(50, 1), 10_000);
  assert.equal(backoffMs(0, 0), 250);
});

test('the chatbot writes its answers whole, at the pace asked for, and stops when told', async () => {
  for (const { answer } of TOPICS) assert.equal(tokens(answer).join(''), answer);
  assert.deepEqual(tokens('我们switch to 42🙂。'), ['我们', 'switch', ' to', ' ', '42', '🙂', '。']);
  const written = [];
  assert.equal(await writePaced(['a', 'b', 'c'], () => 1e6, (token) => written.push(token), new AbortController().signal), true);
  const stop = new AbortController();
  const isWhole = await writePaced(['d', 'e', 'f'], () => 1e6, (token) => written.push(token) && stop.abort(), stop.signal);
  assert.equal(isWhole, false);
  assert.deepEqual(written, ['a', 'b', 'c', 'd']);
});

test('the Opus decoder keeps to the timeline: no pre-skip before it, no padding behind it', () => {
  const trim = new OpusTrim();
  const kept = [];
  // As libopus does: 312 samples of look-ahead come out first, and the last packet is filled up.
  const decoded = Float32Array.from({ length: 4 * 960 }, (_, index) => index - 312);
  [648, 960, 960, 90].forEach((samples, index) => {
    trim.expect(samples);
    kept.push(...trim.take(decoded.subarray(index * 960, (index + 1) * 960)));
  });
  assert.deepEqual(kept, Array.from({ length: 648 + 960 + 960 + 90 }, (_, index) => index));
});

test('Opus is asked for only where it can be decoded', () => {
  assert.deepEqual(chooseFormat('opus', true), { codec: 'opus', sample_rate: 48000 });
  assert.deepEqual(chooseFormat('opus', false), { codec: 'pcm_s16le', sample_rate: 24000 });
  assert.deepEqual(chooseFormat('pcm', true), { codec: 'pcm_s16le', sample_rate: 24000 });
});

test('the interface speaks the first language of the visitor that it has', () => {
  assert.equal(preferredLanguage(['zh-TW', 'en']), 'zh');
  assert.equal(preferredLanguage(['fr', 'en-GB', 'zh']), 'en');
  assert.equal(preferredLanguage([]), 'en');
});

test('every key that the page and the modules name has words, and every word is used', () => {
  const sources = readdirSync(player).filter((name) => /\.(js|html)$/.test(name)).map((name) => [name, readFileSync(new URL(name, player), 'utf8')]);
  const named = new Set();
  for (const [, source] of sources) {
    for (const [, key] of source.matchAll(/data-i18n(?:-\w+)?="(\w+)"/g)) named.add(key);
    for (const [, key] of source.matchAll(/\bt\('(\w+)'/g)) named.add(key);
  }
  assert.deepEqual([...named].filter((key) => !KEYS.includes(key)), []);
  const all = sources.filter(([name]) => name !== 'i18n.js').map(([, source]) => source).join();
  const fromService = ['connecting', 'ready', 'waiting', 'unauthorized'];
  assert.deepEqual(KEYS.filter((key) => !fromService.includes(key) && !key.startsWith('reason_') && !new RegExp(`['"]${key}['"]`).test(all)), []);
});

test('words are filled in, and an unknown reason is shown as it is', () => {
  assert.match(t('switched', { from: 'a', to: 'b', reason: reasonWords('brand_new') }), /a → b: brand_new/);
  assert.equal(reasonWords('worker_lost'), 'its process died');
});

test('the plot forgets what has left its window and scales to what is in it', () => {
  const history = new LeadHistory();
  for (let at = 0; at < 100_000; at += 10) history.add({ at, leadS: at < 50_000 ? 7 : 1.5, engine: 0 });
  history.mark({ at: 99_000, kind: 'switch', label: '' });
  assert.ok(history.points.length < 31_000 / 10 && history.points[0].at >= 68_000);
  assert.equal(history.topS(), 2);
  assert.equal(history.marks.length, 1);
});

test('modules stay under 200 lines and are type-checked', () => {
  for (const name of readdirSync(player).filter((file) => file.endsWith('.js'))) {
    const source = readFileSync(new URL(name, player), 'utf8');
    assert.ok(source.split('\n').length <= 201, `${name} is too long`);
    assert.ok(source.startsWith('// @ts-check\n'), `${name} lacks // @ts-check`);
  }
});

test('a switch is told with the silence that came with it, and without one that was told before', () => {
  const said = [];
  const switches = [100, 200, 300].map((sample) => ({ from_engine: 'a', to_engine: 'b', reason: 'stalled', sample_offset: sample }));
  const utterance = { begunAt: 0, track: { switches }, isOwed: () => true, played: () => {} };
  const listening = new Listening(utterance, { onMark: () => {}, onSay: (key, { ms }) => said.push([key, ms]) });
  const report = (state, gapMs) => ({ played: 1, state, gapMs, gapAt: 0 });
  listening.take(report('playing', 0), 150, 10);
  listening.take(report('dry', 0), 150, 20);
  listening.take(report('playing', 70), 250, 90);
  listening.take(report('playing', 70), 350, 100);
  assert.deepEqual(said, [['switched', 0], ['switchedLate', 70], ['switched', 0]]);
});
