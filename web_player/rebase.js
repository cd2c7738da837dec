// @ts-check
/**
 * A resumed utterance is a new one to the service, which counts characters, samples and segments from the resumption; the page counts
 * them from the beginning.
 *
 * @typedef {import('./dialect.js').ServerMessage} ServerMessage
 * @typedef {{ character: number, sample: number, index: number }} Base  where the service's zero lies
 */

/**
 * The message with positions of the whole utterance.
 * @param {ServerMessage} message
 * @param {Base} base
 * @param {number} rate
 * @returns {ServerMessage}
 */
export function rebased(message, base, rate) {
  const { character, sample, index } = base;
  if (sample === 0 && character === 0) return message;
  const ms = (sample * 1000) / rate;
  switch (message.type) {
    case 'audio': return { ...message, offset: message.offset + sample };
    case 'switch': return { ...message, text_offset: message.text_offset + character, sample_offset: message.sample_offset + sample };
    case 'cancelled': return { ...message, heard_characters: message.heard_characters + character };
    case 'segment': return {
      ...message,
      index: message.index + index,
      span_start: message.span_start + character,
      span_end: message.span_end + character,
      sample_offset: message.sample_offset + sample,
      words: message.words?.map(([from, to, fromMs, toMs]) => [from + character, to + character, fromMs + ms, toMs + ms]),
    };
    default: return message;
  }
}
