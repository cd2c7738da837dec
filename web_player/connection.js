// @ts-check
/**
 * The socket: opens, greets, comes back by itself after a loss, and says in which state it is.
 *
 * @typedef {import('./dialect.js').ServerMessage} ServerMessage
 * @typedef {import('./dialect.js').ReadyMessage} ReadyMessage
 * @typedef {'connecting' | 'ready' | 'waiting' | 'unauthorized' | 'closed'} ConnectionState
 * @typedef {{ onState: (state: ConnectionState, detail: { retryInMs?: number, reason?: string }) => void,
 *   onMessage: (message: ServerMessage) => void, onLost: () => void, onRoundTrip: (ms: number) => void }} Handlers
 */

import { MalformedMessage, SUBPROTOCOLS, decode, encode } from './dialect.js';

/** First wait, and the longest one; doubled in between, with a random part so that many pages don't return at once. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** Well within the 300 s after which the service closes a silent connection. */
const PING_MS = 20_000;

/**
 * How long to wait before an attempt.
 * @param {number} attempt from 0
 * @param {number} random 0..1
 */
export function backoffMs(attempt, random) {
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return Math.round(full * (0.5 + random / 2));
}

export class Connection {
  /**
   * @param {() => Promise<string>} socketUrl asked before each attempt; its error's `status` 401 means that a key is wanted
   * @param {Handlers} handlers
   * @param {string[]} [subprotocols]
   */
  constructor(socketUrl, handlers, subprotocols = SUBPROTOCOLS) {
    this._socketUrl = socketUrl;
    this._handlers = handlers;
    this._subprotocols = subprotocols;
    /** @type {WebSocket | null} */
    this._socket = null;
    this._attempt = 0;
    /** Counts attempts, so that what a forgotten one does later is ignored. */
    this._generation = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._pinger = undefined;
    /** @type {ConnectionState} */
    this.state = 'closed';
  }

  /** Connect, now; also after a key was given, or instead of waiting for the next attempt. */
  async open() {
    this._drop();
    const generation = this._generation;
    this._set('connecting', {});
    let url;
    try {
      url = await this._socketUrl();
    } catch (error) {
      if (generation !== this._generation) return;
      if (/** @type {{ status?: number }} */ (error).status === 401) this._set('unauthorized', { reason: String(error) });
      else this._retry(String(error));
      return;
    }
    if (generation === this._generation) this._connect(url, generation);
  }

  /** @param {import('./dialect.js').ClientMessage} message @returns {boolean} whether it could be sent */
  send(message) {
    if (this.state !== 'ready' || this._socket?.readyState !== WebSocket.OPEN) return false;
    this._socket.send(encode(message, this._socket.protocol));
    return true;
  }

  close() {
    this._drop();
    this._set('closed', {});
  }

  /** @param {string} url @param {number} generation */
  _connect(url, generation) {
    const socket = new WebSocket(url, this._subprotocols);
    socket.binaryType = 'arraybuffer';
    this._socket = socket;
    socket.onmessage = ({ data }) => {
      if (generation === this._generation) this._take(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (generation === this._generation) this._lost(reason || `code ${code}`);
    };
  }

  /** @param {ArrayBuffer | string} frame */
  _take(frame) {
    const message = this._decode(frame);
    if (!message) return;
    if (message.type === 'ready') {
      this._attempt = 0;
      this._set('ready', {});
      this._pinger = setInterval(() => this._ping(), PING_MS);
      this._ping();
    }
    if (message.type === 'pong') this._handlers.onRoundTrip(performance.now() - Number(message.data));
    else this._handlers.onMessage(message);
  }

  /** @param {ArrayBuffer | string} frame @returns {ServerMessage | null} */
  _decode(frame) {
    try {
      return decode(frame);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      this._lost(error.message);
      return null;
    }
  }

  _ping() {
    this.send({ type: 'ping', data: performance.now().toFixed(3) });
  }

  /** @param {string} reason */
  _lost(reason) {
    const wasReady = this.state === 'ready';
    this._drop();
    if (wasReady) this._handlers.onLost();
    this._retry(reason);
  }

  /** @param {string} reason */
  _retry(reason) {
    const retryInMs = backoffMs(this._attempt, Math.random());
    this._attempt += 1;
    this._set('waiting', { retryInMs, reason });
    this._timer = setTimeout(() => this.open(), retryInMs);
  }

  /** Forget the present socket and everything planned. */
  _drop() {
    this._generation += 1;
    clearTimeout(this._timer);
    clearInterval(this._pinger);
    this._socket?.close();
    this._socket = null;
  }

  /** @param {ConnectionState} state @param {{ retryInMs?: number, reason?: string }} detail */
  _set(state, detail) {
    this.state = state;
    this._handlers.onState(state, detail);
  }
}
