#!/usr/bin/env bash
# A consumer in plain HTTP: creates a subscriber, pulls pages, and acknowledges each page by asking for the next.
# Needs SWITCHBOARD_URL and SWITCHBOARD_TOKEN; $1 is the number of messages to wait for.
set -euo pipefail
wanted="${1:-1}"
api() { curl --silent --show-error --fail -H "Authorization: Bearer $SWITCHBOARD_TOKEN" "$@"; }

api -X PUT -H 'Content-Type: application/json' -d '{"topics":["messages"]}' "$SWITCHBOARD_URL/v1/subscribers/shell" >/dev/null
seen=0 cursor=""
while ((seen < wanted)); do
    page=$(api "$SWITCHBOARD_URL/v1/subscribers/shell/events?limit=50&wait=10$cursor")
    # The cursor on the first line, then a line for each message; any JSON tool will do.
    lines=$(python3 -c '
import json, sys
page = json.load(sys.stdin)
print("&cursor=" + page["cursor"])
for delivery in page["deliveries"]:
    data = delivery["event"]["data"]
    print(data["from"] + ": " + data["body"].get("text", data["body"]["type"]))
' <<<"$page")
    cursor=$(head -n 1 <<<"$lines")
    messages=$(tail -n +2 <<<"$lines")
    if [ -n "$messages" ]; then
        printf '%s\n' "$messages"
        seen=$((seen + $(wc -l <<<"$messages")))
    fi
done
# The last page is acknowledged on its own.
api -X POST -H 'Content-Type: application/json' -d "{\"cursor\":\"${cursor#&cursor=}\"}" "$SWITCHBOARD_URL/v1/subscribers/shell/ack" >/dev/null
