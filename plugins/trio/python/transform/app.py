"""The transform of the trio: the same as in rust/ and go/, byte for byte."""

import math

from tidemill_sdk import BOOLEAN, INT64, UTF8, Reject, transform

DAY = 86_400_000_000


@transform
class Label:
    def __init__(self, config, plan):
        self.prefix = config["prefix"]
        self.twice = config["twice"]
        self.id = plan.require("id", int)
        self.price = plan.require("price", str)
        self.name = plan.require("name", str)
        self.active = plan.require("active", bool)
        self.at = plan.require("at", int)
        self.score = plan.require("score", float)
        plan.pass_all_but("active")
        plan.make("label", UTF8)
        plan.make("cents", INT64)
        plan.make("early", BOOLEAN)
        if self.twice:
            plan.make("_id", UTF8)
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
        for n in range(2 if self.twice and active is None else 1):
            # Emitted first, so that a reject has something to take back.
            made = (label, cents, early)
            out.emit(*made, f"{key}-{n}") if self.twice else out.emit(*made)
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
