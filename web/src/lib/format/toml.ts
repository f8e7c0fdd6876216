// A profile as it would stand in config.toml: pure.
import type { Profile } from '$lib/api/types';

function value(of: unknown): string {
  if (typeof of === 'string') return of.includes('\n') && !of.includes("'''") ? `'''\n${of}'''` : JSON.stringify(of);
  if (Array.isArray(of)) return `[${of.map(value).join(', ')}]`;
  if (of !== null && typeof of === 'object') {
    return `{ ${Object.entries(of)
      .map(([key, inner]) => `${/^[\w-]+$/.test(key) ? key : JSON.stringify(key)} = ${value(inner)}`)
      .join(', ')} }`;
  }
  return String(of);
}

/** Seconds as the configuration writes them. */
export function seconds(of: number | 'forever'): string {
  if (of === 'forever') return 'forever';
  if (of >= 3600 && of % 3600 === 0) return `${of / 3600}h`;
  if (of >= 60 && of % 60 === 0) return `${of / 60}m`;
  return `${of}s`;
}

export function toml(profile: Profile): string {
  const lines: [string, unknown][] = [
    ['name', profile.name],
    ['aliases', profile.aliases.length ? profile.aliases : null],
    ['description', profile.description || null],
    ['model', profile.model],
    ['url', profile.url],
    ['engine', profile.engine],
    ['model_type', profile.model_type],
    ['system_prompt', profile.system_prompt || null],
    ['context_length', profile.context_length],
    ['defaults', Object.keys(profile.defaults).length ? profile.defaults : null],
    ['keep_alive', seconds(profile.keep_alive_s)],
    ['pinned', profile.pinned || null],
    ['preload', profile.preload || null],
    ['structured', profile.structured || null],
    ['max_concurrent', profile.max_concurrent],
    ['tools', profile.tools?.length ? profile.tools : null],
    ['extra_args', profile.extra_args.length ? profile.extra_args : null],
    ['trust_remote_code', profile.trust_remote_code || null],
  ];
  const shown = lines.filter(([, content]) => content !== null && content !== undefined);
  return `[[profile]]\n${shown.map(([key, content]) => `${key} = ${value(content)}`).join('\n')}\n`;
}
