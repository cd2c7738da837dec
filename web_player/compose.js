// @ts-check
/** Where text comes from: typing (all at once, or as it is typed) or the chatbot. Hands it on as a stream through `Writer`. */

import { TOPICS, tokens, writePaced } from './chatbot.js';
import { t, uiLanguage } from './i18n.js';
import { byId } from './view.js';

/**
 * `begin` stops, before it waits for anything, what was being said, and thereby silences whoever was writing it.
 *
 * @typedef {{ begin: (question: string) => Promise<boolean>, write: (text: string) => void, end: () => void, isWriting: () => boolean }} Writer
 */

export class Compose {
  /**
   * @param {Writer} writer
   * @param {() => number} pace tokens per second
   */
  constructor(writer, pace) {
    this._writer = writer;
    this._pace = pace;
    this._bot = new AbortController();
    /** What of the text field was handed on while typing; null when not typing live. @type {string | null} */
    this._sent = null;
    this._text = byId('text', HTMLTextAreaElement);
    this._live = byId('live', HTMLInputElement);
    this._listen();
    this.draw();
  }

  _listen() {
    const tabs = [byId('tab-bot'), byId('tab-write')];
    tabs.forEach((tab, index) => {
      tab.addEventListener('click', () => select(tabs, index));
      tab.addEventListener('keydown', (event) => {
        if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') select(tabs, 1 - index, true);
      });
    });
    byId('speak').addEventListener('click', () => this.submit());
    this._text.addEventListener('input', (event) => {
      // A syllable on its way through an input method is no text yet.
      if (!(event instanceof InputEvent && event.isComposing)) this._typed();
    });
    this._text.addEventListener('compositionend', () => this._typed());
    this._live.addEventListener('change', () => this.draw());
  }

  /** Words that depend on the interface's language, or on whether text is being typed live. */
  draw() {
    byId('live-hint').hidden = !this._live.checked;
    byId('speak-text').textContent = t(this._sent === null ? 'speak' : 'finish');
    byId('topics').replaceChildren(...TOPICS.map((topic) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = topic.question[uiLanguage() === 'zh' ? 1 : 0];
      button.dataset.topic = topic.id;
      button.addEventListener('click', () => this._answer(topic));
      return button;
    }));
  }

  /** Ctrl+Enter or the button: speak all of it, or finish what was typed live. */
  async submit() {
    if (this._sent !== null) {
      this._handOn(this._text.value);
      this._sent = null;
      this._writer.end();
      this._text.value = '';
    } else if (this._text.value.trim()) {
      this.silence();
      const text = this._text.value;
      if (!(await this._writer.begin(''))) return;
      this._writer.write(text);
      this._writer.end();
    } else this._text.focus();
    this.draw();
  }

  /** Nothing more is written: a stop, or a new beginning. */
  silence() {
    this._bot.abort();
    if (this._sent !== null) this._text.value = '';
    this._sent = null;
    this.draw();
  }

  /** @param {import('./chatbot.js').Topic} topic */
  async _answer(topic) {
    this.silence();
    const beginning = this._writer.begin(topic.question[uiLanguage() === 'zh' ? 1 : 0]);
    const bot = new AbortController();
    this._bot = bot;
    if (!(await beginning)) return;
    const isWhole = await writePaced(tokens(topic.answer), this._pace, (token) => this._writer.write(token), bot.signal);
    if (isWhole) this._writer.end();
  }

  async _typed() {
    if (!this._live.checked) return;
    if (this._sent === null) {
      if (!this._text.value.trim()) return;
      const beginning = this._writer.begin('');
      this._sent = '';
      if (!(await beginning)) this._sent = null;
      this.draw();
    }
    if (this._sent !== null && this._writer.isWriting()) this._handOn(this._text.value);
  }

  /**
   * Send what was added behind the part that was sent. Changes within that part come too late and are left alone.
   * @param {string} text
   */
  _handOn(text) {
    const sent = this._sent ?? '';
    if (text.startsWith(sent)) this._writer.write(text.slice(sent.length));
    this._sent = text;
  }
}

/**
 * @param {HTMLElement[]} tabs
 * @param {number} index
 * @param {boolean} [withFocus]
 */
function select(tabs, index, withFocus = false) {
  tabs.forEach((tab, at) => {
    tab.setAttribute('aria-selected', String(at === index));
    tab.tabIndex = at === index ? 0 : -1;
    byId(tab.getAttribute('aria-controls') ?? '').hidden = at !== index;
  });
  if (withFocus) tabs[index].focus();
}
