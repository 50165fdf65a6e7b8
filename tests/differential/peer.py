"""Runs the modules of pyzor 1.1.2: one case per line on standard input, one answer per line on standard output.

Bytes are hex digits, parts of a line are separated by blanks, and "-" is a missing part.
"""

import configparser
import dbm.gnu
import io
import logging
import os
import sys
import tempfile
import time
from datetime import datetime, timedelta

import pyzor.config
from pyzor.engines import redis_, redis_v0
from pyzor.engines.common import Record
from pyzor.engines.gdbm_ import GdbmDBHandle

logging.disable(logging.CRITICAL)
FIELDS = GdbmDBHandle.fields


def words(names):
    return ",".join(sorted(name.encode().hex() for name in names)) or "-"


def files(line):
    """Reads an accounts file and an access file; returns the keys and the operations of the users."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("passwd", "access")]
        for path, text in zip(paths, line.split()):
            if text != "-":
                with open(path, "wb") as out:
                    out.write(bytes.fromhex(text[1:]))
        accounts = pyzor.config.load_passwd_file(paths[0])
        acl = pyzor.config.load_access_file(paths[1], accounts)
    users = words("%s:%s" % account for account in accounts.items())
    rules = " ".join("%s=%s" % (user.encode().hex(), words(acl[user])) for user in sorted(acl))
    return ("%s %s" % (users, rules)).strip()


def read_configuration(text, defaults, options, strict, errors):
    """Reads a configuration file as the server does; returns what it reads of each setting."""
    config = configparser.ConfigParser(strict=strict)
    config.add_section("server")
    for name, value in defaults:
        config.set("server", name, value)
    config.read_file(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", errors=errors))
    for name, value in options:
        config.set("server", name, value)
    values = []
    for name, _ in defaults:
        try:
            values.append("x" + config.get("server", name).encode().hex())
        except configparser.InterpolationError as error:
            values.append(type(error).__name__)
    return values


def configuration(line):
    """Reads a file, defaults and options; returns the errors of the server and the values without these."""
    text, defaults, options = line.split(" ")
    pairs = [
        [[bytes.fromhex(part).decode() for part in pair.split("=")] for pair in pairs.split(",") if pair]
        for pairs in (defaults, options)
    ]
    strict, errors, refusals = True, "strict", []
    while True:
        try:
            values = read_configuration(bytes.fromhex(text), *pairs, strict, errors)
            return " ".join([",".join(refusals) or "-", *values])
        except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
            strict = False
            refusals.append(type(error).__name__)
        except UnicodeDecodeError as error:
            errors = "replace"
            refusals.append(type(error).__name__)


def micros(date):
    """Returns a date of a record as Unix time in microseconds."""
    if date is None or isinstance(date, int):
        return "-" if not date else str(date * 1000000)
    return str(int(time.mktime(date.timetuple())) * 1000000 + date.microsecond)


def shown(record):
    return " ".join(
        str(getattr(record, field)) if field.endswith("count") else micros(getattr(record, field))
        for field in FIELDS
    )


def record(line):
    """Makes a record from six numbers: counts, and dates in microseconds."""
    values = {}
    for field, text in zip(FIELDS, line.split()):
        if field.endswith("count"):
            values[field] = int(text)
        elif text != "-":
            seconds, rest = divmod(int(text), 1000000)
            values[field] = datetime.fromtimestamp(seconds) + timedelta(microseconds=rest)
    return Record(**values)


def own(again, read):
    """Returns "own" if a server can have written the value: it is written again unchanged, with valid counts."""
    possible = all(0 <= count <= sys.maxsize for count in (read.r_count, read.wl_count))
    return "own" if again and possible else "odd"


def gdbm_decode(line):
    value = bytes.fromhex(line)
    read = GdbmDBHandle.decode_record(value)
    if value.count(b",") == 2:
        dates = (read.r_entered, read.r_updated)
        again = b"%d,%d,%d" % (read.r_count, *dates) == value and 0 <= min(dates) <= max(dates) < 2**37
    else:
        again = GdbmDBHandle.encode_record(read).encode() == value
    return "%s %s" % (own(again, read), shown(read))


def gdbm_encode(line):
    return GdbmDBHandle.encode_record(record(line)).encode().hex()


def hash_of(line):
    names = (field.encode() for field in FIELDS)
    return {k: bytes.fromhex(v[1:]) for k, v in zip(names, line.split()) if v != "-"}


def redis_decode(line):
    value = hash_of(line)
    read = redis_.RedisDBHandle._decode_record(value)
    again = redis_.RedisDBHandle._encode_record(read)
    again = all(str(again[field]).encode() == value.get(field.encode(), b"0") for field in FIELDS)
    return "%s %s" % (own(again, read), shown(read))


def redis_encode(line):
    written = redis_.RedisDBHandle._encode_record(record(line))
    return " ".join(str(written[field]) for field in FIELDS)


def redis_v0_decode(line):
    value = bytes.fromhex(line)
    read = redis_v0.RedisDBHandle._decode_record(value)
    again = redis_v0.RedisDBHandle._encode_record(read) == value
    return "%s %s" % (own(again, read), shown(read))


def redis_v0_encode(line):
    return redis_v0.RedisDBHandle._encode_record(record(line)).hex()


def seed(line):
    """Writes a key and a value into the gdbm file."""
    key, value = line.split(" ")
    with dbm.gnu.open(sys.argv[2], "c") as db:
        db[bytes.fromhex(key)] = bytes.fromhex(value)
    return "-"


def dump():
    """Prints every key and value of the gdbm file."""
    with dbm.gnu.open(sys.argv[2], "r") as db:
        for key in db.keys():
            print(key.hex(), db[key].hex())


def main():
    part = sys.argv[1]
    if part == "dump":
        return dump()
    for line in sys.stdin:
        try:
            print(globals()[part](line.rstrip("\n")))
        except Exception as error:
            print("error", type(error).__name__)


main()
