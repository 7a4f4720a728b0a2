"""Follows lines over a WebSocket while it pushes some. Usage: tail_logs.py URL"""

import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request

import websockets

URL = sys.argv[1]


def push(app, lines):
    values = [[str(time.time_ns()), line] for line in lines]
    body = json.dumps({"streams": [{"stream": {"app": app}, "values": values}]}).encode()
    request = urllib.request.Request(
        URL + "/loki/api/v1/push", body, {"Content-Type": "application/json"}
    )
    assert urllib.request.urlopen(request).status == 204


async def lines_of(socket, count):
    lines = []
    while len(lines) < count:
        message = json.loads(await asyncio.wait_for(socket.recv(), 20))
        for stream in message["streams"]:
            assert stream["stream"]["app"] == "tailed", stream
            lines += [value[1] for value in stream["values"]]
    return lines


async def main():
    push("tailed", ["past: wanted", "past: other"])
    query = urllib.parse.urlencode({"query": '{app="tailed"} |= "wanted"', "limit": 10})
    url = URL.replace("http://", "ws://") + "/loki/api/v1/tail?" + query
    async with websockets.connect(url) as socket:
        assert await lines_of(socket, 1) == ["past: wanted"]
        await asyncio.to_thread(push, "another", ["wanted, in another stream"])
        for number in range(20):
            await asyncio.to_thread(push, "tailed", [f"wanted {number}", f"not this {number}"])
        assert await lines_of(socket, 20) == [f"wanted {number}" for number in range(20)]
        # A ping is answered while nothing comes.
        await asyncio.wait_for(await socket.ping(), 20)
        await socket.close()
    try:
        broken = URL.replace("http://", "ws://") + "/loki/api/v1/tail?query=%7Bapp"
        async with websockets.connect(broken):
            raise AssertionError("a broken query was followed")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 400, refused
        assert b"parse error" in refused.response.body, refused.response.body


asyncio.run(main())
print("ok")
