"""The log and metrics, which every plugin has. In plain Python, lines go to stderr and metrics nowhere."""

import sys


def log(message: str, level: str = "info") -> None:
    """A line for the operator: never row values, please. `level` is debug, info, warn or error."""
    try:
        from wit_world.imports import log as host
    except ImportError:
        print(level, message, file=sys.stderr)
        return
    host.write(host.Level[level.upper()], message)


def count(name: str, add: int = 1) -> None:
    """Adds to a counter. Names are `[a-z][a-z0-9_]*` of at most 64 bytes, at most 64 of them a stage."""
    try:
        from wit_world.imports import metrics
    except ImportError:
        return
    metrics.count(name, add)


def set_gauge(name: str, value: float) -> None:
    try:
        from wit_world.imports import metrics
    except ImportError:
        return
    metrics.set(name, value)
