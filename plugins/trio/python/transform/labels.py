"""`labels`: what a transform of columns does, with names of documents where `twice` is set."""

import math

from tidemill_sdk import BINARY, BOOLEAN, DATE32, FLOAT32, FLOAT64, INT16, INT32, INT64, JSON, NUMERIC, TIME64, TIMESTAMP
from tidemill_sdk import TIMESTAMP_UTC, UINT32, UTF8, Reject

DAY = 86_400_000_000
# A column of each type goes back as it came, so that every type is read and made.
ECHO = [
    ("small", int, INT16), ("count", int, INT32), ("ref", int, UINT32), ("ratio", float, FLOAT32), ("score", float, FLOAT64),
    ("born", int, DATE32), ("seen", int, TIMESTAMP), ("at", int, TIMESTAMP_UTC), ("hour", int, TIME64),
    ("raw", bytes, BINARY), ("data", str, UTF8, JSON), ("price", str, UTF8, NUMERIC),
]


class Labels:
    def __init__(self, config, plan):
        self.prefix = config["labels"]["prefix"]
        self.twice = config["labels"]["twice"]
        self.id = plan.require("id", int)
        self.price = plan.require("price", str)
        self.name = plan.require("name", str)
        self.active = plan.require("active", bool)
        self.at = plan.require("at", int)
        self.score = plan.require("score", float)
        plan.pass_all_but("active", *[name for name, *_ in ECHO])
        plan.make("label", UTF8)
        plan.make("cents", INT64)
        plan.make("early", BOOLEAN)
        self.echo = []
        for name, type, *made in ECHO:
            self.echo.append(plan.require(name, type))
            plan.make(name, *made)
        plan.pass_fact("lsn", "lsn")
        self.op, self.namespace, self.table, self.time = map(plan.require_fact, ("op", "namespace", "table", "time"))
        self.was = plan.require_old("quantity", int)
        plan.make("told", UTF8)
        plan.make("timed", BOOLEAN)
        plan.make("was", INT64)
        if self.twice:
            for name in ("_id", "_index", "_routing"):
                plan.make(name, UTF8)
            plan.many()

    def row(self, row, out):
        active = row[self.active]
        if active is False:
            return
        key, price, name, at, score = row[self.id], row[self.price], row[self.name], row[self.at], row[self.score]
        if price == "NaN":
            raise Reject("price", "`price` is not a number")
        if name is None and score is None:
            raise Reject("empty", "`name` and `score` are both null")
        early = None if at is None else at < 0
        cents = None
        if score is not None and abs(score) < 1e9:
            cents = math.floor(score * 100)
        label = None
        if name is not None:
            label = f"{self.prefix}{short(name)} #{key} {'?' if price is None else price} {date(at)}"
        made = [label, cents, early, *[row[column] for column in self.echo]]
        made += [f"{row[self.op]} {row[self.namespace]}.{row[self.table]}", row[self.time] is not None, row[self.was]]
        index = "things-unknown" if active is None else "things-on"
        for n in range(2 if self.twice and active is None else 1):
            # Emitted first, so that a reject has something to take back.
            out.emit(*made, f"{key}-{n}", index, f"r{key % 7}") if self.twice else out.emit(*made)
            if cents == 66_600:
                raise Reject("score", f"`score` is {cents}")


def short(text):
    """A text's first 12 characters."""
    return text if len(text) <= 12 else text[:12] + "…"


def date(at):
    """The day since 1970 that a time falls on."""
    if at is None:
        return "never"
    if at == 2**63 - 1:
        return "∞"
    if at == -(2**63):
        return "-∞"
    return str(at // DAY)
