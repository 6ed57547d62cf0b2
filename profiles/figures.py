#!/usr/bin/env python3
"""Puts the newest records' tables and charts where they are shown.

    profiles/figures.py           writes the tables in README.md and both crates' src/docs, and profiles/charts/*.svg
    profiles/figures.py --check   fails if any of them is not what the records say

A table stands between two comments in a page:

    <!-- table NAME-*.md: HEADING: ROW, ROW -->
    <!-- end -->

Without rows it is the whole table after the heading, without a heading the record's first. `<!-- summary -->` is the
README's own, `<!-- behind -->` lists the rows in which a peer is ahead, `<!-- codec -->` compares the codec on all tiers,
`<!-- capacity -->` computes examples. Within a sentence there may be one of

    <!-- value NAME-*.md: HEADING: ROW: COLUMN -->2.53<!-- end -->
    <!-- record NAME-*.md -->`profiles/records/NAME-2026-11-29.md`<!-- end -->, a link in pages that are no rustdoc
    <!-- most NAME-*.md: HEADING: COLUMN: ROW -->13.5<!-- end -->, the most of all rows but ROW
    <!-- cores -->the deliveries a second that a core carries<!-- end -->
"""

import math
import re
import sys
from pathlib import Path

import charts
from charts import facts, newest, number, table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "profiles/README.md", ROOT / "tests/README.md", ROOT / "server/README.md", *sorted(ROOT.glob("src/docs/*.md")), *sorted(ROOT.glob("server/src/docs/*.md"))]


def markdown(rows):
    names = list(rows[0])
    lines = ["| " + " | ".join("" if name == "name" else name for name in names) + " |"]
    lines.append("|---|" + "---:|" * (len(names) - 1))
    lines += ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in rows]
    return "\n".join(lines)


def excerpt(pattern, heading, wanted):
    record = newest(pattern)
    rows = table(record, heading)
    if wanted:
        found = {row["name"]: row for row in rows}
        missing = [name for name in wanted if name not in found]
        if missing:
            sys.exit(f"{record.name}: no row {', '.join(missing)} in {heading}")
        rows = [found[name] for name in wanted]
    of = facts(record)
    return f"{markdown(rows)}\n\n`{record.relative_to(ROOT)}` in the repository: {of['Machine']}, commit {of['Commit']}."


def cell(record, heading, row, column):
    found = next((it for it in table(record, heading) if next(iter(it.values())) == row), None)
    if found is None:
        sys.exit(f"{record.name}: no row {row} in {heading}")
    return found[column]


def summary():
    """The README's table: what the parts and the whole cost, beside what one would use instead."""
    codec, shard, servers = newest("compare*avx512*.md"), newest("shard-*.md"), newest("race-*.md")
    parse = lambda column: cell(codec, "Parse, ns per message", "mixed-day", column)
    # A ratio to so short a time has no more digits than the time.
    deliver = lambda column: re.sub(r"\((\d\d+)\.\d+×\)", r"(\1×)", cell(shard, "Rooms as logs", "shard 64k", column))
    cpu = lambda row: cell(servers, ONE_IN_FLIGHT, row, "server CPU, µs")
    cells = re.findall(r"^### (1000 clients, .*)$", servers.read_text(), re.M)

    def memory(row):
        all_races = [number(cell(servers, it, row, "KiB per connection")) for it in cells]
        least, most = min(all_races), max(all_races)
        return f"{least}" if least == most else f"{least} to {most}"

    rows = [
        ("parse and validate a message of 556 B, ns", parse("pondwire"),
         f"`sonic-rs` {parse('sonic-rs')}, `serde_json` {parse('serde_json')}, `pondsocket-common` "
         f"{parse('pondsocket-common')}"),
        ("one frame to 65,536 members of a room and out to their writers, ns per member", deliver("shard"),
         f"tokio's `broadcast` of the same frame {deliver('tokio broadcast, Frame')}"),
        ("a whole server with 1,000 clients, messages of 64 B: CPU per delivery, µs", cpu("pondwire"),
         f"bare `epoll` loop {cpu('floor')}, uWebSockets {cpu('uws')}, tuned axum {cpu('axum-batched')}, "
         f"`pondsocket-axum` {cpu('pondsocket-axum')}"),
        ("the same server: peak memory per connection in four runs, KiB", memory("pondwire"),
         f"uWebSockets {memory('uws')}, tuned axum {memory('axum-batched')}, `pondsocket-axum` "
         f"{memory('pondsocket-axum')}"),
        ("what you keep", "your clients",
         "the npm and PyPI clients connect as they are, and nodes of both packages can share its Redis"),
    ]
    lines = ["| | pondwire | others |", "|---|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


# Columns of a record that hold no peer: its own facts, and the least that anything of its kind does.
NOT_OURS = ("name", "bytes", "observers", "alloc + memcpy", "Vec<Arc<dyn Fn>>")

PEERS = re.compile("serde_json|simd-json|sonic-rs|pondsocket|DOM|On-Demand|tokio|RwLock|ArcSwap|DashMap|quick_cache|flate2")

# simdjson's implementation with the instruction set of each tier; its others are not peers of that tier.
SIMDJSON = {"avx512": "icelake", "avx2": "haswell", "sse2": "westmere"}

RECORDS = ["compare*avx512*.md", "compare*avx2*.md", "compare*sse2*.md", "compare*scalar*.md",
           "compare*default*.md", "shard-*.md", "outbox-*.md", "fanout-*.md", "cache-*.md", "deflate-*.md",
           "distributed-*.md"]


def behind():
    """Every row of the records in which a peer takes less time."""
    lines = ["| record | table | row | peer | its time, of pondwire's |", "|---|---|---|---|---:|"]
    for pattern in RECORDS:
        record = newest(pattern)
        tier = facts(record).get("Tier")
        kind = re.sub(r"-?\d{4}-\d\d-\d\d", "", record.stem)
        for heading in re.findall(r"^### (.*)$", record.read_text(), re.M):
            for row in table(record, heading):
                # Ours is the first of the contenders.
                ours = next((number(row[name]) for name in row if name not in NOT_OURS), None)
                for name in row:
                    if "simdjson" in heading and not name.startswith(SIMDJSON.get(tier, "none")):
                        continue
                    theirs = number(row[name]) if PEERS.search(name) else None
                    if ours and theirs and theirs < 0.995 * ours:
                        share = f"{theirs / ours:.2f}"
                        lines.append(f"| {kind} | {heading} | {row['name']} | {name} | {share} |")
    return "\n".join(lines)


def codec():
    """How many times longer the peers take to parse, and refusals to refuse, on each tier."""
    tiers = {tier: newest(f"compare*{tier}*.md") for tier in SIMDJSON}
    name = {"avx512": "AVX-512", "avx2": "AVX2", "sse2": "SSE2"}
    columns = "| | " + " | ".join(f"{name[tier]}: sonic-rs, DOM, On-Demand, refusal" for tier in tiers) + " |"
    lines = [columns, "|---|" + "---:|" * len(tiers)]
    for row in table(tiers["avx512"], "Parse, ns per message"):
        cells = []
        for tier, record in tiers.items():
            ours = lambda heading, column: number(cell(record, heading, row["name"], column))
            parse, beside, refuse = "Parse, ns per message", "Parse beside C++ simdjson, ns per message", "Refuse, ns per message"
            sonic = ours(parse, "sonic-rs") / ours(parse, "pondwire")
            dom, on_demand = (ours(beside, f"{SIMDJSON[tier]} {api}") / ours(beside, "pondwire") for api in ("DOM", "On-Demand"))
            found = next(it for it in table(record, refuse) if it["name"] == row["name"])
            refusal = max(number(found[kind]) for kind in found if kind not in ("name", "bytes", "accepted"))
            ratios = (sonic, dom, on_demand, refusal / number(found["accepted"]))
            cells.append(", ".join(f"{ratio:.2f}" for ratio in ratios))
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    made = {f"{facts(record)['Machine']}, commit {facts(record)['Commit']}" for record in tiers.values()}
    return "\n".join(lines) + f"\n\n{'; '.join(sorted(made))}."


ONE_IN_FLIGHT, EIGHT_IN_FLIGHT = "1000 clients, 64 B, one in flight", "1000 clients, 64 B, 8 in flight"


def race(heading, column):
    return number(cell(newest("race-*.md"), heading, "pondwire", column))


def rounded(value):
    """To three digits."""
    digits = 2 - math.floor(math.log10(value))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def cores():
    one, eight = (race(heading, "server CPU, µs") for heading in (ONE_IN_FLIGHT, EIGHT_IN_FLIGHT))
    return f"{one} µs of that record, {rounded(0.7e6 / one)}, and {one / eight:.0f} times that"


def capacity():
    """The examples of how many cores and how much memory a load needs."""
    cost, memory = race(ONE_IN_FLIGHT, "server CPU, µs"), race(ONE_IN_FLIGHT, "KiB per connection")
    need = lambda deliveries: f"{deliveries * cost / 0.7e6:.2f}"
    gib = lambda connections: f"{connections * memory / (1 << 20):.2f} GiB"
    join = race("10000 idle connections", "server CPU, µs for each")
    rows = [
        ("100,000 users in channels of 50, each of whom sends a message once a minute", "100,000 / 60 × 50 = 83,000",
         f"83,000 × {cost} µs / 0.7 = {need(83_000)}", f"100,000 × {memory} KiB = {gib(100_000)}"),
        ("a dashboard, 20,000 viewers, 10 updates a second", "200,000", f"{need(200_000)} at most", gib(20_000)),
        ("a game of 64 players, 30 ticks a second, 100 games", "64 × 30 × 100 = 192,000", f"{need(192_000)} at most",
         gib(6_400)),
    ]
    lines = ["| | deliveries/s | cores | memory of connections |", "|---|---:|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    after = (f"After a restart all clients of the first example come back: 100,000 × {join:.0f} µs are {join / 10:.1f} s of"
             " CPU time, on two cores half\nof that. The next server is ready for them if it is below `u` without them.")
    return "\n".join(lines) + "\n\n" + after


def inline(page, directive):
    kind, _, rest = directive.partition(" ")
    if kind == "cores":
        return cores()
    pattern, heading, third, last = (rest.split(": ") + ["", "", ""])[:4]
    record = newest(pattern)
    if kind == "record":
        path = record.relative_to(ROOT)
        is_rustdoc = page.match("*/docs/*.md")
        return f"`{path}`" if is_rustdoc else f"[record]({Path('../' * (len(page.relative_to(ROOT).parts) - 1)) / path})"
    if kind == "most":
        rows = [row for row in table(record, heading) if next(iter(row.values())) != last]
        return f"{max(number(row[third]) for row in rows):.1f}"
    return cell(record, heading, third, last)


def fill(page):
    def block(found):
        directive = found.group(1)
        if directive == "summary":
            body = summary()
        elif directive == "behind":
            body = behind()
        elif directive == "codec":
            body = codec()
        elif directive == "capacity":
            body = capacity()
        else:
            pattern, heading, wanted = (directive.removeprefix("table ").split(": ") + ["", ""])[:3]
            body = excerpt(pattern, heading, wanted.split(", ") if wanted else [])
        body = body.replace("<", "&lt;")  # in the names of types
        return f"<!-- {directive} -->\n\n{body}\n\n<!-- end -->"

    text = re.sub(r"<!-- (summary|behind|codec|capacity|table .*?) -->\n.*?<!-- end -->", block, page.read_text(), flags=re.S)
    within = lambda found: f"<!-- {found.group(1)} -->{inline(page, found.group(1))}<!-- end -->"
    return re.sub(r"<!-- ((?:value|record|most|cores)\b[^\n]*?) -->(?!\n).*?<!-- end -->", within, text, flags=re.S)


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wanted = {page: fill(page) for page in PAGES} | charts.drawn()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"not what the records say, run profiles/figures.py: {names}")
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path])


if __name__ == "__main__":
    main()
