// Log lines with the colours their writer gave them. Everything else that steers a terminal is dropped.

export interface Span {
  text: string;
  tone: '' | 'red' | 'green' | 'yellow' | 'blue' | 'dim';
  bold: boolean;
}

const TONES: Record<number, Span['tone']> = {
  31: 'red',
  91: 'red',
  32: 'green',
  92: 'green',
  33: 'yellow',
  93: 'yellow',
  34: 'blue',
  94: 'blue',
  36: 'blue',
  96: 'blue',
  35: 'blue',
  95: 'blue',
  90: 'dim',
  2: 'dim',
};
// Sequences that set colours, then every other sequence and lone control character.
// eslint-disable-next-line no-control-regex
const STEERING = /\x1b\[([0-9;]*)m|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]/g;

export function spans(line: string): Span[] {
  const out: Span[] = [];
  let tone: Span['tone'] = '';
  let bold = false;
  let from = 0;
  const push = (text: string) => {
    if (text) out.push({ text, tone, bold });
  };
  // A carriage return writes over the line: its last state is what was meant.
  const shown = line.slice(line.replace(/\r+$/, '').lastIndexOf('\r') + 1);
  for (const found of shown.matchAll(STEERING)) {
    push(shown.slice(from, found.index));
    from = found.index + found[0].length;
    if (found[1] === undefined) continue;
    for (const code of found[1].split(';').map(Number)) {
      if (code === 0) [tone, bold] = ['', false];
      else if (code === 1) bold = true;
      else if (code === 22) bold = false;
      else if (code === 39) tone = '';
      else tone = TONES[code] ?? tone;
    }
  }
  push(shown.slice(from));
  return out;
}
