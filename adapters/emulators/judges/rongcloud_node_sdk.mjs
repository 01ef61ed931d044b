// Drives RongCloud's own Node SDK against an emulator and prints what the SDK returned, as one JSON object.
// Usage: node rongcloud_node_sdk.mjs <base url> <app key> <app secret>
import { createRequire } from 'node:module';

const [base, appkey, secret] = process.argv.slice(2);
const sdk = createRequire(import.meta.url)('rongcloud-sdk');
const { User, Message, Group, Chatroom, Sensitive, Conversation, Push } = sdk({ appkey, secret, api: base });

const results = {};
// The SDK rejects only when its own validation fails; what the service refuses, it resolves.
const step = async (name, call) => {
  try {
    results[name] = await call();
  } catch (error) {
    results[name] = { rejected: error && (error.code || String(error)) };
  }
  return results[name];
};

await step('user.register', () => User.register({ id: 'node_alice', name: 'Alice 爱丽丝', portrait: 'https://cdn.example.test/a.png?x=1&y=2' }));
await step('user.register.bob', () => User.register({ id: 'node_bob', name: 'Bob', portrait: 'https://cdn.example.test/b.png' }));
await step('user.update', () => User.update({ id: 'node_alice', name: 'Alice L', portrait: 'https://cdn.example.test/a2.png' }));
await step('user.online', () => User.OnlineStatus.get({ id: 'node_alice' }));
await step('user.block', () => User.Block.add({ id: 'node_mallory', minute: 30 }));
await step('user.blocked', () => User.Block.getList());
await step('user.unblock', () => User.Block.remove({ id: 'node_mallory' }));
await step('user.blacklist.add', () => User.Blacklist.add({ id: 'node_bob', blacklist: [{ id: 'node_mallory' }, { id: 'node_trudy' }] }));
await step('user.blacklist', () => User.Blacklist.getList({ id: 'node_bob' }));
await step('user.blacklist.remove', () => User.Blacklist.remove({ id: 'node_bob', blacklist: [{ id: 'node_trudy' }] }));
await step('user.tag.set', () => User.Tag.set({ id: 'node_alice', tags: ['vip', '北京'] }));
await step('user.tag.batch', () => User.Tag.batchSet({ users: [{ id: 'node_bob' }], tags: ['new'] }));
await step('user.tag.list', () => User.Tag.getList([{ id: 'node_alice' }, { id: 'node_bob' }]));

await step('group.create', () => Group.create({ id: 'node_team', name: 'Team', members: [{ id: 'node_alice' }, { id: 'node_bob' }] }));
await step('group.join', () => Group.join({ id: 'node_team', name: 'Team', member: { id: 'node_carol' } }));
await step('group.get', () => Group.get({ id: 'node_team' }));
await step('group.update', () => Group.update({ id: 'node_team', name: 'Team & Friends' }));
await step('group.gag.add', () => Group.Mute.Member.add({ id: 'node_team', members: [{ id: 'node_bob' }], minute: 10 }));
await step('group.gag.list', () => Group.Mute.Member.getList({ id: 'node_team' }));
await step('group.gag.remove', () => Group.Mute.Member.remove({ id: 'node_team', members: [{ id: 'node_bob' }] }));
await step('group.quit', () => Group.quit({ id: 'node_team', member: { id: 'node_carol' } }));
await step('group.sync', () => Group.sync({ id: 'node_dave', groups: [{ id: 'node_team', name: 'Team' }, { id: 'node_ops', name: 'Ops' }] }));

const text = (words) => ({ senderId: 'node_alice', objectName: 'RC:TxtMsg', content: { content: words } });
const sent = await step('message.private', () => Message.Private.send({ ...text('hello 你好 & goodbye'), targetId: ['node_bob', 'node_carol'] }));
await step('message.group', () => Message.Group.send({ ...text('to the group'), targetId: 'node_team' }));
await step('message.group.mention', () => Message.Group.sendMention({
  senderId: 'node_alice', targetId: 'node_team', objectName: 'RC:TxtMsg',
  content: { content: '@bob', mentionedInfo: { type: 2, userIds: ['node_bob'], pushContent: 'p' } },
}));
await step('message.chatroom', () => Message.Chatroom.send({ ...text('to the room'), targetId: 'node_room' }));
await step('message.system', () => Message.System.send({ ...text('from the system'), targetId: 'node_bob' }));
await step('message.broadcast', () => Message.System.broadcast(text('to all')));
await step('message.template', () => Message.Private.sendTemplate({
  senderId: 'node_alice', objectName: 'RC:TxtMsg', template: { content: '{name} won {prize}' },
  content: {
    node_bob: { data: { '{name}': 'Bob', '{prize}': 'gold' }, push: 'p', pushData: 'd' },
    node_carol: { data: { '{name}': 'Carol', '{prize}': 'silver' }, push: 'p', pushData: 'd' },
  },
}));
const uid = sent.messageUIDs?.[0]?.messageUID ?? '';
await step('message.recall', () => Message.Private.recall({ senderId: 'node_alice', targetId: 'node_bob', uId: uid, sentTime: Date.now() }));
await step('history.get', () => Message.History.get({ date: '2026111910' }));
await step('history.remove', () => Message.History.remove({ date: '2026111910' }));

await step('chatroom.create', () => Chatroom.create([{ id: 'node_room', name: 'Room' }]));
await step('chatroom.get', () => Chatroom.get({ id: 'node_room', count: 10, order: 1 }));
await step('chatroom.exist', () => Chatroom.isExist({ id: 'node_room', members: [{ id: 'node_alice' }, { id: 'node_bob' }] }));
await step('chatroom.block', () => Chatroom.Block.add({ id: 'node_room', members: [{ id: 'node_mallory' }], minute: 5 }));
await step('chatroom.blocked', () => Chatroom.Block.getList({ id: 'node_room' }));
await step('chatroom.gag', () => Chatroom.Gag.add({ id: 'node_room', members: [{ id: 'node_bob' }], minute: 5 }));
await step('chatroom.gagged', () => Chatroom.Gag.getList({ id: 'node_room' }));
await step('chatroom.keepalive', () => Chatroom.KeepAlive.add({ id: 'node_room' }));
await step('chatroom.kept', () => Chatroom.KeepAlive.getList());
await step('chatroom.demote', () => Chatroom.Demotion.add({ msgs: ['RC:TxtMsg'] }));
await step('chatroom.demoted', () => Chatroom.Demotion.getList());

await step('words.add', () => Sensitive.add({ type: 0, keyword: 'darn', replace: '***' }));
await step('words.block', () => Sensitive.add({ type: 1, keyword: 'bomb' }));
await step('words.list', () => Sensitive.getList({ type: 2 }));
await step('words.remove', () => Sensitive.remove({ keywords: ['darn', 'bomb'] }));
await step('conversation.mute', () => Conversation.mute({ type: 'PRIVATE', userId: 'node_alice', targetId: 'node_bob' }));
await step('push', () => Push.push({ platform: ['ios'], audience: { is_to_all: true }, notification: { alert: 'hi' } }));
await step('group.dismiss', () => Group.dismiss({ id: 'node_team', member: { id: 'node_alice' } }));
await step('group.gone', () => Group.get({ id: 'node_team' }));
await step('refused', () => Message.Private.send({ senderId: 'node_alice', targetId: 'node_bob', objectName: 'RC:TxtMsg', content: 'no json' }));

process.stdout.write(JSON.stringify(results));
