// Texts that once blanked a conversation or froze the page: they are shown, and what the parser gets of them is bounded.
import { expect, it, vi } from 'vitest';
import { CELLS_MAX, CHARS_MAX, MARKS_MAX, NESTING_MAX, nesting, shallow, WORK_IN_ALL_MAX, WORK_MAX, work } from '../src/lib/format/bounds';
import { blocks, enrich, grouped, markdown } from '../src/lib/format/markdown';

const times = (n: number, text: string) => text.repeat(n);
const lines = (n: number, line: (i: number) => string) => Array.from({ length: n }, (_, i) => line(i)).join('\n');

const TEXTS: [string, string][] = [
  ['quotes within each other', times(3_000, '> ')],
  ['quotes without blanks', times(100_000, '>')],
  ['lists within each other on a line', times(3_000, '- ')],
  ['ordered lists within each other', times(3_000, '1. ')],
  ['lists within each other by indentation', lines(400, (i) => `${' '.repeat(2 * i)}- a`)],
  ['quotes and lists in turn', times(2_000, '> - 1. ')],
  ['emphasis that is opened', times(20_000, '*a ')],
  ['emphasis that is closed', times(20_000, 'a* ')],
  ['underscores', times(20_000, '_a ')],
  ['emphasis within emphasis', times(10_000, '*a **b ')],
  ['stars alone', times(100_000, '*')],
  ['deletions', times(20_000, '~~a ')],
  ['brackets', times(50_000, '[')],
  ['brackets, closed', times(20_000, '[') + times(20_000, ']')],
  ['links within links', times(10_000, '[a](b')],
  ['links without an end', times(20_000, '[a](<b')],
  ['references', times(20_000, '[a][')],
  ['pictures', times(20_000, '![')],
  ['code that is opened', times(20_000, '`a ``b ')],
  ['code of growing length', lines(400, (i) => '`'.repeat(i + 1))],
  ['a table with many columns', `${times(10_000, '|a')}|\n${times(10_000, '|-')}|\n${lines(50, () => '|')}`],
  ['a table whose rows are filled up', `${times(500, '|a')}|\n${times(500, '|-')}|\n${lines(5_000, () => '|')}`],
  ['a table with many rows', `|a|b|\n|-|-|\n${lines(20_000, () => '|1|2|')}`],
  ['tags', times(20_000, '<b>')],
  ['tags that are opened', times(50_000, '<b ')],
  ['comments', times(20_000, '<!--')],
  ['instructions', times(20_000, 'a<?')],
  ['declarations', times(20_000, 'a<!A ')],
  ['entities', times(20_000, '&amp;&#x')],
  ['addresses', times(20_000, 'a@')],
  ['links by themselves', times(20_000, 'www.a ')],
  ['escapes', times(50_000, '\\\\*')],
  ['formulas that are opened', times(20_000, '$a ')],
  ['blocks of formulas that are opened', lines(10_000, () => '\\[a\n')],
  ['formulas', times(5_000, '$a$ ')],
  ['braces in a formula', `$${times(50_000, '{')}${times(50_000, '}')}$`],
  ['short braces in a formula', `$${times(1_900, '{')}${times(1_900, '}')}$`],
  ['a long line of code', `\`\`\`js\n${times(100_000, 'a = "b";')}\n\`\`\``],
  ['fences within quotes', times(500, '> ```\n')],
  ['many paragraphs', times(50_000, 'a\n\n')],
  ['many lines', times(50_000, 'a\n')],
  ['definitions of links', lines(5_000, (i) => `[${i}]: https://a.example`)],
  ['a definition and emphasis', `[a]: https://a.example\n\n${times(20_000, '*a ')}`],
  ['ordered items that are a paragraph', `a\n${times(20_000, '5. *a\n')}`],
  ['blanks', times(100_000, ' ')],
  ['blanks before line ends', times(2_000, `a${' '.repeat(50)}\n`)],
  ['a word without an end', times(1_000_000, 'a')],
  ['lines under headings', times(20_000, 'a\n=')],
];

it.each(TEXTS)(
  '%s: all of it is shown, within the bounds',
  async (_, text) => {
    await enrich('```js\n``` $a$');
    const pieces = grouped(blocks(text));
    expect(pieces.map((piece) => piece.text).join('')).toBe(text);
    let [marks, chars] = [0, 0];
    for (const piece of pieces) {
      if (piece.plain) continue;
      chars += piece.text.length;
      marks += piece.text.match(/[\\<![\]`*_~$|@&\n]/g)?.length ?? 0;
      if (!piece.text.startsWith('```')) {
        const { largest, inAll } = work(piece.text);
        expect(largest).toBeLessThanOrEqual(WORK_MAX);
        expect(inAll).toBeLessThanOrEqual(WORK_IN_ALL_MAX);
      }
      for (const line of piece.text.split('\n')) expect(nesting(line)).toBeLessThanOrEqual(NESTING_MAX);
      // Null where the parser gives up; never an exception.
      const html = markdown(piece.text);
      expect((html?.match(/<t[dh]/g) ?? []).length).toBeLessThanOrEqual(CELLS_MAX);
    }
    expect(marks).toBeLessThanOrEqual(MARKS_MAX);
    expect(chars).toBeLessThanOrEqual(CHARS_MAX);
  },
  20_000,
);

it('what people write is read', () => {
  const text = [
    '# Head\n\n> quoted\n>\n> > twice\n\n',
    lines(300, (i) => `${i + 1}. **item ${i}** with \`code\`, a [link](https://a.example) and *words*`),
    '\n\n',
    lines(60, (i) => `${' '.repeat((i % 6) * 2)}- point ${i}`),
    '\n\n| a | b | c |\n|---|---|---|\n',
    lines(200, (i) => `| ${i} | \`x\` | **y** |`),
    `\n\n\`\`\`yaml\n${lines(200, (i) => `${' '.repeat(i % 40)}- key: [${i}] # * _`)}\n\`\`\`\n\n`,
    times(300, 'A sentence of *some* length, with `code` in it. '),
  ].join('');
  expect(blocks(text).filter(({ plain }) => plain)).toEqual([]);
  expect(grouped(blocks(text)).map(({ text }) => markdown(text))).not.toContain(null);
});

it('nesting counts quotes, list markers and what they are indented by', () => {
  expect(['a', '    a', '> a', '> > a', '- a', '  - a', '- - a', '1. > - a', '-a'].map(nesting)).toEqual([0, 0, 1, 2, 1, 2, 2, 3, 0]);
});

it('a line that nests too deep leaves what stands around it as it is', () => {
  const deep = times(40, '> ') + 'a\n';
  expect(shallow(`one\n\n${deep}\ntwo`)).toEqual([
    { text: 'one\n\n', plain: false },
    { text: `${deep}\n`, plain: true },
    { text: 'two', plain: false },
  ]);
});

it('a text that the parser cannot read is null instead of an exception', () => {
  vi.spyOn(RegExp.prototype, 'exec').mockImplementationOnce(() => {
    throw new RangeError('Maximum call stack size exceeded');
  });
  expect(markdown('a')).toBeNull();
  vi.restoreAllMocks();
  expect(markdown('a')).toBe('<p>a</p>\n');
});
