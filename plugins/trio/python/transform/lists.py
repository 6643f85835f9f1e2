"""`lists` makes columns of lists of what a row has: nulls, lists without elements and nulls in lists among them. `turned` reads them,
and turns them round."""

from tidemill_sdk import BINARY, BOOLEAN, FLOAT64, INT32, INT64, JSON, NUMERIC, TIMESTAMP_UTC, UTF8, Reject

# As deep as lists may be.
DEEP = 8


def deep(of):
    for _ in range(DEEP):
        of = [of]
    return of


# What one makes, and the other reads.
MADE = [
    ("words", [str], [UTF8]), ("codes", [[int]], [[INT32]]), ("prices", [str], [UTF8], NUMERIC), ("flags", [bool], [BOOLEAN]),
    ("moments", [int], [TIMESTAMP_UTC]), ("scores", [float], [FLOAT64]), ("raws", [bytes], [BINARY]), ("all", [str], [UTF8], JSON),
    ("deep", deep(int), deep(INT64)),
]


class Lists:
    def __init__(self, config, plan):
        required = [
            ("id", int), ("name", str), ("price", str), ("active", bool), ("at", int), ("score", float), ("quantity", int),
            ("raw", bytes), ("data", str),
        ]
        self.required = [plan.require(*column) for column in required]
        plan.pass_all_but()
        for name, _, *made in MADE:
            plan.make(name, *made)

    def row(self, row, out):
        id, name, price, active, at, score, quantity, raw, data = [row[column] for column in self.required]
        words = codes = None
        if name is not None:
            words = [word or None for word in name.split(" ")]
            codes = [word and [ord(char) for char in word] for word in words]
        deepest = [quantity] if id % 3 else None
        for _ in range(DEEP - 1):
            deepest = [deepest]
        out.emit(
            words, codes, None if price is None else [price, None], [active, None if at is None else at < 0],
            [] if at is None else [at], [None, score], None if raw is None else [raw[: len(raw) // 2], raw[len(raw) // 2 :]],
            None if data is None else [data], deepest,
        )


class Turned:
    def __init__(self, config, plan):
        self.required = [plan.require(name, type) for name, type, *_ in MADE]
        plan.pass_all_but(*[name for name, *_ in MADE])
        for name, _, *made in MADE:
            plan.make(name, *made)
            if name == "codes":
                plan.make("total", INT64)

    def row(self, row, out):
        words, codes, *others, deepest = [row[column] for column in self.required]
        others = [None if values is None else values[::-1] for values in others]
        total = turned = None
        if codes is not None:
            total = sum(sum(word) for word in codes if word is not None)
            turned = [word and word[::-1] for word in codes[::-1]]
        out.emit(None if words is None else words[::-1], turned, total, *others, deepest)
        # Emitted first, so that a reject has something to take back.
        if words is not None and len(words) > 3:
            raise Reject("words", "`words` has more than 3 elements")
