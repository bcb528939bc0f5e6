"""A reader of in-mem's log, written from docs/wal-format.md and nothing else.

python3 read_log.py DIR SHARD [COVERED] prints a line for each transaction (lsn, version, run, CRC-32 of its payload), and last how the
log ends: "end", "torn" or "corrupt".
"""

import os
import struct
import sys
import zlib

PAGE, HEAD = 4096, 64
NONE = 0xFFFFFFFF


class Corrupt(Exception):
    pass


def record(data, at):
    """The record at an offset if its checksum holds."""
    if at + HEAD > len(data):
        return None
    fields = struct.unpack_from("<IIBBHIQII16sQq", data, at)
    names = "crc length kind flags shard salt lsn previous distance run version timestamp".split()
    found = dict(zip(names, fields))
    end = at + (HEAD + found["length"] + 7) // 8 * 8
    if found["kind"] == 0 or end > len(data) or zlib.crc32(data[at + 4 : end]) != found["crc"]:
        return None
    found.update(at=at, end=end, payload=data[at + HEAD : at + HEAD + found["length"]])
    return found


def segments(directory, shard):
    found = {}
    for name in sorted(os.listdir(directory)):
        if len(name) != 20 or not name.endswith(".wal"):
            continue
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        magic, version, of, crc, number, salt, erased, length, last = struct.unpack_from("<8sHHIQIIQI", data)
        if magic != b"INMEMWAL" or version > 1:
            raise Corrupt(name + ": not a segment of format 1")
        if zlib.crc32(data[:12] + bytes(4) + data[16:PAGE]) != crc:
            raise Corrupt(name + ": header")
        if number != int(name[:16], 16) or of != shard or length != len(data):
            raise Corrupt(name + ": header of another file")
        start = record(data, PAGE)
        if start and (start["kind"] != 0x80 or start["salt"] != salt):
            start = None
        found[number] = {"data": data, "salt": salt, "start": start, "last": last if erased else None}
    return found


def read(place, shard, covered, each):
    """Reads the log in a directory behind what a checkpoint covers; or, with `covered` none, all of the past in segments from anywhere."""
    is_past = covered is None
    found, covered = (place, 0) if is_past else (segments(place, shard), covered)
    begun = [n for n, s in found.items() if s["start"] and (is_past or s["start"]["lsn"] <= covered + 1)]
    if begun:
        number = min(begun) if is_past else max(begun)
        lsn, previous = found[number]["start"]["lsn"], found[number]["start"]["previous"]
    elif 1 in found and covered == 0:
        number, lsn, previous = 1, 1, 0
    else:
        raise Corrupt("no start")
    at, came_from = PAGE, None
    parts = None
    while True:
        segment = found[number]
        now = record(segment["data"], at)
        if now and now["salt"] == segment["salt"]:
            if (now["shard"], now["lsn"], now["previous"]) != (shard, lsn, previous):
                raise Corrupt("a record of another place")
            if now["distance"] == 0:
                raise Corrupt("a record that was durable before it was written")
            if (now["kind"] == 0x80) != (at == PAGE):
                raise Corrupt("a start record in the wrong place")
            if now["kind"] == 0x80 and came_from and struct.unpack("<QQ", now["payload"]) != came_from:
                raise Corrupt("a start record that names another place")
        else:
            now = None
        if now is None:
            # Of a segment from which records were erased, the place is not where it was.
            here, last = (number, at), segment["last"]
            for later in sorted(n for n in found if n > number):
                start = found[later]["start"]
                if not start or (last is None and struct.unpack("<QQ", start["payload"]) != here):
                    continue
                if (start["lsn"], start["previous"]) == (lsn, previous if last is None else last):
                    number, at, came_from, previous = later, PAGE, None if last else here, start["previous"]
                    break
            else:
                return end_of_log(found, number, at, lsn, covered)
            continue
        lsn, previous, at = lsn + 1, now["crc"], now["end"]
        if now["kind"] == 0x81:
            came_from = (number, at) if segment["last"] is None else None
            previous = previous if segment["last"] is None else segment["last"]
            (number,), at = struct.unpack("<Q", now["payload"]), PAGE
            if number not in found:
                raise Corrupt("a segment is missing")
            continue
        if now["kind"] == 0x84:
            parts = None
        elif now["kind"] >= 0x85 or now["flags"] & ~7:
            if not now["flags"] & 4:
                raise Corrupt("a record of an unknown kind")
        elif now["kind"] < 0x80:
            part = now["flags"] & 3
            parts = now["payload"] if part in (0, 1) else (parts or b"") + now["payload"]
            if part == 3:
                (total,) = struct.unpack_from("<Q", parts)
                parts = parts[8:]
                if total != len(parts):
                    raise Corrupt("a transaction of another length")
            if part in (0, 3) and now["lsn"] > covered:
                each(now, parts)


def end_of_log(found, number, at, lsn, covered):
    if lsn <= covered:
        raise Corrupt("the checkpoint covers more")
    clean = True
    for later in sorted(n for n in found if n >= number):
        segment = found[later]
        first = at if later == number else PAGE
        clean = clean and not any(segment["data"][first:])
        for place in range(first, len(segment["data"]), 8):
            other = record(segment["data"], place)
            if not other or other["salt"] != segment["salt"] or other["lsn"] < lsn:
                continue
            if other["distance"] != NONE and other["lsn"] - other["distance"] >= lsn:
                raise Corrupt("record %d was synced" % lsn)
    return "end" if clean else "torn"


def main():
    directory, shard = sys.argv[1], int(sys.argv[2])
    covered = int(sys.argv[3]) if len(sys.argv) > 3 else 0

    def each(now, payload):
        print(now["lsn"], now["version"], now["run"].hex(), "%08x" % zlib.crc32(payload))

    try:
        print(read(directory, shard, covered, each))
    except Corrupt as what:
        print("corrupt")
        print(what, file=sys.stderr)


if __name__ == "__main__":
    main()
