// @ts-check
/** Elements of the page. Whatever a person wrote goes in as text, never as markup. */

/** @typedef {import('./switchboard.js').Message} Message */
/** @typedef {import('./switchboard.js').Conversation} Conversation */

/**
 * @param {string} name
 * @param {{ class?: string, text?: string, title?: string }} [what]
 * @param {(Node | undefined)[]} [inside]
 */
export function element(name, what = {}, inside = []) {
  const made = document.createElement(name);
  if (what.class) made.className = what.class;
  if (what.text !== undefined) made.textContent = what.text;
  if (what.title) made.title = what.title;
  made.append(...inside.filter((node) => node !== undefined));
  return made;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** @param {string} name */
const tone = (name) => [...name].reduce((sum, char) => (sum * 31 + (char.codePointAt(0) ?? 0)) % 997, 7) % 6;

/**
 * @param {HTMLElement} place
 * @param {string} name
 * @param {{ group?: boolean, here?: boolean }} [how]
 */
export function avatar(place, name, { group = false, here = false } = {}) {
  place.className = `avatar tone-${tone(name)}${group ? ' group' : ''}${here ? ' here' : ''}`;
  place.textContent = [...name][0] ?? '';
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** @param {number} at */
const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

/** @param {number} at @param {number} now */
export function day(at, now) {
  const ago = Math.round((midnight(now) - midnight(at)) / 86_400_000);
  if (ago <= 0) return 'Today';
  if (ago === 1) return 'Yesterday';
  return ago < 7 ? weekday.format(at) : date.format(at);
}

/** @param {number} at @param {number} now */
const when = (at, now) => (midnight(at) === midnight(now) ? clock.format(at) : short.format(at));

/** @param {Message} message */
export function words(message) {
  if (message.recalled) return 'This message was recalled';
  if (message.sealed) return '🔒 End-to-end encrypted';
  const { type, text } = message.body ?? { type: 'unrecognised', text: undefined };
  return typeof text === 'string' ? text : `[${type}]`;
}

const TICKS = /** @type {const} */ ({
  queued: ['◷', 'Waiting to be sent'],
  sent: ['✓', 'Sent'],
  delivered: ['✓✓', 'Delivered'],
  read: ['✓✓', 'Read'],
  failed: ['!', 'Not sent'],
});

/** @param {Message} message */
function tick(message) {
  const [sign, meaning] = TICKS[message.state ?? 'sent'];
  const made = element('span', { class: 'tick', text: sign, title: meaning });
  made.dataset.state = message.state;
  made.setAttribute('role', 'img');
  made.setAttribute('aria-label', meaning);
  return made;
}

/**
 * Draws a message into its element.
 * @param {HTMLElement} place
 * @param {Message} message
 * @param {{ first: boolean, group: boolean, young: boolean, act: (what: string, message: Message) => void }} how
 */
export function bubble(place, message, { first, group, young, act }) {
  const { own, recalled, state, sequence } = message;
  const marks = [first && 'first', own && 'own', recalled && 'recalled', state === 'failed' && 'failed'];
  place.className = ['bubble', ...marks].filter(Boolean).join(' ');
  place.dataset.sequence = String(sequence);
  place.dataset.state = state ?? '';
  const button = (/** @type {string} */ text, /** @type {string} */ what) => {
    const made = /** @type {HTMLButtonElement} */ (element('button', { text }));
    made.type = 'button';
    made.onclick = () => act(what, message);
    return made;
  };
  const foot = element('div', { class: 'foot' }, [
    message.version > 0 && !recalled ? element('span', { class: 'edited', text: 'edited' }) : undefined,
    element('time', { text: clock.format(message.at), title: new Date(message.at).toLocaleString() }),
    own && !recalled ? tick(message) : undefined,
  ]);
  const box = element('div', { class: 'box' }, [element('div', { class: 'text', text: words(message) }), foot]);
  const who = first && group && !own ? element('p', { class: 'who', text: message.from }) : undefined;
  const acts = own && young && sequence > 0 && !recalled;
  const failed = state === 'failed';
  place.replaceChildren(
    ...[
      who,
      box,
      acts ? element('div', { class: 'acts' }, [button('Edit', 'edit'), button('Recall', 'recall')]) : undefined,
      failed
        ? element('div', { class: 'trouble' }, [
            element('span', { text: `Not sent: ${message.error?.message ?? ''}` }),
            button('Try again', 'resend'),
            button('Discard', 'discard'),
          ])
        : undefined,
    ].filter((node) => node !== undefined),
  );
}

/**
 * A line of the list.
 * @param {HTMLElement} place
 * @param {Conversation} conversation
 * @param {{ now: number, current: boolean, here: boolean }} how
 */
export function line(place, conversation, { now, current, here }) {
  const { last, unread, name, kind } = conversation;
  const group = kind === 'group' || kind === 'room';
  place.className = kind;
  place.dataset.conversation = conversation.id;
  place.setAttribute('aria-current', String(current));
  const face = element('span');
  avatar(face, name, { group, here });
  face.ariaHidden = 'true';
  const badge = element('span', { class: 'badge', text: unread > 99 ? '99+' : String(unread) });
  badge.setAttribute('aria-label', `${unread} unread`);
  const speaker = last && group && !last.own ? `${last.from}: ` : last?.own ? 'You: ' : '';
  place.replaceChildren(
    face,
    element('span', { class: 'grow' }, [
      element('span', { class: 'top' }, [
        element('span', { class: 'name', text: name }),
        last ? element('span', { class: 'when', text: when(last.at, now) }) : undefined,
      ]),
      element('span', { class: 'under' }, [
        element('span', { class: 'words', text: last ? speaker + words(last) : 'No messages yet' }),
        unread ? badge : undefined,
      ]),
    ]),
  );
}

/**
 * Puts these nodes into a place, in this order, and touches no node that stands right already.
 * @param {HTMLElement} place
 * @param {Node[]} nodes
 */
export function arrange(place, nodes) {
  let at = place.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else place.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
