// Loading a list again when the stream says that one of its things changed, at most every second and a half.
import { live } from './live.svelte';

const AT_MOST_EVERY_MS = 1500;

/** Events that come with requests: they begin and end, and figures of backends for those that read everything. */
export const REQUESTS = ['request.', 'server.', 'chat.'];

/** `names`: beginnings of event names. The answer ends it. */
export function whenChanged(names: string[], load: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const stop = live.listen((event) => {
    if (timer !== null || (event.name !== 'stale' && !names.some((name) => event.name.startsWith(name)))) return;
    timer = setTimeout(() => {
      timer = null;
      load();
    }, AT_MOST_EVERY_MS);
  });
  return () => {
    stop();
    if (timer !== null) clearTimeout(timer);
  };
}
