"""A reader of a whole in-mem database, written from docs/wal-format.md and nothing else.

python3 read_database.py DIR prints a line for each pair of each run (run, key, value), from the newest checkpoint of each shard and the
log behind it; python3 read_database.py DIR past prints the same from the past alone: every transaction in the log, its archive and the
generations kept for it, without any checkpoint. Forks of which no checkpoint tells are printed without what they share.
"""

import os
import re
import struct
import sys
import zlib

from read_log import Corrupt, read, segments

COMMIT, COMMIT_ON_SEVERAL, SKIPPABLE = 1, 2, 4


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise Corrupt("bytes that end too early")
        self.at += count
        return taken

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self):
        first = self.number("B")
        if first <= 250:
            return first
        return self.number({251: "H", 252: "I", 253: "Q"}[first])

    def signed(self):
        number = self.varint()
        return number // 2 if number % 2 == 0 else -(number // 2) - 1

    def bytes(self):
        return self.take(self.varint())

    def short(self):
        return self.take(self.number("H")).decode()

    def value(self):
        what = self.number("B")
        if what < 3:
            return (None, False, True)[what]
        if what == 3:
            return self.signed()
        if what == 4:
            return self.number("d")
        if what in (5, 6):
            contents = self.bytes()
            return contents.decode() if what == 5 else contents
        if what == 7:
            return [self.value() for _ in range(self.varint())]
        if what == 8:
            return {self.bytes().decode(): self.value() for _ in range(self.varint())}
        raise Corrupt("no value begins with %d" % what)

    def is_at_end(self):
        return self.at == len(self.data)


def file_of(path, magic, newest):
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != magic or len(data) < 32:
        raise Corrupt(path + ": something else")
    if struct.unpack_from("<H", data, 8)[0] > newest:
        raise Corrupt(path + ": of a newer format")
    return data


def manifest(directory):
    data = file_of(os.path.join(directory, "MANIFEST"), b"INMEMMAN", 1)
    shards, crc, generation, _ = struct.unpack_from("<HIQQ", data, 10)
    if zlib.crc32(data[:12] + bytes(4) + data[16:]) != crc:
        raise Corrupt("MANIFEST: checksum")
    rest = Cursor(data[32:])
    rest.short()
    properties = {rest.short(): rest.short() for _ in range(rest.number("H"))}
    if not rest.is_at_end():
        raise Corrupt("MANIFEST: more behind its end")
    return generation, shards, properties


def checkpoint(path, of):
    """What it covers through, and its entries."""
    data = file_of(path, b"INMEMCKP", 2)
    shard, crc, covers = struct.unpack_from("<HIQ", data, 10)
    if zlib.crc32(data[:12] + bytes(4) + data[16:64]) != crc or shard != of:
        raise Corrupt(path + ": header")
    if "%016x.ckpt" % covers != os.path.basename(path):
        raise Corrupt(path + ": under another's name")
    at, entries, crcs = 64, [], b""
    while True:
        block, length, count, number = struct.unpack_from("<IIII", data, at)
        content = Cursor(data[at + 16 : at + 16 + length])
        checked = data[12:16] + data[at + 4 : at + 16 + length]
        if zlib.crc32(checked) != block or number * 4 != len(crcs):
            raise Corrupt(path + ": block %d" % number)
        if count == 0xFFFFFFFF:
            said = struct.unpack("<QQQI", content.data)
            if said != (len(entries), number, at, zlib.crc32(crcs)) or at + 16 + length != len(data):
                raise Corrupt(path + ": footer")
            return covers, entries
        entries += [content.take(content.number("I")) for _ in range(count)]
        if not content.is_at_end():
            raise Corrupt(path + ": more in a block than its entries")
        crcs, at = crcs + data[at : at + 4], at + 16 + length


class Runs:
    """Every key of every run, with all versions that were come by: (version, value), `Runs.GONE` where it was deleted."""

    GONE, NEVER = object(), object()

    def __init__(self):
        self.keys, self.links, self.last = {}, {}, {}

    def set(self, run, tag, key, version, value):
        self.keys.setdefault(run, {}).setdefault((tag, key), []).append((version, value))

    def entry(self, data):
        cursor = Cursor(data)
        run, what = cursor.take(16), cursor.number("B")
        if what == 0x00:
            self.last[run] = cursor.varint()
        elif what == 0x10:
            links = []
            for _ in range(cursor.varint()):
                links.append((cursor.take(16), cursor.varint()))
                cursor.varint(), cursor.take(32), cursor.varint()
            self.links[run] = links
        else:
            version = cursor.varint()
            cursor.take(8 + (8 if what & 0x80 else 0))
            key = cursor.bytes()
            value = self.GONE if what & 0x40 and what & 0x20 else cursor.value()
            self.set(run, what & 0x0F, key, version, value)
        if not cursor.is_at_end():
            raise Corrupt("more in an entry than it says")

    def transaction(self, now, payload):
        if now["kind"] not in (COMMIT, COMMIT_ON_SEVERAL):
            if now["flags"] & SKIPPABLE:
                return
            raise Corrupt("a record of an unknown kind")
        cursor, run, version = Cursor(payload), now["run"], now["version"]
        while not cursor.is_at_end():
            head = cursor.number("B")
            tag, verb = head >> 4, head & 0x0F
            if head == 4:
                run = cursor.take(16)
            elif head == 5:
                self.keys.pop(run, None)
                self.links.pop(run, None)
            elif verb in (1, 2):
                key = cursor.bytes()
                if verb == 2:
                    cursor.varint()
                self.set(run, tag, key, version, cursor.value())
            elif verb == 3:
                self.set(run, tag, cursor.bytes(), version, self.GONE)
            else:
                raise Corrupt("no effect begins with %d" % head)

    def get(self, run, tag, key, through):
        versions = [found for found in self.keys.get(run, {}).get((tag, key), []) if found[0] <= through]
        return max(versions, key=lambda found: found[0])[1] if versions else self.NEVER

    def pairs(self, run):
        """What the run reads under tag 1: its own, then what its parents had at the version that it reads of them."""
        pairs, hidden = {}, set()
        for of, through in [(run, 1 << 64)] + self.links.get(run, []):
            names = list(self.keys.get(of, {}))
            for tag, key in names:
                found = self.get(of, tag, key, through)
                if tag != 1 or found is self.NEVER or key in pairs or key in hidden:
                    continue
                if found is self.GONE:
                    hidden.add(key)
                else:
                    pairs[key] = found
            for tag, key in names:
                if tag == 5 and key[:2] == b"\x01\x01" and self.get(of, tag, key, through) not in (self.NEVER, self.GONE):
                    hidden.add(key[2:])
        return pairs


def shard_dir(directory, generation, shard):
    return os.path.join(directory, "gen-%04d" % generation, "shard-%04d" % shard)


def present(directory, runs):
    generation, shards, properties = manifest(directory)
    for shard in range(shards):
        place = shard_dir(directory, generation, shard)
        names = sorted(name for name in os.listdir(place) if re.fullmatch("[0-9a-f]{16}[.]ckpt", name))
        if not names and properties.get("base-checkpoint"):
            raise Corrupt(place + ": its checkpoint is gone")
        covers, entries = checkpoint(os.path.join(place, names[-1]), shard) if names else (0, [])
        for entry in entries:
            runs.entry(entry)
        if read(place, shard, covers, runs.transaction) == "torn":
            print("torn: " + place, file=sys.stderr)


def past(directory, runs):
    generation, shards, properties = manifest(directory)
    generations = [(generation, shards)]
    while str_of(generations[0][0] - 1) in properties:
        generations.insert(0, (generations[0][0] - 1, int(properties[str_of(generations[0][0] - 1)])))
    for generation, shards in generations:
        for shard in range(shards):
            places = [shard_dir(directory, generation, shard)]
            places += [place for place in [os.path.join(places[0], "archive")] if os.path.isdir(place)]
            gaps = [name for place in places for name in os.listdir(place) if name.endswith(".gap")]
            found = {}
            for place in reversed(places):
                found.update(segments(place, shard))
            after = max([int(name[:16], 16) for name in gaps], default=0)
            found = {number: segment for number, segment in found.items() if number > after}
            read(found, shard, None, runs.transaction)


def str_of(generation):
    return "kept-generation-%04d" % generation


def main():
    runs = Runs()
    try:
        (past if sys.argv[2:] == ["past"] else present)(sys.argv[1], runs)
    except Corrupt as what:
        print("corrupt: %s" % what)
        return
    for run in sorted(runs.keys):
        for key, value in sorted(runs.pairs(run).items()):
            print(run.hex(), key.decode(), value.hex() if isinstance(value, bytes) else value)


if __name__ == "__main__":
    main()
