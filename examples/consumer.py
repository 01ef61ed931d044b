"""A consumer in plain HTTP, with nothing but Python's own library.

Creates a subscriber, follows its server-sent events, and acknowledges each delivery once it is handled.
Needs SWITCHBOARD_URL and SWITCHBOARD_TOKEN; the argument is the number of messages to wait for.
"""

import json
import os
import sys
import urllib.request

URL = os.environ["SWITCHBOARD_URL"]
HEADERS = {"Authorization": "Bearer " + os.environ["SWITCHBOARD_TOKEN"], "Content-Type": "application/json"}


def call(method, path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {**HEADERS, **(headers or {})}, method=method)
    return urllib.request.urlopen(request, timeout=60)


def deliveries(name):
    """Yields deliveries for ever."""
    with call("GET", f"/v1/subscribers/{name}/stream", headers={"Accept": "text/event-stream"}) as stream:
        kind = None
        for line in stream:
            line = line.decode().rstrip("\n")
            if line.startswith("event:"):
                kind = line[6:].strip()
            elif line.startswith("data:") and kind == "delivery":
                yield json.loads(line[5:])


def main():
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    call("PUT", "/v1/subscribers/python", {"topics": ["messages"]}).close()
    for seen, delivery in enumerate(deliveries("python"), start=1):
        data = delivery["event"]["data"]
        print(f"{data['from']}: {data['body'].get('text', data['body']['type'])}", flush=True)
        call("POST", "/v1/subscribers/python/ack", {"ids": [delivery["id"]]}).close()
        if seen == wanted:
            return


main()
