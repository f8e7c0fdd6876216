// Requests to the gateway this page came from. Adds the API key where one was given on this machine,
// turns refusals into ApiError, and tells who listens when a session has ended.
import createClient from 'openapi-fetch';
import { errorOf, offlineError } from './errors';
import type { paths } from './generated/schema';

export type Query = Record<string, string | number | boolean | null | undefined>;

interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

const KEY = 'mlx-gateway.key';

/** The API key kept on this machine (A AUTH-04); the session cookie needs none. */
export const storedKey = {
  get(): string | null {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  },
  set(key: string | null): void {
    try {
      if (key === null) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, key);
    } catch {
      // Storage is closed: the cookie alone has to do.
    }
  },
};

let onUnauthorized: () => void = () => {};

export function whenUnauthorized(then: () => void): void {
  onUnauthorized = then;
}

/** `/api/v1/models/a%2Fb` out of its parts. */
export function path(strings: TemplateStringsArray, ...parts: (string | number)[]): string {
  return strings.reduce((all, text, i) => all + text + (i < parts.length ? encodeURIComponent(parts[i]!) : ''), '');
}

export function withQuery(to: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${to}?${text}` : to;
}

/** An answer of the gateway. Refusals are thrown, and so is silence. */
async function answered(sent: () => Promise<Response>): Promise<Response> {
  let response: Response;
  try {
    response = await sent();
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw offlineError();
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401) onUnauthorized();
  throw error;
}

function withKey(headers: Headers): Headers {
  const key = storedKey.get();
  if (key) headers.set('authorization', `Bearer ${key}`);
  return headers;
}

/** The answer as it comes, for streams and texts. */
export function send(method: string, to: string, { query, body, signal, headers: given }: Options = {}): Promise<Response> {
  const headers = withKey(new Headers(given));
  if (body !== undefined) headers.set('content-type', 'application/json');
  const text = body === undefined ? undefined : JSON.stringify(body);
  return answered(() => fetch(withQuery(to, query), { method, headers, body: text, signal, credentials: 'same-origin' }));
}

/** The admin API as the gateway describes it: paths, parameters, bodies and answers are checked. */
export const api = createClient<paths>({
  baseUrl: location.origin,
  credentials: 'same-origin',
  // What nobody chose is not sent.
  querySerializer: (query) => withQuery('', query as Query).slice(1),
  fetch: (request) => {
    withKey(request.headers);
    return answered(() => fetch(request));
  },
});

/** What was answered; refusals have been thrown. */
export async function got<T>(answer: Promise<{ data?: T }>): Promise<NonNullable<T>> {
  return (await answer).data as NonNullable<T>;
}
