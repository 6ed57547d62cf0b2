"""The README's charts, drawn from the newest records: an SVG for light pages and one for dark ones each."""

import math
import re
import sys
from html import escape
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
OUT = HERE / "charts"

THEMES = {
    "light": {"text": "#1f2328", "faint": "#59636e", "grid": "#d1d9e0", "ours": "#0b6bcb"},
    "dark": {"text": "#f0f6fc", "faint": "#9198a1", "grid": "#3d444d", "ours": "#58a6ff"},
}
# Colours that people with any colour vision can tell apart, and shapes for those who see none.
PEERS = ["#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999"]
SHAPES = ["circle", "square", "diamond", "triangle", "cross", "ring", "bar"]

WIDTH = 760
FONT = "font-family='system-ui,-apple-system,Segoe UI,sans-serif'"


def newest(pattern):
    """The newest record whose name matches; names end with their date."""
    records = sorted((HERE / "records").glob(pattern), key=lambda path: re.findall(r"\d{4}-\d\d-\d\d", path.name))
    if not records:
        sys.exit(f"no record {pattern}")
    return records[-1]


def facts(record):
    """The facts at a record's start, `- Name: value`."""
    found = re.findall(r"^- (\w+): (.*)$", record.read_text(), re.M)
    return {name: value for name, value in found}


def source(record):
    of = facts(record)
    machine = re.sub(r" \(family.*", "", of.get("Machine", "unknown machine"))
    return f"{machine}; {record.relative_to(HERE.parent)}"


def table(record, heading):
    """The first table after a heading: a list of rows, each a dict from the column's name to its text."""
    text = record.read_text()
    if heading:
        _, found, text = text.partition(f"\n### {heading}")
        if not found:
            sys.exit(f"{record}: no section {heading}")
    lines = [line for line in re.search(r"(?:^\|.*\n?)+", text, re.M).group().splitlines()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names = []
    for name in cells[0]:
        # Two columns may have one name.
        while name in names:
            name += " "
        names.append(name or "name")
    return [dict(zip(names, row)) for row in cells[2:]]


def number(text):
    """The number that a cell begins with, or None."""
    found = re.match(r"[\d.]+", text or "")
    return float(found.group()) if found else None


class Svg:
    def __init__(self, title, subtitle, foot, height, theme):
        self.theme, self.height = theme, height
        described = escape(f"{title}: {subtitle}", quote=True)
        self.parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
            f"height='{height}' role='img' aria-label='{described}'>"
        ]
        self.text(16, 26, title, size=17, weight=600)
        self.text(16, 46, subtitle, size=12, colour=theme["faint"])
        self.text(16, height - 10, foot, size=10, colour=theme["faint"])

    def text(self, x, y, text, size=12, anchor="start", colour=None, weight=400):
        self.parts.append(
            f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' font-weight='{weight}' "
            f"text-anchor='{anchor}' fill='{colour or self.theme['text']}'>{escape(text)}</text>"
        )

    def line(self, x1, y1, x2, y2, colour=None, width=1, dash=""):
        dash = f" stroke-dasharray='{dash}'" if dash else ""
        self.parts.append(
            f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
            f"stroke='{colour or self.theme['grid']}' stroke-width='{width}'{dash}/>"
        )

    def mark(self, x, y, shape, colour, r=5):
        if shape == "circle":
            self.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{r + 1}' fill='{colour}'/>")
        elif shape == "ring":
            self.parts.append(
                f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{r - 1}' fill='none' stroke='{colour}' stroke-width='2'/>"
            )
        elif shape == "cross":
            self.line(x - r, y - r, x + r, y + r, colour, 2)
            self.line(x - r, y + r, x + r, y - r, colour, 2)
        else:
            corners = {
                "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
                "diamond": [(0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)],
                "triangle": [(0, -r - 1), (r + 1, r), (-r - 1, r)],
                "bar": [(-2, -r - 1), (2, -r - 1), (2, r + 1), (-2, r + 1)],
            }[shape]
            points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
            self.parts.append(f"<polygon points='{points}' fill='{colour}'/>")

    def legend(self, names, y):
        x = 16
        for place, name in enumerate(names):
            if x + 6.6 * len(name) > WIDTH - 34:
                x, y = 16, y + 18
            self.mark(x + 6, y - 4, SHAPES[place], self.colour(place), 4)
            self.text(x + 18, y, name, size=12)
            x += 34 + 6.6 * len(name)

    def colour(self, place):
        return self.theme["ours"] if place == 0 else PEERS[place - 1]

    def finish(self):
        return "\n".join(self.parts) + "\n</svg>\n"


def ticks(low, high):
    """Powers of ten, with 2 and 5 if there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [1] if len(powers) > 4 else [1, 2, 5]
    values = [step * 10.0**power for power in powers for step in steps]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]


def short(value):
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    if value >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def dots(title, subtitle, foot, names, rows, theme, unit):
    """A row for each of `rows` (name, values), a mark for each value, on a logarithmic axis."""
    left, right, top, step = 150, 24, 110, 30
    height = top + step * len(rows) + 50
    svg = Svg(title, subtitle, foot, height, theme)
    svg.legend(names, 70)
    values = [value for _, row in rows for value in row if value]
    low, high = min(values) / 1.15, max(values) * 1.15
    at = lambda value: left + (WIDTH - left - right) * math.log(value / low) / math.log(high / low)
    bottom = top + step * len(rows)
    for value in ticks(low, high):
        svg.line(at(value), top - 8, at(value), bottom)
        svg.text(at(value), bottom + 16, f"{short(value)}{unit}", size=11, anchor="middle", colour=theme["faint"])
    for place, (name, row) in enumerate(rows):
        y = top + step * place + step / 2
        svg.text(left - 12, y + 4, name, anchor="end")
        given = [value for value in row if value]
        svg.line(at(min(given)), y, at(max(given)), y, width=2)
        for which in reversed(range(len(row))):
            if row[which]:
                svg.mark(at(row[which]), y, SHAPES[which], svg.colour(which))
    return svg.finish()


def bars(title, subtitle, foot, rows, theme, unit, ours=(), limit=None):
    """A bar for each of `rows` (name, value)."""
    left, right, top, step = 300, 70, 66, 24
    height = top + step * len(rows) + (50 if limit else 30)
    svg = Svg(title, subtitle, foot, height, theme)
    most = max([value for _, value in rows] + [limit[0] if limit else 0])
    at = lambda value: left + (WIDTH - left - right) * value / most
    for place, (name, value) in enumerate(rows):
        y = top + step * place
        svg.text(left - 10, y + 15, name, anchor="end")
        colour = theme["ours"] if not ours or name in ours else PEERS[5]
        width = max(at(value) - left, 1)
        svg.parts.append(f"<rect x='{left}' y='{y + 3}' width='{width:.1f}' height='16' rx='2' fill='{colour}'/>")
        svg.text(at(value) + 6, y + 15, f"{short(value)}{unit}", size=11)
    if limit:
        value, name = limit
        bottom = top + step * len(rows)
        svg.line(at(value), top - 4, at(value), bottom, theme["text"], 1, "4 3")
        svg.text(at(value), bottom + 16, name, size=11, anchor="middle")
    return svg.finish()


def lines(title, subtitle, foot, names, xs, ys, theme, unit, of):
    """A line for each of `ys` (a list with a value or None for each of `xs`), on logarithmic axes."""
    left, right, top, bottom = 64, 24, 110, 350
    svg = Svg(title, subtitle, foot, bottom + 62, theme)
    svg.legend(names, 70)
    values = [value for row in ys for value in row if value]
    low, high = min(values) / 1.3, max(values) * 1.3
    across = lambda x: left + (WIDTH - left - right) * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
    up = lambda y: bottom - (bottom - top) * math.log(y / low) / math.log(high / low)
    for value in ticks(low, high):
        svg.line(left, up(value), WIDTH - right, up(value))
        svg.text(left - 8, up(value) + 4, f"{short(value)}{unit}", size=11, anchor="end", colour=theme["faint"])
    for x in xs:
        anchor = "end" if x == xs[-1] else "start" if x == xs[0] else "middle"
        svg.text(across(x), bottom + 18, f"{x:,}", size=11, anchor=anchor, colour=theme["faint"])
    svg.text((left + WIDTH - right) / 2, bottom + 34, of, size=11, anchor="middle", colour=theme["faint"])
    for which in reversed(range(len(ys))):
        points = [(across(x), up(y)) for x, y in zip(xs, ys[which]) if y]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = svg.colour(which)
        svg.parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        for x, y in points:
            svg.mark(x, y, SHAPES[which], colour)
    return svg.finish()


def parse(theme):
    record = newest("compare*avx512*.md")
    found = table(record, "Parse, ns per message")
    names = [name for name in found[0] if name not in ("name", "bytes")]
    rows = [(row["name"], [number(row[name]) for name in names]) for row in found]
    return dots(
        "Parsing one message", "ns per message, logarithmic; to the left is faster", source(record), names, rows,
        theme, " ns",
    )


RACE = {
    "pondwire": "pondwire-server",
    "floor-io_uring": "bare loop, io_uring",
    "uws": "uWebSockets",
    "axum-batched": "axum, tuned",
    "axum": "axum",
    "pondsocket-axum": "pondsocket-axum",
    "ws": "Node ws",
}


def race(theme):
    record = newest("race-*.md")
    cells = re.findall(r"^### (1000 clients, .*)$", record.read_text(), re.M)
    rows = []
    for cell in cells:
        found = {row["name"]: number(row["server CPU, µs"]) for row in table(record, cell)}
        values = [found.get(name) and found[name] / found["floor"] for name in RACE]
        rows.append((cell.removeprefix("1000 clients, "), values))
    return dots(
        "What a server spends on a delivery",
        "CPU of the server, 1,000 clients in one channel, as a multiple of a bare epoll loop; to the left is cheaper",
        source(record), list(RACE.values()), rows, theme, "×",
    )


def memory(theme):
    record = newest("race-*.md")
    cells = re.findall(r"^### (1000 clients, .*)$", record.read_text(), re.M)
    races = {}
    for cell in cells:
        for row in table(record, cell):
            races.setdefault(row["name"], []).append(number(row["KiB per connection"]))
    rows = [(RACE[name], median(races[name])) for name in RACE if name in races and name != "floor-io_uring"]
    return bars(
        "Memory of a connection", "KiB of the server's peak for each of 1,000 clients, the median of four races",
        source(record), rows, theme, " KiB", ours=("pondwire-server",),
    )


def members(theme):
    record = newest("shard-*.md")
    found = {row["name"]: row for row in table(record, "Rooms as logs")}
    sizes = {"256": 256, "4k": 4096, "64k": 65536, "1M": 1 << 20}
    columns = [name for name in next(iter(found.values())) if name not in ("name", "bytes")]
    ys = [[number(found[f"shard {size}"].get(column)) for size in sizes] for column in columns]
    return lines(
        "Delivering a broadcast", "ns per delivery of one frame to all members and out again, one thread, logarithmic",
        source(record), columns, list(sizes.values()), ys, theme, " ns", "members of the room",
    )


def fairness(theme):
    record = newest("fairness-*.md")
    rows = [(row["flood"].replace("`", ""), number(row["p99"])) for row in table(record, "")]
    return bars(
        "A bystander's round trip while others flood the server", "99th percentile, ms, two cores that the floods use too",
        source(record), rows, theme, " ms", limit=(20, "goal: 20 ms"),
    )


CHARTS = {"parse": parse, "race": race, "memory": memory, "members": members, "fairness": fairness}


def drawn():
    """The path of every chart and its SVG."""
    return {
        OUT / f"{name}-{theme}.svg": draw(colours)
        for name, draw in CHARTS.items()
        for theme, colours in THEMES.items()
    }
