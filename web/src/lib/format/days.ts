// The days of a report, those without a request among them: pure.
import type { UsageReport } from '$lib/api/types';

export interface Day {
  /** As in 2026-01-31. */
  day: string;
  input: number;
  output: number;
}

const DAY_MS = 86_400_000;

/** `count` days, the last of them `today`. */
export function daysOf(report: UsageReport, count: number, today: string): Day[] {
  const known = new Map(report.groups.map((group) => [group.group, group]));
  const end = Date.parse(`${today}T00:00:00Z`);
  return Array.from({ length: count }, (_, i) => {
    const day = new Date(end - (count - 1 - i) * DAY_MS).toISOString().slice(0, 10);
    const group = known.get(day);
    return { day, input: group?.prompt_tokens ?? 0, output: group?.completion_tokens ?? 0 };
  });
}
