"""Write Tidemill plugins in Python.

A plugin is a class under `@filter` (which rows become documents?) or `@transform` (and what do these consist of?). It is made
from the stage's configuration and a plan, which it asks for columns, and reads rows by the handles that it got:

    from tidemill_sdk import filter

    @filter
    class Cheap:
        def __init__(self, config, plan):
            self.below = config["below"]
            self.price = plan.require("price", int)

        def keep(self, row):
            price = row[self.price]
            return price is not None and price < self.below

The same rows must give the same answer however they are cut into batches; an instance may be dropped between any two calls.
Nothing here imports the generated bindings, so a plugin is tested by plain Python.
"""

from .columns import Batch, Row
from .errors import Fatal, Reject, Retry
from .plan import FilterPlan, TransformPlan
from .make import Json, Out
from .plugin import filter, transform
from .say import count, log, set_gauge
from .schema import BINARY, BOOLEAN, DATE32, FLOAT32, FLOAT64, INT16, INT32, INT64, JSON, LIST, NUMERIC, TIME64, TIMESTAMP
from .schema import TIMESTAMP_UTC, UINT32, UTF8, Field, Schema

__all__ = [
    "Batch", "Fatal", "Field", "FilterPlan", "Json", "Out", "Reject", "Retry", "Row", "Schema", "TransformPlan",
    "count", "filter", "log", "set_gauge", "transform",
    "BINARY", "BOOLEAN", "DATE32", "FLOAT32", "FLOAT64", "INT16", "INT32", "INT64", "JSON", "LIST", "NUMERIC", "TIME64",
    "TIMESTAMP", "TIMESTAMP_UTC", "UINT32", "UTF8",
]
