"""A plugin's life: opened once, then given batch after batch. The component and tests of plain Python both go through here."""

import json

from .columns import Batch
from .errors import Fatal, Retry, reject_of
from .make import Out, bitmap
from .plan import FilterPlan, TransformPlan
from .schema import Schema

# What `@filter` or `@transform` registered.
registered: type | None = None


def filter(plugin: type) -> type:
    """Makes a class the plugin: a filter, with `keep(row)` or `keep_batch(batch)`, which gives a truth value a row."""
    return _register(plugin, ("keep", "keep_batch"))


def transform(plugin: type) -> type:
    """Makes a class the plugin: a transform, with `row(row, out)` or `batch(batch, out)`."""
    return _register(plugin, ("row", "batch"))


def _register(plugin: type, methods: tuple[str, str]) -> type:
    global registered
    if sum(hasattr(plugin, method) for method in methods) != 1:
        raise TypeError(f"{plugin.__name__} needs one of the methods {methods[0]} and {methods[1]}")
    registered = plugin
    return plugin


class OpenFilter:
    def __init__(self, config: str, schema: Schema):
        self.plan = FilterPlan(schema)
        self.plugin = registered(json.loads(config), self.plan)

    def process(self, rows: int, buffers: list) -> tuple[bytes, list[tuple[int, str, str]]]:
        """A bitmap of the rows that stay, and the rejects."""
        batch = Batch(rows, buffers, self.plan.columns)
        rejects = batch.rejects
        if hasattr(self.plugin, "keep_batch"):
            stays = list(self.plugin.keep_batch(batch))
            if len(stays) != rows:
                raise Fatal(f"keep_batch gave {len(stays)} answers for {rows} rows")
            return bitmap(stays), rejects
        stays, keep = [], self.plugin.keep
        for row in batch:
            try:
                stays.append(keep(row))
            except (Retry, Fatal):
                raise
            except Exception as error:
                stays.append(False)
                rejects.append((row.number, *reject_of(error)))
        return bitmap(stays), rejects


class OpenTransform:
    def __init__(self, config: str, schema: Schema):
        self.plan = TransformPlan(schema)
        self.plugin = registered(json.loads(config), self.plan)

    def process(self, rows: int, buffers: list) -> tuple[list[int], list[tuple], list[tuple[int, str, str]]]:
        """The rows that come out, the made columns' buffers, and the rejects."""
        batch, out = Batch(rows, buffers, self.plan.columns), Out(self.plan.made())
        rejects = batch.rejects
        if hasattr(self.plugin, "batch"):
            self.plugin.batch(batch, out)
            columns = out.finish(rejects)
            return out.rows, columns, rejects
        each = self.plugin.row
        for row in batch:
            before = out.begin(row.number)
            try:
                each(row, out)
            except (Retry, Fatal):
                raise
            except Exception as error:
                out.take_back(before)
                rejects.append((row.number, *reject_of(error)))
        columns = out.finish(rejects)
        return out.rows, columns, rejects
