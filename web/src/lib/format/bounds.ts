// How much of a text is read as Markdown. The parser recurses into quotes and lists, and its time grows with the square of
// what could be a mark of its own in one paragraph; what exceeds a bound is shown as it was written. Pure.

/** Quotes and lists within each other. */
export const NESTING_MAX = 32;
/** Cells of one table. */
export const CELLS_MAX = 10_000;
/** Characters times marks of one paragraph, about 10 ns each; and of what it stands in. */
export const WORK_MAX = 20_000_000;
export const WORK_IN_ALL_MAX = 100_000_000;
/** Marks, line ends included, and characters of one text that are read. */
export const MARKS_MAX = 30_000;
export const CHARS_MAX = 400_000;

/** A piece of a text; `plain`: shown as it was written. */
export interface Piece {
  text: string;
  plain: boolean;
}

const MARKS = /[\\<![\]`*_~$|@&\n]|https?:|www\./g;
const MARKER = /^[ \t]*(?:>|[-*+](?=[ \t]|$)|\d{1,9}[.)](?=[ \t]|$))/;

/** How deep a line stands within quotes and lists, as far as it matters. */
export function nesting(line: string): number {
  let depth = 0;
  let indented = 0;
  for (let rest = line; depth + indented <= NESTING_MAX; depth += 1) {
    const marker = MARKER.exec(rest);
    if (!marker) break;
    indented += marker[0].search(/[^ \t]/) >> 1;
    rest = rest.slice(marker[0].length);
  }
  return depth && depth + indented;
}

const marks = (text: string) => text.match(MARKS)?.length ?? 0;

/** What reading the inside of a block costs: characters times marks, paragraph by paragraph. */
export function work(block: string): { largest: number; inAll: number } {
  let largest = 0;
  for (const part of block.split(/\n(?=[ \t>]*(?:\n|[-*+][ \t]|\d{1,9}[.)][ \t]|#|\||\[[^\]\n]+\]:))/)) {
    largest = Math.max(largest, part.length * (marks(part) + 1));
  }
  return { largest, inAll: block.length * (marks(block) - block.split('\n').length + 1) };
}

/** Whether a block can be read in a time that nobody notices. */
export function isLight(block: string): boolean {
  const { largest, inAll } = work(block);
  return largest <= WORK_MAX && inAll <= WORK_IN_ALL_MAX;
}

/** Parts a text where lines nest too deep or tables are too large for the parser, and behind its bounds. Together the
    pieces are the text. */
export function shallow(text: string): Piece[] {
  const pieces: Piece[] = [];
  const add = (piece: string, plain: boolean) => {
    const last = pieces.at(-1);
    if (!piece) return;
    if (last && last.plain === plain) last.text += piece;
    else pieces.push({ text: piece, plain });
  };
  const read = text.slice(0, cut(text));
  // Lines without a blank one between them, each run with the blank lines behind it.
  for (const run of read.match(/(?:[^\n]*\S[^\n]*(?:\n|$))+(?:[^\n\S]*(?:\n|$(?!\n)))*|\s+/g) ?? []) add(run, !isShallow(run));
  add(text.slice(read.length), true);
  return pieces;
}

function isShallow(run: string): boolean {
  const lines = run.split('\n');
  let columns = 0;
  for (const line of lines) {
    if (nesting(line) > NESTING_MAX) return false;
    columns = Math.max(columns, line.split('|').length - 1);
  }
  return columns < 2 || columns * lines.length <= CELLS_MAX;
}

/** Where the last line ends that is within the bounds of the whole text. */
function cut(text: string): number {
  let seen = 0;
  let end = Math.min(text.length, CHARS_MAX);
  MARKS.lastIndex = 0;
  for (let found = MARKS.exec(text); found; found = MARKS.exec(text)) {
    if (found.index >= end) break;
    seen += 1;
    if (seen > MARKS_MAX) {
      end = found.index;
      break;
    }
  }
  MARKS.lastIndex = 0;
  return end === text.length ? end : text.lastIndexOf('\n', end - 1) + 1;
}
