// One conversation: what was said on all its branches, what is being said, and that it is kept. It lives as
// long as the page, so an answer goes on while somebody looks at other screens.
import { flushSync } from 'svelte';
import { api, got } from '$lib/api/client';
import { ApiError } from '$lib/api/errors';
import { i18n } from '$lib/i18n/index.svelte';
import { isLeaving } from '../leaving';
import { session } from '../session.svelte';
import { told as words } from '../toasts.svelte';
import { ANSWER_CHARS_MAX, ask, type Answer } from './stream';
import {
  branch,
  forModel,
  newestLeaf,
  newMessage,
  siblings,
  titleOf,
  withDescendants,
  type Attachment,
  type Call,
  type Message,
} from './message';
import { chatTools } from './tools.svelte';

/** How often what is being said is drawn, and how often it is kept. */
const DRAW_MS = 50;
/** Of the time, drawing takes a third at most. */
const DRAW_SHARE = 2;
const KEEP_MS = 3_000;
const KEEP_AGAIN_MS = 5_000;
/** An event about our own change comes that soon. */
const OURS_MS = 2_000;
/** What a browser still sends when its page is left at that moment: it allows 64 kB. */
const LEFT_CHARS = 16_000;
/** Messages that are read in one task. */
const READ_AT_ONCE = 250;
/** Answers that call tools, one after the other. */
const ROUNDS_MAX = 8;

export class Conversation {
  id = $state<string | null>(null);
  title = $state('');
  profile = $state('');
  /** Names of the tools that the profile brings. */
  profileTools: readonly string[] = [];
  /** What was kept is plain, since it stays as it is: a long conversation is read without a watch on each word of it.
      What is being said is watched. */
  messages = $state.raw<Message[]>([]);
  leaf = $state<string | null>(null);
  loading = $state(false);
  error = $state.raw<unknown>(undefined);
  /** What was said is not kept yet, since the gateway does not answer. */
  unsaved = $state(false);
  /** Why the gateway does not take what was said, such as a bound; tried again with the next change. */
  refusal = $state.raw<ApiError | null>(null);
  #stop: AbortController | null = null;
  #decide: ((call: Call, decision: 'once' | 'always' | 'deny') => void) | null = null;
  #dirty = new Set<string>();
  #removed = new Set<string>();
  #changed = false;
  #keeping: Promise<void> | null = null;
  #keptAt = 0;

  // Not derived values: those would end with the screen that first looked at this conversation.
  get path(): Message[] {
    return branch(this.messages, this.leaf);
  }

  get busy(): boolean {
    const state = this.leaf ? this.#find(this.leaf)?.state : undefined;
    return state === 'streaming' || state === 'asking';
  }

  /** `made`: it has its id from now on. */
  constructor(private readonly made: (conversation: Conversation) => void) {}

  async load(id: string): Promise<void> {
    this.id = id;
    this.loading = this.messages.length === 0;
    try {
      const chat = await got(api.GET('/api/v1/chats/{id}', { params: { path: { id } } }));
      // Somebody went on with it meanwhile: what is here is newer.
      if (this.busy || this.#changed) return;
      const messages: Message[] = [];
      const kept = chat.messages as unknown as Message[];
      for (let at = 0; at < kept.length; at += READ_AT_ONCE) {
        messages.push(...kept.slice(at, at + READ_AT_ONCE).map(asKept));
        // Reading a long one is several tasks, and drawing it another.
        await new Promise((done) => setTimeout(done));
      }
      if (this.busy || this.#changed) return;
      this.messages = messages;
      [this.title, this.leaf, this.error] = [chat.title, chat.leaf ?? messages.at(-1)?.id ?? null, undefined];
      this.profile = chat.profile;
    } catch (error) {
      this.error = error;
    } finally {
      this.loading = false;
    }
  }

  async ask(text: string, attachments: Attachment[] = []): Promise<void> {
    const message = newMessage({ role: 'user', parent: this.leaf, profile: this.profile, text, attachments });
    this.title ||= titleOf(text || (attachments[0]?.name ?? ''));
    this.#add(message);
    await this.#answer(message.id);
  }

  /** Asks once more: another answer to the same question, beside the one that is there. */
  async again(message: Message): Promise<void> {
    if (this.busy || !message.parent) return;
    // Answers that go on after a call belong to the question that began them.
    let parent: string | null = message.parent;
    while (parent && this.#find(parent)?.role === 'assistant') parent = this.#find(parent)!.parent;
    if (parent) await this.#answer(parent);
  }

  /** Asks something else at the same place. */
  async edit(message: Message, text: string): Promise<void> {
    if (this.busy) return;
    this.leaf = message.parent;
    await this.ask(text, $state.snapshot(message.attachments) as Attachment[]);
  }

  /** Shows another branch at this place. */
  turn(message: Message, by: 1 | -1): void {
    const all = siblings(this.messages, message);
    const next = all[all.findIndex((one) => one.id === message.id) + by];
    if (!next || this.busy) return;
    this.leaf = newestLeaf(this.messages, next.id);
    this.#keep();
  }

  /** Takes a message away with all that followed from it. */
  remove(message: Message): void {
    if (this.busy) return;
    const gone = withDescendants(this.messages, message.id);
    const other = siblings(this.messages, message).find((one) => one.id !== message.id);
    this.messages = this.messages.filter((one) => !gone.has(one.id));
    for (const id of gone) this.#removed.add(id);
    this.leaf = other ? newestLeaf(this.messages, other.id) : message.parent;
    this.#keep();
  }

  rename(title: string): void {
    this.title = title;
    this.#keep();
  }

  stop(): void {
    this.#stop?.abort();
  }

  /** Whether this page itself has changed it just now, so that there is nothing to load. */
  isOurs(): boolean {
    return this.#changed || this.#keeping !== null || Date.now() - this.#keptAt < OURS_MS;
  }

  /** What somebody says to a call that the model asks for. */
  decide(call: Call, decision: 'once' | 'always' | 'deny'): void {
    this.#decide?.(call, decision);
  }

  #find(id: string): Message | undefined {
    return this.messages.find((message) => message.id === id);
  }

  /** The message as it is watched from now on. */
  #add(message: Message): Message {
    const watched = $state(message);
    this.messages = [...this.messages, watched];
    this.leaf = message.id;
    this.#keep(message.id);
    return watched;
  }

  async #answer(to: string): Promise<void> {
    const stop = (this.#stop = new AbortController());
    let parent = to;
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const said = forModel($state.snapshot(branch(this.messages, parent)) as Message[]);
      const message = this.#add(newMessage({ role: 'assistant', parent, profile: this.profile }));
      await this.#stream(message, said, stop.signal);
      const goesOn = message.state === 'asking' && (await this.#consented(message, stop.signal));
      if (message.state === 'asking') message.state = stop.signal.aborted ? 'stopped' : 'done';
      this.#keep(message.id);
      if (!goesOn) return;
      parent = message.id;
    }
  }

  async #stream(message: Message, messages: object[], signal: AbortSignal): Promise<void> {
    const began = performance.now();
    const tools = chatTools.declared(this.profileTools);
    const body = { model: this.profile, messages, stream: true, stream_options: { include_usage: true }, ...(tools.length && { tools }) };
    let newest: (() => Answer) | null = null;
    let drawing: ReturnType<typeof setTimeout> | null = null;
    let pause = DRAW_MS;
    const draw = () => {
      const drawn = performance.now();
      drawing = null;
      if (newest) take(message, newest());
      flushSync();
      pause = Math.max(DRAW_MS, (performance.now() - drawn) * DRAW_SHARE);
    };
    const keeping = setInterval(() => this.#keep(message.id), KEEP_MS);
    try {
      const { answer, isCut } = await ask(body, signal, (read, requestId) => {
        newest = read;
        message.requestId = requestId;
        drawing ??= setTimeout(draw, pause);
      });
      if (isCut) [message.state, message.problem] = ['failed', i18n.t.chat.tooLong(ANSWER_CHARS_MAX)];
      else if (answer.problem !== null) [message.state, message.problem] = ['failed', answer.problem];
      else message.state = answer.calls.length ? 'asking' : 'done';
    } catch (error) {
      if (signal.aborted) message.state = 'stopped';
      else if (isLeaving()) message.state = 'cut';
      else {
        const { text, detail } = words(error);
        [message.state, message.problem, message.problemDetail] = ['failed', text, detail ?? null];
      }
    }
    if (drawing) clearTimeout(drawing);
    clearInterval(keeping);
    draw();
    message.durationMs = performance.now() - began;
    message.note = '';
  }

  /** Asks about each call that was not allowed for good, makes those that are, and says whether to go on. */
  async #consented(message: Message, signal: AbortSignal): Promise<boolean> {
    for (const call of message.calls) if (chatTools.isAllowed(call.name)) call.decision = 'allowed';
    this.#keep(message.id);
    await new Promise<void>((done) => {
      const settled = () => message.calls.every((call) => call.decision !== 'asked');
      signal.addEventListener('abort', () => done(), { once: true });
      this.#decide = (call, decision) => {
        call.decision = decision === 'deny' ? 'denied' : 'allowed';
        if (decision === 'always') chatTools.allowAlways(call.name);
        if (settled()) done();
      };
      if (settled()) done();
    });
    this.#decide = null;
    if (signal.aborted) return false;
    for (const call of message.calls) {
      if (call.decision === 'allowed') await chatTools.run(call);
      else call.result = 'The user did not allow this call.';
    }
    return !signal.aborted;
  }

  /** Keeps what has changed, one request at a time; what could not be kept is tried again. The session of a key has no
      conversations of its own. */
  #keep(id?: string): void {
    if (!session.may('change-own')) return;
    if (id) this.#dirty.add(id);
    this.#changed = true;
    this.#keeping ??= this.#keepAll().finally(() => {
      this.#keeping = null;
      if (this.#changed && !this.unsaved) this.#keep();
    });
  }

  async #keepAll(): Promise<void> {
    const [dirty, removed] = [[...this.#dirty], [...this.#removed]];
    [this.#changed, this.#dirty, this.#removed] = [false, new Set(), new Set()];
    const messages = dirty.flatMap((one) => $state.snapshot(this.#find(one)) ?? []) as unknown as Record<string, unknown>[];
    const body = { title: this.title, profile: this.profile, messages, ...(this.leaf && { leaf: this.leaf }) };
    try {
      if (this.id)
        await got(
          api.PATCH('/api/v1/chats/{id}', {
            params: { path: { id: this.id } },
            body: { ...body, remove: removed },
            keepalive: JSON.stringify(messages).length < LEFT_CHARS,
          }),
        );
      else {
        this.id = (await got(api.POST('/api/v1/chats', { body }))).id;
        this.made(this);
      }
      [this.unsaved, this.refusal, this.#keptAt] = [false, null, Date.now()];
    } catch (error) {
      for (const one of dirty) this.#dirty.add(one);
      for (const one of removed) this.#removed.add(one);
      [this.#changed, this.unsaved] = [true, true];
      this.refusal = isRefusal(error) ? error : null;
      if (!this.refusal) setTimeout(() => this.#keep(), KEEP_AGAIN_MS);
    }
  }
}

/** Whether the same would be refused again. */
function isRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && [400, 404, 413, 507].includes(error.status);
}

/** A message as it was kept. */
function asKept(message: Message): Message {
  // Nobody reads that answer any more.
  const cut = message.state === 'streaming' || message.state === 'asking';
  return { ...newMessage(message), ...message, state: cut ? 'cut' : message.state };
}

/** What changed only, so that only that is drawn. */
function take(message: Message, answer: Answer): void {
  message.text = answer.text;
  message.thinking = answer.thinking;
  message.note = answer.note;
  message.tokens = answer.tokens;
  message.promptTokens = answer.promptTokens;
  message.ttftMs = answer.ttftMs;
  message.thoughtMs = answer.thoughtMs;
  if (answer.calls.length !== message.calls.length || message.state !== 'streaming') {
    message.calls = answer.calls.map((call) => ({ ...call, decision: 'asked', result: null, isError: false, durationMs: null }));
  }
}
