"""The filter of the trio: the same as in rust/ and go/, byte for byte."""

from tidemill_sdk import Reject, filter


@filter
class Enough:
    def __init__(self, config, plan):
        self.at_least = config["at_least"]
        self.without = config["without"]
        self.quantity = plan.require("quantity", int)
        self.name = plan.require("name", str)

    def keep(self, row):
        quantity, name = row[self.quantity], row[self.name]
        if quantity is None and name is None:
            raise Reject("empty", "`quantity` and `name` are both null")
        if quantity == -(2**63):
            raise ArithmeticError("`quantity` has no magnitude")
        if quantity is None or quantity < self.at_least:
            return False
        return name is None or self.without not in name
