// @ts-check
/** The demo's chat page: the JavaScript client with a face. */

import { Client, ClientError, conversationId, tierOf } from './switchboard.js';
import { arrange, avatar, bubble, byId, day, element, line, words } from './view.js';

/** @typedef {import('./switchboard.js').Message} Message */
/** @typedef {import('./switchboard.js').Conversation} Conversation */
/** @typedef {import('./switchboard.js').Tier} Tier */

const PEOPLE = ['alice', 'bob', 'carol'];
/** How long the service lets a sender change or recall a message. */
const YOUNG = 120_000;
const TIERS = /** @type {const} */ ({
  recent: { name: 'Recent', span: 'the last 7 days', open: 'Show the last 7 days' },
  month: { name: 'Month', span: '7 to 30 days ago', open: 'Show the last 30 days' },
  archive: { name: 'Archive', span: 'more than 30 days ago', open: 'Open the archive' },
});

/**
 * @param {string} path
 * @param {object} body
 */
async function post(path, body) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error((await answer.text()) || `${answer.status}`);
  return answer;
}

const user = new URLSearchParams(location.search).get('user') ?? '';
if (/^[a-z0-9_-]{1,32}$/.test(user)) chat();
else door();

function door() {
  byId('door').hidden = false;
  for (const name of PEOPLE) {
    const link = /** @type {HTMLAnchorElement} */ (element('a'));
    const face = element('span');
    avatar(face, name);
    link.href = `?user=${name}`;
    link.append(face, name);
    byId('people').append(link);
  }
}

function chat() {
  byId('app').hidden = false;
  byId('my-name').textContent = user;
  avatar(byId('my-avatar'), user);
  const other = PEOPLE.find((name) => name !== user) ?? 'bob';
  byId('other-tab').href = `?user=${other}`;

  let url = '';
  const client = new Client({
    user,
    device: 'chat-page',
    token: async () => {
      const session = await (await post('demo/session', { user })).json();
      url = session.url;
      return session.token;
    },
    url: () => url,
    pageSize: 20,
    // A demo is looked at: nobody wants to wait half a minute.
    retryLongest: 5000,
    storage: localStorage,
  });
  // For those who look with the browser's console.
  Object.assign(globalThis, { client });

  /** The open conversation. */
  let open = '';
  /** Where the first unread message was when it was opened. */
  let unreadFrom = 0;
  /** @type {Message | undefined} */
  let editing;
  let drawn = false;
  /** How far each conversation's past is loaded. @type {Map<string, Past>} */
  const pasts = new Map();
  /** @typedef {{ next?: { tier: Tier, cursor?: string }, loading: boolean, opened: Set<Tier> }} Past */
  /** @type {Map<Message, HTMLElement>} */
  const bubbles = new Map();
  /** @type {Map<string, HTMLElement>} */
  const lines = new Map();
  /** @type {Map<string, number>} */
  const here = new Map();

  // States -----------------------------------------------------------------------------------------------------------

  const REASONS = /** @type {Record<string, string>} */ ({
    lost: 'the connection is lost',
    unavailable: 'the service cannot be reached',
    shutdown: 'the service restarts',
    slow: 'the service does not answer',
    silent: 'the service does not answer',
    timeout: 'the service does not answer',
    offline: 'there is no network',
    token: 'a fresh token is fetched',
  });

  function drawState() {
    const { name, percent, reason, attempt, retryAt, gaps } = client.state;
    const chip = byId('state');
    chip.dataset.state = name;
    chip.dataset.percent = String(percent);
    const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const again = attempt ? ` · try ${attempt + 1}${wait ? ` in ${wait} s` : ''}` : '';
    const missing = gaps.reduce((sum, gap) => sum + gap.to - gap.from + 1, 0);
    const texts = {
      connecting: `Connecting…${again}`,
      syncing: `Syncing ${percent} %`,
      online: missing ? `Online · ${missing} missing` : 'Online',
      degraded: reason === 'slow' ? 'Degraded · no answer' : `Degraded${again}`,
      ended: 'Signed out',
    };
    byId('state-text').textContent = texts[name];
    byId('progress').hidden = name !== 'syncing';
    byId('progress').value = percent;
    const trouble = name === 'degraded' || (name === 'connecting' && attempt > 0);
    byId('notice').hidden = !trouble;
    byId('notice').textContent = trouble
      ? `Not connected: ${REASONS[reason] ?? reason}. What you write is kept and sent later, once.`
      : '';
  }
  setInterval(() => client.state.retryAt && drawState(), 500);

  const ENDS = /** @type {Record<string, [string, string]>} */ ({
    other_device: ['Logged in elsewhere', 'Another tab or browser logged in as you. A user has one session of each kind of device.'],
    forced: ['You were signed out', 'The business ended your session.'],
    banned: ['You are banned', 'The business does not let you in for now.'],
    unauthorized: ['The login was refused', ''],
    forbidden: ['The login was refused', ''],
  });

  client.on('state', ({ name, reason, detail }) => {
    drawState();
    if (name === 'ended' && ENDS[reason]) {
      const [title, text] = ENDS[reason];
      byId('ended-title').textContent = title;
      byId('ended-text').textContent = text || `The service says: ${detail}.`;
      byId('ended').dataset.reason = reason;
      if (!byId('ended').open) byId('ended').showModal();
    } else if (byId('ended').open && name !== 'ended') byId('ended').close();
    // Who is there is not known without a connection.
    if (name !== 'online') here.clear();
    else {
      void askPresence();
      if (open) void loadPast(open);
    }
    draw();
  });

  // What is drawn ----------------------------------------------------------------------------------------------------

  client.on('message', ({ message, live }) => {
    draw();
    // Who speaks is there.
    if (live && !message.own && !here.has(message.from)) void askPresence();
    if (message.conversation === open) readOpen();
  });
  client.on('conversations', draw);
  client.on('receipt', draw);
  client.on('group', draw);
  client.on('gap', draw);
  client.on('reset', () => {
    pasts.clear();
    bubbles.clear();
    unreadFrom = 0;
    draw();
  });

  function draw() {
    if (drawn) return;
    drawn = true;
    queueMicrotask(() => {
      drawn = false;
      drawList();
      drawTalk();
    });
  }

  function drawList() {
    const { conversations } = client;
    const nodes = conversations.map((conversation) => {
      const place = lines.get(conversation.id) ?? element('button');
      if (!lines.has(conversation.id)) {
        lines.set(conversation.id, place);
        place.onclick = () => openTalk(conversation.id);
      }
      const online = conversation.kind === 'direct' && here.has(conversation.with);
      line(place, conversation, { now: client.now, current: conversation.id === open, here: online });
      return place;
    });
    arrange(byId('list'), nodes);
    const unread = conversations.reduce((sum, one) => sum + one.unread, 0);
    document.title = `${unread ? `(${unread}) ` : ''}${user} · Switchboard chat`;
  }

  function drawTalk() {
    const conversation = client.conversations.find((one) => one.id === open);
    byId('app').dataset.open = String(Boolean(open));
    byId('empty').hidden = byId('composer').hidden = Boolean(open);
    byId('composer').hidden = !open;
    byId('log').hidden = byId('with-avatar').hidden = !open;
    if (!open) return;
    const kind = conversation?.kind ?? open.split('~')[0];
    const name = conversation?.name ?? open.split('~').slice(1).find((part) => part !== user) ?? user;
    const seen = here.get(name) ?? 0;
    byId('with').className = `with ${kind}`;
    byId('with-name').textContent = name;
    avatar(byId('with-avatar'), name, { group: kind !== 'direct', here: kind === 'direct' && seen > 0 });
    const presence = client.state.name !== 'online' ? 'Presence unknown' : seen ? 'Online now' : 'Offline';
    byId('with-sub').textContent = kind !== 'direct' ? members(conversation) : presence;
    drawLog(kind !== 'direct');
    drawTiers();
  }

  /** @type {Map<string, string[]>} */
  const groups = new Map();
  /** @param {Conversation | undefined} conversation */
  function members(conversation) {
    if (!conversation) return '';
    if (conversation.left) return 'You are no member any more';
    return groups.get(conversation.id)?.join(', ') ?? 'Group';
  }

  /** @param {boolean} group */
  function drawLog(group) {
    const log = byId('log');
    const bottom = log.scrollHeight - log.scrollTop - log.clientHeight;
    const top = log.scrollTop;
    const height = log.scrollHeight;
    const now = client.now;
    /** @type {Node[]} */
    const nodes = [older()];
    let [before, tier, date, marked] = [/** @type {Message | undefined} */ (undefined), '', '', false];
    const gaps = client.state.gaps.filter((gap) => gap.conversation === open);
    for (const message of client.messages(open)) {
      const itsTier = tierOf(message.at, now);
      if (itsTier !== tier) {
        tier = itsTier;
        nodes.push(mark(`tier-${tier}`, 'tier', `${TIERS[itsTier].name} · ${TIERS[itsTier].span}`));
      }
      const itsDay = day(message.at, now);
      if (itsDay !== date) {
        date = itsDay;
        nodes.push(mark(`day-${date}`, 'day', date));
        before = undefined;
      }
      const gap = gaps.find((one) => before && before.sequence < one.from && message.sequence > one.to);
      if (gap) nodes.push(mark(`gap-${gap.from}`, 'gap', missing(gap)));
      if (!marked && unreadFrom && message.sequence >= unreadFrom && !message.own) {
        marked = true;
        nodes.push(mark('new', 'new', 'New'));
        before = undefined;
      }
      const place = bubbles.get(message) ?? element('div');
      bubbles.set(message, place);
      const first = before?.from !== message.from || message.at - before.at > 3_600_000;
      bubble(place, message, { first, group, young: now - message.at < YOUNG, act });
      nodes.push(place);
      before = message;
    }
    arrange(log, nodes);
    // At the end one stays at the end; elsewhere the view stays where it is while more comes above.
    if (bottom < 60) log.scrollTop = log.scrollHeight;
    else if (top < 40) log.scrollTop = top + log.scrollHeight - height;
  }

  /** @param {{ from: number, to: number }} gap */
  const missing = ({ from, to }) =>
    from === to ? `Number ${from} is missing; asking for it` : `Numbers ${from} to ${to} are missing; asking for them`;

  /** @type {Map<string, HTMLElement>} */
  const marks = new Map();
  /** @param {string} key @param {string} kind @param {string} text */
  function mark(key, kind, text) {
    const id = `${open} ${key}`;
    const made = marks.get(id) ?? element('div', { class: `mark ${kind}` });
    made.setAttribute('role', 'separator');
    made.dataset.mark = key;
    if (made.textContent !== text) made.textContent = text;
    marks.set(id, made);
    return made;
  }

  const olderPlace = element('div', { class: 'older' });
  function older() {
    const past = pasts.get(open);
    const key = past?.loading ? 'loading' : (past?.next?.tier ?? (past ? 'end' : 'wait'));
    if (olderPlace.dataset.next === key) return olderPlace;
    olderPlace.dataset.next = key;
    if (!past || past.loading) olderPlace.replaceChildren(element('span', { text: 'Loading…' }));
    else if (!past.next) olderPlace.replaceChildren(element('span', { text: 'The conversation begins here' }));
    else {
      const button = element('button', { text: TIERS[past.next.tier].open });
      button.onclick = () => void loadPast(open, true);
      olderPlace.replaceChildren(button);
    }
    return olderPlace;
  }

  function drawTiers() {
    const past = pasts.get(open);
    const count = { recent: 0, month: 0, archive: 0 };
    for (const message of client.messages(open)) count[tierOf(message.at, client.now)] += 1;
    const chips = /** @type {Tier[]} */ (['recent', 'month', 'archive']).map((tier) => {
      const opened = past?.opened.has(tier) ?? false;
      const made = element('li', { class: opened ? 'open' : '', title: TIERS[tier].span }, [
        new Text(`${TIERS[tier].name} `),
        element('b', { text: opened ? String(count[tier]) : '–' }),
      ]);
      made.dataset.tier = tier;
      return made;
    });
    byId('tiers').replaceChildren(...chips);
  }

  // Conversations ----------------------------------------------------------------------------------------------------

  /** @param {string} id */
  function openTalk(id) {
    const conversation = client.conversations.find((one) => one.id === id);
    open = id;
    unreadFrom = conversation?.unread ? conversation.read + 1 : 0;
    stopEditing();
    void loadPast(id);
    if (conversation?.kind === 'group') void askMembers(conversation);
    draw();
    void askPresence();
    queueMicrotask(() => {
      byId('log').scrollTop = byId('log').scrollHeight;
      byId('log').querySelector('.mark.new')?.scrollIntoView({ block: 'center' });
      readOpen();
      byId('words').focus();
    });
  }

  /**
   * The recent past comes by itself, the rest when it is asked for: page by page, through one tier.
   * @param {string} id
   * @param {boolean} [asked]
   */
  async function loadPast(id, asked = false) {
    const past = pasts.get(id) ?? { next: { tier: 'recent' }, loading: false, opened: new Set() };
    pasts.set(id, past);
    if (past.loading || !past.next || client.state.name !== 'online') return;
    const { tier } = past.next;
    if (!asked && tier !== 'recent') return;
    past.loading = true;
    draw();
    try {
      while (past.next?.tier === tier) {
        const page = await client.history(id, { ...past.next, limit: 25 });
        past.opened.add(tier);
        past.next = page.next;
      }
    } catch (error) {
      const { code } = /** @type {ClientError} */ (error);
      // Nothing was said in it yet.
      if (code === 'not_found') past.next = undefined;
      else if (code !== 'unavailable') toast(`The past cannot be loaded: ${/** @type {Error} */ (error).message}`);
    }
    past.loading = false;
    draw();
    readOpen();
  }

  /** What is on the screen is read. */
  function readOpen() {
    if (open && document.visibilityState === 'visible' && document.hasFocus()) client.read(open);
  }
  addEventListener('focus', readOpen);
  document.addEventListener('visibilitychange', readOpen);

  /** @param {Conversation} conversation */
  async function askMembers(conversation) {
    const group = await client.group(conversation.with).catch(() => undefined);
    if (group) groups.set(conversation.id, group.members.map((member) => member.user));
    draw();
  }

  async function askPresence() {
    const users = client.conversations.filter((one) => one.kind === 'direct').map((one) => one.with);
    if (!users.length || client.state.name !== 'online') return;
    const found = await client.presence(users).catch(() => undefined);
    if (!found) return;
    here.clear();
    for (const [name, devices] of found) {
      if (devices.length) here.set(name, Math.max(...devices.map((device) => device.seenAt)));
    }
    draw();
  }
  setInterval(askPresence, 5000);

  // What the user does -----------------------------------------------------------------------------------------------

  /** @param {string} what @param {Message} message */
  async function act(what, message) {
    if (what === 'edit') return edit(message);
    if (what === 'discard') return client.discard(message);
    try {
      if (what === 'recall') await client.recall(message);
      else await client.resend(message);
    } catch (error) {
      toast(/** @type {Error} */ (error).message);
    }
  }

  /** @param {Message} message */
  function edit(message) {
    editing = message;
    byId('editing').hidden = false;
    byId('words').value = words(message);
    byId('words').focus();
  }

  function stopEditing() {
    editing = undefined;
    byId('editing').hidden = true;
    byId('words').value = '';
  }
  byId('edit-cancel').onclick = stopEditing;

  byId('composer').onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = byId('words').value.trim();
    if (!text || !open) return;
    if (editing) client.edit(editing, { type: 'text', text }).catch((error) => toast(error.message));
    else {
      unreadFrom = 0;
      client.send(open, { type: 'text', text }).catch(() => {});
      queueMicrotask(() => (byId('log').scrollTop = byId('log').scrollHeight));
    }
    stopEditing();
  };
  byId('words').onkeydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') stopEditing();
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId('composer').requestSubmit();
  };
  byId('start').onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const name = byId('start-name').value.trim();
    if (name) openTalk(conversationId(user, { user: name }));
    byId('start-name').value = '';
  };
  byId('back').onclick = () => {
    open = '';
    draw();
  };

  const menu = byId('menu');
  const toggle = (/** @type {boolean} */ shown) => {
    menu.hidden = !shown;
    byId('menu-button').ariaExpanded = String(shown);
  };
  byId('menu-button').onclick = () => toggle(menu.hidden);
  document.addEventListener('click', (event) => {
    if (!byId('menu-button').contains(event.target)) toggle(false);
  });
  document.addEventListener('keydown', (event) => event.key === 'Escape' && toggle(false));
  const demo = (/** @type {string} */ path, /** @type {object} */ body) =>
    post(path, body).catch((error) => toast(error.message));
  byId('restart').onclick = () => demo('demo/restart', {});
  byId('kick').onclick = () => demo('demo/kick', { user });

  byId('new-group').onclick = () => byId('group').showModal();
  byId('group-cancel').onclick = () => byId('group').close();
  let creating = false;
  byId('group-form').onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    // Asked twice while the service thinks, there would be two groups.
    if (creating) return;
    creating = true;
    const name = byId('group-name').value.trim();
    const id = `${name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}-${Date.now().toString(36)}`;
    const users = byId('group-members').value.split(/[\s,]+/).filter(Boolean);
    try {
      await client.createGroup(id, name, users);
      byId('group').close();
      byId('group-form').reset();
      openTalk(conversationId(user, { group: id }));
    } catch (error) {
      toast(/** @type {Error} */ (error).message);
    } finally {
      creating = false;
    }
  };

  byId('ended-again').onclick = () => {
    byId('ended').close();
    client.start();
  };

  let toasted = 0;
  /** @param {string} text */
  function toast(text) {
    byId('toast').textContent = text;
    byId('toast').hidden = false;
    clearTimeout(toasted);
    toasted = setTimeout(() => (byId('toast').hidden = true), 5000);
  }

  drawState();
  client.start();
}
