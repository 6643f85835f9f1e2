"""What rows look like: fields and their types, as the contract names them."""

from dataclasses import dataclass, field

BOOLEAN = "boolean"
INT16 = "int16"
INT32 = "int32"
INT64 = "int64"
UINT32 = "uint32"
FLOAT32 = "float32"
FLOAT64 = "float64"
UTF8 = "utf8"
BINARY = "binary"
DATE32 = "date32"
TIMESTAMP = "timestamp"
TIMESTAMP_UTC = "timestamp_utc"
TIME64 = "time64"
LIST = "list"

# What extends utf8.
JSON = "arrow.json"
NUMERIC = "tidemill.numeric"

# How a column's values are laid out: a memoryview's format, and the size of one.
FORMATS = {
    INT16: "h", INT32: "i", INT64: "q", UINT32: "I", FLOAT32: "f", FLOAT64: "d",
    DATE32: "i", TIMESTAMP: "q", TIMESTAMP_UTC: "q", TIME64: "q",
}

# What a plugin may ask a column to be read as.
PYTHON = {
    bool: (BOOLEAN,),
    int: (INT64, INT32, INT16, UINT32, DATE32, TIMESTAMP, TIMESTAMP_UTC, TIME64),
    float: (FLOAT64, FLOAT32),
    str: (UTF8,),
    bytes: (BINARY,),
}


@dataclass(frozen=True)
class Field:
    """One column. The field after a list is that of its elements."""

    name: str
    data_type: str
    # JSON, NUMERIC or none.
    extension: str | None = None
    # As the catalog calls it: int8, timestamptz.
    postgres_type: str | None = None


@dataclass(frozen=True)
class Schema:
    namespace: str
    table: str
    key: list[str]
    fields: list[Field]
    # What may be known of a row as it was before its change.
    old: list[Field] = field(default_factory=list)
