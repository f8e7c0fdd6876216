// A usage report as CSV: pure.
import type { UsageReport } from '$lib/api/types';

/** Quoted where needed; what a spreadsheet would take for a formula is kept a text. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return '';
  let text = String(value);
  if (typeof value === 'string' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(report: UsageReport): string {
  const head = [
    report.group_by,
    'requests',
    'failed',
    'prompt_tokens',
    'completion_tokens',
    'cached_tokens',
    'ttft_ms_p50',
    'ttft_ms_p95',
    'decode_tokens_per_s_p50',
  ];
  const rows = report.groups.map((group) => [
    group.group,
    group.requests,
    group.by_status.failed,
    group.prompt_tokens,
    group.completion_tokens,
    group.cached_tokens,
    group.ttft_ms.p50,
    group.ttft_ms.p95,
    group.decode_tokens_per_s.p50,
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
}
