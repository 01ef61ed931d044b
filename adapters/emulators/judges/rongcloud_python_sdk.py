"""Drives RongCloud's own Python SDK against an emulator and prints what the SDK returned, as one JSON object.

Usage: python rongcloud_python_sdk.py <base url> <app key> <app secret>
"""
import json
import sys

from rongcloud.rongcloud import RongCloud

base, app_key, app_secret = sys.argv[1:4]
client = RongCloud(app_key, app_secret, base)
results = {}


def step(name, call, *args, **kwargs):
    """Any answer other than HTTP 200 comes back from the SDK as raw bytes; those are marked."""
    answer = call(*args, **kwargs)
    if isinstance(answer, bytes):
        answer = {"raw": json.loads(answer)}
    results[name] = answer
    return answer


user = client.get_user()
step("user.register", user.register, "py_alice", "Alice", "https://cdn.example.test/a.png")
step("user.register.bob", user.register, "py_bob", "Bob", "https://cdn.example.test/b.png")
step("user.update", user.update, "py_alice", "Alice L", "https://cdn.example.test/a2.png")
step("user.query", user.query, "py_alice")
step("user.online", user.check_online, "py_alice")
step("user.block", user.get_block().add, ["py_mallory"], 30)
step("user.blocked", user.get_block().query)
step("user.unblock", user.get_block().remove, ["py_mallory"])
step("user.blacklist.add", user.get_blacklist().add, "py_bob", ["py_mallory", "py_trudy"])
step("user.blacklist", user.get_blacklist().query, "py_bob")
step("user.blacklist.remove", user.get_blacklist().remove, "py_bob", ["py_trudy"])
step("user.whitelist.add", user.get_whitelist().add, "py_bob", ["py_alice"])
step("user.whitelist", user.get_whitelist().query, "py_bob")
step("user.tag.set", user.get_tag().set, "py_alice", ["vip", "beta"])
step("user.tag.batch", user.get_tag().set, ["py_alice", "py_bob"], ["new"])
step("user.tag.get", user.get_tag().get, ["py_alice", "py_bob"])

group = client.get_group()
step("group.create", group.create, ["py_alice", "py_bob"], "py_team", "Team")
step("group.join", group.join, ["py_carol"], "py_team", "Team")
step("group.query", group.query, "py_team")
step("group.update", group.update, "py_team", "Friends")
step("group.of_user", group.query_user_group, "py_alice")
step("group.gag.add", group.get_user().get_gag().add, ["py_bob"], "py_team", 10)
step("group.gag.query", group.get_user().get_gag().query, "py_team")
step("group.gag.remove", group.get_user().get_gag().remove, ["py_bob"], "py_team")
step("group.ban.add", group.get_user().get_ban().add, ["py_team"])
step("group.ban.query", group.get_user().get_ban().query, ["py_team"])
step("group.ban.remove", group.get_user().get_ban().remove, ["py_team"])
step("group.ban.whitelist.add", group.get_user().get_ban().get_whitelist().add, ["py_bob"], "py_team")
step("group.ban.whitelist", group.get_user().get_ban().get_whitelist().query, "py_team")
step("group.sync", group.sync, "py_dave", [("py_team", "Friends"), ("py_ops", "Ops")])
step("group.quit", group.quit, ["py_carol"], "py_team")

message = client.get_message()
hello = {"content": "hello \u4f60\u597d & goodbye"}
sent = step(
    "message.private", message.get_private().send, "py_alice", ["py_bob", "py_carol"], "RC:TxtMsg", hello,
    push_content="push", push_data="data", is_include_sender=1, expansion=True, disable_push=True,
)
step("message.group", message.get_group().send, "py_alice", "py_team", "RC:TxtMsg", {"content": "group"})
step(
    "message.directed", message.get_group().send_direction, "py_alice", "py_team", ["py_bob"], "RC:TxtMsg",
    {"content": "psst"},
)
step("message.chatroom", message.get_chatroom().send, "py_alice", "py_room", "RC:TxtMsg", {"content": "room"})
step("message.system", message.get_system().send, "py_alice", ["py_bob"], "RC:TxtMsg", {"content": "system"})
step("message.broadcast", message.broadcast, "py_alice", "RC:TxtMsg", {"content": "all"})
step("message.status", message.get_private().send_status_message, "py_alice", ["py_bob"], "RC:TypSts",
     {"typingContentType": "RC:TxtMsg"})
uid = (sent.get("messageUIDs") or [{}])[0].get("messageUID", "")
step("message.recall", message.get_private().recall, "py_alice", "py_bob", uid, 1795054530123)
step("history.query", message.get_history().query, "2026111910")
step("history.remove", message.get_history().remove, "2026111910")

chatroom = client.get_chatroom()
step("chatroom.create", chatroom.create, [("py_room", "Room")])
step("chatroom.query", chatroom.query, ["py_room"])
step("chatroom.members", chatroom.get_user().query, "py_room", 10, 1)
step("chatroom.exist", chatroom.get_user().isexist, "py_room", ["py_alice", "py_bob"])
step("chatroom.gag", chatroom.get_user().get_gag().add, ["py_bob"], "py_room", 5)
step("chatroom.gagged", chatroom.get_user().get_gag().query, "py_room")
step("chatroom.banned_everywhere", chatroom.get_user().get_ban().query)
step("chatroom.keepalive", chatroom.get_keepalive().add, "py_room")
step("chatroom.kept", chatroom.get_keepalive().query)

words = client.get_sensitive()
step("words.add", words.add, "darn", "***")
step("words.block", words.add, "bomb")
step("words.list", words.query, 2)
step("words.remove", words.remove, ["darn", "bomb"])

conversation = client.get_conversation().get_notification()
step("conversation.set", conversation.set, 1, "py_alice", "py_bob", 1)
step("conversation.get", conversation.get, 1, "py_alice", "py_bob")
step("group.dismiss", group.dismiss, "py_alice", "py_team")
step("refused", user.query, "py_nobody")

json.dump(results, sys.stdout)
