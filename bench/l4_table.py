# SPDX-License-Identifier: Apache-2.0
"""The table that bench/l4 prints."""

import os
import time

KILO, MEGA = 1024, 1024 * 1024


def share(value):
    return f"{value * 100:.0f} %"


def number(value):
    """Three digits that matter."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Row:
    """what: text; keys: figures that are added up; scale: divides them; target: (">=" or "<=", ratio ours to peer)."""

    def __init__(self, what, *keys, scale=1, target=None, each=None, user=False):
        self.what, self.keys, self.scale, self.target, self.each, self.user = what, keys, scale, target, each, user

    def value(self, figures):
        if not all(key in figures for key in self.keys):
            return None
        return sum(figures[key] for key in self.keys) / self.scale

    def cell(self, figures):
        value = self.value(figures)
        if value is None:
            return "-"
        text = number(value)
        if len(self.keys) > 1:
            text += " (" + " + ".join(number(figures[key] / self.scale) for key in self.keys) + ")"
        if self.user:
            # of both proxies, weighted by what each spent
            spent = sum(figures[key] for key in self.keys)
            user = sum(figures[key] * figures[f"{key} user"] for key in self.keys)
            text += f", {share(user / spent if spent else 0)} user"
        return text

    def ratio(self, ours, peer):
        mine, theirs = self.value(ours), self.value(peer)
        if mine is None or not theirs:
            return "-", "-"
        ratio = mine / theirs
        if not self.target:
            return f"{ratio:.2f}", ""
        sign, want = self.target
        met = ratio >= want if sign == ">=" else ratio <= want
        return f"{ratio:.2f}", f"{sign} {want}: {'met' if met else 'MISSED'}"


def both(key):
    return f"{key} client", f"{key} server"


def rows(options):
    found = []
    for streams in (1, 4):
        name = f"bulk, {streams} stream{'s' if streams > 1 else ''}"
        found += [
            Row(f"{name}: Gb/s", f"bulk{streams} rate", target=(">=", 2)),
            Row(f"{name}: CPU-s per GB", *both(f"bulk{streams} cpu"), target=("<=", 0.4), user=True),
        ]
    for key, name in (("paced", "1 KiB trips, 2,000 a second"), ("flat", "1 KiB trips, flat out")):
        paced = key == "paced"
        found += [
            Row(f"{name}: p50 us", f"{key} p50", target=("<=", 0.6) if paced else None),
            Row(f"{name}: p99 us", f"{key} p99"),
            Row(f"{name}: a second", f"{key} rate"),
            Row(f"{name}: CPU us per trip", *both(f"{key} cpu"), target=("<=", 0.5), user=True),
        ]
    found += [
        Row("new connections, warm tunnel: a second", "short rate", target=(">=", 2)),
        Row("new connections, warm tunnel: CPU us each", *both("short cpu"), user=True),
        Row("cold tunnels: a second", "cold rate", target=(">=", 2)),
        Row("cold tunnels: CPU us each", *both("cold cpu"), user=True),
    ]
    if "memory" in options.what:
        for side in ("client", "server"):
            found += [
                Row(f"memory idle, {side}: RSS MiB", f"idle rss {side}", scale=MEGA, target=("<=", 0.35)),
                Row(f"memory idle, {side}: PSS MiB", f"idle pss {side}", scale=MEGA),
                Row(f"5,000 idle connections, {side}: KiB each", f"each rss {side}", scale=KILO, target=("<=", 0.35)),
                Row(f"with bulk on top, {side}: RSS MiB", f"loaded rss {side}", scale=MEGA),
                Row(f"12 s after release, {side}: RSS MiB", f"released rss {side}", scale=MEGA),
            ]
    return found


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


TITLES = {"direct": "no proxy", "ours": "gauze", "epoll": "gauze, epoll", "peer": "peer"}
PINNED = {
    "split": "proxies on one core, load on another",
    "nodes": "one core for each node",
    "none": "not pinned",
}


def table(medians, options):
    """Markdown: medians is {subject: {figure: value}}."""
    names = [name for name in TITLES if name in medians]
    compare = "ours" in medians and "peer" in medians
    head = ["what", *(TITLES[name] for name in names)] + (["gauze / peer", "target"] if compare else [])
    lines = [
        f"`bench/l4`, {time.strftime('%Y-%m-%d')}: {processor()}, {os.cpu_count()} cores, Linux {os.uname().release}; "
        f"{options.rounds} rounds, windows of {options.seconds:g} s, medians; {PINNED[options.pin]}; "
        f"{options.workers} data threads; {options.congestion}. In brackets: proxy on the client's node + on the server's.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    for row in rows(options):
        if all(row.value(medians[name]) is None for name in names):
            continue
        cells = [row.what, *(row.cell(medians[name]) for name in names)]
        if compare:
            cells += row.ratio(medians["ours"], medians["peer"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
