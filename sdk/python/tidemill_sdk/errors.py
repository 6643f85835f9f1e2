"""The three kinds of failures: a row's, a batch's, the plugin's."""


class Reject(Exception):
    """This row cannot become a document: it becomes a dead letter, and the batch goes on.

    The code is short and the same for the same kind of fault. The message is for who mends it: name the column, leave out
    what must not be read by everybody.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class Retry(Exception):
    """What was wrong with the whole batch will pass: it comes again, later."""


class Fatal(Exception):
    """It will not pass: the stream pauses and the operator is told."""


# The code of a row's error that has none of its own; the same in the other languages' SDKs.
FAILED = "failed"


def reject_of(error: Exception) -> tuple[str, str]:
    """A row's error as code and message. What is no `Reject` has its type in the message, and says where it was raised."""
    if isinstance(error, Reject):
        return error.code, error.message
    places = _places(error)
    message = f"{type(error).__name__}: {error}"
    return FAILED, f"{message} ({places[-1]})" if places else message


def trace_of(error: Exception) -> str:
    """An error and where it came through, the place that raised it last.

    Without the lines of the source, which `traceback` would look for: a component has no files, and traps where it looks.
    """
    return "\n".join([f"{type(error).__name__}: {error}", *(f"  in {place}" for place in _places(error))])


def _places(error: Exception) -> list[str]:
    places, at = [], error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        places.append(f"{file}, line {at.tb_lineno}")
        at = at.tb_next
    return places
