// What went wrong with a request, in the gateway's own words where it gave any.

export interface ErrorBody {
  error?: { message?: string; type?: string; code?: string | null; param?: string | null };
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null,
    readonly param: string | null = null,
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** Nobody answered: no network, or no gateway. */
  get offline(): boolean {
    return this.status === 0;
  }
}

export function offlineError(): ApiError {
  return new ApiError(0, 'unreachable', '', null);
}

export async function errorOf(response: Response): Promise<ApiError> {
  const requestId = response.headers.get('x-request-id');
  const retryAfter = Number(response.headers.get('retry-after'));
  const text = await response.text().catch(() => '');
  let body: ErrorBody;
  try {
    body = JSON.parse(text) as ErrorBody;
  } catch {
    body = { error: { message: text.slice(0, 300) } };
  }
  return new ApiError(
    response.status,
    body.error?.code ?? body.error?.type ?? `http_${response.status}`,
    body.error?.message || `${response.status} ${response.statusText}`,
    requestId,
    body.error?.param ?? null,
    Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : null,
  );
}
