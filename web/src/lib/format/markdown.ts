// Text of models and READMEs as HTML. What they write is not trusted: it is sanitised last, pictures
// and anything else that would be fetched are left out, and links open elsewhere without a referrer.
import DOMPurify from 'dompurify';
import { Lexer, Marked, type TokenizerAndRendererExtension, type Tokens } from 'marked';
import { isLight, shallow, type Piece } from './bounds';

const TAGS = [
  'a',
  'b',
  'blockquote',
  'br',
  'code',
  'del',
  'em',
  'h1',
  'h2',
  'h3',
  'h4',
  'h5',
  'h6',
  'hr',
  'i',
  'li',
  'ol',
  'p',
  'pre',
  's',
  'span',
  'strong',
  'sub',
  'sup',
  'table',
  'tbody',
  'td',
  'th',
  'thead',
  'tr',
  'ul',
];
const MATH = [
  'math',
  'semantics',
  'mrow',
  'mi',
  'mn',
  'mo',
  'ms',
  'mtext',
  'mspace',
  'msup',
  'msub',
  'msubsup',
  'mfrac',
  'msqrt',
  'mroot',
  'mover',
  'munder',
  'munderover',
  'mtable',
  'mtr',
  'mtd',
  'mstyle',
  'mpadded',
  'mphantom',
  'menclose',
  'mmultiscripts',
  'mprescripts',
];
const KNOWN = new Set(TAGS);
const MATH_ATTRIBUTES = [
  'display',
  'mathvariant',
  'stretchy',
  'fence',
  'separator',
  'lspace',
  'rspace',
  'columnalign',
  'columnspacing',
  'rowspacing',
  'accent',
  'accentunder',
  'linethickness',
  'scriptlevel',
  'displaystyle',
  'minsize',
  'maxsize',
  'movablelimits',
  'notation',
  'width',
  'height',
  'depth',
  'voffset',
];
const COLOURS = /^(hljs-[\w-]+_?|\s|function_|class_|language_|inherited__|constant_|invoke__)+$/;

/** Fetched when a text has something that they draw better. */
let code: typeof import('./code') | null = null;
let math: typeof import('./formula') | null = null;
const CODE = /```\s*\w/;
const FORMULA = /\$[^\s]|\\\(|\\\[/;

/** Fetches what draws the code and formulas of a text; null: all that it needs is there. */
export function enrich(text: string): Promise<unknown> | null {
  const wanted: Promise<unknown>[] = [];
  if (!code && CODE.test(text)) wanted.push(import('./code').then((module) => (code = module)));
  if (!math && FORMULA.test(text)) wanted.push(import('./formula').then((module) => (math = module)));
  return wanted.length ? Promise.all(wanted) : null;
}

/** Looked for in what is being read. Where there are none, the parser must not search the rest of the text for one at
    each of its steps; nor where so many begin that most have no end. */
let formulas = false;
const BEGINNINGS = /\$\$|\\\[/g;
const FORMULAS_MAX = 200;
const hasFormulas = (text: string) => FORMULA.test(text) && (text.match(BEGINNINGS)?.length ?? 0) <= FORMULAS_MAX;
function reading<T>(text: string, read: () => T): T {
  formulas = hasFormulas(text);
  return read();
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const drawn = ({ text, raw, display }: Tokens.Generic) =>
  math?.formula(text as string, display as boolean) ?? `<code>${escaped(raw)}</code>`;

const blockFormula: TokenizerAndRendererExtension = {
  name: 'blockFormula',
  level: 'block',
  start: (source) => (formulas ? /\$\$|\\\[/.exec(source)?.index : undefined),
  tokenizer(source) {
    if (!formulas) return undefined;
    const found = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    return found ? { type: 'blockFormula', raw: found[0], text: (found[1] ?? found[2])!.trim(), display: true } : undefined;
  },
  renderer: (token) => `<p>${drawn(token)}</p>\n`,
};
const inlineFormula: TokenizerAndRendererExtension = {
  name: 'inlineFormula',
  level: 'inline',
  start: (source) => (formulas ? /\$|\\\(/.exec(source)?.index : undefined),
  tokenizer(source) {
    if (!formulas) return undefined;
    // Prices such as $5 and $6 are not formulas.
    const found = /^(?:\$\$([^\n$]+?)\$\$|\$(?!\s)([^\n$]*?[^\s\\$])\$(?!\d)|\\\(([^\n]+?)\\\))/.exec(source);
    return found
      ? { type: 'inlineFormula', raw: found[0], text: (found[1] ?? found[2] ?? found[3])!, display: found[1] !== undefined }
      : undefined;
  },
  renderer: drawn,
};

const marked = new Marked({ gfm: true, breaks: true, async: false, extensions: [blockFormula, inlineFormula] });
marked.use({
  renderer: {
    html: ({ text }) => bare(text),
    code({ text, lang }) {
      const html = code?.coloured(text, (lang ?? '').split(/\s/)[0]!.toLowerCase());
      return `<pre><code>${html ?? escaped(text)}\n</code></pre>\n`;
    },
  },
});
/** HTML in Markdown without attributes and without what would run: a browser reports even those handlers that the
    policy stops while the text is sanitised. */
function bare(html: string): string {
  return html
    .replace(/<(script|style)\b[\s\S]*?(<\/\1\s*>|$)|<!--[\s\S]*?(-->|$)/gi, '')
    .replace(/<(\/?)([a-z][\w-]*)\b[^>]*(>|$)/gi, (_, slash: string, name: string) =>
      KNOWN.has(name.toLowerCase()) ? `<${slash}${name}>` : '',
    );
}

const purifier = DOMPurify(window);

purifier.addHook('afterSanitizeAttributes', (node) => {
  const colour = node.getAttribute('class');
  if (colour !== null && !(node.tagName === 'SPAN' && COLOURS.test(colour))) node.removeAttribute('class');
  if (node.tagName !== 'A') {
    node.removeAttribute('href');
    return;
  }
  if (!/^https?:\/\//i.test(node.getAttribute('href') ?? '')) node.removeAttribute('href');
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

/** Null: it cannot be read, and is to be shown as it was written. */
export function markdown(text: string): string | null {
  try {
    if (!isLight(text)) return null;
    return purifier.sanitize(
      reading(text, () => marked.parse(text) as string),
      {
        ALLOWED_TAGS: [...TAGS, ...MATH],
        ALLOWED_ATTR: ['href', 'start', 'align', 'class', ...MATH_ATTRIBUTES],
        ALLOW_DATA_ATTR: false,
        ALLOW_ARIA_ATTR: false,
      },
    );
  } catch {
    // The parser's stack, for one, has an end.
    return null;
  }
}

/** What stands by itself. A fence that is still open, a list or a table stays one block; definitions of links
    make the whole text one. What could not be read in time is a block of its own, to be shown as it was written. */
export function blocks(text: string): Piece[] {
  const pieces = shallow(text.replace(/\r\n?/g, '\n'));
  const all = pieces.flatMap((piece) => (piece.plain ? [piece] : parsed(piece.text)));
  if (all.length < 2 || !/^ {0,3}\[[^\]\n]+\]:/m.test(text) || all.some(({ plain }) => plain)) return all;
  const whole = all.map(({ text }) => text).join('');
  return isLight(whole) ? [{ text: whole, plain: false }] : all;
}

function parsed(text: string): Piece[] {
  const all: Piece[] = [];
  try {
    // Not what is within them: that is read where a block is drawn.
    for (const { type, raw } of reading(text, () => new Lexer(marked.defaults).blockTokens(text, []))) {
      if (type === 'space' && all.length) all[all.length - 1]!.text += raw;
      else all.push({ text: raw, plain: type !== 'code' && !isLight(raw) });
    }
    return all;
  } catch {
    return [{ text, plain: true }];
  }
}

/** Sanitising takes a while for each piece, however short: short blocks go together. What is full stays as it is while
    the text grows. */
const FULL_CHARS = 1_000;
export function grouped(blocks: readonly Piece[]): Piece[] {
  const all: Piece[] = [];
  for (const { text, plain } of blocks) {
    const last = all.at(-1);
    if (last && !plain && !last.plain && last.text.length < FULL_CHARS) last.text += text;
    else all.push({ text, plain });
  }
  return all;
}

/** A model card begins with metadata between two lines of dashes. */
export function withoutFrontMatter(text: string): string {
  return text.replace(/^\uFEFF?---\r?\n[\s\S]*?\r?\n---\r?\n/, '');
}
