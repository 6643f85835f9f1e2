"""What both worlds need to speak with the host. Only in a component are there the generated bindings that this imports."""

from componentize_py_types import Err
from wit_world.imports import types

from .errors import Fatal, Retry, trace_of
from .say import log
from .schema import Field, Schema

# The plugin of this instance.
opened = None


def open(make, config: str, schema: types.Schema):
    """An error of a plugin's constructor is for whoever wrote the configuration."""
    lifted = Schema(schema.namespace, schema.table, schema.key, _fields(schema.fields), _fields(schema.old))
    try:
        return make(config, lifted)
    except KeyError as error:
        raise Err(f"the plugin's config lacks {error}")
    except Exception as error:
        log(trace_of(error), "debug")
        raise Err(str(error) or type(error).__name__)


def process(batch: types.Batch):
    """An error that no row is to blame for is logged with its place, and traps."""
    try:
        return opened.process(batch.rows, batch.columns)
    except Retry as error:
        raise Err(types.Failure_Retry(str(error)))
    except Fatal as error:
        raise Err(types.Failure_Fatal(str(error)))
    except Exception as error:
        log(trace_of(error), "error")
        raise


def rejects(rows: list[tuple[int, str, str]]) -> list[types.Reject]:
    return [types.Reject(*row) for row in rows]


def requires(plan) -> list[types.Source]:
    return [source(kind, place) for kind, place in plan.requires]


def source(kind: str, place) -> types.Source:
    if kind == "fact":
        return types.Source_Fact(types.Fact[place.upper()])
    return (types.Source_Old if kind == "old" else types.Source_Field)(place)


def _fields(fields: list[types.Field]) -> list[Field]:
    return [Field(f.name, f.data_type.name.lower(), f.extension, f.postgres_type) for f in fields]
