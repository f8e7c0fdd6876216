// What a message is, and the tree that messages of all branches make: pure.

export interface Attachment {
  kind: 'image' | 'video' | 'frames';
  name: string;
  /** `data:` addresses: one, or a video's frames. */
  urls: string[];
}

/** A call that the model asked for, what somebody said to it, and what came of it. */
export interface Call {
  id: string;
  name: string;
  /** JSON, as the model wrote it. */
  arguments: string;
  decision: 'asked' | 'allowed' | 'denied';
  result: string | null;
  isError: boolean;
  durationMs: number | null;
}

export interface Message {
  id: string;
  parent: string | null;
  role: 'user' | 'assistant';
  text: string;
  thinking: string;
  attachments: Attachment[];
  calls: Call[];
  /** From asking to the first answer token, when the model thought before it. */
  thoughtMs: number | null;
  state: 'streaming' | 'asking' | 'done' | 'stopped' | 'failed' | 'cut';
  problem: string | null;
  problemDetail: string | null;
  /** What the gateway says while there is no token yet: queued, loading. */
  note: string;
  profile: string;
  requestId: string | null;
  ttftMs: number | null;
  durationMs: number | null;
  tokens: number | null;
  promptTokens: number | null;
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Random enough for one conversation, also on plain http. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => LETTERS[byte % LETTERS.length]).join('');
}

export function newMessage(of: Pick<Message, 'role' | 'parent' | 'profile'> & Partial<Message>): Message {
  return {
    id: of.id ?? newId(),
    text: '',
    thinking: '',
    attachments: [],
    calls: [],
    thoughtMs: null,
    state: of.role === 'user' ? 'done' : 'streaming',
    problem: null,
    problemDetail: null,
    note: '',
    requestId: null,
    ttftMs: null,
    durationMs: null,
    tokens: null,
    promptTokens: null,
    ...of,
  };
}

/** The branch that ends with `leaf`, from its beginning. */
export function branch(messages: readonly Message[], leaf: string | null): Message[] {
  const known = new Map(messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  for (let at = leaf ? known.get(leaf) : undefined; at; at = at.parent ? known.get(at.parent) : undefined) {
    path.push(at);
    known.delete(at.id);
  }
  return path.reverse();
}

/** The other messages at the same place, itself among them, oldest first. */
export function siblings(messages: readonly Message[], of: Message): Message[] {
  return messages.filter((message) => message.parent === of.parent && message.role === of.role);
}

const spot = ({ parent, role }: Message) => `${role} ${parent ?? ''}`;

/** The same for all messages at once. */
export function places(messages: readonly Message[]): (of: Message) => Message[] {
  const all = new Map<string, Message[]>();
  for (const message of messages) {
    const there = all.get(spot(message));
    if (there) there.push(message);
    else all.set(spot(message), [message]);
  }
  return (of) => all.get(spot(of)) ?? [of];
}

const PAGE = 16;

export interface PageOfMessages {
  at: number;
  messages: Message[];
  /** Neither at the beginning nor at the end of what is drawn: nothing comes or grows in it. */
  far: boolean;
}

/** A branch from its `skipped`th message on, in pages whose places stay however much is skipped. */
export function pages(path: readonly Message[], skipped: number): PageOfMessages[] {
  const [first, last] = [Math.floor(skipped / PAGE), Math.floor((path.length - 1) / PAGE)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => {
    const at = first + i;
    return { at, messages: path.slice(Math.max(skipped, at * PAGE), (at + 1) * PAGE), far: i > 1 && at < last - 1 };
  });
}

/** The newest end of the branches that go through `from`. */
export function newestLeaf(messages: readonly Message[], from: string): string {
  let at = from;
  for (;;) {
    const next = messages.findLast((message) => message.parent === at);
    if (!next) return at;
    at = next.id;
  }
}

/** The message and all that follow from it. */
export function withDescendants(messages: readonly Message[], id: string): Set<string> {
  const all = new Set([id]);
  let grew = true;
  while (grew) {
    grew = false;
    for (const { id: child, parent } of messages) {
      if (parent && all.has(parent) && !all.has(child)) {
        all.add(child);
        grew = true;
      }
    }
  }
  return all;
}

/** A title out of the first thing that was said. */
export function titleOf(text: string): string {
  const line = text.trim().split('\n')[0]!.trim();
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}

type Part =
  { type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } } | { type: 'video_url'; video_url: { url: string } };

function content(message: Message): string | Part[] {
  if (!message.attachments.length) return message.text;
  const parts: Part[] = message.attachments.flatMap(({ kind, urls }) =>
    urls.map((url): Part => (kind === 'video' ? { type: 'video_url', video_url: { url } } : { type: 'image_url', image_url: { url } })),
  );
  return message.text ? [...parts, { type: 'text', text: message.text }] : parts;
}

/** A branch as the endpoint takes it: pictures with their questions, calls with their results. */
export function forModel(path: readonly Message[]): object[] {
  return path.flatMap((message): object[] => {
    if (message.role === 'user') return [{ role: 'user', content: content(message) }];
    if (message.state === 'failed' || (!message.text && !message.calls.length)) return [];
    const calls = message.calls.map(({ id, name, arguments: args }) => ({ id, type: 'function', function: { name, arguments: args } }));
    return [
      { role: 'assistant', content: message.text, ...(calls.length && { tool_calls: calls }) },
      ...message.calls.map(({ id, result }) => ({ role: 'tool', tool_call_id: id, content: result ?? 'This call was not made.' })),
    ];
  });
}

/** A branch as a document. */
export function asMarkdown(title: string, path: readonly Message[], you: string): string {
  const parts = path.map((message) => {
    const attached = message.attachments.map(({ name }) => `*${name}*\n\n`).join('');
    const calls = message.calls.map(({ name, arguments: args, result }) => `\n\n\`${name}(${args})\`\n\n${result ?? ''}`).join('');
    return `## ${message.role === 'user' ? you : message.profile}\n\n${attached}${message.text}${calls}`;
  });
  return `# ${title}\n\n${parts.join('\n\n')}\n`;
}
