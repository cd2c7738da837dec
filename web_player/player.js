// @ts-check
/** Composes the page: socket, sound, captions, plot, panel and input. */

import { Api } from './api.js';
import { Compose } from './compose.js';
import { Connection } from './connection.js';
import { canDecodeOpus } from './decoders.js';
import { preferredLanguage, reasonWords, speakIn, t, uiLanguage } from './i18n.js';
import { Panel } from './panel.js';
import { LeadHistory, drawLead } from './plot.js';
import { Settings } from './settings.js';
import { Talk } from './talk.js';
import { CaptionView, Palette, byId, say, setText, showConnection, showFigures, showSpeaking } from './view.js';

const KEY_STORE = 'realtime-key';
/** Pictures per second where motion is to be reduced. */
const CALM_MS = 500;
/** Words for marks in the plot that bring none. */
const MARKS = { first: 'markFirst', gap: 'markGap', stop: 'markStop', switch: 'switches', fault: 'markFault' };

speakIn(preferredLanguage(navigator.languages), document);

const api = new Api(document.baseURI);
const palette = new Palette();
const history = new LeadHistory();
const settings = new Settings();
const captions = new CaptionView(byId('captions'), palette);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const panel = new Panel(api, palette, offerVoices, () => {
  history.mark({ at: performance.now(), kind: 'fault', label: t(MARKS.fault) });
  byId('captions').closest('section')?.scrollIntoView({ block: 'nearest', behavior: calm.matches ? 'auto' : 'smooth' });
});

const connection = new Connection(connect, {
  onState: showConnection,
  onMessage: (message) => {
    if (message.type === 'ready' && message.voices.length > 0) talk.resume();
    talk.receive(message);
  },
  onLost: () => talk.lost(),
  onRoundTrip: (ms) => setText('round-trip', `${ms.toFixed(ms < 10 ? 1 : 0)} ms`),
});

const talk = new Talk(connection, settings, {
  onBegin: (question) => {
    captions.begin(question);
    byId('stop', HTMLButtonElement).disabled = false;
    say('');
  },
  onMark: (kind, label) => history.mark({ at: performance.now(), kind, label: label || t(MARKS[kind]) }),
  onSay: (key, values, kind) => say(t(key, { ...values, reason: reasonWords(String(values.reason)) }), kind),
  onOver: () => {
    byId('stop', HTMLButtonElement).disabled = true;
    compose.silence();
    draw();
  },
});

const compose = new Compose(talk, () => settings.pace);

/** @param {import('./dialect.js').Voice[]} voices */
function offerVoices(voices) {
  settings.offerVoices(voices);
  talk.resume();
}

/** Where to connect; also the moment to learn what the service offers. */
async function connect() {
  api.key = sessionStorage.getItem(KEY_STORE) ?? '';
  const { allows_faults: allowsFaults } = await panel.load();
  settings.suggest(allowsFaults);
  return api.socketUrl();
}

/** One picture. */
function draw() {
  const now = performance.now();
  const { utterance } = talk;
  const leadMs = talk.leadMs();
  const engine = talk.engine();
  const colour = palette.index(engine);
  history.add({ at: now, leadS: leadMs / 1000, engine: colour });
  drawLead(byId('plot', HTMLCanvasElement), history, now, { now: t('now'), seconds: (n) => t('seconds', { n }) });
  if (!utterance) return;
  captions.draw(utterance, talk.reading(), talk.isOver);
  showSpeaking(engine, colour);
  panel.speaking(engine);
  if (talk.listening) showFigures(talk.listening, talk.isOver ? null : leadMs);
}

/** Draw while there is something to see: always while it speaks, else until the plot has run empty. */
function loop() {
  const isQuiet = talk.isOver && history.points.every((point) => point.engine < 0);
  if (!isQuiet || !talk.utterance) draw();
  if (calm.matches) setTimeout(loop, CALM_MS);
  else requestAnimationFrame(loop);
}

/** The button names the other language in that language. */
function labelSwitch() {
  const button = byId('language-switch');
  button.lang = uiLanguage() === 'zh' ? 'en' : 'zh';
  button.textContent = uiLanguage() === 'zh' ? 'English' : '中文';
}

function switchLanguage() {
  speakIn(uiLanguage() === 'zh' ? 'en' : 'zh', document);
  labelSwitch();
  settings.label();
  compose.draw();
  panel.draw();
  captions.empty();
  say('');
  showSpeaking('', -1);
  if (connection.state !== 'waiting') showConnection(connection.state, {});
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.key === 'Escape') talk.stop();
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    compose.submit();
  }
  if (event.altKey && event.code === 'KeyB') {
    event.preventDefault();
    panel.breakEngine();
  }
}

/** @param {SubmitEvent} event */
function useKey(event) {
  event.preventDefault();
  sessionStorage.setItem(KEY_STORE, byId('key', HTMLInputElement).value.trim());
  connection.open();
}

async function offerOpus() {
  if (await canDecodeOpus()) return;
  const option = byId('format', HTMLSelectElement).options[1];
  option.disabled = true;
  option.title = t('noOpus');
  byId('format', HTMLSelectElement).value = 'pcm';
}

byId('language-switch').addEventListener('click', switchLanguage);
byId('stop').addEventListener('click', () => talk.stop());
byId('retry').addEventListener('click', () => connection.open());
byId('key-form').addEventListener('submit', (event) => useKey(/** @type {SubmitEvent} */ (event)));
document.addEventListener('keydown', onKey);
labelSwitch();
showSpeaking('', -1);
offerOpus();
connection.open();
loop();
