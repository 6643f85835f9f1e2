"""The world `transform`: between the generated bindings and the class that app.py registered."""

import app  # noqa: F401  registers the plugin
from tidemill_sdk import component
from tidemill_sdk.plugin import OpenTransform
from wit_world.exports import transforming
from wit_world.imports import types


class Transforming:
    def open(self, config: str, schema: types.Schema) -> transforming.Plan:
        component.opened = component.open(OpenTransform, config, schema)
        plan = component.opened.plan
        outputs = [_output(output) for output in plan.outputs]
        wrap = transforming.Outputs_Documents if plan.brings_documents else transforming.Outputs_Columns
        naming = types.Naming.KEY if plan.naming == "key" else types.Naming.ROW
        return transforming.Plan(component.requires(plan), wrap(outputs), plan.is_many, naming)

    def process(self, batch: types.Batch) -> transforming.Transformed:
        rows, columns, rejects = component.process(batch)
        made = [types.Buffers(*column) for column in columns]
        return transforming.Transformed(transforming.Rows_Indices(rows), made, component.rejects(rejects))


def _output(output: tuple):
    if output[0] == "pass":
        _, source, place, name = output
        return transforming.Output_Pass(transforming.Passed(component.source(source, place), name))
    fields = [types.Field(f.name, types.DataType[f.data_type.upper()], f.extension, None) for f in output[1]]
    return transforming.Output_Make(fields)
