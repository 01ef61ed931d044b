// The JavaScript client in Node, against the product in a process of its own.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Client, conversationId, targetOf, tierOf } from '../../adapters/selfhosted/clients/javascript/switchboard.js';
import { Sidecar, eventually } from './product.mjs';

/** @type {Sidecar} */
let sidecar;
before(async () => {
  sidecar = await Sidecar.start();
});
after(() => sidecar.close());

let people = 0;
/** Names nobody else uses. */
const fresh = (name) => `${name}${++people}`;
const text = (words) => ({ type: 'text', text: words });
const said = (client, conversation) =>
  client.messages(conversation).map((message) => (message.recalled ? '-' : message.body?.text));

/** A client with everything it has told. */
function client(user, options = {}) {
  const made = new Client({
    user,
    device: 'node',
    url: () => sidecar.gate,
    token: () => sidecar.token(user),
    WebSocket,
    retryFirst: 100,
    retryLongest: 500,
    ...options,
  });
  const told = { states: [], news: [], gaps: [], kicks: [], receipts: [], resets: 0 };
  made.on('state', (state) => told.states.push(state));
  made.on('message', ({ message, change, live }) => {
    if (change === 'new') told.news.push({ words: message.body?.text, position: message.position, live });
  });
  made.on('gap', (gap) => told.gaps.push(gap));
  made.on('kicked', (kick) => told.kicks.push(kick));
  made.on('receipt', (receipt) => told.receipts.push(receipt));
  made.on('reset', () => (told.resets += 1));
  made.told = told;
  return made;
}

async function online(user, options) {
  const made = client(user, options);
  made.start();
  await eventually(`${user} is online`, () => made.state.name === 'online');
  return made;
}
const names = (made) => made.told.states.map((state) => state.name).filter((name, at, all) => name !== all[at - 1]);

test('conversation ids are the service’s, both ways', async () => {
  for (const [me, other] of [['alice', 'bob'], ['bob', 'alice'], ['a', 'B'], ['a', 'ab'], ['é', 'z'], ['x', 'y z~!']]) {
    const id = conversationId(me, { user: other });
    assert.deepEqual(targetOf(me, id), { user: other }, id);
    assert.equal(conversationId(other, { user: me }), id);
  }
  assert.equal(conversationId('bob', { user: 'alice' }), 'direct~alice~bob');
  assert.equal(conversationId('x', { user: 'y z~!' }), 'direct~x~y!20z!7e!21');
  assert.equal(conversationId('x', { group: 'g.1' }), 'group~g.1');
  // And the service agrees.
  const [me, other] = [fresh('Zoe'), fresh('y!z@a')];
  await sidecar.token(other);
  const mine = await online(me);
  const message = await mine.send({ user: other }, text('hi'));
  const [listed] = (await mine.request('conversations', {})).conversations;
  assert.equal(listed.id, message.conversation);
  mine.close();
});

test('tiers have their bounds', () => {
  const [now, day] = [1_800_000_000_000, 86_400_000];
  const tiers = [0, 7 * day, 7 * day + 1, 30 * day, 30 * day + 1].map((ago) => tierOf(now - ago, now));
  assert.deepEqual(tiers, ['recent', 'recent', 'month', 'month', 'archive']);
});

test('the backlog comes first, page by page, and what is live after it', async () => {
  const [me, other] = [fresh('reader'), fresh('writer')];
  await sidecar.token(me);
  const writer = await online(other);
  for (let n = 0; n < 45; n += 1) await writer.send({ user: me }, text(`b${n}`));
  const reader = client(me, { pageSize: 10 });
  // Something is said at every step of the walk.
  let said = 0;
  reader.on('state', () => void writer.send({ user: me }, text(`l${said++}`)));
  reader.start();
  await eventually('all has come', () => {
    const { news } = reader.told;
    return said > 5 && news.length === 45 + said && news.at(-1).live;
  });
  assert.deepEqual(names(reader), ['connecting', 'syncing', 'online']);
  const percents = reader.told.states.filter((state) => state.name === 'syncing').map((state) => state.percent);
  assert.ok(percents.length > 3 && percents.every((one, at) => at === 0 || one >= percents[at - 1]), `${percents}`);
  assert.ok(percents.at(-1) > 50 && percents.at(-1) < 100, `${percents}`);
  const { news } = reader.told;
  assert.ok(news.every((one, at) => at === 0 || one.position > news[at - 1].position), 'in order');
  assert.equal(new Set(news.map((one) => one.words)).size, news.length, 'once');
  const first = news.findIndex((one) => one.live);
  assert.ok(first >= 45 && news.slice(first).every((one) => one.live), 'nothing live before the backlog has ended');
  assert.deepEqual(news.filter((one) => one.words[0] === 'b').map((one) => one.words), Array.from({ length: 45 }, (_, n) => `b${n}`));
  reader.close();
  writer.close();
});

test('an entry is acknowledged after it was accepted, and comes again otherwise', async () => {
  const [me, other] = [fresh('reader'), fresh('writer')];
  await sidecar.token(me);
  const writer = await online(other);
  await writer.send({ user: me }, text('one'));
  const refused = [];
  const broken = client(me, {
    accept: (messages) => {
      refused.push(...messages.map((message) => message.body.text));
      throw new Error('the disk is full');
    },
  });
  broken.start();
  await eventually('it was offered twice', () => refused.length >= 2);
  broken.close();
  assert.ok(!names(broken).includes('online'));

  const kept = [];
  const store = { accept: (messages) => new Promise((resolve) => setTimeout(() => (kept.push(...messages), resolve()), 20)) };
  const good = await online(me, store);
  await writer.send({ user: me }, text('two'));
  await eventually('both are kept', () => kept.length === 2);
  await eventually('the sender knows', () => writer.messages(kept[1].conversation).at(-1).state === 'delivered');
  good.close();
  const again = await online(me, store);
  assert.equal(again.told.news.length, 0, 'what was accepted does not come again');
  again.close();
  writer.close();
});

test('sent, delivered, read; unread counts; recall and edit', async () => {
  const [me, other] = [fresh('alice'), fresh('bob')];
  await sidecar.token(other);
  const alice = await online(me);
  const waiting = alice.send({ user: other }, text('one'), { clientId: 'key-1' });
  const conversation = conversationId(me, { user: other });
  assert.equal(alice.messages(conversation)[0].state, 'queued');
  const one = await waiting;
  assert.equal(one.state, 'sent');
  assert.ok(one.id && one.sequence === 1 && one.position > 0);
  await alice.send({ user: other }, text('one again'), { clientId: 'key-1' }).catch(() => {});

  const bob = await online(other);
  await eventually('delivered', () => one.state === 'delivered');
  const two = await alice.send({ user: other }, text('two'));
  const three = await alice.send({ user: other }, text('three'));
  const unread = () => bob.conversations.find((kept) => kept.id === conversation)?.unread;
  await eventually('three are unread', () => unread() === 3);
  await alice.recall(two);
  await eventually('a recalled message is not unread', () => unread() === 2);
  assert.deepEqual(said(bob, conversation), ['one', '-', 'three']);
  await bob.send({ user: me }, text('own'));
  assert.equal(unread(), 2, 'an own message is never unread');
  assert.equal(await alice.edit(three, text('drei')), 1);
  await eventually('the edit has come', () => said(bob, conversation)[2] === 'drei');
  bob.read(conversation, 1);
  await eventually('read', () => one.state === 'read' && three.state === 'delivered');
  await eventually('one is left', () => unread() === 1);
  bob.read(conversation);
  await eventually('none is left', () => unread() === 0 && three.state === 'read');

  // Another device of bob hears of it, and counts the same.
  const phone = await online(other, { device: 'phone', deviceClass: 'phone' });
  await alice.send({ user: other }, text('four'));
  const onPhone = () => phone.conversations.find((kept) => kept.id === conversation)?.unread;
  await eventually('unread on both', () => unread() === 1 && onPhone() === 1);
  phone.read(conversation);
  await eventually('read on both', () => unread() === 0 && onPhone() === 0);
  const mine = [];
  phone.on('conversations', () => mine.push(onPhone()));
  await bob.send({ user: me }, text('from my other device'));
  await eventually('it is on the phone', () => said(phone, conversation).at(-1) === 'from my other device');
  await eventually('the list is told of it', () => mine.length > 0);
  assert.ok(mine.every((count) => count === 0), 'what I said elsewhere is never unread');
  // Marks never go back.
  bob.read(conversation, 1);
  await alice.send({ user: other }, text('five'));
  await eventually('one', () => unread() === 1 && onPhone() === 1);
  for (const made of [alice, bob, phone]) made.close();
});

test('what the service refuses has failed, and may be tried again or forgotten', async () => {
  const me = fresh('alice');
  const nobody = fresh('nobody');
  const alice = await online(me);
  await assert.rejects(alice.send({ user: nobody }, text('hello?')), { code: 'not_found' });
  const [message] = alice.messages(conversationId(me, { user: nobody }));
  assert.deepEqual([message.state, message.error.code], ['failed', 'not_found']);
  await alice.send({ user: me }, text('a note'));
  await sidecar.token(nobody);
  await alice.resend(message);
  assert.equal(message.state, 'sent');
  await assert.rejects(alice.send({ user: nobody }, { type: 'no_such' }), { code: 'invalid_input' });
  const failed = alice.messages(message.conversation).at(-1);
  alice.discard(failed);
  assert.deepEqual(said(alice, message.conversation), ['hello?']);
  await assert.rejects(alice.recall('0192aaaa-0000-7000-8000-000000000000'), { code: 'not_found' });
  alice.close();
});

test('nobody waits for a request that is cancelled; presence', async () => {
  const alice = await online(fresh('alice'));
  const stop = new AbortController();
  const asked = alice.request('presence', { users: [] }, { signal: stop.signal });
  stop.abort();
  await assert.rejects(asked, { code: 'closed' });
  assert.equal((await alice.presence([alice.user])).get(alice.user)[0].device, 'node');
  alice.close();
  await assert.rejects(alice.request('presence', { users: [] }), { code: 'unavailable' });
});

test('groups: made, named, changed, left', async () => {
  const [me, other, third] = [fresh('alice'), fresh('bob'), fresh('carol')];
  for (const user of [other, third]) await sidecar.token(user);
  const [alice, bob] = [await online(me), await online(other)];
  const id = fresh('g');
  const changes = [];
  bob.on('group', ({ change, value }) => changes.push([change, value]));
  await alice.createGroup(id, 'Friends', [other]);
  const conversation = conversationId(me, { group: id });
  await alice.send({ group: id }, text('welcome'));
  await eventually('bob sees it', () => said(bob, conversation)[0] === 'welcome');
  await eventually('it has a name', () => bob.conversations[0].name === 'Friends' && bob.conversations[0].unread === 1);
  await alice.changeGroup(id, 'add', { users: [third] });
  await alice.changeGroup(id, 'set_role', { users: [other], role: 'admin' });
  await bob.changeGroup(id, 'rename', { name: 'Best friends' });
  await eventually('renamed', () => alice.conversations[0].name === 'Best friends');
  const group = await bob.group(id);
  const roles = new Map(group.members.map((one) => [one.user, one.role]));
  assert.deepEqual([me, other, third].map((one) => roles.get(one)), ['owner', 'admin', 'member']);
  await bob.changeGroup(id, 'mute', { users: [third], until: Date.now() + 60_000 });
  const { members } = await bob.group(id);
  assert.ok(members.find((one) => one.user === third).mutedUntil > Date.now());
  await alice.changeGroup(id, 'remove', { users: [other] });
  await eventually('bob is out', () => bob.conversations[0].left);
  await assert.rejects(bob.send({ group: id }, text('still here?')), { code: 'forbidden' });
  // What was said meanwhile is no gap to one who comes back.
  await alice.send({ group: id }, text('bob is out'));
  await alice.changeGroup(id, 'add', { users: [other] });
  await eventually('bob is back', () => !bob.conversations[0].left);
  assert.deepEqual(bob.told.gaps, []);
  assert.deepEqual(changes.map(([change]) => change), ['created', 'joined', 'role', 'renamed', 'muted', 'removed', 'joined']);
  alice.close();
  bob.close();
});

test('history: pages of a tier, newest first, to the very end', async () => {
  const [me, other] = [fresh('alice'), fresh('bob')];
  await sidecar.token(other);
  const alice = await online(me);
  for (let n = 1; n <= 25; n += 1) await alice.send({ user: other }, text(`${n}`));
  const bob = client(other);
  const conversation = conversationId(me, { user: other });
  bob.start();
  await eventually('online', () => bob.state.name === 'online');
  const seen = [];
  let next = { tier: 'recent' };
  let pages = 0;
  while (next) {
    const page = await bob.history(conversation, { ...next, limit: 10 });
    seen.push(...page.messages.map((message) => message.sequence));
    next = page.next;
    pages += 1;
  }
  assert.deepEqual(seen, Array.from({ length: 25 }, (_, n) => 25 - n));
  assert.equal(pages, 3);
  for (const tier of ['month', 'archive']) {
    assert.deepEqual(await bob.history(conversation, { tier, limit: 10 }), { messages: [] });
  }
  assert.equal(bob.told.news.length, 25, 'history tells of nothing twice');
  await assert.rejects(bob.history('direct~nobody~noone'), { code: 'not_found' });
  alice.close();
  bob.close();
});

test('a second login of the same class kicks the first, with a word before the close', async () => {
  const me = fresh('alice');
  const token = await sidecar.token(me);
  const first = await online(me);
  const second = await online(me, { device: 'other', token });
  await eventually('the first is out', () => first.state.name === 'ended');
  assert.deepEqual(first.told.kicks, [{ reason: 'other_device', byDevice: 'other' }]);
  assert.equal(first.state.reason, 'other_device');
  await sidecar.ask('POST', `/v1/users/${me}/kick`);
  await eventually('the second is out', () => second.state.reason === 'forced');
  // Who is kicked stays away until told otherwise.
  second.start();
  await eventually('and may come again', () => second.state.name === 'online');
  await sidecar.ask('POST', `/v1/users/${me}/ban`, {});
  await eventually('banned', () => second.state.reason === 'banned');
  second.start();
  await eventually('refused', () => second.state.name === 'ended' && second.state.reason !== 'banned');
  assert.equal(second.state.reason, 'forbidden');
});

test('a token that is not good is an end, not a reason to try for ever', async () => {
  const me = fresh('alice');
  let asked = 0;
  const alice = client(me, { token: () => (asked++, 'sb1.1.x') });
  alice.start();
  await eventually('ended', () => alice.state.name === 'ended');
  assert.deepEqual([alice.state.reason, asked], ['unauthorized', 1]);
  assert.match(alice.state.detail, /token/);
  assert.deepEqual(names(alice), ['connecting', 'ended']);
});

test('what is reported reaches the business', async () => {
  const me = fresh('alice');
  const alice = await online(me);
  await sidecar.ask('PUT', '/v1/subscribers/ears', { topics: ['messages'], start: 'now' });
  await alice.report('feedback', { stars: 5 });
  const heard = await eventually('the report is heard', async () => {
    const page = await sidecar.ask('GET', '/v1/subscribers/ears/events?wait=1');
    return page && JSON.stringify(page).includes('feedback') && page;
  });
  assert.match(JSON.stringify(heard), /"stars\\?":5/);
  alice.close();
});

test('sealed content passes as it is', async () => {
  const [me, other] = [fresh('alice'), fresh('bob')];
  await sidecar.token(other);
  const [alice, bob] = [await online(me), await online(other)];
  const secret = Uint8Array.from({ length: 300 }, (_, n) => n % 256);
  await alice.send({ user: other }, secret);
  const conversation = conversationId(me, { user: other });
  const got = await eventually('it is there', () => bob.messages(conversation)[0]);
  assert.deepEqual([...got.sealed], [...secret]);
  assert.equal(got.body, undefined);
  alice.close();
  bob.close();
});

test('kill -9 and a restart: degraded, then online; nothing is lost, nothing comes twice', async () => {
  const [me, other] = [fresh('alice'), fresh('bob')];
  await sidecar.token(other);
  const alice = await online(me);
  const bob = await online(other);
  const sends = [];
  const conversation = conversationId(me, { user: other });
  const speaking = (async () => {
    for (let n = 0; n < 120; n += 1) {
      sends.push(alice.send({ user: other }, text(`m${n}`)));
      if (n % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  await eventually('some have come', () => said(bob, conversation).length > 10);
  await sidecar.end('SIGKILL');
  await eventually('both know', () => alice.state.name === 'degraded' && bob.state.name === 'degraded');
  await speaking;
  bob.read(conversation);
  await sidecar.again();
  await Promise.all(sends);
  await eventually('all has come', () => said(bob, conversation).length === 120);
  const expected = Array.from({ length: 120 }, (_, n) => `m${n}`);
  assert.deepEqual(said(bob, conversation), expected);
  assert.deepEqual(said(alice, conversation), expected);
  assert.deepEqual(bob.told.news.map((one) => one.words), expected, 'each was told once');
  const sequences = bob.messages(conversation).map((message) => message.sequence);
  assert.deepEqual(sequences, Array.from({ length: 120 }, (_, n) => n + 1));
  await eventually('both are back', () => alice.state.name === 'online' && bob.state.name === 'online');
  assert.deepEqual(names(bob), ['connecting', 'syncing', 'online', 'degraded', 'syncing', 'online']);
  await eventually('what was read meanwhile is said', () => alice.messages(conversation)[0].state === 'read');
  assert.equal(bob.told.resets, 0);
  alice.close();
  bob.close();
});

test('what was not sent survives a reload', async () => {
  const [me, other] = [fresh('alice'), fresh('bob')];
  await sidecar.token(other);
  const kept = new Map();
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
  const before = client(me, { storage });
  // Never connected: all of it waits.
  void before.send({ user: other }, text('one'));
  void before.send({ user: other }, text('two'));
  const after = client(me, { storage });
  const conversation = conversationId(me, { user: other });
  assert.deepEqual(after.messages(conversation).map((message) => message.state), ['queued', 'queued']);
  after.start();
  await eventually('sent', () => after.messages(conversation).every((message) => message.state === 'sent'));
  assert.equal(kept.size, 0);
  // The page before sends them too: under the same keys they are the same messages.
  before.start();
  await eventually('sent again', () => before.messages(conversation).every((message) => message.sequence > 0));
  const bob = await online(other);
  assert.deepEqual(said(bob, conversation), ['one', 'two']);
  for (const made of [before, after, bob]) made.close();
});
