// Copying that also works on plain http, where navigator.clipboard does not exist.

export function copy(text: string): boolean {
  const area = document.createElement('textarea');
  area.value = text;
  area.readOnly = true;
  area.className = 'sr';
  // Inside an open dialog, since the rest of the page is inert then.
  const host = document.querySelector('dialog[open]') ?? document.body;
  const before = document.activeElement as HTMLElement | null;
  host.append(area);
  area.select();
  let copied: boolean;
  try {
    copied = document.execCommand('copy');
  } catch {
    copied = false;
  }
  area.remove();
  before?.focus?.();
  return copied;
}
