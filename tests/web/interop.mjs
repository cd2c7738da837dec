// Run by test_node.py: reads frames written by the service's own code, answers with what the page understood, and with frames of its own.
import { readFileSync } from 'node:fs';

import { decode, encode } from '../../web_player/dialect.js';

const fromHex = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const { frames, messages } = JSON.parse(readFileSync(0, 'utf8'));

function plain(message) {
  const { payload, ...rest } = message;
  return payload === undefined ? rest : { ...rest, payload: Buffer.from(payload).toString('base64') };
}

console.log(JSON.stringify({
  decoded: frames.map(({ json, msgpack }) => [plain(decode(json)), plain(decode(fromHex(msgpack).buffer))]),
  encoded: messages.map((message) => ({
    json: encode(message, 'realtime.v1.json'),
    msgpack: Buffer.from(encode(message, 'realtime.v1.msgpack')).toString('hex'),
  })),
}));
