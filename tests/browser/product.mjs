// The product as a process of its own: started, killed, started again on the same files and addresses.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BINARY = process.env.SWITCHBOARD_BINARY;
if (!BINARY) throw new Error('SWITCHBOARD_BINARY must name the switchboard program');
export const TOKEN = 'browser-tests-token-0123456789';
const PATIENCE = 60_000;

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {any} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/** Waits for something that becomes true by itself. `what` may be a function, asked when it has not. */
export async function eventually(what, check, patience = 20_000) {
  const deadline = Date.now() + patience;
  let last;
  while (Date.now() < deadline) {
    last = await check();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never: ${typeof what === 'function' ? what() : what}`);
}

class Process {
  constructor(directory) {
    this.directory = directory;
    this.child = undefined;
    this.said = '';
  }

  /** Starts it, and waits until it has said `ready`. */
  async spawn(args, ready) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SWITCHBOARD')));
    const child = spawn(BINARY, args, { cwd: this.directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.said = '';
    this.gone = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (this.said += data));
    let ended = false;
    void this.gone.then(() => (ended = true));
    await eventually(
      `${args.join(' ')} says ${ready}; it said ${this.said}`,
      () => {
        if (ended) throw new Error(`${args.join(' ')} ended: ${this.said}`);
        return this.said.includes(ready);
      },
      PATIENCE,
    );
  }

  /** As a crash or an operator ends it. */
  async end(signal = 'SIGTERM') {
    if (!this.child) return;
    this.child.kill(signal);
    const how = await this.gone;
    this.child = undefined;
    return how;
  }

  async close() {
    await this.end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** `switchboard serve` with the self-hosted service alone. */
export class Sidecar extends Process {
  static async start(settings = '') {
    const sidecar = new Sidecar(mkdtempSync(join(tmpdir(), 'switchboard-browser-')));
    const [api, gate] = [await freePort(), await freePort()];
    sidecar.api = `http://127.0.0.1:${api}`;
    sidecar.gate = `ws://127.0.0.1:${gate}`;
    writeFileSync(
      join(sidecar.directory, 'switchboard.toml'),
      `[server]\nlisten = "127.0.0.1:${api}"\n[[tokens]]\nname = "tests"\nsecret = "${TOKEN}"\n` +
        `scopes = ["messages", "subscribe", "history", "admin"]\n[store]\nurl = "sqlite://switchboard.db"\n` +
        `[ingest.inbox]\npath = "inbox"\n[providers.own]\nkind = "selfhosted"\nwebsocket = "127.0.0.1:${gate}"\n` +
        `tcp = "off"\nwrites_per_second = 100000\n${settings}\n[routing]\ndefault = "own"\n`,
    );
    await sidecar.again();
    return sidecar;
  }

  again() {
    return this.spawn(['serve'], ' listening');
  }

  async ask(method, path, body) {
    const answer = await fetch(`${this.api}${path}`, {
      method,
      headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  async token(user) {
    return (await this.ask('POST', `/v1/users/${user}/login`)).token;
  }
}

/** `switchboard demo --chat`. */
export class Demo extends Process {
  static async start() {
    const demo = new Demo(mkdtempSync(join(tmpdir(), 'switchboard-browser-')));
    demo.port = await freePort();
    demo.url = `http://127.0.0.1:${demo.port}`;
    await demo.again();
    return demo;
  }

  again() {
    return this.spawn(['demo', '--chat', '--port', String(this.port), '--directory', '.'], 'Ctrl-C ends it');
  }
}
