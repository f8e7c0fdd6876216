// Requests to the gateway this page came from. Adds the API key where one was given on this machine,
// turns refusals into ApiError, and tells who listens when a session has ended.
import { ApiError, errorOf, offlineError } from './errors';

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

/** The answer as it comes, for streams and texts. Refusals are thrown. */
export async function send(method: string, to: string, options: Options = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  const key = storedKey.get();
  if (key) headers.set('authorization', `Bearer ${key}`);
  if (options.body !== undefined) headers.set('content-type', 'application/json');
  let response: Response;
  try {
    response = await fetch(withQuery(to, options.query), {
      method,
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
      credentials: 'same-origin',
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw offlineError();
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401) onUnauthorized();
  throw error;
}

async function json<T>(method: string, to: string, options?: Options): Promise<T> {
  const response = await send(method, to, options);
  const text = await response.text();
  if (!text) return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(response.status, 'not_json', text.slice(0, 300), response.headers.get('x-request-id'));
  }
}

export const api = {
  get: <T>(to: string, query?: Query, signal?: AbortSignal) => json<T>('GET', to, { query, signal }),
  post: <T = unknown>(to: string, body?: unknown, query?: Query) => json<T>('POST', to, { body, query }),
  put: <T = unknown>(to: string, body?: unknown) => json<T>('PUT', to, { body }),
  patch: <T = unknown>(to: string, body?: unknown) => json<T>('PATCH', to, { body }),
  delete: <T = unknown>(to: string) => json<T>('DELETE', to),
};
