// @ts-check
/**
 * A client of Switchboard's self-hosted gate, for browsers and whatever else has a WebSocket. One file, no dependency.
 * How to use it: docs/javascript-client.md. What it speaks: docs/selfhosted-protocol.md, in the JSON form.
 *
 *     const client = new Client({ user: 'alice', device: 'web', url: 'wss://chat.example', token: () => fetchToken() });
 *     client.on('state', (state) => show(state));
 *     client.on('message', ({ message, change }) => draw(message, change));
 *     client.start();
 *     client.send({ user: 'bob' }, { type: 'text', text: 'hi' });
 *
 * It keeps these promises:
 * - What was missed comes first, page by page, and only then what is said now. The next pull acknowledges the last page.
 * - An entry is acknowledged after it was taken in (and `accept` has finished), never before; it is shown once.
 * - What is sent is sent once, however often the link breaks; it keeps its order.
 * - It connects again by itself, with full jitter, from the last acknowledgement, until it is told that this is no use.
 *
 * @module
 */

export const PROTOCOL = 'switchboard.gate.v1.json';
const DAY = 86_400_000;

/** The tiers of history by age, the youngest first. @typedef {'recent' | 'month' | 'archive'} Tier */
/** @typedef {'queued' | 'sent' | 'delivered' | 'read' | 'failed'} SendState */
/** @typedef {{ user: string } | { group: string } | { room: string }} Target */
/** @typedef {{ type: string, [field: string]: unknown }} Body Such as `{ type: 'text', text: 'hi' }`. */

/**
 * A message. The object stays the same for as long as the client knows the message; its fields change.
 * @typedef {object} Message
 * @property {string} id  Empty until it is stored.
 * @property {string} clientId  The sender's own key.
 * @property {string} conversation
 * @property {string} from
 * @property {boolean} own  From the user of this client.
 * @property {number} at  Unix milliseconds.
 * @property {number} sequence  Its number in the conversation; 0 until it is stored.
 * @property {number} position  Its place in the service; 0 until it is stored.
 * @property {Body} [body]  Missing when it is recalled or sealed.
 * @property {Record<string, unknown>} [ext]
 * @property {Uint8Array} [sealed]  End-to-end encrypted content, as it came.
 * @property {string[]} mentions
 * @property {boolean} recalled
 * @property {number} version  0, and one more with each edit.
 * @property {SendState} [state]  Of own messages.
 * @property {ClientError} [error]  Why it failed.
 */

/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {'direct' | 'group' | 'room' | 'system'} kind
 * @property {string} with  The other user, or the group's or room's id.
 * @property {string} name  What to show; a group's own name once it is known.
 * @property {Message} [last]
 * @property {number} unread  Messages above `read` that are neither own nor recalled.
 * @property {number} read  The user's own marks, and the other user's in a direct conversation.
 * @property {number} peerDelivered
 * @property {number} peerRead
 * @property {boolean} left  The user is no member any more.
 */

/**
 * @typedef {object} State
 * @property {'connecting' | 'syncing' | 'online' | 'degraded' | 'ended'} name  `degraded`: it was online; the link is
 *   lost or does not answer, and the client tries again by itself. `ended`: it does not; see `reason`.
 * @property {number} percent  How much of the backlog has come, while syncing.
 * @property {string} reason  Why it is not online: a stable word.
 * @property {string} detail  The same in words, where the service has said some.
 * @property {number} attempt  Tries without success so far.
 * @property {number} retryAt  When the next try begins, Unix milliseconds; 0 when none is planned.
 * @property {Gap[]} gaps  Numbers that are known to be missing.
 */

/**
 * Numbers of a conversation that were skipped. The client asks the history for them at once.
 * @typedef {object} Gap
 * @property {string} conversation
 * @property {number} from  The first number missing.
 * @property {number} to  The last.
 * @property {boolean} filled  Everything that can be had is there now.
 */

/** @typedef {'new' | 'history' | 'edited' | 'recalled' | 'state'} Change */

/**
 * @typedef {object} Events
 * @property {State} state
 * @property {{ message: Message, change: Change, live: boolean }} message
 * @property {Conversation[]} conversations  The list has changed; the latest first.
 * @property {{ conversation: string, user: string, delivered: number, read: number }} receipt
 * @property {{ conversation: string, change: string, users: string[], value: string, by: string, at: number }} group
 * @property {{ topic: string, data: unknown }} push  Something from the business for devices that are online.
 * @property {Gap} gap
 * @property {{ reason: string, byDevice: string }} kicked
 * @property {{ reason: string }} reset  The service stands on another log than before: what was known is void.
 */

/**
 * @typedef {object} Options
 * @property {string} user
 * @property {string} device  Names the device for ever: the service keeps its cursor under this.
 * @property {string | (() => string | Promise<string>)} url  Of the gate's WebSocket listener. Asked after the token.
 * @property {string | (() => string | Promise<string>)} token  Asked before each connection when it is a function.
 * @property {'phone' | 'tablet' | 'desktop' | 'web'} [deviceClass]  A user has one session of each class.
 * @property {(messages: Message[]) => unknown} [accept]  Awaited before entries are acknowledged: store them here.
 * @property {number} [shown]  The position of the last entry that was shown before; 0 for none.
 * @property {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} [storage]  Keeps what is not sent yet over a reload.
 * @property {number} [pageSize]  Entries in a page of the backlog; the service's own number by default.
 * @property {number} [keep]  Messages of a conversation kept in memory; 2000.
 * @property {number} [answerWithin]  Milliseconds after which a request is given up; 10 000.
 * @property {number} [slowAfter]  Milliseconds without an answer after which the state is degraded; 3000.
 * @property {number} [retryFirst]  The longest first wait before connecting again, in milliseconds; 500.
 * @property {number} [retryLongest]  The longest wait; 30 000.
 * @property {() => number} [random]  From 0 to 1, for tests.
 * @property {any} [WebSocket]  For surroundings without one of their own.
 */

/** What went wrong. `code` is a stable word: the service's, or `timeout`, `unavailable`, `closed`. */
export class ClientError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retry?: boolean, retryAfter?: number }} [more]
   */
  constructor(code, message, more = {}) {
    super(message || code);
    this.name = 'ClientError';
    this.code = code;
    /** The same may be tried again. */
    this.retry = more.retry ?? false;
    /** The wait the service asks for, in milliseconds. */
    this.retryAfter = more.retryAfter ?? 0;
  }
}

/** @param {any} fault */
const faultError = (fault) =>
  new ClientError(fault?.code ?? 'internal', fault?.message ?? '', {
    retry: fault?.retry ?? false,
    retryAfter: fault?.retryAfterMs ?? 0,
  });

/** @param {string | undefined} text */
function parse(text) {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} text */
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
/** @param {Uint8Array} bytes */
const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** A key nobody else has. Also outside secure contexts, where `randomUUID` is missing. */
function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {string} part */
const escapePart = (part) =>
  Array.from(new TextEncoder().encode(part), (byte) =>
    /[A-Za-z0-9_.-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `!${byte.toString(16).padStart(2, '0')}`,
  ).join('');
/** @param {string} part */
const unescapePart = (part) => decodeURIComponent(part.replaceAll('!', '%'));

/**
 * The conversation of `user` with a target.
 * @param {string} user
 * @param {Target} to
 */
export function conversationId(user, to) {
  if ('group' in to) return `group~${escapePart(to.group)}`;
  if ('room' in to) return `room~${escapePart(to.room)}`;
  const [one, other] = [new TextEncoder().encode(user), new TextEncoder().encode(to.user)];
  const at = one.findIndex((byte, index) => byte !== other[index]);
  // In the order of bytes, as the service has it.
  const first = at === -1 || (at < other.length && one[at] < other[at]);
  return `direct~${(first ? [user, to.user] : [to.user, user]).map(escapePart).join('~')}`;
}

/**
 * Where a message of a conversation goes, for `user`.
 * @param {string} user
 * @param {string} conversation
 * @returns {Target}
 */
export function targetOf(user, conversation) {
  const [kind, ...parts] = conversation.split('~');
  const names = parts.map(unescapePart);
  if (kind === 'group') return { group: names[0] };
  if (kind === 'room') return { room: names[0] };
  return { user: names.find((name) => name !== user) ?? user };
}

/**
 * The tier of something said at `at`, seen from `now`. Seven days old is still recent.
 * @param {number} at
 * @param {number} now
 * @returns {Tier}
 */
export function tierOf(at, now) {
  if (at >= now - 7 * DAY) return 'recent';
  return at >= now - 30 * DAY ? 'month' : 'archive';
}
const TIERS = ['recent', 'month', 'archive'];

/** One connection: packets, correlation, deadlines. Knows nothing of what they say. */
class Link {
  /** @type {Map<string, { command: string, resolve: (body: any) => void, reject: (error: ClientError) => void }>} */
  #open = new Map();
  #last = 0;
  #ended = false;

  /**
   * @param {WebSocket} socket
   * @param {{ told: (packet: any) => void, slow: (slow: boolean) => void, answerWithin: number, slowAfter: number }} around
   */
  constructor(socket, around) {
    this.socket = socket;
    this.around = around;
    this.slow = 0;
    /** Logged in: before that nothing else may be asked. */
    this.ready = false;
    /** Resolves when the connection is over, with why. @type {Promise<{ reason: string, detail: string }>} */
    this.gone = new Promise((resolve) => {
      this.resolveGone = resolve;
    });
    socket.onmessage = (event) => this.#heard(event.data);
    socket.onclose = () => this.close('lost');
    socket.onerror = () => this.close('lost');
  }

  /**
   * @param {any} Socket
   * @param {string} url
   * @param {Link['around']} around
   * @returns {Promise<Link>}
   */
  static open(Socket, url, around) {
    return new Promise((resolve, reject) => {
      const unreachable = () => reject(new ClientError('unavailable', 'the gate cannot be reached', { retry: true }));
      const socket = new Socket(url, PROTOCOL);
      const timer = setTimeout(() => {
        socket.onopen = null;
        socket.close();
        unreachable();
      }, around.answerWithin);
      socket.onopen = () => {
        clearTimeout(timer);
        resolve(new Link(socket, around));
      };
      socket.onclose = socket.onerror = () => {
        clearTimeout(timer);
        unreachable();
      };
    });
  }

  /** @param {unknown} data */
  #heard(data) {
    if (this.#ended) return;
    const packet = typeof data === 'string' ? parse(data) : undefined;
    if (!packet) return this.close('unreadable');
    if (packet.kind !== 'ack') return this.around.told(packet);
    const asked = this.#open.get(packet.id);
    // An answer that nobody waits for any more is dropped.
    if (packet.error) asked?.reject(faultError(packet.body));
    else asked?.resolve(packet.body ?? {});
  }

  /** @param {object} packet */
  #write(packet) {
    if (!this.#ended && this.socket.readyState === 1) this.socket.send(JSON.stringify(packet));
  }

  /**
   * @param {string} command
   * @param {object} [body]
   * @param {{ within?: number, signal?: AbortSignal }} [how]
   * @returns {Promise<any>}
   */
  request(command, body, how = {}) {
    if (this.#ended) return Promise.reject(new ClientError('unavailable', 'the link is lost', { retry: true }));
    const id = String(++this.#last);
    return new Promise((resolve, reject) => {
      let late = false;
      const finish = () => {
        clearTimeout(deadline);
        clearTimeout(patience);
        how.signal?.removeEventListener('abort', aborted);
        this.#open.delete(id);
        if (late && --this.slow === 0) this.around.slow(false);
      };
      const giveUp = (/** @type {string} */ code, /** @type {string} */ words, retry = true) => {
        finish();
        this.#write({ kind: 'cancel', command, id });
        reject(new ClientError(code, words, { retry }));
      };
      const aborted = () => giveUp('closed', 'nobody waits for the answer any more', false);
      const deadline = setTimeout(
        () => giveUp('timeout', 'the gate did not answer in time'),
        how.within ?? this.around.answerWithin,
      );
      const patience = setTimeout(() => {
        late = true;
        if (++this.slow === 1) this.around.slow(true);
      }, this.around.slowAfter);
      how.signal?.addEventListener('abort', aborted, { once: true });
      this.#open.set(id, {
        command,
        resolve: (answer) => (finish(), resolve(answer)),
        reject: (error) => (finish(), reject(error)),
      });
      this.#write({ kind: 'request', command, id, ...(body ? { body } : {}) });
    });
  }

  /**
   * @param {string} command
   * @param {string | number} id
   */
  acknowledge(command, id) {
    this.#write({ kind: 'ack', command, id: String(id) });
  }

  /**
   * @param {string} reason  A stable word.
   * @param {string} [detail]
   */
  close(reason, detail = '') {
    if (this.#ended) return;
    this.#ended = true;
    this.socket.onmessage = this.socket.onclose = this.socket.onerror = null;
    this.socket.close();
    for (const asked of [...this.#open.values()]) {
      asked.reject(new ClientError('unavailable', 'the link is lost', { retry: true }));
    }
    this.resolveGone?.({ reason, detail });
  }
}

/**
 * What is known of conversations and their messages. No input, no output: entries go in, changes come out.
 * @typedef {Conversation & { messages: Message[], head: number, listed: number }} Kept
 */
class Timeline {
  /** @type {Map<string, Kept>} */
  conversations = new Map();
  /** Stored messages by id, and own ones that are not stored yet by client id. @type {Map<string, Message>} */
  #byId = new Map();
  /** @type {Map<string, Message>} */
  #pending = new Map();

  /**
   * @param {string} user
   * @param {number} keep
   */
  constructor(user, keep) {
    this.user = user;
    this.keep = keep;
  }

  /** @param {string} id @returns {Kept} */
  conversation(id) {
    let known = this.conversations.get(id);
    if (!known) {
      const to = targetOf(this.user, id);
      const other = 'user' in to ? to.user : 'group' in to ? to.group : to.room;
      const kind = /** @type {Conversation['kind']} */ (id.split('~')[0]);
      const marks = { unread: 0, read: 0, peerDelivered: 0, peerRead: 0, left: false };
      known = { id, kind, with: other, name: other, ...marks, messages: [], head: 0, listed: 0 };
      this.conversations.set(id, known);
    }
    return known;
  }

  /** @param {string} id */
  message(id) {
    return this.#byId.get(id) ?? this.#pending.get(id);
  }

  /**
   * An own message that is not stored yet.
   * @param {Message} message
   */
  queue(message) {
    this.#pending.set(message.clientId, message);
    this.#insert(message);
  }

  /** @param {Message} message */
  discard(message) {
    this.#pending.delete(message.clientId);
    const kept = this.conversation(message.conversation);
    kept.messages = kept.messages.filter((other) => other !== message);
    kept.last = kept.messages.at(-1);
  }

  /**
   * The message of an entry, taken in. `fresh` when it was not known before.
   * @param {any} entry
   * @returns {{ message: Message, fresh: boolean, changed: boolean }}
   */
  take(entry) {
    const { content, recalled = false, version = 0, clientId = '' } = entry.message;
    const own = entry.by === this.user;
    const known = this.#byId.get(entry.id) ?? (own ? this.#pending.get(clientId) : undefined);
    /** @type {Message} */
    const message = known ?? {
      ...{ id: entry.id, clientId, conversation: entry.conversation, from: entry.by ?? '', own, at: 0 },
      ...{ sequence: 0, position: 0, mentions: [], recalled: false, version: 0 },
    };
    const before = known ? JSON.stringify([known.sequence, known.version, known.recalled, known.state]) : '';
    if (!known || known.sequence === 0) this.#place(message, entry);
    // What comes from the history may be older than an edit or a recall that is known.
    if (recalled || message.recalled) this.#bury(message);
    else if (!known || version > message.version || message.version === 0) fill(message, content, version);
    if (own) raise(message, this.#stateOf(message));
    const after = JSON.stringify([message.sequence, message.version, message.recalled, message.state]);
    return { message, fresh: !known, changed: before !== after };
  }

  /**
   * Gives a message its place.
   * @param {Message} message
   * @param {any} entry
   */
  #place(message, entry) {
    const kept = this.conversation(message.conversation);
    kept.messages = kept.messages.filter((other) => other !== message);
    this.#pending.delete(message.clientId);
    message.id = entry.id;
    message.at = Number(entry.at ?? entry.sentAt ?? message.at);
    message.sequence = Number(entry.sequence ?? 0);
    message.position = Number(entry.position ?? 0);
    this.#byId.set(message.id, message);
    this.#insert(message);
  }

  /**
   * The answer to a send: the message is stored.
   * @param {Message} message
   * @param {any} sent
   */
  stored(message, sent) {
    if (message.sequence === 0) this.#place(message, sent);
    message.error = undefined;
    if (message.state === 'failed') message.state = 'queued';
    return raise(message, this.#stateOf(message));
  }

  /** @param {Message} message @returns {SendState} */
  #stateOf(message) {
    const { kind, peerRead, peerDelivered } = this.conversation(message.conversation);
    if (kind !== 'direct') return 'sent';
    return message.sequence <= peerRead ? 'read' : message.sequence <= peerDelivered ? 'delivered' : 'sent';
  }

  /** @param {Message} message */
  #insert(message) {
    const kept = this.conversation(message.conversation);
    const order = (/** @type {Message} */ one) => one.sequence || Infinity;
    let at = kept.messages.length;
    while (at > 0 && order(kept.messages[at - 1]) > order(message)) at -= 1;
    kept.messages.splice(at, 0, message);
    kept.last = kept.messages.at(-1);
    if (at === kept.messages.length - 1 && kept.messages.length > this.keep) {
      const oldest = kept.messages.shift();
      if (oldest?.id) this.#byId.delete(oldest.id);
    }
  }

  /** @param {Message} message */
  #bury(message) {
    message.recalled = true;
    message.body = message.ext = message.sealed = undefined;
  }

  /** @param {string} target @returns {Message | undefined} */
  recall(target) {
    const message = this.#byId.get(target);
    if (!message || message.recalled) return undefined;
    this.#bury(message);
    return message;
  }

  /** @param {any} edit @returns {Message | undefined} */
  edit(edit) {
    const message = this.#byId.get(edit.target);
    if (!message || message.recalled || (edit.version ?? 0) <= message.version) return undefined;
    fill(message, edit.content, edit.version);
    return message;
  }

  /**
   * The other user's marks have risen. Returns the messages whose state that changes.
   * @param {string} conversation
   * @param {number} delivered
   * @param {number} read
   */
  marks(conversation, delivered, read) {
    const kept = this.conversation(conversation);
    kept.peerRead = Math.max(kept.peerRead, read);
    kept.peerDelivered = Math.max(kept.peerDelivered, delivered, read);
    return kept.messages.filter((one) => one.own && one.sequence > 0 && raise(one, this.#stateOf(one)));
  }

  /**
   * Counts a line of a conversation. Returns the gap before it, if there is one.
   * @param {any} entry
   * @returns {Gap | undefined}
   */
  count(entry) {
    const sequence = Number(entry.sequence ?? 0);
    if (sequence === 0) return undefined;
    const kept = this.conversation(entry.conversation);
    const { head } = kept;
    kept.head = Math.max(head, sequence);
    const joined = ['created', 'joined'].includes(entry.group?.change) && entry.group.users?.includes(this.user);
    if (head === 0 || joined || sequence <= head + 1) return undefined;
    return { conversation: entry.conversation, from: head + 1, to: sequence - 1, filled: false };
  }

  /** The latest first. */
  list() {
    const place = (/** @type {Kept} */ one) => (one.last ? one.last.position || Infinity : one.listed);
    const listed = [...this.conversations.values()].filter((one) => one.last || one.listed);
    return listed.sort((one, other) => place(other) - place(one) || (one.id < other.id ? -1 : 1));
  }
}

/**
 * @param {Message} message
 * @param {any} content
 * @param {number} version
 */
function fill(message, content, version) {
  message.version = version;
  message.body = content?.sealed ? undefined : (parse(content?.body) ?? { type: 'unrecognised' });
  message.ext = parse(content?.ext);
  message.sealed = content?.sealed ? fromBase64(content.sealed) : undefined;
  message.mentions = content?.mentions ?? [];
}

/** @type {SendState[]} */
const STATES = ['queued', 'sent', 'delivered', 'read'];
/**
 * A state never goes back.
 * @param {Message} message
 * @param {SendState} to
 */
function raise(message, to) {
  if (STATES.indexOf(to) <= STATES.indexOf(message.state ?? 'failed')) return false;
  message.state = to;
  return true;
}

/** Refusals after which trying again is no use. */
const FINAL = new Set(['unauthorized', 'forbidden', 'invalid_input', 'unsupported']);
/** Kicks after which the client stays away. */
const KICKED = new Set(['other_device', 'forced', 'banned']);

/** @typedef {{ clientId: string, to: Target, content: object, at: number }} Outgoing */

/** A user's device. See the module. */
export class Client {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #handlers = new Map();
  /** @type {Link | undefined} */
  #link;
  #running = false;
  #session = 0;
  #wasOnline = false;
  /** @type {State} */
  #state = { name: 'ended', percent: 0, reason: 'new', detail: '', attempt: 0, retryAt: 0, gaps: [] };
  #slow = false;
  /** @type {any[]} */
  #inbox = [];
  #taking = false;
  #shown = 0;
  #cursor = -1;
  /** @type {(Outgoing & { message: Message, resolve: (message: Message) => void, reject: (error: ClientError) => void })[]} */
  #outbox = [];
  #pumping = false;
  /** @type {Map<string, number>} */
  #reads = new Map();
  #reading = false;
  #dirty = false;
  #refreshing = false;
  #announced = false;
  #skew = 0;
  /** @type {Gap[]} */
  #gaps = [];
  /** @type {(() => void) | undefined} */
  #wake;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #beat;
  #timeline;

  /** @param {Options} options */
  constructor(options) {
    this.options = {
      ...{ deviceClass: 'web', shown: 0, keep: 2000, answerWithin: 10_000, slowAfter: 3000 },
      ...{ retryFirst: 500, retryLongest: 30_000, random: Math.random, WebSocket: globalThis.WebSocket },
      ...options,
    };
    this.#shown = this.options.shown;
    this.#timeline = new Timeline(options.user, this.options.keep);
    for (const saved of parse(this.options.storage?.getItem(this.#outboxKey) ?? '') ?? []) this.#enqueue(saved);
  }

  get user() {
    return this.options.user;
  }

  /** The service's time. */
  get now() {
    return Date.now() + this.#skew;
  }

  get state() {
    return this.#state;
  }

  /** The conversations that are known, the latest first. @returns {Conversation[]} */
  get conversations() {
    return this.#timeline.list();
  }

  /**
   * The messages of a conversation that are known, in order; own ones that are not stored yet are the last.
   * @param {string} conversation
   */
  messages(conversation) {
    return [...(this.#timeline.conversations.get(conversation)?.messages ?? [])];
  }

  /**
   * Calls `handler` for each event of this name. Returns what ends it.
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(event: Events[Name]) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} event
   */
  #emit(name, event) {
    for (const handler of this.#handlers.get(name) ?? []) {
      try {
        handler(event);
      } catch (error) {
        // A handler that fails must not stop what others see.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  // The connection ----------------------------------------------------------------------------------------------------

  /** Connects, and stays connected until `close`, a kick or a refusal. */
  start() {
    if (this.#running) return;
    this.#running = true;
    this.#wasOnline = false;
    globalThis.addEventListener?.('online', this.#nudge);
    globalThis.addEventListener?.('offline', this.#offline);
    globalThis.document?.addEventListener('visibilitychange', this.#nudge);
    void this.#run(++this.#session);
  }

  /** Ends the session and does not come back until `start`. What is not sent yet stays queued. */
  close(reason = 'closed') {
    this.#end(reason);
  }

  /** Tells the service, then closes. */
  async logout() {
    await this.request('logout').catch(() => {});
    this.#end('logged_out');
  }

  /**
   * @param {string} reason
   * @param {string} [detail]
   */
  #end(reason, detail = '') {
    if (!this.#running) return;
    this.#running = false;
    globalThis.removeEventListener?.('online', this.#nudge);
    globalThis.removeEventListener?.('offline', this.#offline);
    globalThis.document?.removeEventListener('visibilitychange', this.#nudge);
    this.#link?.close(reason);
    this.#link = undefined;
    clearTimeout(this.#beat);
    this.#wake?.();
    this.#show('ended', { reason, detail });
  }

  #offline = () => this.#link?.close('offline');

  /** The network or the page is back: look now, not when the wait is over. */
  #nudge = () => {
    if (globalThis.document?.visibilityState === 'hidden') return;
    this.#wake?.();
    const link = this.#link;
    if (!link?.ready) return;
    link.request('heartbeat', { network: network() }, { within: 5000 }).catch(() => link.close('silent'));
  };

  /** @param {number} session */
  async #run(session) {
    const mine = () => this.#running && this.#session === session;
    for (let failures = 0; mine(); failures += 1) {
      this.#show(this.#wasOnline ? 'degraded' : 'connecting', {
        ...{ attempt: failures, reason: this.#state.reason, detail: this.#state.detail },
      });
      let over;
      try {
        over = await this.#connect(mine, () => (failures = 0));
      } catch (error) {
        const { code = 'unavailable', message } = /** @type {ClientError} */ (error);
        if (mine() && FINAL.has(code)) return this.#end(code, message);
        over = { reason: code, detail: message };
      }
      if (!mine()) return;
      this.#link?.close(over.reason);
      this.#link = undefined;
      clearTimeout(this.#beat);
      // Full jitter: clients of a gate that restarts must not all come at once.
      const most = Math.min(this.options.retryLongest, this.options.retryFirst * 2 ** Math.min(failures, 16));
      const wait = Math.max(50, most * this.options.random());
      const name = this.#wasOnline ? 'degraded' : 'connecting';
      this.#show(name, { ...over, attempt: failures + 1, retryAt: Date.now() + wait });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => (clearTimeout(timer), resolve(undefined));
      });
      this.#wake = undefined;
    }
  }

  /**
   * One connection from its beginning to its end. Returns why it ended.
   * @param {() => boolean} mine  Whether anybody still wants it.
   * @param {() => void} succeeded
   * @returns {Promise<{ reason: string, detail: string }>}
   */
  async #connect(mine, succeeded) {
    const ask = async (/** @type {Options['url']} */ from) => (typeof from === 'function' ? from() : from);
    const { user, device, deviceClass, answerWithin, slowAfter } = this.options;
    const token = await ask(this.options.token);
    const url = await ask(this.options.url);
    const wanted = () => {
      if (!mine()) throw new ClientError('closed', 'the client was closed meanwhile');
    };
    wanted();
    this.#slow = false;
    const link = await Link.open(this.options.WebSocket, url, {
      told: (packet) => this.#told(link, packet),
      slow: (slow) => this.#late(slow),
      ...{ answerWithin, slowAfter },
    });
    if (!mine()) link.close('closed');
    wanted();
    this.#link = link;
    const welcome = await link.request('login', {
      ...{ user, token, device, network: network() },
      deviceClass: `DEVICE_CLASS_${deviceClass.toUpperCase()}`,
      reception: 'RECEPTION_ACK_ONLINE',
    });
    link.ready = true;
    this.#skew = Number(welcome.serverTime ?? Date.now()) - Date.now();
    const cursor = Number(welcome.cursor ?? 0);
    const tail = Number(welcome.tail ?? 0);
    this.#compare(cursor, tail);
    this.#keepAlive(link, Number(welcome.heartbeatMs ?? 60_000));
    this.#renew(link, Number(welcome.tokenExpiresAt ?? 0));
    void this.#pump();
    await this.#catchUp(link, cursor, tail);
    succeeded();
    this.#wasOnline = true;
    this.#show('online');
    void this.#drain();
    this.#refresh();
    void this.#flushReads();
    for (const gap of this.#gaps) void this.#fillGap(gap);
    return link.gone;
  }

  /**
   * The backlog: each pull acknowledges the page before; only an empty page is the end.
   * @param {Link} link
   * @param {number} cursor
   * @param {number} tail
   */
  async #catchUp(link, cursor, tail) {
    this.#show('syncing', { percent: 0 });
    this.#inbox = [];
    let after = 0;
    for (;;) {
      const page = await link.request('pull', { after: String(after), limit: this.options.pageSize });
      if (!page.entries?.length) return;
      await this.#take(page.entries, false);
      after = Number(page.cursor);
      const percent = Math.floor((100 * (after - cursor)) / Math.max(1, tail - cursor));
      this.#show('syncing', { percent: Math.min(99, Math.max(0, percent)) });
    }
  }

  /**
   * Cursors never go back, and nothing is shown that the service has not. Otherwise this is another log.
   * @param {number} cursor
   * @param {number} tail
   */
  #compare(cursor, tail) {
    if (cursor < this.#cursor || this.#shown > tail) {
      this.#shown = cursor;
      this.#gaps = [];
      this.#timeline = new Timeline(this.user, this.options.keep);
      for (const { message } of this.#outbox) this.#timeline.queue(message);
      this.#emit('reset', { reason: 'log_replaced' });
      this.#announce();
    }
    this.#cursor = cursor;
  }

  /**
   * @param {Link} link
   * @param {number} every
   */
  #keepAlive(link, every) {
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => {
      link.request('heartbeat', { network: network() }).then(
        (seen) => this.#keepAlive(link, Number(seen.heartbeatMs ?? every)),
        () => link.close('silent'),
      );
    }, every * 0.9);
  }

  /**
   * Comes back with a fresh token before this one ends.
   * @param {Link} link
   * @param {number} until
   */
  #renew(link, until) {
    const left = until - this.now;
    // Timers reach 24 days; a token that lives longer outlives the page.
    if (!until || typeof this.options.token !== 'function' || left > 2 ** 31 - 1) return;
    const timer = setTimeout(() => link.close('token'), Math.max(100, left / 2, left - 30_000));
    void link.gone.then(() => clearTimeout(timer));
  }

  /**
   * @param {Link} link
   * @param {any} packet
   */
  #told(link, packet) {
    const body = packet.body ?? {};
    switch (packet.command) {
      case 'deliver':
        this.#inbox.push(body);
        return void this.#drain();
      case 'state':
        return this.#raised(body);
      case 'push':
        link.acknowledge('push', packet.id);
        return this.#emit('push', { topic: body.topic ?? '', data: parse(body.data) });
      case 'kick': {
        const reason = String(body.reason ?? 'unspecified').replace('REASON_', '').toLowerCase();
        this.#emit('kicked', { reason, byDevice: body.byDevice ?? '' });
        return KICKED.has(reason) ? this.#end(reason) : link.close(reason);
      }
      case 'close':
        return link.close(body.code ?? 'closed', body.message);
      default:
    }
  }

  /** @param {boolean} slow */
  #late(slow) {
    this.#slow = slow;
    if (this.#state.name === 'online' || this.#state.reason === 'slow') {
      this.#show(slow ? 'degraded' : 'online', slow ? { reason: 'slow' } : {});
    }
    if (slow) return;
    // What waited for it.
    if (this.#dirty) this.#refresh();
    void this.#flushReads();
  }

  /**
   * @param {State['name']} name
   * @param {Partial<State>} [more]
   */
  #show(name, more = {}) {
    if (!this.#running && name !== 'ended') return;
    const gaps = this.#gaps.map((gap) => ({ ...gap }));
    const plain = { reason: '', detail: '', attempt: 0, retryAt: 0 };
    const state = { name, percent: name === 'online' ? 100 : 0, ...plain, gaps, ...more };
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    this.#state = state;
    this.#emit('state', state);
  }

  /**
   * Asks the service anything its protocol knows.
   * @param {string} command
   * @param {object} [body]
   * @param {{ within?: number, signal?: AbortSignal }} [how]
   * @returns {Promise<any>}
   */
  request(command, body, how) {
    const link = this.#link;
    return link?.ready
      ? link.request(command, body, how)
      : Promise.reject(new ClientError('unavailable', 'there is no connection', { retry: true }));
  }

  // What comes in -----------------------------------------------------------------------------------------------------

  /** Takes in what waits, in turn, and acknowledges it. */
  async #drain() {
    if (this.#taking) return;
    this.#taking = true;
    try {
      while (this.#inbox.length && (this.#state.name === 'online' || this.#slow)) {
        const link = this.#link;
        await this.#take(this.#inbox.splice(0), true);
        link?.acknowledge('deliver', this.#shown);
      }
    } catch (error) {
      const { code, message } = /** @type {ClientError} */ (error);
      this.#link?.close(code, message);
    } finally {
      this.#taking = false;
    }
  }

  /**
   * @param {any[]} entries
   * @param {boolean} live
   */
  async #take(entries, live) {
    /** @type {Message[]} */
    const taken = [];
    for (const entry of entries) {
      const position = Number(entry.position);
      // Shown already: its acknowledgement was lost.
      if (position <= this.#shown) continue;
      const message = this.#apply(entry, live);
      if (message) taken.push(message);
      if (!this.options.accept) this.#shown = position;
    }
    if (this.options.accept) {
      try {
        await this.options.accept(taken);
      } catch (error) {
        // It is not acknowledged, and comes again over the next connection.
        throw new ClientError('not_accepted', String(/** @type {any} */ (error)?.message ?? error), { retry: true });
      }
      this.#shown = Math.max(this.#shown, ...entries.map((entry) => Number(entry.position)));
    }
    this.#announce();
  }

  /**
   * @param {any} entry
   * @param {boolean} live
   * @returns {Message | undefined}
   */
  #apply(entry, live) {
    const timeline = this.#timeline;
    const gap = timeline.count(entry);
    if (gap) this.#opened(gap);
    const tell = (/** @type {Message | undefined} */ message, /** @type {Change} */ change) => {
      if (message) this.#emit('message', { message, change, live });
      return message;
    };
    if (entry.message) {
      const { message, fresh, changed } = timeline.take(entry);
      const kept = timeline.conversation(message.conversation);
      // What the list counted already is not counted again.
      if (live && fresh && !message.own && !message.recalled && message.position > kept.listed) kept.unread += 1;
      if (fresh || changed) tell(message, fresh ? 'new' : 'state');
      return message;
    }
    if (entry.recall) {
      this.#refresh();
      return tell(timeline.recall(entry.recall.target), 'recalled');
    }
    if (entry.edit) return tell(timeline.edit(entry.edit), 'edited');
    if (entry.receipt && entry.receipt.user === this.user) {
      const kept = timeline.conversation(entry.conversation);
      kept.read = Math.max(kept.read, Number(entry.receipt.through ?? 0));
      this.#refresh();
    }
    if (entry.group) this.#groupChanged(entry);
    return undefined;
  }

  /** @param {any} entry */
  #groupChanged(entry) {
    const { change = '', users = [], value = '' } = entry.group;
    const kept = this.#timeline.conversation(entry.conversation);
    if (change === 'created' || change === 'renamed') kept.name = value || kept.name;
    const me = users.includes(this.user);
    if (change === 'dissolved' || (me && (change === 'left' || change === 'removed'))) kept.left = true;
    if (me && (change === 'created' || change === 'joined')) kept.left = false;
    kept.listed ||= Number(entry.position);
    const at = Number(entry.at ?? 0);
    this.#emit('group', { conversation: entry.conversation, change, users, value, by: entry.by ?? '', at });
  }

  /** The other user's marks. @param {any} marks */
  #raised(marks) {
    const { conversation, user } = marks;
    const [delivered, read] = [Number(marks.delivered ?? 0), Number(marks.read ?? 0)];
    if (user === this.user) return this.#refresh();
    for (const message of this.#timeline.marks(conversation, delivered, read)) {
      this.#emit('message', { message, change: 'state', live: true });
    }
    this.#emit('receipt', { conversation, user, delivered, read });
    this.#announce();
  }

  /** @param {Gap} gap */
  #opened(gap) {
    this.#gaps.push(gap);
    this.#emit('gap', { ...gap });
    if (this.#state.name === 'online') {
      this.#show('online');
      void this.#fillGap(gap);
    }
  }

  /** @param {Gap} gap */
  async #fillGap(gap) {
    try {
      let before = gap.to + 1;
      while (before > gap.from) {
        const page = await this.request('history', { conversation: gap.conversation, before: String(before), limit: 100 });
        for (const entry of page.entries ?? []) {
          if (Number(entry.sequence) >= gap.from) this.#past(entry);
        }
        if (!page.next) break;
        before = Number(page.next);
      }
    } catch (error) {
      // It stays known; the next connection tries again.
      if (/** @type {ClientError} */ (error).code !== 'not_found') return;
    }
    gap.filled = true;
    this.#gaps = this.#gaps.filter((other) => other !== gap);
    this.#emit('gap', { ...gap });
    if (this.#state.name === 'online') this.#show('online');
    this.#refresh();
  }

  /**
   * A message out of the history. What this device has not got yet is left alone: it is on its way, and new then.
   * @param {any} entry
   * @returns {Message | undefined}
   */
  #past(entry) {
    if (Number(entry.position) > Math.max(this.#shown, this.#cursor)) return undefined;
    const { message, fresh, changed } = this.#timeline.take(entry);
    if (fresh || changed) this.#emit('message', { message, change: 'history', live: false });
    return message;
  }

  /** The list has changed; told once for everything that happens in one go. */
  #announce() {
    if (this.#announced) return;
    this.#announced = true;
    queueMicrotask(() => {
      this.#announced = false;
      this.#emit('conversations', this.conversations);
    });
  }

  /** Asks the service for the list again, soon: what it counts is the truth. */
  #refresh() {
    this.#dirty = true;
    if (!this.#refreshing && this.#state.name === 'online') void this.#list();
  }

  async #list() {
    this.#refreshing = true;
    try {
      while (this.#dirty) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        this.#dirty = false;
        const answer = await this.request('conversations', { limit: 100 });
        for (const one of answer.conversations ?? []) this.#listed(one);
        this.#announce();
        await this.#nameGroups();
      }
    } catch {
      // Asked again when the link is back.
      this.#dirty = true;
    } finally {
      this.#refreshing = false;
    }
  }

  /** @param {any} one */
  #listed(one) {
    const kept = this.#timeline.conversation(one.id);
    const position = Number(one.last?.position ?? 0);
    const newest = kept.messages.findLast((message) => message.position > 0)?.position ?? 0;
    kept.read = Math.max(kept.read, Number(one.read ?? 0));
    if (kept.kind === 'direct') {
      const marks = [Number(one.peerDelivered ?? 0), Number(one.peerRead ?? 0)];
      for (const message of this.#timeline.marks(one.id, marks[0], marks[1])) {
        this.#emit('message', { message, change: 'state', live: false });
      }
    }
    // Older than what has come meanwhile: it is asked for again.
    if (position < newest) return void (this.#dirty = true);
    kept.listed = Math.max(kept.listed, position);
    // A read that the service has not heard of yet counts here.
    if (!this.#reads.has(one.id)) kept.unread = Number(one.unread ?? 0);
    if (one.last?.message && kept.messages.length === 0) this.#past(one.last);
  }

  async #nameGroups() {
    for (const kept of this.#timeline.list()) {
      if (kept.kind !== 'group' && kept.kind !== 'room') continue;
      if (kept.name !== kept.with || kept.left) continue;
      const group = await this.group(kept.with, { room: kept.kind === 'room' }).catch(() => undefined);
      if (!group) continue;
      kept.name = group.name;
      this.#announce();
    }
  }

  // What goes out -----------------------------------------------------------------------------------------------------

  get #outboxKey() {
    return `switchboard/${this.options.user}/outbox`;
  }

  /** @param {Outgoing} outgoing */
  #enqueue({ clientId, to, content, at }) {
    const conversation = conversationId(this.user, to);
    const marks = { sequence: 0, position: 0, mentions: [], recalled: false, version: 0 };
    /** @type {Message} */
    const message = { id: '', clientId, conversation, from: this.user, own: true, at, ...marks, state: 'queued' };
    fill(message, content, 0);
    this.#timeline.queue(message);
    return this.#push({ clientId, to, content, at }, message);
  }

  /**
   * @param {Outgoing} outgoing
   * @param {Message} message
   * @returns {Promise<Message>}
   */
  #push(outgoing, message) {
    const done = new Promise((resolve, reject) => this.#outbox.push({ ...outgoing, message, resolve, reject }));
    // Who does not wait for the outcome sees it in the message.
    done.catch(() => {});
    this.#save();
    return done;
  }

  #save() {
    const saved = this.#outbox.map(({ clientId, to, content, at }) => ({ clientId, to, content, at }));
    if (saved.length) this.options.storage?.setItem(this.#outboxKey, JSON.stringify(saved));
    else this.options.storage?.removeItem(this.#outboxKey);
  }

  /**
   * Sends a message, however often the link breaks meanwhile. It is queued at once (event `message`), and the promise
   * ends when the service has stored it, or has refused it. It arrives once.
   * @param {Target | string} to  A target, or the id of a conversation.
   * @param {Body | Uint8Array} body  Bytes are end-to-end encrypted content that nobody on the way reads.
   * @param {{ clientId?: string, ext?: object, mentions?: string[], mentionsEveryone?: boolean, silent?: boolean }} [more]
   * @returns {Promise<Message>}
   */
  send(to, body, more = {}) {
    const { clientId = freshId(), ext, mentions, mentionsEveryone, silent } = more;
    const target = typeof to === 'string' ? targetOf(this.user, to) : to;
    const said = body instanceof Uint8Array ? { sealed: toBase64(body) } : { body: JSON.stringify(body) };
    const content = { ...said, ...(ext && { ext: JSON.stringify(ext) }), mentions, mentionsEveryone, silent };
    const done = this.#enqueue({ clientId, to: target, content, at: this.now });
    const message = this.#outbox[this.#outbox.length - 1].message;
    this.#emit('message', { message, change: 'new', live: true });
    this.#announce();
    void this.#pump();
    return done;
  }

  /**
   * Sends a message again that has failed; under the same key, so that it cannot arrive twice.
   * @param {Message} message
   */
  resend(message) {
    if (message.state !== 'failed' || message.sequence) return Promise.resolve(message);
    message.state = 'queued';
    message.error = undefined;
    const content = {
      ...(message.sealed ? { sealed: toBase64(message.sealed) } : { body: JSON.stringify(message.body) }),
      ...(message.ext && { ext: JSON.stringify(message.ext) }),
      mentions: message.mentions,
    };
    const to = targetOf(this.user, message.conversation);
    const done = this.#push({ clientId: message.clientId, to, content, at: message.at }, message);
    this.#emit('message', { message, change: 'state', live: true });
    void this.#pump();
    return done;
  }

  /**
   * Forgets a message that has failed.
   * @param {Message} message
   */
  discard(message) {
    if (message.state !== 'failed') return;
    this.#timeline.discard(message);
    this.#announce();
  }

  /** Sends what is queued, one after the other: order is kept, and a repeat is harmless. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    const ready = () => (this.#running && this.#link?.ready ? this.#link : undefined);
    for (let link = ready(); link && this.#outbox.length; link = ready()) {
      const [first] = this.#outbox;
      const { to, content, clientId, message } = first;
      try {
        const sent = await link.request('send', { to, content, clientId });
        this.#outbox.shift();
        const changed = this.#timeline.stored(message, sent);
        if (changed) this.#emit('message', { message, change: 'state', live: true });
        first.resolve(message);
      } catch (caught) {
        const error = /** @type {ClientError} */ (caught);
        if (error.code === 'unavailable') break;
        if (error.code === 'timeout') {
          link.close('timeout');
          break;
        }
        if (error.retry) {
          await new Promise((resolve) => setTimeout(resolve, error.retryAfter || 1000));
          continue;
        }
        this.#outbox.shift();
        Object.assign(message, { state: 'failed', error });
        this.#emit('message', { message, change: 'state', live: true });
        first.reject(error);
      }
      this.#save();
      this.#announce();
    }
    this.#pumping = false;
  }

  /**
   * Takes an own message back.
   * @param {Message | string} message
   * @returns {Promise<void>}
   */
  async recall(message) {
    await this.request('recall', { id: typeof message === 'string' ? message : message.id });
  }

  /**
   * Changes an own message.
   * @param {Message | string} message
   * @param {Body} body
   * @returns {Promise<number>} The version it has now.
   */
  async edit(message, body) {
    const id = typeof message === 'string' ? message : message.id;
    const answer = await this.request('edit', { id, content: { body: JSON.stringify(body) } });
    return answer.version ?? 0;
  }

  /**
   * Everything up to this number is read. Without a connection it is remembered and said later.
   * @param {string} conversation
   * @param {number} [through]  The last message that is known.
   */
  read(conversation, through) {
    const kept = this.#timeline.conversation(conversation);
    const newest = kept.messages.findLast((message) => message.sequence > 0)?.sequence ?? 0;
    const mark = Math.min(through ?? newest, newest);
    if (mark <= kept.read) return;
    kept.read = mark;
    this.#reads.set(conversation, mark);
    const above = kept.messages.filter((one) => one.sequence > mark && !one.own && !one.recalled);
    kept.unread = above.length;
    this.#announce();
    void this.#flushReads();
  }

  async #flushReads() {
    if (this.#reading) return;
    this.#reading = true;
    try {
      while (this.#reads.size && this.#state.name === 'online') {
        const [[conversation, mark]] = this.#reads;
        await this.request('read', { conversation, through: String(mark) }).catch((error) => {
          if (error.code === 'unavailable' || error.code === 'timeout') throw error;
        });
        if (this.#reads.get(conversation) === mark) this.#reads.delete(conversation);
        this.#refresh();
      }
    } catch {
      // Said again when the link is back.
    } finally {
      this.#reading = false;
    }
  }

  // What is asked -----------------------------------------------------------------------------------------------------

  /**
   * A page of a conversation's past, the newest first, of one tier when `tier` is given. `next` says where it goes on:
   * in the same tier, or in an older one; without `next` there is no more. A short page is not the end.
   * @param {string} conversation
   * @param {{ tier?: Tier, cursor?: string, limit?: number }} [how]
   * @returns {Promise<{ messages: Message[], next?: { tier: Tier, cursor: string } }>}
   */
  async history(conversation, { tier, cursor, limit = 50 } = {}) {
    // The time from which tiers are counted stays the same for the whole walk.
    const [now, start] = cursor ? cursor.split('.').map(Number) : [this.now, 0];
    const next = (/** @type {Tier} */ at, /** @type {number} */ before) => ({ tier: at, cursor: `${now}.${before}` });
    /** @type {Message[]} */
    const messages = [];
    let inside = !tier || Boolean(cursor);
    for (let before = start; ; ) {
      const page = await this.request('history', { conversation, ...(before && { before: String(before) }), limit });
      /** @type {Tier} */
      let last = tier ?? 'recent';
      for (const entry of page.entries ?? []) {
        const found = tierOf(Number(entry.at ?? 0), now);
        const older = tier ? TIERS.indexOf(found) - TIERS.indexOf(tier) : 0;
        if (older > 0) return { messages, next: next(found, Number(entry.sequence) + 1) };
        inside ||= older === 0;
        if (!inside) continue;
        const message = this.#past(entry);
        if (message) messages.push(message);
        last = tier ?? found;
      }
      if (!page.next) return { messages };
      before = Number(page.next);
      if (messages.length) return { messages, next: next(last, before) };
    }
  }

  /**
   * Which devices of these users are online, by user.
   * @param {string[]} users
   * @returns {Promise<Map<string, { device: string, deviceClass: string, since: number, seenAt: number }[]>>}
   */
  async presence(users) {
    const answer = await this.request('presence', { users });
    const device = (/** @type {any} */ one) => ({
      device: one.device ?? '',
      deviceClass: String(one.deviceClass ?? '').replace('DEVICE_CLASS_', '').toLowerCase(),
      since: Number(one.since ?? 0),
      seenAt: Number(one.seenAt ?? 0),
    });
    return new Map((answer.users ?? []).map((/** @type {any} */ one) => [one.user, (one.devices ?? []).map(device)]));
  }

  /**
   * A group or room the user is in.
   * @param {string} id
   * @param {{ room?: boolean }} [how]
   * @returns {Promise<{ id: string, name: string, owner: string, muted: boolean, members: { user: string, role: string, mutedUntil: number }[] }>}
   */
  async group(id, { room = false } = {}) {
    const { name = '', owner = '', muted = false, members = [] } = await this.request('group_get', { id, room });
    const member = (/** @type {any} */ one) => ({
      user: one.user ?? '',
      role: String(one.role ?? 'ROLE_MEMBER').replace('ROLE_', '').toLowerCase(),
      mutedUntil: Number(one.mutedUntil ?? 0),
    });
    return { id, name, owner, muted, members: members.map(member) };
  }

  /**
   * @param {string} id
   * @param {string} name
   * @param {string[]} members  Besides the user.
   * @param {{ room?: boolean }} [how]
   */
  async createGroup(id, name, members, { room = false } = {}) {
    await this.request('group_create', { id, name, members, room });
  }

  /**
   * @param {string} id
   * @param {'add' | 'remove' | 'leave' | 'set_role' | 'mute' | 'unmute' | 'mute_all' | 'unmute_all' | 'rename' | 'dissolve'} action
   * @param {{ users?: string[], role?: 'member' | 'admin', until?: number, name?: string, room?: boolean }} [more]
   */
  async changeGroup(id, action, { users, role, until, name, room } = {}) {
    await this.request('group_change', {
      ...{ id, room, users, name, action: `ACTION_${action.toUpperCase()}` },
      ...(role && { role: `ROLE_${role.toUpperCase()}` }),
      ...(until && { until: String(until) }),
    });
  }

  /**
   * Says something to the business.
   * @param {string} topic
   * @param {unknown} data
   * @param {string} [clientId]
   */
  async report(topic, data, clientId = freshId()) {
    await this.request('report', { topic, data: JSON.stringify(data), clientId });
  }
}

/** What the browser knows of the network, as the protocol spells it. */
function network() {
  const type = /** @type {any} */ (globalThis.navigator)?.connection?.type;
  if (type === 'cellular') return 'NETWORK_CELLULAR';
  return type === 'wifi' || type === 'ethernet' ? 'NETWORK_WIFI' : 'NETWORK_UNSPECIFIED';
}
