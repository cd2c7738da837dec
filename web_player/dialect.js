// @ts-check
/**
 * The native protocol's two subprotocols: a message object to a WebSocket frame and back. Fields and types are described in the
 * service's PROTOCOL.md; unknown ones pass through, so that an old page lives with a new service.
 *
 * @typedef {[startChar: number, endChar: number, startMs: number, endMs: number]} WordTime
 * @typedef {{ type: 'segment', utterance: string, index: number, span_start: number, span_end: number, sample_offset: number,
 *   engine: string, language: string, words?: WordTime[] }} SegmentMessage
 * @typedef {{ type: 'audio', utterance: string, seq: number, offset: number, samples: number, engine: string,
 *   payload: Uint8Array }} AudioMessage
 * @typedef {{ type: 'switch', utterance: string, from_engine: string, to_engine: string, reason: string, text_offset: number,
 *   sample_offset: number }} SwitchMessage
 * @typedef {{ type: 'opened', utterance: string, voice: string, format: { codec: string, sample_rate: number },
 *   budget: { first_audio_ms: number, start_buffer_ms: number, max_lead_ms: number, sticky: boolean } }} OpenedMessage
 * @typedef {{ type: 'done', utterance: string, ttfa_ms?: number, switches: number,
 *   usage: { characters: number, audio_ms_by_engine: Record<string, number> },
 *   underruns?: { count: number, total_ms: number, worst_ms: number } }} DoneMessage
 * @typedef {{ type: 'cancelled', utterance: string, heard_characters: number, heard_ms: number }} CancelledMessage
 * @typedef {{ type: 'error', utterance?: string, code: string, message: string, retryable?: boolean, retry_after_ms?: number,
 *   heard_characters?: number, heard_ms?: number }} ErrorMessage
 * @typedef {{ id: string, engine: string, languages: string[], description: string, gender?: string }} Voice
 * @typedef {{ type: 'ready', server_version: string, voices: Voice[], engines: { name: string, languages: string[] }[],
 *   formats: { codec: string, sample_rates: number[] }[], limits: Record<string, number> }} ReadyMessage
 * @typedef {{ type: 'text_paused' | 'text_resumed' | 'flushed', utterance: string }} TextMessage
 * @typedef {{ type: 'pong', data: string }} PongMessage
 * @typedef {SegmentMessage | AudioMessage | SwitchMessage | OpenedMessage | DoneMessage | CancelledMessage | ErrorMessage
 *   | ReadyMessage | TextMessage | PongMessage} ServerMessage
 * @typedef {{ type: string, [field: string]: unknown }} ClientMessage
 */

import { unpack } from './msgpack_reader.js';
import { pack } from './msgpack_writer.js';

/** In the page's order of preference: MessagePack carries sound as it is, JSON needs a third more. */
export const SUBPROTOCOLS = ['realtime.v1.msgpack', 'realtime.v1.json'];

/** Raised when a frame is not a message of the protocol. */
export class MalformedMessage extends Error {}

/** @param {string} base64 */
function fromBase64(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * @param {ClientMessage} message
 * @param {string} subprotocol
 * @returns {Uint8Array<ArrayBuffer> | string}
 */
export function encode(message, subprotocol) {
  return subprotocol === 'realtime.v1.json' ? JSON.stringify(message) : pack(message);
}

/**
 * @param {ArrayBuffer | string} frame
 * @returns {ServerMessage}
 */
export function decode(frame) {
  const message = parse(frame);
  if (typeof message !== 'object' || message === null || typeof message.type !== 'string') {
    throw new MalformedMessage('a message must be a map with a type');
  }
  if (typeof message.payload === 'string') message.payload = fromBase64(message.payload);
  return /** @type {ServerMessage} */ (message);
}

/**
 * @param {ArrayBuffer | string} frame
 * @returns {any}
 */
function parse(frame) {
  try {
    return typeof frame === 'string' ? JSON.parse(frame) : unpack(new Uint8Array(frame));
  } catch (error) {
    throw new MalformedMessage(`a frame that is no message: ${error instanceof Error ? error.message : error}`);
  }
}
