"""`documents` brings whole documents as JSON, named by the key alone; every fifth row becomes two."""

import json

from tidemill_sdk import UTF8, Json, Reject


class Documents:
    def __init__(self, config, plan):
        self.id = plan.require("id", int)
        self.name, self.price, self.data = [plan.require(name, str) for name in ("name", "price", "data")]
        self.op = plan.require_fact("op")
        plan.documents()
        for name in ("_id", "_index", "_routing"):
            plan.make(name, UTF8)
        plan.many()
        plan.named_by_key()

    def row(self, row, out):
        key, name, price, data = row[self.id], row[self.name], row[self.price], row[self.data]
        if price == "NaN":
            raise Reject("price", "`price` is not a number")
        members = None if data is None else json.loads(data)
        document = {
            "id": key,
            "n": 0,
            "name": name,
            "price": price if price is None or price.endswith("y") else Json(price),
            "words": (name or "").split(" "),
            "members": len(members) if isinstance(members, dict) else None,
            "data": None if data is None else Json(data),
        }
        # Of a row that is removed only the names are looked at.
        is_gone = row[self.op] == "remove"
        for number in range(1 if key % 5 else 2):
            document["n"] = number
            index = "things-odd" if key % 2 else "things-even"
            out.emit({} if is_gone else document, f"things {key}-{number}", index, f"r{key % 7}")
