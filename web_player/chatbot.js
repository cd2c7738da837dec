// @ts-check
/**
 * A pretended language model: canned answers, written token by token at a pace, as a real one streams them.
 *
 * @typedef {{ id: string, question: [en: string, zh: string], answer: string }} Topic
 */

/** @type {Topic[]} */
export const TOPICS = [
  {
    id: 'bank',
    question: ['Bank, in Chinese: my balance?', '银行客服：我的余额是多少？'],
    answer:
      '您好，已经为您查到了。截至今天下午3点，您的活期账户余额是12,580.60元，本月一共支出3,245元，比上个月少了大约8%。' +
      '另外提醒您，信用卡账单将在本月28日到期，最低还款额是500元。如果您愿意，我现在就可以帮您设置自动还款。还有什么可以帮您的吗？',
  },
  {
    id: 'travel',
    question: ['Travel, in English: a weekend in Lisbon?', '英文：里斯本的周末怎么过？'],
    answer:
      'Lisbon in two days? Good choice. On Saturday, start at 8:30 a.m. with coffee in Alfama, then take tram 28 up the hill; a ticket costs about €3.10. ' +
      'After lunch, walk along the river to Belém, where the custard tarts are worth the queue. On Sunday, catch the train to Sintra. ' +
      'It takes forty minutes, and the gardens are quiet before noon. Shall I look for a hotel near the station?',
  },
  {
    id: 'mixed',
    question: ['Both languages: how does the API work?', '中英混合：API 怎么用？'],
    answer:
      '很简单。先用 WebSocket 连接 /v1/stream，然后发送一条 open 消息，再把文字一段一段地发过来，服务会边收边说。' +
      'Audio comes back as PCM or Opus, together with word times. 如果主引擎太慢或者崩溃了，we switch to another engine in mid-sentence，' +
      '听的人最多听到声音变了，但不会漏掉一个字，也不会重复。最后发送 end，就会收到 done，里面有首音延迟和 usage。',
  },
  {
    id: 'story',
    question: ['A longer story, in Chinese', '讲个长一点的故事'],
    answer:
      '很久以前，山脚下住着一位钟表匠。他做的钟从来不会停，因为他在每一座钟里都藏了第二套齿轮。' +
      '有一年冬天，暴风雪来了，城里的钟一座接一座地停了下来，只有他的钟还在走。人们问他有什么秘诀。' +
      '他笑着说：“没有什么秘诀。我只是早就想好，第一套齿轮坏了的时候，第二套该从哪一个齿开始转。”' +
      '从那以后，城里的人再也没有错过一班火车。而那位钟表匠呢，他又开始琢磨第三套齿轮了。',
  },
];

/**
 * Cut a text as a model's tokenizer might: short English words with their space, one or two Chinese characters, digits in threes.
 * @param {string} text
 * @returns {string[]}
 */
export function tokens(text) {
  return text.match(/\p{Script=Han}{1,2}|\s?\p{Script=Latin}{1,6}|\d{1,3}|\s|[^\s\d]/gu) ?? [];
}

/**
 * Write tokens at a pace until they are used up or `signal` says stop. The pace is asked for each time, so that a slider works at once;
 * time lost to a busy page is made up for.
 * @param {string[]} list
 * @param {() => number} perSecond
 * @param {(token: string) => void} onToken
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} whether all was written
 */
export async function writePaced(list, perSecond, onToken, signal) {
  let due = performance.now();
  for (const token of list) {
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    if (signal.aborted) return false;
    onToken(token);
    due += 1000 / perSecond();
  }
  return true;
}
