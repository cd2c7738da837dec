// @ts-check
/**
 * The service's HTTP side: what it offers, how it fares, faults on purpose, and tokens for the socket (a page can't send headers there).
 *
 * @typedef {{ name: string, sample_rate: number, languages: string[], breaker: string, capacity: number,
 *   too_slow_for?: { profile: string, first_audio_ms: number, hint: string }[] }} EngineRow
 * @typedef {{ version: string, engines: EngineRow[], allows_faults: boolean,
 *   budgets: Record<string, { max_lead_ms: number, first_audio_ms: number }> }} Capabilities
 * @typedef {{ id: string, engine: string, state: string, jobs: number, restarts: number, rss_mb: number, last_error: string }} WorkerRow
 * @typedef {{ kind: string, engine: string, at_ms?: number, value?: number }} FaultRequest
 */

/** A request unanswered for so long has failed (guess: far more than a healthy service needs, little enough to wait for). */
const TIMEOUT_MS = 5000;

/** Raised when the service refuses a request or does not answer; `status` is 0 when there was no answer. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /** @param {string} base the page's own address */
  constructor(base) {
    this._base = base;
    /** API key or token; '' where the service wants none. */
    this.key = '';
  }

  /** @returns {Promise<Capabilities>} */
  capabilities() {
    return this._call('v1/capabilities');
  }

  /** @returns {Promise<import('./dialect.js').Voice[]>} */
  async voices() {
    return (await this._call('v1/voices')).voices;
  }

  /** @returns {Promise<WorkerRow[]>} */
  async workers() {
    return (await this._call('v1/workers')).workers;
  }

  /** @param {FaultRequest} fault @returns {Promise<{ worker: string, kind: string }>} */
  fault(fault) {
    return this._call('v1/faults', fault);
  }

  /** The socket's address, with a fresh token where one is needed. */
  async socketUrl() {
    const url = new URL('v1/stream', this._base);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    if (this.key) url.searchParams.set('token', (await this._call('v1/tokens', {})).token);
    return url.href;
  }

  /**
   * @param {string} path
   * @param {object} [body] sent by POST
   * @returns {Promise<any>}
   */
  async _call(path, body) {
    const headers = this.key ? { authorization: `Bearer ${this.key}` } : undefined;
    const method = body ? 'POST' : 'GET';
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const request = { method, headers, body: body && JSON.stringify(body), signal };
    const response = await fetch(new URL(path, this._base), request).catch((error) => {
      throw new ApiError(0, String(error.message ?? error));
    });
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw new ApiError(response.status, answer?.error?.message ?? response.statusText);
    return answer;
  }
}
