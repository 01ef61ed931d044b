// The demo's chat page in a real Chromium, against `switchboard demo --chat` in a process of its own.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Demo, eventually } from './product.mjs';

const BROWSER = process.env.SWITCHBOARD_CHROMIUM ?? '/usr/bin/chromium';
/** Pictures go here when it is set. */
const PICTURES = process.env.SWITCHBOARD_PICTURES;
const PATIENCE = 20_000;

let browser;
/** @type {Demo} */
let demo;
/** Everything a test opened, and what went wrong in it. */
let contexts;
let faults;

before(async () => {
  if (!existsSync(BROWSER)) throw new Error(`there is no ${BROWSER}: run scripts/setup-tests`);
  const quiet = ['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet];
  browser = await chromium.launch({ executablePath: BROWSER, headless: true, args });
});
after(() => browser?.close());

beforeEach(async () => {
  demo = await Demo.start();
  contexts = [];
  faults = [];
});
afterEach(async () => {
  for (const context of contexts) await context.close();
  await demo.close();
  assert.deepEqual(faults, [], 'the page had faults');
});

/** A tab of somebody's. Each has a browser of its own, as two people would. */
async function tab(user, { context, path = '', color = 'light', size = { width: 1180, height: 800 }, prepare } = {}) {
  const home = context ?? (await browser.newContext({ viewport: size, colorScheme: color, reducedMotion: 'reduce' }));
  if (!context) contexts.push(home);
  const page = await home.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', (error) => faults.push(`${user}: ${error}`));
  page.on('console', (message) => {
    // A server that is away is no fault of the page.
    const away = /net::ERR_CONNECTION_REFUSED|WebSocket connection to|503 \(Service Unavailable\)/.test(message.text());
    if (message.type() === 'error' && !away) faults.push(`${user}: ${message.text()}`);
  });
  await page.addInitScript(() => {
    // What a person would see of the connection, with everything between.
    const seen = [];
    Object.assign(globalThis, { seen });
    addEventListener('DOMContentLoaded', () => {
      const chip = document.getElementById('state');
      const look = () => {
        const now = chip.dataset.state + (chip.dataset.state === 'syncing' ? ` ${chip.dataset.percent}` : '');
        if (seen.at(-1) !== now) seen.push(now);
      };
      new MutationObserver(look).observe(chip, { attributes: true });
      look();
    });
  });
  await prepare?.(page);
  await page.goto(`${demo.url}/${path || `?user=${user}`}`);
  return page;
}

const online = (page) => page.locator('#state[data-state="online"]').waitFor();
const talkTo = (page, name) => page.locator('#list button', { has: page.locator(`.name:text-is("${name}")`) });
const texts = (page) => page.locator('#log .bubble .text').allTextContents();
const last = (page) => page.locator('#log .bubble').last();
async function say(page, words) {
  await page.locator('#words').fill(words);
  await page.locator('#words').press('Enter');
}
const picture = async (page, name) => {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
};

test('two tabs talk: states, unread counts, receipts, edit, recall', async () => {
  const [alice, bob] = [await tab('alice'), await tab('bob')];
  await Promise.all([online(alice), online(bob)]);
  // Connecting, then the backlog with its progress, then online: in this order and without a way back.
  const seen = await alice.evaluate(() => globalThis.seen);
  assert.equal(seen[0], 'connecting');
  assert.equal(seen.at(-1), 'online');
  const synced = seen.slice(1, -1);
  assert.ok(synced.length >= 2 && synced.every((state) => /^syncing \d+$/.test(state)), `${seen}`);
  const percents = synced.map((state) => Number(state.split(' ')[1]));
  assert.ok(percents.at(-1) > 0 && percents.every((one, at) => at === 0 || one > percents[at - 1]), `${seen}`);

  // Alice reads something else; Bob writes to her.
  await talkTo(alice, 'support').click();
  await talkTo(bob, 'alice').click();
  await talkTo(alice, 'bob').locator('.badge').waitFor();
  const waiting = Number(await talkTo(alice, 'bob').locator('.badge').textContent());
  assert.ok(waiting > 3, 'the past has left something unread');
  await say(bob, 'first');
  await say(bob, 'second');
  await talkTo(alice, 'bob').locator(`.badge:text-is("${waiting + 2}")`).waitFor();
  await last(bob).locator('.tick[data-state="delivered"]').waitFor();
  await picture(alice, 'unread');
  await talkTo(alice, 'bob').click();
  await alice.locator('#log .mark.new').waitFor();
  await last(bob).locator('.tick[data-state="read"]').waitFor();
  await talkTo(alice, 'bob').locator('.badge').waitFor({ state: 'detached' });
  assert.deepEqual((await texts(alice)).slice(-2), ['first', 'second']);
  await picture(alice, 'two-tabs-light');

  await say(alice, 'an answer with a mistke');
  await last(bob).locator('.text:text-is("an answer with a mistke")').waitFor();
  await last(alice).hover();
  await last(alice).getByRole('button', { name: 'Edit' }).click();
  await say(alice, 'an answer without a mistake');
  await last(bob).locator('.text:text-is("an answer without a mistake")').waitFor();
  await last(bob).locator('.edited').waitFor();
  await say(alice, 'said too much');
  await last(bob).locator('.text:text-is("said too much")').waitFor();
  await last(alice).hover();
  await last(alice).getByRole('button', { name: 'Recall' }).click();
  for (const page of [alice, bob]) await last(page).locator('.text:text-is("This message was recalled")').waitFor();
  assert.ok(!(await bob.content()).includes('said too much'), 'nothing of it is left in the page');
  await picture(bob, 'recalled');

  // Support is a program behind the engine.
  await talkTo(alice, 'support').click();
  await say(alice, 'Where is my parcel?');
  await alice.locator('#log .bubble:not(.own) .text', { hasText: 'this is no person but a program' }).waitFor();
});

test('history by tier: the recent past by itself, the rest when it is asked for', async () => {
  const page = await tab('alice', { color: 'dark' });
  await online(page);
  await talkTo(page, 'bob').click();
  const tier = (name) => page.locator(`#tiers li[data-tier="${name}"]`);
  await page.getByRole('button', { name: 'Show the last 30 days' }).waitFor();
  const shown = () => page.locator('#log .mark.tier').allTextContents();
  assert.deepEqual(await shown(), ['Recent · the last 7 days']);
  assert.deepEqual(await tier('month').locator('b').textContent(), '–');
  const recent = await texts(page);
  assert.ok(recent.some((words) => words.startsWith('Train leaves Friday')));
  assert.ok(!recent.some((words) => words.includes('doormat')), 'nothing older is shown before it is asked for');

  await page.getByRole('button', { name: 'Show the last 30 days' }).click();
  await page.getByRole('button', { name: 'Open the archive' }).waitFor();
  assert.deepEqual(await shown(), ['Month · 7 to 30 days ago', 'Recent · the last 7 days']);
  const month = await texts(page);
  assert.deepEqual(month.slice(-recent.length), recent);
  assert.ok(month.some((words) => words.includes('doormat')) && !month.some((words) => words.includes('piano is not')));

  await page.getByRole('button', { name: 'Open the archive' }).click();
  await page.getByText('The conversation begins here').waitFor();
  assert.deepEqual(await shown(), ['Archive · more than 30 days ago', 'Month · 7 to 30 days ago', 'Recent · the last 7 days']);
  const all = await texts(page);
  assert.deepEqual(all.slice(-month.length), month);
  assert.equal(all[0], 'Hi Bob, did you find a new flat?');
  // No seam: every message once, in the order of its numbers.
  const numbers = await page.locator('#log .bubble').evaluateAll((nodes) => nodes.map((node) => Number(node.dataset.sequence)));
  assert.deepEqual(numbers, Array.from({ length: numbers.length }, (_, at) => at + 1));
  assert.ok(Number(await tier('archive').locator('b').textContent()) > 10);
  await page.locator('#log .mark.tier').nth(1).scrollIntoViewIfNeeded();
  await picture(page, 'tiers-dark');
});

test('kill -9 and a restart of the service: degraded, then online; nothing lost, nothing twice', async () => {
  const [alice, bob] = [await tab('alice'), await tab('bob')];
  await Promise.all([online(alice), online(bob)]);
  await talkTo(alice, 'bob').click();
  await talkTo(bob, 'alice').click();
  for (let n = 0; n < 5; n += 1) await say(alice, `before ${n}`);
  await last(bob).locator('.text:text-is("before 4")').waitFor();
  await demo.end('SIGKILL');
  for (const page of [alice, bob]) await page.locator('#state[data-state="degraded"]').waitFor();
  await alice.locator('#notice').filter({ hasText: 'What you write is kept and sent later' }).waitFor();
  for (let n = 0; n < 5; n += 1) await say(alice, `meanwhile ${n}`);
  await say(bob, 'are you there?');
  await last(alice).locator('.tick[data-state="queued"]').waitFor();
  await picture(alice, 'degraded-light');
  // A page that is loaded anew meanwhile comes up with what is not sent.
  await demo.again();
  for (const page of [alice, bob]) await online(page);
  await eventually('both have all of it', async () => {
    const ours = (words) => /^(before|meanwhile) \d$|^are you there\?$/.test(words);
    const [his, hers] = [(await texts(bob)).filter(ours), (await texts(alice)).filter(ours)];
    return his.length === 11 && hers.length === 11 && his.join() === hers.join();
  });
  const expected = ['before', 'meanwhile'].flatMap((when) => [0, 1, 2, 3, 4].map((n) => `${when} ${n}`));
  assert.deepEqual((await texts(bob)).filter((words) => /^(before|meanwhile)/.test(words)), expected);
  const numbers = await bob.locator('#log .bubble').evaluateAll((nodes) => nodes.map((node) => Number(node.dataset.sequence)));
  assert.ok(numbers.every((one, at) => at === 0 || one === numbers[at - 1] + 1), `${numbers}`);
  const seen = await bob.evaluate(() => globalThis.seen);
  const names = seen.map((state) => state.split(' ')[0]).filter((name, at, all) => name !== all[at - 1]);
  assert.deepEqual(names, ['connecting', 'syncing', 'online', 'degraded', 'syncing', 'online']);

  // The demo's own button does the same in its place.
  await alice.locator('#menu-button').click();
  await alice.locator('#restart').click();
  await alice.locator('#state[data-state="degraded"]').waitFor();
  await say(alice, 'once more');
  await online(alice);
  await last(bob).locator('.text:text-is("once more")').waitFor();
});

test('what is not sent when the page is closed is sent when it is opened again', async () => {
  const alice = await tab('alice');
  await online(alice);
  await talkTo(alice, 'bob').click();
  await demo.end('SIGKILL');
  await alice.locator('#state[data-state="degraded"]').waitFor();
  await say(alice, 'from the other side');
  await last(alice).locator('.tick[data-state="queued"]').waitFor();
  const [context] = contexts;
  await alice.close();
  await demo.again();
  const again = await tab('alice', { context });
  await online(again);
  await talkTo(again, 'bob').click();
  await last(again).locator('.text:text-is("from the other side")').waitFor();
  await last(again).locator('.tick[data-state="sent"]').waitFor();
  const bob = await tab('bob');
  await online(bob);
  await talkTo(bob, 'alice').click();
  await last(bob).locator('.text:text-is("from the other side")').waitFor();
  assert.equal((await texts(bob)).filter((words) => words === 'from the other side').length, 1);
});

test('a gap in what comes is known, and filled', async () => {
  let drop;
  let hold = true;
  const prepare = (page) =>
    page.routeWebSocket(/ws:/, (near) => {
      const far = near.connectToServer();
      far.onMessage((data) => {
        const packet = JSON.parse(String(data));
        const words = packet.body?.message?.content?.body ?? '';
        if (drop && packet.command === 'deliver' && words.includes(drop)) return;
        // The history is asked at once: held back, so that one can see the gap.
        if (drop && packet.kind === 'ack' && packet.command === 'history' && hold) {
          void eventually('the history may pass', () => !hold).then(() => near.send(data));
          return;
        }
        near.send(data);
      });
    });
  const [alice, bob] = [await tab('alice', { prepare }), await tab('bob')];
  await Promise.all([online(alice), online(bob)]);
  await talkTo(alice, 'bob').click();
  await talkTo(bob, 'alice').click();
  await alice.getByRole('button', { name: 'Show the last 30 days' }).waitFor();
  await say(bob, 'one');
  await last(alice).locator('.text:text-is("one")').waitFor();
  drop = 'two';
  await say(bob, 'two');
  await say(bob, 'three');
  await alice.locator('#log .mark.gap').waitFor();
  await alice.locator('#state-text', { hasText: '1 missing' }).waitFor();
  await picture(alice, 'gap');
  hold = false;
  await alice.locator('#log .mark.gap').waitFor({ state: 'detached' });
  assert.deepEqual((await texts(alice)).slice(-3), ['one', 'two', 'three']);
});

test('no answer for a while shows as degraded', async () => {
  let mute = false;
  const prepare = (page) =>
    page.routeWebSocket(/ws:/, (near) => {
      const far = near.connectToServer();
      far.onMessage((data) => void (mute ? undefined : near.send(data)));
    });
  const alice = await tab('alice', { prepare });
  await online(alice);
  await talkTo(alice, 'bob').click();
  mute = true;
  await say(alice, 'hello?');
  await alice.locator('#state-text', { hasText: 'Degraded · no answer' }).waitFor();
  mute = false;
  // What was swallowed is asked for again, over another link, under the same key.
  await alice.locator('#log .bubble').last().locator('.tick[data-state="sent"]').waitFor();
  await online(alice);
  assert.equal((await texts(alice)).filter((words) => words === 'hello?').length, 1);
});

test('kicks: by another tab of the same user, and by the business', async () => {
  const first = await tab('alice');
  await online(first);
  const second = await tab('alice');
  await online(second);
  await first.locator('#ended', { hasText: 'Logged in elsewhere' }).waitFor();
  await picture(first, 'kicked');
  await first.getByRole('button', { name: 'Log in here' }).click();
  await online(first);
  await second.locator('#ended', { hasText: 'Logged in elsewhere' }).waitFor();
  await first.locator('#menu-button').click();
  await first.locator('#kick').click();
  await first.locator('#ended', { hasText: 'You were signed out' }).waitFor();
  assert.equal(await first.locator('#state').getAttribute('data-state'), 'ended');
});

test('a wrong token is an error that one can see, and no endless try', async () => {
  let asked = 0;
  const prepare = (page) =>
    page.route('**/demo/session', async (route) => {
      asked += 1;
      const answer = await route.fetch();
      const session = await answer.json();
      await route.fulfill({ json: { ...session, token: `${session.token}x` } });
    });
  const page = await tab('alice', { prepare });
  await page.locator('#ended', { hasText: 'The login was refused' }).waitFor();
  assert.match(await page.locator('#ended-text').textContent(), /token/);
  assert.equal(await page.locator('#state-text').textContent(), 'Signed out');
  assert.equal(asked, 1);
});

test('markup in messages, names and groups is text', async () => {
  const attacks = [
    '<img src=x onerror="globalThis.hacked=1">',
    '<script>globalThis.hacked=1</script>',
    '"><svg onload=globalThis.hacked=1>',
    'javascript:globalThis.hacked=1',
    '</div></body><h1>gone</h1>',
  ];
  const [alice, bob] = [await tab('alice'), await tab('bob')];
  await Promise.all([online(alice), online(bob)]);
  await talkTo(alice, 'bob').click();
  await talkTo(bob, 'alice').click();
  for (const attack of attacks) await say(bob, attack);
  await eventually('all have come', async () => (await texts(alice)).slice(-attacks.length).join() === attacks.join());
  await bob.locator('#menu-button').click();
  await bob.locator('#new-group').click();
  await bob.locator('#group-name').fill(attacks[0]);
  await bob.locator('#group-members').fill('alice');
  await bob.getByRole('button', { name: 'Create' }).click();
  await say(bob, attacks[1]);
  await alice.locator('#list .name', { hasText: attacks[0] }).waitFor();
  for (const page of [alice, bob]) {
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
    assert.equal(await page.locator('#log img, #log script, #log svg, #list img, #list script').count(), 0);
  }
  // And had one slipped through, the page's policy lets nothing run that is not its own file.
  const answer = await fetch(demo.url);
  assert.match(answer.headers.get('content-security-policy'), /default-src 'none'; script-src 'self';/);
});

test('a user nobody knows: the message fails, and says why', async () => {
  const page = await tab('carol');
  await online(page);
  await page.locator('#start-name').fill('nobody');
  await page.locator('#start-name').press('Enter');
  await say(page, 'hello?');
  await page.locator('#log .trouble', { hasText: 'no such user' }).waitFor();
  await page.getByRole('button', { name: 'Discard' }).click();
  await page.locator('#log .bubble').waitFor({ state: 'detached' });
});

test('the door, a narrow screen, and the keyboard alone', async () => {
  const door = await tab('nobody', { path: '#' });
  await door.getByRole('link', { name: 'alice' }).waitFor();
  await picture(door, 'door-light');
  await door.getByRole('link', { name: 'alice' }).click();
  await online(door);

  const phone = await tab('bob', { size: { width: 390, height: 780 }, color: 'dark' });
  await online(phone);
  await picture(phone, 'phone-list');
  await talkTo(phone, 'alice').focus();
  await phone.keyboard.press('Enter');
  await phone.locator('#words').waitFor();
  await eventually('the field has the focus', () => phone.evaluate(() => document.activeElement.id === 'words'));
  await phone.keyboard.type('typed');
  await phone.keyboard.press('Enter');
  await last(phone).locator('.text:text-is("typed")').waitFor();
  const box = await phone.locator('body').evaluate((body) => [body.scrollWidth, innerWidth]);
  assert.ok(box[0] <= box[1], 'nothing sticks out');
  await picture(phone, 'phone-talk');
  await phone.getByRole('button', { name: 'Back to the conversations' }).click();
  await talkTo(phone, 'alice').waitFor();
});

test('the page’s listener is for this machine alone', async () => {
  const { request } = await import('node:http');
  const status = (host) =>
    new Promise((resolve, reject) => {
      const options = { port: demo.port, host: '127.0.0.1', path: '/demo/session', method: 'POST' };
      const headers = { Host: host, 'Content-Type': 'application/json' };
      const asked = request({ ...options, headers }, (answer) => (answer.resume(), resolve(answer.statusCode)));
      asked.on('error', reject);
      asked.end('{"user":"alice"}');
    });
  assert.equal(await status(`127.0.0.1:${demo.port}`), 200);
  assert.equal(await status(`localhost:${demo.port}`), 200);
  assert.equal(await status(`evil.example:${demo.port}`), 403);
  assert.equal(await status('127.0.0.1.evil.example'), 403);
  const simple = await fetch(`${demo.url}/demo/session`, { method: 'POST', body: '{"user":"alice"}' });
  assert.equal(simple.status, 415, 'a form of another site cannot ask');
  const wrong = await fetch(`${demo.url}/demo/session`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"user":"<b>"}',
  });
  assert.equal(wrong.status, 400);
  assert.equal((await fetch(`${demo.url}/..%2f..%2fCargo.toml`)).status, 404);
});
