// The JavaScript client against a gate that does what a real one must not, or does seldom: a scripted one.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import WebSocket, { WebSocketServer } from 'ws';
import { Client, conversationId } from '../../adapters/selfhosted/clients/javascript/switchboard.js';
import { Sidecar, eventually } from './product.mjs';

const CONVERSATION = 'direct~alice~bob';
const text = (words) => ({ type: 'text', text: words });

/** The entry of a message of bob's. */
const entry = (position, sequence, words, more = {}) => ({
  position: String(position),
  ...(sequence && { sequence: String(sequence) }),
  conversation: CONVERSATION,
  at: String(Date.now()),
  id: `id-${position}`,
  by: 'bob',
  message: { content: { body: JSON.stringify(text(words)) }, to: { user: 'alice' } },
  ...more,
});

class Gate {
  /** @param {Record<string, (body: any, say: any) => any>} script */
  constructor(script) {
    this.script = script;
    this.heard = [];
    this.connections = 0;
    this.server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'switchboard.gate.v1.json' });
    this.server.on('connection', (socket) => this.#serve(socket));
  }

  get url() {
    return `ws://127.0.0.1:${/** @type {any} */ (this.server.address()).port}`;
  }

  #serve(socket) {
    this.connections += 1;
    this.socket = socket;
    socket.on('message', (data) => {
      const packet = JSON.parse(String(data));
      this.heard.push({ ...packet, when: Date.now() });
      if (packet.kind !== 'request') return;
      const plain = {
        login: () => ({ heartbeatMs: 60_000, serverTime: String(Date.now()), tail: '1000' }),
        pull: () => ({}),
        heartbeat: () => ({ heartbeatMs: 60_000 }),
        conversations: () => ({}),
        history: () => ({}),
        read: () => ({}),
      };
      const answer = (this.script[packet.command] ?? plain[packet.command])(packet.body ?? {}, this);
      if (answer === undefined) return;
      const { fault, ...body } = answer;
      this.tell({ kind: 'ack', command: packet.command, id: packet.id, ...(fault ? { error: true, body: fault } : { body }) });
    });
  }

  tell(packet) {
    this.socket.send(JSON.stringify(packet));
  }

  deliver(...entries) {
    for (const one of entries) this.tell({ kind: 'notify', command: 'deliver', id: one.position, body: one });
  }

  asked(command) {
    return this.heard.filter((packet) => packet.kind === 'request' && packet.command === command);
  }

  acked() {
    return this.heard.filter((packet) => packet.kind === 'ack' && packet.command === 'deliver').map((packet) => packet.id);
  }

  close() {
    for (const socket of this.server.clients) socket.terminate();
    this.server.close();
  }
}

async function scripted(script, options, check) {
  const gate = new Gate(script);
  await once(gate.server, 'listening');
  const client = new Client({
    ...{ user: 'alice', device: 'test', url: gate.url, token: 'a token', WebSocket, retryFirst: 50, retryLongest: 400 },
    ...options,
  });
  const told = { states: [], news: [], gaps: [], resets: 0, kicks: [] };
  client.on('state', (state) => told.states.push(state));
  client.on('message', ({ message, change }) => told.news.push([change, message.body?.text, message.sequence]));
  client.on('gap', (gap) => told.gaps.push(gap));
  client.on('kicked', (kick) => told.kicks.push(kick));
  client.on('reset', () => (told.resets += 1));
  client.start();
  try {
    await check({ gate, client, told, online: () => eventually('online', () => client.state.name === 'online') });
  } finally {
    client.close();
    gate.close();
  }
}

const said = (client) => client.messages(CONVERSATION).map((message) => message.body?.text);

test('a gap is known, asked for, and filled in its place', async () => {
  let answer;
  const script = {
    history: (body) => {
      assert.deepEqual(body, { conversation: CONVERSATION, before: '5', limit: 100 });
      return answer;
    },
  };
  await scripted(script, {}, async ({ gate, client, told, online }) => {
    await online();
    gate.deliver(entry(11, 1, 'one'), entry(12, 2, 'two'), entry(15, 5, 'five'));
    await eventually('the gap is told', () => told.gaps.length === 1);
    const gap = { conversation: CONVERSATION, from: 3, to: 4, filled: false };
    assert.deepEqual([told.gaps[0], client.state.gaps], [gap, [gap]]);
    assert.equal(client.state.name, 'online');
    await eventually('the history is asked', () => gate.asked('history').length === 1);
    // No answer: the link goes, and the gap stays known until the next one fills it.
    answer = { entries: [entry(14, 4, 'four'), entry(13, 3, 'three'), entry(12, 2, 'two')] };
    gate.socket.terminate();
    await eventually('the gap is filled', () => told.gaps.length === 2);
    assert.deepEqual([told.gaps[1], client.state.gaps], [{ ...gap, filled: true }, []]);
    assert.deepEqual(said(client), ['one', 'two', 'three', 'four', 'five']);
    assert.equal(told.news.length, 5, 'each was told once');
    gate.deliver(entry(16, 6, 'six'));
    await eventually('it goes on', () => said(client).length === 6);
    assert.equal(told.gaps.length, 2);
  });
});

test('what comes twice is shown once and acknowledged again', async () => {
  const accepted = [];
  const accept = (messages) => void accepted.push(...messages.map((message) => message.sequence));
  await scripted({}, { accept }, async ({ gate, client, told, online }) => {
    await online();
    gate.deliver(entry(11, 1, 'one'));
    await eventually('acknowledged', () => gate.acked().includes('11'));
    gate.deliver(entry(11, 1, 'one'), entry(12, 2, 'two'));
    await eventually('acknowledged', () => gate.acked().includes('12'));
    // Also over a reconnect, in a page of the backlog.
    gate.script.pull = (body) => (body.after === '0' ? { entries: [entry(12, 2, 'two'), entry(13, 3, 'three')], cursor: '13' } : {});
    gate.script.login = () => ({ heartbeatMs: 60_000, cursor: '11', tail: '13' });
    gate.socket.terminate();
    await eventually('the third has come', () => said(client).length === 3);
    assert.deepEqual(told.news, [['new', 'one', 1], ['new', 'two', 2], ['new', 'three', 3]]);
    assert.equal(told.resets, 0);
    assert.deepEqual(accepted, [1, 2, 3], 'also to be stored once');
  });
});

test('nothing is acknowledged, by a pull or one by one, before it is accepted', async () => {
  const waiting = [];
  const accept = () => new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  const script = {
    pull: (body) => (body.after === '0' ? { entries: [entry(11, 1, 'one')], cursor: '11' } : {}),
  };
  await scripted(script, { accept }, async ({ gate, client, told }) => {
    await eventually('the page is offered', () => waiting.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([gate.asked('pull').length, client.state.name], [1, 'syncing']);
    waiting.shift().resolve();
    await eventually('online', () => client.state.name === 'online');
    assert.deepEqual(gate.asked('pull').map((packet) => packet.body.after), ['0', '11']);
    gate.deliver(entry(12, 2, 'two'));
    await eventually('it is offered', () => waiting.length === 1);
    gate.deliver(entry(13, 3, 'three'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(gate.acked(), []);
    waiting.shift().resolve();
    await eventually('the first is acknowledged', () => gate.acked().length === 1);
    assert.deepEqual(gate.acked(), ['12']);
    // What cannot be accepted is not acknowledged, and comes again over another link.
    gate.script.pull = (body) => (body.after === '0' ? { entries: [entry(13, 3, 'three')], cursor: '13' } : {});
    gate.script.login = () => ({ heartbeatMs: 60_000, cursor: '12', tail: '13' });
    waiting.shift().reject(new Error('the disk is full'));
    await eventually('it is offered again', () => waiting.length === 1);
    waiting.shift().resolve();
    await eventually('acknowledged', () => gate.asked('pull').some((packet) => packet.body.after === '13'));
    assert.deepEqual(gate.acked(), ['12']);
    const why = told.states.find((state) => state.reason === 'not_accepted');
    assert.deepEqual([why.name, why.detail], ['degraded', 'the disk is full']);
  });
});

test('a kind of entry that a newer service adds is passed over and acknowledged', async () => {
  await scripted({}, {}, async ({ gate, client, online }) => {
    await online();
    const strange = entry(11, 1, '');
    delete strange.message;
    gate.deliver({ ...strange, reaction: { emoji: '👍' } }, entry(12, 2, 'two'));
    gate.tell({ kind: 'notify', command: 'something_new', id: '0', body: {} });
    await eventually('acknowledged', () => gate.acked().includes('12'));
    assert.deepEqual(said(client), ['two']);
    // And content that is no JSON harms nobody.
    gate.deliver(entry(13, 3, '', { message: { content: { body: '{' } } }));
    await eventually('acknowledged', () => gate.acked().includes('13'));
    assert.deepEqual(client.messages(CONVERSATION)[1].body, { type: 'unrecognised' });
  });
});

test('a push of the business is told and acknowledged', async () => {
  await scripted({}, {}, async ({ gate, client, online }) => {
    const pushes = [];
    client.on('push', (push) => pushes.push(push));
    await online();
    gate.tell({ kind: 'notify', command: 'push', id: '9', body: { topic: 'sale', data: '{"off":20}' } });
    await eventually('told', () => pushes.length === 1);
    assert.deepEqual(pushes, [{ topic: 'sale', data: { off: 20 } }]);
    await eventually('acknowledged', () => gate.heard.some((packet) => packet.kind === 'ack' && packet.command === 'push' && packet.id === '9'));
  });
});

test('what is said while a login is under way waits for it', async () => {
  let let_in;
  const script = {
    login: (_, gate) => {
      const { id } = gate.heard.at(-1);
      let_in = () => gate.tell({ kind: 'ack', command: 'login', id, body: { heartbeatMs: 60_000, tail: '9' } });
    },
    send: () => ({ id: 'm-1', position: '10', sequence: '1' }),
  };
  await scripted(script, {}, async ({ gate, client }) => {
    await eventually('a login is under way', () => let_in);
    const sent = client.send({ user: 'bob' }, text('early'));
    await assert.rejects(client.presence(['bob']), { code: 'unavailable' });
    let_in();
    assert.equal((await sent).sequence, 1);
    assert.equal(gate.heard[0].command, 'login');
    assert.equal(gate.connections, 1);
  });
});

test('closed and started again while a token is fetched: one session, not two', async () => {
  const tokens = [];
  const token = () => new Promise((resolve) => tokens.push(resolve));
  await scripted({}, { token }, async ({ gate, client, told, online }) => {
    await eventually('a token is asked for', () => tokens.length === 1);
    client.close();
    client.start();
    await eventually('another is', () => tokens.length === 2);
    for (const give of tokens) give('a token');
    await online();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual([gate.connections, gate.asked('login').length], [1, 1]);
    client.close();
    assert.equal(told.states.at(-1).reason, 'closed');
  });
});

test('edits end at the highest version, whatever their order; a recall is for ever', async () => {
  const edit = (position, sequence, version, words) => ({
    ...entry(position, sequence, ''),
    message: undefined,
    edit: { target: 'id-11', version, content: { body: JSON.stringify(text(words)) } },
  });
  await scripted({}, {}, async ({ gate, client, online }) => {
    await online();
    gate.deliver(entry(11, 1, 'first'), edit(12, 2, 3, 'third'), edit(13, 3, 2, 'second'));
    await eventually('taken', () => gate.acked().includes('13'));
    const [message] = client.messages(CONVERSATION);
    assert.deepEqual([message.body.text, message.version], ['third', 3]);
    // An older state out of the history changes nothing.
    gate.script.history = () => ({ entries: [entry(11, 1, 'first')] });
    await client.history(CONVERSATION);
    assert.equal(message.body.text, 'third');
    gate.deliver({ ...entry(14, 4, ''), message: undefined, recall: { target: 'id-11' } }, edit(15, 5, 9, 'ninth'));
    await eventually('taken', () => gate.acked().includes('15'));
    await client.history(CONVERSATION);
    assert.deepEqual([message.recalled, message.body], [true, undefined]);
    // A recall of what was never seen is harmless.
    gate.deliver({ ...entry(16, 6, ''), message: undefined, recall: { target: 'id-1' } }, entry(17, 7, 'seven'));
    await eventually('taken', () => gate.acked().includes('17'));
  });
});

test('no answer for a while is degraded, and the answer makes it online again', async () => {
  const script = {
    login: () => ({ heartbeatMs: 60, serverTime: String(Date.now()), tail: '1000' }),
    heartbeat: (_, gate) => {
      const { id } = gate.heard.at(-1);
      setTimeout(() => gate.tell({ kind: 'ack', command: 'heartbeat', id, body: { heartbeatMs: 60_000 } }), 120);
    },
  };
  await scripted(script, { slowAfter: 60, answerWithin: 2000 }, async ({ gate, client, told, online }) => {
    await online();
    await eventually('degraded', () => client.state.name === 'degraded');
    assert.equal(client.state.reason, 'slow');
    gate.deliver(entry(1001, 1, 'meanwhile'));
    await eventually('what comes is shown all the same', () => said(client).length === 1);
    await online();
    assert.equal(gate.connections, 1, 'over the same link');
    gate.script.login = () => ({ heartbeatMs: 60_000, serverTime: String(Date.now()), tail: '1001' });
    gate.socket.terminate();
    await eventually('another link', () => gate.connections === 2);
    await online();
    const words = told.states.map((state) => `${state.name}${state.reason && ` ${state.reason}`}`);
    assert.ok(words.includes('degraded slow') && words.includes('degraded lost'), `${words}`);
  });
});

test('a heartbeat without an answer ends the link', async () => {
  let beats = 0;
  const script = {
    login: () => ({ heartbeatMs: beats ? 60_000 : 50, serverTime: String(Date.now()) }),
    heartbeat: () => void (beats += 1),
  };
  await scripted(script, { slowAfter: 50, answerWithin: 150 }, async ({ gate, told, online }) => {
    await eventually('another link', () => gate.connections === 2);
    await online();
    assert.ok(told.states.some((state) => state.name === 'degraded' && state.reason === 'silent'));
    assert.equal(gate.heard.filter((packet) => packet.kind === 'cancel').length, 1, 'nobody waits any more, and says so');
  });
});

test('heartbeats follow the interval that the service names', async () => {
  const every = [80, 160, 320, 60_000];
  const script = {
    login: () => ({ heartbeatMs: every[0], serverTime: String(Date.now()) }),
    heartbeat: (_, gate) => ({ heartbeatMs: every[gate.asked('heartbeat').length] }),
  };
  await scripted(script, {}, async ({ gate, online }) => {
    await online();
    await eventually('three beats', () => gate.asked('heartbeat').length === 3);
    const times = [gate.asked('login')[0].when, ...gate.asked('heartbeat').map((packet) => packet.when)];
    const waits = times.slice(1).map((time, at) => time - times[at]);
    assert.ok(waits.every((wait, at) => wait >= every[at] * 0.85 && wait < every[at] + 2000), `${waits}`);
  });
});

test('it waits with full jitter, within its bounds, and longer each time', async () => {
  // The bound doubles from the first to the longest wait; chance says how much of it, and never less than 50 ms pass.
  const chances = [0, 0.1, 0.05, 0.1, 0.1];
  const bounds = [1000, 2000, 4000, 4000, 4000];
  const expected = bounds.map((bound, at) => Math.max(50, bound * chances[at]));
  let used = 0;
  const times = [];
  const client = new Client({
    ...{ user: 'alice', device: 'test', url: 'ws://127.0.0.1:9', WebSocket, retryFirst: 1000, retryLongest: 4000 },
    token: () => (times.push(Date.now()), 'a token'),
    random: () => chances[used++ % chances.length],
  });
  const states = [];
  const plans = [];
  client.on('state', (state) => {
    states.push(state);
    if (state.retryAt) plans.push(state.retryAt - Date.now());
  });
  client.start();
  await eventually('six tries', () => times.length === 6);
  client.close();
  const waits = times.slice(1).map((time, at) => time - times[at]);
  for (const [at, wait] of waits.entries()) {
    // How long it really was is also up to the machine; what was planned is not.
    assert.ok(wait >= expected[at] - 5, `wait ${at} was ${wait}, not ${expected[at]}`);
    assert.ok(plans[at] <= expected[at] + 1 && plans[at] > expected[at] - 40, `${plans[at]} was planned, not ${expected[at]}`);
  }
  const planned = states.filter((state) => state.retryAt);
  assert.deepEqual(planned.map((state) => state.attempt).slice(0, 5), [1, 2, 3, 4, 5]);
  assert.ok(planned.every((state) => state.reason === 'unavailable'));
  assert.ok(states.slice(0, -1).every((state) => state.name === 'connecting'), 'it was never online');
});

test('unread counts bear a list that is older, or newer, than what has come', async () => {
  const listed = (position, unread) => ({
    conversations: [{ id: CONVERSATION, unread: String(unread), last: entry(position, position - 40, `m${position}`) }],
  });
  const recall = (position) => ({ ...entry(position, position - 40, ''), message: undefined, recall: { target: 'id-1' } });
  const answers = [listed(50, 2)];
  await scripted({ conversations: () => answers.shift() ?? {} }, {}, async ({ gate, client, online }) => {
    const unread = () => client.conversations[0]?.unread;
    await online();
    await eventually('the list is there', () => unread() === 2);
    gate.deliver(entry(51, 11, 'm51'));
    await eventually('one more', () => unread() === 3);
    // The answer was made before 51 was written: it does not count, and the list is asked for again.
    answers.push(listed(50, 7), listed(51, 1));
    gate.deliver(recall(52));
    await eventually('asked twice', () => gate.asked('conversations').length === 3);
    await eventually('the newer counts', () => unread() === 1);
    // The answer knows 54 already: when it comes it is not counted again.
    answers.push(listed(54, 5));
    gate.deliver(recall(53));
    await eventually('the list knows more', () => unread() === 5);
    gate.deliver(entry(54, 14, 'm54'));
    await eventually('it has come', () => gate.acked().includes('54'));
    assert.equal(unread(), 5);
    gate.deliver(entry(55, 15, 'm55'));
    await eventually('and the next one counts', () => unread() === 6);
  });
});

test('states and marks never go back', async () => {
  let sent = 0;
  const script = { send: () => ({ id: `m-${++sent}`, position: String(sent), sequence: String(sent) }) };
  await scripted(script, {}, async ({ gate, client, online }) => {
    await online();
    for (const words of ['one', 'two', 'three']) await client.send({ user: 'bob' }, text(words));
    const states = () => client.messages(CONVERSATION).map((message) => message.state).join(' ');
    const marks = (delivered, read) =>
      gate.tell({ kind: 'notify', command: 'state', id: '0', body: { conversation: CONVERSATION, user: 'bob', delivered: String(delivered), read: String(read) } });
    marks(2, 0);
    await eventually('two are delivered', () => states() === 'delivered delivered sent');
    marks(3, 2);
    await eventually('two are read', () => states() === 'read read delivered');
    const receipts = [];
    client.on('receipt', (receipt) => receipts.push(receipt));
    marks(1, 1);
    marks(0, 0);
    await eventually('both were heard', () => receipts.length === 2);
    assert.equal(states(), 'read read delivered');
    assert.deepEqual([client.conversations[0].peerRead, client.conversations[0].peerDelivered], [2, 3]);
  });
});

test('too many writes at once are sent again after the wait that was asked for', async () => {
  let refused = 0;
  const script = {
    send: (_, gate) =>
      refused++ < 2
        ? { fault: { code: 'rate_limited', message: 'too many', retry: true, retryAfterMs: 120 } }
        : { id: `m-${gate.asked('send').length}`, position: String(gate.asked('send').length), sequence: String(gate.asked('send').length) },
  };
  await scripted(script, {}, async ({ gate, client, online }) => {
    await online();
    const sent = await Promise.all([client.send({ user: 'bob' }, text('one')), client.send({ user: 'bob' }, text('two'))]);
    assert.deepEqual(sent.map((message) => message.state), ['sent', 'sent']);
    const asked = gate.asked('send');
    const keys = asked.map((packet) => packet.body.clientId);
    assert.equal(new Set(keys.slice(0, 3)).size, 1, 'the first stays the first');
    assert.equal(asked.length, 4);
    assert.ok(asked[1].when - asked[0].when >= 115 && asked[2].when - asked[1].when >= 115);
    assert.equal(gate.connections, 1);
  });
});

test('an answer that never came is asked for again under the same key', async () => {
  let answered = false;
  const script = {
    send: (body) => (answered ? { id: 'm-1', position: '21', sequence: '1', repeated: true } : ((answered = true), undefined)),
  };
  await scripted(script, { answerWithin: 150, slowAfter: 1000 }, async ({ gate, client, told, online }) => {
    await online();
    const sent = await client.send({ user: 'bob' }, text('once'));
    assert.equal(sent.sequence, 1);
    const keys = gate.asked('send').map((packet) => packet.body.clientId);
    assert.deepEqual([keys.length, new Set(keys).size, gate.connections], [2, 1, 2]);
    assert.ok(told.states.some((state) => state.name === 'degraded' && state.reason === 'timeout'));
  });
});

test('another log behind the same address voids what was known', async () => {
  const script = { login: () => ({ heartbeatMs: 60_000, cursor: '40', tail: '90' }) };
  await scripted(script, {}, async ({ gate, client, told, online }) => {
    await online();
    gate.deliver(entry(91, 1, 'old'));
    await eventually('taken', () => said(client)[0] === 'old');
    gate.script.login = () => ({ heartbeatMs: 60_000, tail: '3' });
    let pulled = 0;
    gate.script.pull = () => (pulled++ ? {} : { entries: [entry(2, 1, 'fresh')], cursor: '2' });
    gate.socket.terminate();
    await eventually('the new log is shown', () => said(client)[0] === 'fresh');
    assert.deepEqual([told.resets, said(client)], [1, ['fresh']]);
  });
});

test('a fresh token is fetched before the old one ends, and after the service says it has', async () => {
  let tokens = 0;
  const script = {
    login: (body) => ({ heartbeatMs: 60_000, serverTime: String(Date.now()), tokenExpiresAt: body.token === 't1' ? String(Date.now() + 500) : '0' }),
  };
  await scripted(script, { token: () => `t${++tokens}` }, async ({ gate, client, told, online }) => {
    await eventually('a second login', () => gate.asked('login').length === 2);
    assert.equal(gate.asked('login')[1].body.token, 't2');
    await online();
    gate.tell({ kind: 'notify', command: 'kick', id: '0', body: { reason: 'REASON_TOKEN_ENDED' } });
    await eventually('a third', () => gate.asked('login').length === 3);
    await online();
    assert.deepEqual(told.kicks, [{ reason: 'token_ended', byDevice: '' }]);
    assert.equal(client.state.name, 'online');
  });
});

// What really runs, over a network that cuts every connection again and again.

/** @type {Sidecar} */
let sidecar;
before(async () => {
  sidecar = await Sidecar.start();
});
after(() => sidecar?.close());

/** A generator of chances by a seed (mulberry32). */
function chances(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A proxy that delays what passes and cuts each connection after a while, at any byte. */
function weather(to, chance) {
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(Number(new URL(to).port), '127.0.0.1');
    const end = () => (near.destroy(), far.destroy(), open.delete(end));
    open.add(end);
    setTimeout(end, 60 + chance() * 500);
    for (const [from, into] of [[near, far], [far, near]]) {
      let at = 0;
      /** @type {{ piece: Buffer, cut: boolean }[]} */
      const waiting = [];
      from.on('data', (data) => {
        at = Math.max(at, Date.now() + chance() * 12);
        // A cut may fall into the middle of a frame; what comes after it never arrives, as with any TCP connection.
        const cut = chance() < 0.04;
        waiting.push({ piece: cut ? data.subarray(0, Math.floor(data.length / 2)) : data, cut });
        setTimeout(() => {
          // Timers of one moment fire in any order, and a TCP connection keeps its own.
          const { piece, cut } = /** @type {any} */ (waiting.shift());
          if (into.writable) into.write(piece, () => cut && end());
        }, at - Date.now());
      });
      from.on('error', end);
      from.on('close', end);
    }
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const close = () => (server.close(), [...open].forEach((end) => end()));
      resolve({ url: `ws://127.0.0.1:${/** @type {any} */ (server.address()).port}`, close });
    });
  });
}

/**
 * @param {number} seed
 * @param {import('node:test').TestContext} context
 */
async function badWeather(seed, context) {
  const chance = chances(seed);
  const users = [`a${seed}`, `b${seed}`];
  const tokens = await Promise.all(users.map((user) => sidecar.token(user)));
  const proxy = await weather(sidecar.gate, chance);
  context.after(() => proxy.close());
  const told = [[], []];
  let connections = 0;
  const clients = users.map((user, at) => {
    const token = () => ((connections += 1), tokens[at]);
    const more = { retryFirst: 20, retryLongest: 100, answerWithin: 400, slowAfter: 200, pageSize: 7, random: chance };
    const client = new Client({ user, device: 'node', url: proxy.url, token, WebSocket, ...more });
    client.on('message', ({ message, change }) => change === 'new' && !message.own && told[at].push(message.body.text));
    client.start();
    // Also when time runs out: whoever goes on trying keeps the process from ending.
    context.after(() => client.close());
    return client;
  });
  const conversation = conversationId(users[0], { user: users[1] });
  const sends = [];
  for (let n = 0; n < 60; n += 1) {
    for (const client of clients) sends.push(client.send(conversation, text(`${client.user} ${n}`)));
    await new Promise((resolve) => setTimeout(resolve, chance() * 20));
  }
  await Promise.all(sends);
  const done = () => told.every((one) => one.length >= 60);
  const stand = () => clients.map(({ user, state }, at) => `${user} has ${told[at].length}, ${JSON.stringify(state)}`).join('; ');
  await eventually(() => `all has come with seed ${seed}: ${stand()}`, done, 60_000);
  const expected = (user) => Array.from({ length: 60 }, (_, n) => `${user} ${n}`);
  assert.deepEqual(told, [expected(users[1]), expected(users[0])]);
  for (const client of clients) {
    const sequences = client.messages(conversation).map((message) => message.sequence);
    assert.deepEqual(sequences, Array.from({ length: 120 }, (_, n) => n + 1));
  }
  assert.ok(connections > 6, `only ${connections} connections: the weather was fine`);
}

describe('nothing is lost, doubled or out of order in bad weather', { concurrency: true }, () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    test(`seed ${seed}`, { timeout: 90_000 }, (context) => badWeather(seed, context));
  }
});
