// @ts-check
/** The page's words in English and Chinese. Elements name theirs: `data-i18n` for text, `data-i18n-label` for what is only read aloud. */

/** @typedef {'en' | 'zh'} UiLanguage */

/** @type {Record<string, [en: string, zh: string]>} */
const WORDS = {
  title: ['Realtime Voice', '实时语音'],
  tagline: ['Spoken while it is being written', '边写边说，声音不断'],
  connecting: ['Connecting…', '正在连接…'],
  ready: ['Connected', '已连接'],
  waiting: ['No connection – next attempt in {seconds} s', '连接已断开，{seconds} 秒后重试'],
  unauthorized: ['A key is needed', '需要密钥'],
  closed: ['Not connected', '未连接'],
  retryNow: ['Try now', '立即重试'],
  keyTitle: ['Access key', '访问密钥'],
  keyHint: ['This service asks for an API key or a token. It stays in this tab.', '此服务需要 API 密钥或令牌，仅保存在本标签页。'],
  keyUse: ['Connect', '连接'],
  captions: ['Captions', '字幕'],
  captionsEmpty: ['Write something below, or let the chatbot answer. Each word lights up as you hear it.', '在下方输入文字，或让聊天机器人回答。听到哪个字，哪个字就会亮起。'],
  write: ['Write', '输入'],
  chatbot: ['Chatbot', '聊天机器人'],
  writeLabel: ['Text to speak', '要朗读的文字'],
  writePlaceholder: ['Type or paste Chinese, English, or both…', '输入或粘贴中文、英文或混合文字…'],
  live: ['Speak while I type', '边输入边朗读'],
  liveHint: ['What has been sent is spoken; changes to it are not heard.', '已发送的文字会被朗读，之后的修改不会生效。'],
  speak: ['Speak', '朗读'],
  finish: ['Finish', '完成'],
  stop: ['Stop', '停止'],
  askHint: ['Pick a question. The answer is written token by token, and spoken as it appears.', '选择一个问题，回答会逐字生成并同步朗读。'],
  pace: ['Writing speed', '生成速度'],
  paceUnit: ['{n} tokens/s', '每秒 {n} 个词元'],
  lead: ['Sound ahead of your ear', '待播放的声音'],
  leadLabel: ['Seconds of sound received but not yet heard, over the last 30 seconds', '过去 30 秒内已收到但尚未播放的声音（秒）'],
  now: ['now', '现在'],
  seconds: ['{n} s', '{n} 秒'],
  markFirst: ['first sound', '首音'],
  markGap: ['underrun', '断音'],
  markStop: ['stop', '停止'],
  markFault: ['broken here', '故障'],
  ttfa: ['First sound', '首音延迟'],
  leadNow: ['Lead', '缓冲'],
  underruns: ['Underruns', '断音次数'],
  switches: ['Switches', '切换次数'],
  roundTrip: ['Round trip', '往返延迟'],
  engineNow: ['Speaking', '当前引擎'],
  engines: ['Engines', '引擎'],
  warming: ['The engines are warming up…', '引擎正在预热…'],
  breakerClosed: ['breaker closed', '熔断器：闭合'],
  breakerOpen: ['breaker open', '熔断器：断开'],
  breakerHalfOpen: ['breaker half open', '熔断器：半开'],
  workers: ['workers ready: {ready} of {all} · jobs: {jobs}', '工作进程就绪 {ready}/{all} · 任务 {jobs}'],
  tooSlow: ['too slow here for: {profiles}', '在此机器上过慢，不适合：{profiles}'],
  restarts: ['restarts: {n}', '重启 {n} 次'],
  breakTitle: ['Break the engine', '故障演示'],
  breakHint: ['Harm the engine that is speaking. The voice may change; the speech goes on.', '破坏正在发声的引擎：声音可能会变，但朗读不会中断。'],
  breakLast: ['No other engine can take over now: breaking this one may end the speech.', '目前没有其他引擎可以接手：破坏它可能会使朗读中断。'],
  breakIt: ['Break {engine}', '破坏 {engine}'],
  faultKind: ['Kind of fault', '故障类型'],
  kill: ['Kill the process', '杀死进程'],
  stall: ['Freeze for 5 s', '卡住 5 秒'],
  exception: ['Raise an error', '抛出异常'],
  garbage: ['Make noise instead', '输出噪声'],
  faultSet: ['{engine} breaks in the next piece it speaks.', '{engine} 将在下一段语音中出错。'],
  faultFailed: ['The fault was refused: {reason}', '故障注入被拒绝：{reason}'],
  settings: ['Settings', '设置'],
  voice: ['Voice', '音色'],
  language: ['Language', '语言'],
  auto: ['From the text', '自动识别'],
  zh: ['Chinese', '中文'],
  en: ['English', '英文'],
  speed: ['Speed', '语速'],
  format: ['Sound format', '音频格式'],
  pcm: ['PCM, uncompressed', 'PCM（无压缩）'],
  opus: ['Opus, compressed', 'Opus（压缩）'],
  noOpus: ['This browser does not decode Opus here; PCM is used.', '此浏览器无法在此解码 Opus，改用 PCM。'],
  leadLimit: ['Most sound ahead', '缓冲上限'],
  leadLimitDefault: ['As the service likes', '由服务决定'],
  idle: ['Silent', '未在朗读'],
  speaking: ['Speaking', '正在朗读'],
  ended: ['Finished.', '朗读完毕。'],
  stopped: ['Stopped. Heard: {heard} of {all} characters.', '已停止。已听到 {all} 个字符中的 {heard} 个。'],
  failed: ['The service gave up: {reason}', '服务出错：{reason}'],
  failedFor: ['The service gave up: {reason} Try again in {seconds} s.', '服务出错：{reason} 请在 {seconds} 秒后重试。'],
  lost: ['The connection was lost. The rest is spoken when it is back.', '连接已断开，恢复后继续朗读。'],
  resumed: ['The connection is back; the speech goes on.', '连接已恢复，继续朗读。'],
  switched: ['The voice changed, {from} → {to}: {reason}. The speech went on without a gap.', '声音已切换，{from} → {to}：{reason}。朗读没有中断。'],
  switchedLate: ['The voice changed, {from} → {to}: {reason}. There was a gap of {ms} ms.', '声音已切换，{from} → {to}：{reason}。中断了 {ms} 毫秒。'],
  reason_predicted_miss: ['it would have been late', '预计来不及'],
  reason_stalled: ['it stood still', '停滞'],
  reason_worker_lost: ['its process died', '进程已死'],
  reason_engine_failed: ['it raised an error', '引擎报错'],
  reason_garbage: ['it made noise', '输出异常'],
  reason_breaker_open: ['its breaker is open', '熔断器断开'],
  reason_overloaded: ['it is overloaded', '过载'],
  reason_unspeakable: ['it cannot say this', '无法朗读此内容'],
  reason_no_worker: ['it has no worker left', '没有可用的工作进程'],
  reason_race_won: ['the other one was faster', '另一引擎更快'],
  reason_recovered: ['back to the better engine', '恢复到更好的引擎'],
  noAudio: ['This browser has no AudioWorklet here. Use HTTPS or http://127.0.0.1.', '此环境不支持 AudioWorklet，请使用 HTTPS 或 http://127.0.0.1。'],
  decodeFailed: ['The sound could not be decoded; PCM is used from now on.', '音频解码失败，之后改用 PCM。'],
  overflow: ['More sound came than the page can hold; some of it is lost.', '收到的音频超出页面容量，部分丢失。'],
  keys: ['Ctrl+Enter speaks, Esc stops, Alt+B breaks the engine', 'Ctrl+Enter 朗读，Esc 停止，Alt+B 破坏引擎'],
};

/** @type {UiLanguage} */
let current = 'en';

export const uiLanguage = () => current;

/**
 * The language a visitor is likely to read.
 * @param {readonly string[]} preferred such as navigator.languages
 * @returns {UiLanguage}
 */
export function preferredLanguage(preferred) {
  const known = preferred.map((tag) => tag.toLowerCase().split('-')[0]).find((tag) => tag === 'zh' || tag === 'en');
  return known === 'zh' ? 'zh' : 'en';
}

/**
 * Words for a key, with `{name}`s filled in. An unknown key is shown as it is.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const words = Object.hasOwn(WORDS, key) ? WORDS[key][current === 'zh' ? 1 : 0] : key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * Words for why an engine was switched; a reason that is new is shown as it came.
 * @param {string} code
 */
export const reasonWords = (code) => (Object.hasOwn(WORDS, `reason_${code}`) ? t(`reason_${code}`) : code);

/**
 * Switch the whole page.
 * @param {UiLanguage} language
 * @param {Document} page
 */
export function speakIn(language, page) {
  current = language;
  page.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  page.title = `${t('title')} – ${t('tagline')}`;
  for (const element of page.querySelectorAll('[data-i18n]')) element.textContent = t(element.getAttribute('data-i18n') ?? '');
  for (const element of page.querySelectorAll('[data-i18n-label]')) {
    element.setAttribute('aria-label', t(element.getAttribute('data-i18n-label') ?? ''));
  }
  for (const element of page.querySelectorAll('[data-i18n-placeholder]')) {
    element.setAttribute('placeholder', t(element.getAttribute('data-i18n-placeholder') ?? ''));
  }
}

export const KEYS = Object.keys(WORDS);
