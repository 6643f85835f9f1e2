"""The world `filter`: between the generated bindings and the class that app.py registered."""

import app  # noqa: F401  registers the plugin
from tidemill_sdk import component
from tidemill_sdk.plugin import OpenFilter
from wit_world.exports import filtering
from wit_world.imports import types


class Filtering:
    def open(self, config: str, schema: types.Schema) -> filtering.Plan:
        component.opened = component.open(OpenFilter, config, schema)
        return filtering.Plan(component.requires(component.opened.plan))

    def process(self, batch: types.Batch) -> filtering.Verdict:
        keep, rejects = component.process(batch)
        return filtering.Verdict(filtering.Keep_Bitmap(keep), component.rejects(rejects))
