# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the quarantined Redis holds that the recovered one does not: keys that are gone, sessions as a rule.

Nothing is written to the quarantine: a scratch server loads it through links, and only the end of the log, which a
server opens to go on with it, is a copy. What a key is named after is a secret (a session's token), so it is told as
its SHA-256 alone, and of the values only the fields that the inventory names.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import (
    SCRATCH_SOCKET,
    START_SCRATCH,
    Server,
)
from ansible_collections.platform3.recovery.plugins.module_utils._undone import Listing, unlisted, write_listing
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

KEPT = "the recovered platform and the quarantined data are as they were"
BY_HAND = "docs/runbook.md, To a point in time, says how to look into the quarantine by hand"
LOOK = "/tmp/platform3-quarantine"

# $1 quarantine, $2 folder to make, $3 appenddirname, $4 appendfilename. Says why there is nothing to load.
_LINK = """
[ -n "$(ls -A "$1" 2>/dev/null)" ] || { echo none; exit 0; }
cd "$1/$3" 2>/dev/null && [ -s "$4.manifest" ] || { echo "damaged: it has no $3/$4.manifest"; exit 0; }
rm -rf "$2"; mkdir -p -m 0700 "$2/$3"
for file in "$4".*.aof "$4".*.rdb; do [ ! -e "$file" ] || ln -s "$PWD/$file" "$2/$3/$file"; done
last=$(grep ' type i' "$4.manifest" | tail -n 1 | cut -d ' ' -f 2)
if [ -n "$last" ] && [ -e "$last" ]; then rm "$2/$3/$last"; cp "$last" "$2/$3/$last"; fi
cp "$4.manifest" "$2/$3/"
"""
# The last command may be torn where the server was killed: what is whole before it counts.
_START = START_SCRATCH.replace(
    "--aof-load-truncated no", "--aof-load-truncated yes --auto-aof-rewrite-percentage 0 --appendfsync no"
)
# ARGV: database, pattern, cursor, fields. A page of keys with these fields of each; a key that is no hash has none.
PAGE_LUA = """
redis.call('SELECT', ARGV[1])
local page, keys = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[2], 'COUNT', 1000), {}
for _, key in ipairs(page[2]) do
  local row = {key}
  if redis.call('TYPE', key).ok == 'hash' then
    local held = redis.call('HMGET', key, unpack(ARGV, 4))
    for i = 1, #ARGV - 3 do row[i + 1] = held[i] or '' end
  end
  keys[#keys + 1] = row
end
return cjson.encode({cursor = page[1], keys = keys})
"""
# $1 PAGE_LUA, $2 database, $3 pattern, then the fields. A line of JSON a page.
_PAGES = f"""
lua=$1 db=$2 pattern=$3; shift 3
cursor=0
until
  page=$(redis-cli -e -s {SCRATCH_SOCKET} EVAL "$lua" 0 "$db" "$pattern" "$cursor" "$@") ||
    {{ echo "$page" >&2; exit 1; }}
  echo "$page"
  [[ $page =~ '"cursor":"'([0-9]+)'"' ]] || {{ echo "no cursor: ${{page:0:200}}" >&2; exit 1; }}
  cursor=${{BASH_REMATCH[1]}}
  [ "$cursor" = 0 ]
do :; done
"""

Entry = tuple[bytes, dict[str, str]]


def cannot_list(code: str, what: str, found: str) -> RecoveryError:
    """Why a listing is not there."""
    return RecoveryError(code, f"list the {what} that were undone", found, KEPT, BY_HAND)


def parse_page(line: str, fields: Sequence[str]) -> list[Entry]:
    """Keys and their fields of one answer of PAGE_LUA. Raises ValueError where it is none."""
    # Lua knows one kind of table: an empty list comes as an object.
    rows = json.loads(line)["keys"] or []
    # What is not UTF-8 came in as surrogates, and goes out as the bytes that it was.
    return [(str(row[0]).encode("utf-8", "surrogateescape"), dict(zip(fields, map(str, row[1:])))) for row in rows]


def name_of(key: bytes, pattern: str) -> str:
    """What a key is told as: the SHA-256 of what follows the pattern's fixed beginning, a session's token."""
    fixed = pattern.encode()
    for mark in (b"*", b"?", b"[", b"\\"):
        fixed = fixed.partition(mark)[0]
    return f"sha256:{hashlib.sha256(key[len(fixed) :]).hexdigest()}"


def fields_of(wanted: Mapping[str, Any]) -> list[str]:
    """The fields that are read of each key: the account's and those of the details."""
    account = [str(wanted["account"])] if wanted.get("account") else []
    return list(dict.fromkeys([*account, *map(str, wanted.get("details") or [])]))


def row_of(entry: Entry, wanted: Mapping[str, Any]) -> list[str]:
    """A row of the statement (id, at, account, amount, details). When a key was made, Redis does not know."""
    key, held = entry
    details = [f"{name}={held[name]}" for name in wanted.get("details") or [] if held.get(name)]
    return [name_of(key, str(wanted["pattern"])), "", held.get(str(wanted.get("account")), ""), "", "; ".join(details)]


def list_undone(given: Mapping[str, Any], server: Server, worker: VolumeWorker) -> list[Listing]:
    """A listing for each of given["wanted"], none of them left out whatever fails.

    given: the module's inputs (content, wanted, dest, progress_path).
    """
    progress = Progress(given["progress_path"])
    try:
        progress.start("loading the quarantined data")
        _load(given["content"], worker)
    except RecoveryError as error:
        return [unlisted(given["dest"], one["kind"], _told(error)) for one in given["wanted"]]
    listings = []
    for wanted in given["wanted"]:
        progress.start(f"listing {wanted['kind']}")
        try:
            listings.append(write_listing(given["dest"], wanted["kind"], _rows(server, worker, wanted)))
        except RecoveryError as error:
            listings.append(unlisted(given["dest"], wanted["kind"], error))
    return listings


def _told(error: RecoveryError) -> RecoveryError:
    own = error.code in ("PRC-640", "PRC-641")
    return error if own else cannot_list("PRC-641", "keys", f"{error.code} {error.attempted}: {error.found}")


def _load(content: Mapping[str, Any], worker: VolumeWorker) -> None:
    """Load the quarantined data in a scratch server; RecoveryError PRC-640 where there is none, PRC-641 on damage."""
    state = worker.swap_state()
    if state != "swapped":
        raise cannot_list("PRC-640", "keys", f"the data was not exchanged by this recovery (state '{state or 'none'}')")
    settings = {"databases": "16", "appenddirname": "appendonlydir", "appendfilename": "appendonly.aof"}
    settings |= content.get("settings") or {}
    log = [settings["appenddirname"], settings["appendfilename"]]
    said = worker.bash(_LINK, f"{ROOT}/quarantine/{worker.fence.recovery_id}", LOOK, *log).stdout.strip()
    if said == "none":
        raise cannot_list("PRC-640", "keys", "there is no old data in quarantine (a total loss leaves none)")
    if said:
        raise cannot_list("PRC-641", "keys", f"the quarantined data cannot be loaded: {said}")
    started = worker.bash(_START, LOOK, "none.rdb", settings["databases"], *log, "yes", check=False)
    if started.returncode != 0:
        found = last_line(started.stderr) or f"the scratch server ended with status {started.returncode}"
        raise cannot_list("PRC-641", "keys", f"the quarantined data cannot be loaded: {found}")


def _rows(server: Server, worker: VolumeWorker, wanted: Mapping[str, Any]) -> Iterator[list[str]]:
    # A scan may tell a key twice; eight bytes of each that is gone are held to tell it once.
    told: set[bytes] = set()
    for page in _pages(worker, wanted):
        for entry in _gone(server, page, wanted):
            mark = hashlib.sha256(entry[0]).digest()[:8]
            if mark not in told:
                told.add(mark)
                yield row_of(entry, wanted)


def _pages(worker: VolumeWorker, wanted: Mapping[str, Any]) -> Iterator[list[Entry]]:
    """The quarantined keys, a page at a time; RecoveryError PRC-641 where the scratch server does not tell all."""
    fields = fields_of(wanted)
    arguments = [PAGE_LUA, str(wanted["db"]), str(wanted["pattern"]), *fields]
    argv = worker.exec_argv(["bash", "-euc", _PAGES, "bash", *arguments])
    with (
        tempfile.TemporaryFile(mode="w+") as said,
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=said, encoding="utf-8", errors="surrogateescape"
        ) as process,
    ):
        assert process.stdout
        try:
            for line in process.stdout:
                yield parse_page(line, fields)
            if process.wait() != 0:
                said.seek(0)
                raise cannot_list("PRC-641", str(wanted["kind"]), last_line(said.read()) or "the scratch server ended")
        finally:
            process.kill()


def _gone(server: Server, page: Sequence[Entry], wanted: Mapping[str, Any]) -> list[Entry]:
    """Those of the page that the recovered server does not hold; RecoveryError PRC-642 where it does not answer."""
    import redis

    if not page:
        return []
    try:
        with server.connect() as client, client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("SELECT", wanted["db"])
            for key, _held in page:
                pipeline.exists(key)
            answers = pipeline.execute()[1:]
    except redis.exceptions.RedisError as error:
        raise cannot_list("PRC-642", str(wanted["kind"]), f"the recovered Redis does not answer: {error}") from None
    return [entry for entry, held in zip(page, answers) if not held]
