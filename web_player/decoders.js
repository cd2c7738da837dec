// @ts-check
/**
 * Payloads of `audio` messages to samples. PCM is read as it stands; Opus packets go through WebCodecs, where the browser has it.
 *
 * @typedef {{ push: (payload: Uint8Array, samples: number) => void, flush: () => Promise<void>, close: () => void }} Decoder
 */

/** WebCodecs gives Opus at this rate whatever it was coded at. */
const OPUS_RATE = 48_000;
/** libopus looks 6.5 ms ahead; the decoder of raw packets leaves them in (RFC 7845 section 4.2 calls them the pre-skip). */
const OPUS_PRE_SKIP = 312;
/** A packet's length on its own timeline. */
const OPUS_PACKET_US = 20_000;
/** PCM at the rate that the engines' own rates (16 to 24 kHz) fit into. */
const PCM_RATE = 24_000;

/** @returns {AudioDecoderConfig} */
const opusConfig = () => ({ codec: 'opus', sampleRate: OPUS_RATE, numberOfChannels: 1 });

/** Whether this browser decodes Opus packets (WebCodecs needs HTTPS or this machine). */
export async function canDecodeOpus() {
  if (typeof AudioDecoder === 'undefined') return false;
  const support = await AudioDecoder.isConfigSupported(opusConfig()).catch(() => null);
  return support?.supported === true;
}

/**
 * What to ask the service for.
 * @param {'opus' | 'pcm'} wanted
 * @param {boolean} hasOpus
 */
export function chooseFormat(wanted, hasOpus) {
  if (wanted === 'opus' && hasOpus) return { codec: 'opus', sample_rate: OPUS_RATE };
  return { codec: 'pcm_s16le', sample_rate: PCM_RATE };
}

/**
 * @param {string} codec
 * @param {(samples: Float32Array) => void} onSamples
 * @param {(error: Error) => void} onError
 * @returns {Decoder}
 */
export function makeDecoder(codec, onSamples, onError) {
  if (codec === 'opus') return new OpusDecoder(onSamples, onError);
  return new PcmDecoder(onSamples);
}

/** @implements {Decoder} */
export class PcmDecoder {
  /** @param {(samples: Float32Array) => void} onSamples */
  constructor(onSamples) {
    this._onSamples = onSamples;
  }

  /** @param {Uint8Array} payload 16-bit little-endian samples */
  push(payload) {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const samples = new Float32Array(payload.byteLength >> 1);
    for (let index = 0; index < samples.length; index += 1) samples[index] = view.getInt16(index * 2, true) / 32768;
    this._onSamples(samples);
  }

  async flush() {}

  close() {}
}

/**
 * Keeps a decoder's output on the service's timeline: drops the pre-skip at the start and, at the end, what was only there to fill the
 * last packet.
 */
export class OpusTrim {
  constructor() {
    this._skip = OPUS_PRE_SKIP;
    this._owed = 0;
  }

  /** @param {number} samples that the service counts for the packet that goes into the decoder */
  expect(samples) {
    this._owed += samples;
  }

  /** @param {Float32Array} decoded @returns {Float32Array} what belongs to the timeline */
  take(decoded) {
    const from = Math.min(this._skip, decoded.length);
    this._skip -= from;
    const kept = decoded.subarray(from, from + Math.min(decoded.length - from, this._owed));
    this._owed -= kept.length;
    return kept;
  }
}

/** @implements {Decoder} */
class OpusDecoder {
  /**
   * @param {(samples: Float32Array) => void} onSamples
   * @param {(error: Error) => void} onError
   */
  constructor(onSamples, onError) {
    this._trim = new OpusTrim();
    this._packets = 0;
    this._onSamples = onSamples;
    this._decoder = new AudioDecoder({ output: (data) => this._take(data), error: onError });
    this._decoder.configure(opusConfig());
  }

  /** @param {Uint8Array} payload one packet @param {number} samples that it counts */
  push(payload, samples) {
    if (this._decoder.state !== 'configured') return;
    this._trim.expect(samples);
    const timestamp = this._packets * OPUS_PACKET_US;
    this._packets += 1;
    this._decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp, duration: OPUS_PACKET_US, data: payload }));
  }

  /** @param {AudioData} data */
  _take(data) {
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
    data.close();
    this._onSamples(this._trim.take(samples).slice());
  }

  async flush() {
    if (this._decoder.state === 'configured') await this._decoder.flush();
  }

  close() {
    if (this._decoder.state !== 'closed') this._decoder.close();
  }
}
