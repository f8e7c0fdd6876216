// Formulas: fetched only when a text has any. What it makes is sanitised with the rest.
import katex from 'katex';

/** Longer ones stay as they were written. */
const SOURCE_MAX = 4_000;

export function formula(source: string, display: boolean): string | null {
  if (source.length > SOURCE_MAX) return null;
  const html = katex.renderToString(source, {
    output: 'mathml',
    displayMode: display,
    throwOnError: false,
    maxExpand: 200,
    maxSize: 20,
    trust: false,
    strict: 'ignore',
  });
  // The source that stands beside the formula for copying would be shown where MathML's own words are left out.
  return html.replace(/<annotation[\s\S]*?<\/annotation>/g, '');
}
