"""A client of the link, written from docs/reference/link-protocol.md alone: what the page says is enough for this.

`python3 link_client.py ADDRESS SERVICE` runs its checks against a service that test/link-python.test.ts starts, and prints
one line of JSON for each. Needs python3-msgpack.
"""

import json
import queue
import socket
import struct
import sys
import threading
import time

import msgpack

HELLO, CALL, REPLY, ERROR, CANCEL, ITEM, END, CREDIT, PING, PONG, GOAWAY = range(1, 12)
FLAG_STREAM, FLAG_ITEMS, FLAG_META, FLAG_NAMED = 4, 8, 16, 32
PRIORITIES = {"default": 0, "critical": 1, "optional": 2}
MAGIC = b"TNDM"
VERSION = 1
WINDOW_BYTES = 262_144
NO_DEADLINE = 0xFFFFFFFF
SLOT_BITS = 14


class LinkError(Exception):
    """What the other end answered, or the link itself: `code`, `outcome`, and for declared errors `status` and `data`."""

    def __init__(self, code, message, outcome="unknown", details=None, declared=None):
        super().__init__(f"{code}: {message}")
        self.code, self.outcome, self.details = code, outcome, details
        self.status = (declared or {}).get("status")
        self.data = (declared or {}).get("data")


def unpack(data):
    """The values that lie one after the other in `data`."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, ext_hook=lambda code, data: None)
    unpacker.feed(data)
    return list(unpacker)


class Stream:
    """One open call that streams: iterate over it; `send` and `finish` for the items that go in."""

    def __init__(self, link, call_id):
        self.link, self.id = link, call_id
        self.inbox = queue.Queue()
        self.ungranted = 0
        self.credit = WINDOW_BYTES
        self.has_credit = threading.Condition()

    def __iter__(self):
        return self

    def __next__(self):
        kind, content = self.inbox.get(timeout=10)
        if kind == ITEM:
            # What was taken may be sent again. Not for each item: a quarter of the window at a time is enough.
            self.ungranted += len(content)
            if self.ungranted >= WINDOW_BYTES // 4:
                self.link.write(CREDIT, self.id, struct.pack(">I", self.ungranted))
                self.ungranted = 0
            return unpack(content)[0]
        if kind == END:
            raise StopIteration
        raise content

    def send(self, value):
        content = msgpack.packb(value)
        with self.has_credit:
            if not self.has_credit.wait_for(lambda: self.credit > 0, timeout=10):
                raise LinkError("DEADLINE_EXCEEDED", "no credit")
            self.credit -= len(content)
        self.link.write(ITEM, self.id, content)

    def finish(self):
        self.link.write(END, self.id)

    def cancel(self):
        self.link.forget(self.id)
        self.link.write(CANCEL, self.id)

    def take(self, kind, content):
        if kind == CREDIT:
            with self.has_credit:
                self.credit += struct.unpack(">I", content)[0]
                self.has_credit.notify_all()
        else:
            self.inbox.put((kind, content))


class Link:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.writing = threading.Lock()
        self.methods = {}
        self.calls = {}
        self.slots = []
        self.uses = {}
        self.pongs = queue.Queue()
        self.going = False
        self.write(HELLO, 0, MAGIC + bytes([VERSION, VERSION]))
        kind, _, content = self.read()
        if kind != HELLO or content[:4] != MAGIC:
            raise LinkError("UNSUPPORTED", "the other end does not speak the link")
        lowest, highest = content[4], content[5]
        if not lowest <= VERSION <= highest:
            raise LinkError("UNSUPPORTED", f"it speaks versions {lowest} to {highest}", "not-done")
        self.socket.settimeout(None)
        threading.Thread(target=self.receive, daemon=True).start()

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the connection ended")
            data += more
        return data

    def read(self):
        (length,) = struct.unpack(">I", self.read_exactly(4))
        frame = self.read_exactly(length)
        kind, call_id = struct.unpack(">BI", frame[:5])
        return kind, call_id, frame[5:]

    def write(self, kind, call_id, content=b""):
        with self.writing:
            self.socket.sendall(struct.pack(">IBI", 5 + len(content), kind, call_id) + content)

    def receive(self):
        try:
            while True:
                kind, call_id, content = self.read()
                if kind == PING:
                    self.write(PONG, call_id)
                elif kind == PONG:
                    self.pongs.put(call_id)
                elif kind == GOAWAY:
                    self.going = True
                elif call_id in self.calls:
                    self.take(kind, call_id, content)
        except (ConnectionError, OSError):
            for call in list(self.calls.values()):
                call.take(ERROR, LinkError("INTERRUPTED", "the connection ended"))

    def take(self, kind, call_id, content):
        call = self.calls[call_id]
        if kind in (REPLY, END, ERROR):
            self.forget(call_id)
        if kind == ERROR:
            form = unpack(content)[0]
            content = LinkError(
                form["code"], form["message"], form["outcome"], form.get("details"), form.get("declared")
            )
        call.take(kind, content)

    def forget(self, call_id):
        if self.calls.pop(call_id, None) is not None:
            self.slots.append(call_id & (2**SLOT_BITS - 1))

    def start(self, method, body, timeout_ms, flags, meta=None, priority="default"):
        slot = self.slots.pop() if self.slots else len(self.uses)
        self.uses[slot] = self.uses.get(slot, -1) + 1
        call_id = (self.uses[slot] << SLOT_BITS | slot) & 0xFFFFFFFF
        call = self.calls[call_id] = Stream(self, call_id)
        flags |= PRIORITIES[priority]
        name = b""
        if method not in self.methods:
            self.methods[method] = len(self.methods)
            flags |= FLAG_NAMED
            name = msgpack.packb(method)
        meta_bytes = b""
        if meta is not None:
            flags |= FLAG_META
            meta_bytes = msgpack.packb(meta)
        left = NO_DEADLINE if timeout_ms is None else timeout_ms
        head = struct.pack(">BHI", flags, self.methods[method], left)
        self.write(CALL, call_id, head + name + meta_bytes + msgpack.packb(body))
        return call

    def call(self, method, body, timeout_ms=5000, meta=None, priority="default"):
        """The answer's body and meta."""
        call = self.start(method, body, timeout_ms, 0, meta, priority)
        kind, content = call.inbox.get(timeout=10)
        if kind != REPLY:
            raise content
        values = unpack(content[1:])
        return (values[1], values[0]) if content[0] & 1 else (values[0], None)

    def stream(self, method, body, timeout_ms=5000, items=False):
        return self.start(method, body, timeout_ms, FLAG_STREAM | (FLAG_ITEMS if items else 0))

    def ping(self):
        self.write(PING, 4711)
        return self.pongs.get(timeout=5)

    def close(self):
        self.socket.close()


def check(link, service):
    def told(name, **what):
        print(json.dumps({"check": name, **what}), flush=True)

    def failure(name, method, body, **options):
        try:
            link.call(method, body, **options)
        except LinkError as error:
            told(name, code=error.code, outcome=error.outcome, status=error.status, data=error.data)

    meta = {"requestId": "from-python-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    body, answer_meta = link.call(f"{service}.greet", {"name": "Zoë"}, meta=meta, priority="critical")
    told("call", body=body, instance=answer_meta["instance"])
    # The second call of a method carries its number alone.
    told("call again", body=link.call(f"{service}.greet", {"name": "x" * 70_000})[0][-5:])
    failure("declared error", f"{service}.refuse", {"left": 3})
    failure("invalid", f"{service}.greet", {"name": 7})
    failure("unknown method", f"{service}.nothing", None)

    items = list(link.stream(f"{service}.count", {"to": 300, "bytes": 4096}))
    told("stream", items=len(items), last=items[-1]["n"])

    # Nothing is granted while nothing is read: the source stops at the window.
    slow = link.stream(f"{service}.count", {"to": 100_000, "bytes": 4096})
    next(slow)
    time.sleep(0.3)
    made, _ = link.call(f"{service}.made", None)
    told("stream held back", withinWindow=made * 4096 <= WINDOW_BYTES + 3 * 4200)
    slow.cancel()

    both = link.stream(f"{service}.double", None, items=True)
    doubled = []
    for number in range(3):
        both.send(number)
        doubled.append(next(both))
    both.finish()
    told("items both ways", doubled=doubled, ended=list(both) == [])

    waiting = link.start(f"{service}.wait", None, 5000, 0)
    time.sleep(0.05)
    waiting.cancel()
    ended, _ = link.call(f"{service}.ended", None)
    told("cancel", ended=ended)

    before = time.monotonic()
    failure("deadline", f"{service}.wait", None, timeout_ms=150)
    told("deadline took", inTime=0.1 < time.monotonic() - before < 2)
    told("ping", id=link.ping())


if __name__ == "__main__":
    address, service = sys.argv[1:]
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    link = Link(host, int(port))
    check(link, service)
    link.close()
