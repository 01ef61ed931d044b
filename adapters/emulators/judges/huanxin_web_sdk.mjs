// Drives the Huanxin emulator with the vendor's own web SDK (npm easemob-websdk), unchanged, in jsdom.
//
//   node huanxin_web_sdk.mjs http://127.0.0.1:PORT org#app
//
// Prints one JSON object per step on stdout: {"step": name, "result": …}. Anything unexpected ends it with status 1
// and the reason on stderr. The bundle is a browser build and logs to the console; its chatter is discarded.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { JSDOM, VirtualConsole } from "jsdom";

const [base, appKey] = process.argv.slice(2);
if (!base || !appKey) throw new Error("usage: huanxin_web_sdk.mjs <base-url> <org#app>");

const require = createRequire(import.meta.url);
const bundle = await readFile(require.resolve("easemob-websdk/Easemob-chat.js"), "utf8");
const websdk = load(bundle);
const clients = [];

function load(source) {
  // The window has the emulator's origin, as a page served by the vendor's customer would; no other host is reachable.
  const dom = new JSDOM("<!doctype html><title>judge</title>", {
    url: `${base}/`,
    runScripts: "outside-only",
    virtualConsole: new VirtualConsole(),
  });
  const { window } = dom;
  Object.assign(window, { TextEncoder, TextDecoder });
  const open = window.XMLHttpRequest.prototype.open;
  window.XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (!String(url).startsWith(base)) throw new Error(`the SDK tried to reach ${url}`);
    return open.call(this, method, url, ...rest);
  };
  window.eval(source);
  const sdk = window.websdk ?? window.WebIM;
  sdk.logger.disableAll();
  return sdk;
}

function client() {
  const connection = new websdk.connection({
    appKey,
    isHttpDNS: false,
    apiUrl: base,
    url: `${base.replace("http", "ws")}/websocket`,
    enableReportLogs: false,
  });
  clients.push(connection);
  return connection;
}

function report(step, result) {
  process.stdout.write(`${JSON.stringify({ step, result })}\n`);
}

/** Resolves with the first event of a kind that passes the test. */
function event(connection, kind, test = () => true) {
  return new Promise((resolve, reject) => {
    const id = `${kind}-${Math.random()}`;
    const timer = setTimeout(() => reject(new Error(`${kind} never came`)), 15_000);
    connection.addEventHandler(id, {
      [kind]: (value) => {
        if (!test(value)) return;
        clearTimeout(timer);
        connection.removeEventHandler(id);
        resolve(value);
      },
    });
  });
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    let text = String(error.message ?? "");
    const data = error.data;
    if (data) text = typeof data === "string" ? data : JSON.stringify(data);
    return { type: error.type, text };
  }
  throw new Error("the call should have been refused");
}

async function login(name, how) {
  const connection = client();
  const connected = event(connection, "onConnected");
  await connection.open({ user: name, ...how });
  await connected;
  return connection;
}

const lin = "judge_lin";
const wei = "judge.wei";
const zhao = "judge-zhao";

async function registration() {
  const made = [];
  for (const username of [lin, wei, zhao]) {
    const reply = await client().registerUser({ username, password: "judge-pass", nickname: username });
    made.push(reply.entities[0].username);
  }
  report("register", made);
  report("register_twice", await refused(client().registerUser({ username: lin, password: "x" })));
}

async function tokens() {
  report("wrong_password", await refused(client().open({ user: lin, pwd: "wrong" })));
  const linUser = await login(lin, { pwd: "judge-pass" });
  report("password_login", { connected: linUser.isOpened(), token: linUser.token.slice(0, 4) });
  const reply = await fetch(`${base}/${appKey.replace("#", "/")}/token`, {
    method: "POST",
    body: JSON.stringify({ grant_type: "password", username: wei, password: "judge-pass" }),
  });
  const { access_token: accessToken } = await reply.json();
  const weiUser = await login(wei, { accessToken });
  report("token_login", { connected: weiUser.isOpened() });
  return { linUser, weiUser };
}

async function groups(linUser) {
  const created = await linUser.createGroup({
    data: {
      groupname: "judges",
      desc: "run by the vendor's SDK",
      members: [wei],
      public: true,
      approval: false,
      allowinvites: true,
      inviteNeedConfirm: false,
      maxusers: 50,
    },
  });
  const groupId = created.data.groupid;
  const info = await linUser.getGroupInfo({ groupId });
  const { name, owner, affiliations_count: count, maxusers } = info.data[0];
  report("group", { groupId, name, owner, count, maxusers });
  const invited = await linUser.inviteUsersToGroup({ groupId, users: [zhao] });
  report("invite", invited.data);
  const members = async () => {
    const reply = await linUser.listGroupMembers({ groupId, pageNum: 1, pageSize: 50 });
    return reply.data.map((member) => member.member ?? member.owner ?? member.admin).sort();
  };
  report("members", await members());
  await linUser.muteGroupMember({ groupId, username: wei, muteDuration: 600_000 });
  const muted = await linUser.getGroupMuteList({ groupId });
  report("muted", muted.data.map((entry) => entry.user));
  await linUser.unmuteGroupMember({ groupId, username: wei });
  await linUser.removeGroupMember({ groupId, username: zhao });
  report("members_after_removal", await members());
  const joined = await linUser.getJoinedGroups({ pageNum: 0, pageSize: 20 });
  report("joined", joined.entities?.map((group) => group.groupId) ?? joined.data.map((group) => group.groupid));
  report("unknown_group", await refused(linUser.getGroupInfo({ groupId: "1" })));
  return groupId;
}

async function presenceAndAttributes(linUser) {
  const presence = await linUser.getPresenceStatus({ usernames: [lin, wei, zhao] });
  report("presence", Object.fromEntries(presence.result.map((entry) => [entry.uid, entry.status])));
  await linUser.publishPresence({ description: "judging" });
  const after = await linUser.getPresenceStatus({ usernames: [lin] });
  report("presence_ext", after.result[0].ext);
  await linUser.updateUserInfo({ nickname: "Judge Lin", phone: "0", sign: "字" });
  const attributes = await linUser.fetchUserInfoById([lin]);
  report("attributes", attributes.data[lin]);
}

async function messages(linUser, weiUser, groupId) {
  const text = (to, chatType, msg, ext) => websdk.message.create({ type: "txt", to, chatType, msg, ext });
  const received = event(weiUser, "onTextMessage", (message) => message.msg === "hello from the SDK");
  const sent = await linUser.send(text(wei, "singleChat", "hello from the SDK", { trace: "judge-1", n: 7 }));
  const message = await received;
  report("direct", { sent: sent.serverMsgId, id: message.id, from: message.from, ext: message.ext });
  const inGroup = event(weiUser, "onTextMessage", (message) => message.chatType === "groupChat");
  const toGroup = await linUser.send(text(groupId, "groupChat", "hello group"));
  const group = await inGroup;
  report("group_message", { sent: toGroup.serverMsgId, id: group.id, to: group.to });
  const custom = websdk.message.create({
    type: "custom",
    to: wei,
    chatType: "singleChat",
    customEvent: "order_card",
    customExts: { order_id: "7781" },
  });
  const gotCustom = event(weiUser, "onCustomMessage");
  const sentCustom = await linUser.send(custom);
  const card = await gotCustom;
  report("custom", { sent: sentCustom.serverMsgId, event: card.customEvent, exts: card.customExts });
  await weiUser.send(websdk.message.create({ type: "read", to: lin, chatType: "singleChat", id: sent.serverMsgId }));
  await linUser.recallMessage({ mid: toGroup.serverMsgId, to: groupId, chatType: "groupChat" });
  const page = { targetId: wei, chatType: "singleChat", pageSize: 1, searchDirection: "up" };
  const first = await linUser.getHistoryMessages({ ...page, cursor: -1 });
  const second = await linUser.getHistoryMessages({ ...page, cursor: first.cursor });
  report("roaming", {
    ids: [...first.messages, ...second.messages].map((message) => message.id),
    ended: [first.isLast, second.isLast],
  });
  report("receipt_and_recall", { read: sent.serverMsgId, recalled: toGroup.serverMsgId });
}

async function main() {
  await registration();
  const { linUser, weiUser } = await tokens();
  const groupId = await groups(linUser);
  await presenceAndAttributes(linUser);
  await messages(linUser, weiUser, groupId);
  report("done", true);
}

let status = 0;
try {
  await main();
} catch (error) {
  process.stderr.write(`${error.stack ?? JSON.stringify(error)}\n`);
  status = 1;
}
for (const connection of clients) {
  // Closing one that never opened has nothing to do.
  if (connection.isOpened()) connection.close();
}
// Timers of the SDK would keep the process alive.
process.stdout.write("", () => process.exit(status));
