// Thinking that a model wrote into its answer: pure.

/** Splits `<think>` text off a growing answer; a tag may be cut anywhere between chunks. */
export function splitThinking(text: string): { thinking: string; answer: string; open: boolean } {
  const start = /^\s*<think>/.exec(text);
  if (!start) return { thinking: '', answer: /^\s*<(t(h(i(n(k)?)?)?)?)?$/.test(text) ? '' : text, open: false };
  const inside = text.slice(start[0].length);
  const end = inside.indexOf('</think>');
  if (end < 0) return { thinking: inside.replace(/<(\/(t(h(i(n(k)?)?)?)?)?)?$/, ''), answer: '', open: true };
  return { thinking: inside.slice(0, end), answer: inside.slice(end + 8).replace(/^\s+/, ''), open: false };
}
