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


def reject_of(error: Exception) -> tuple[str, str]:
    """A row's error as code and message. What is no `Reject` has its type for code, and says where it was raised."""
    if isinstance(error, Reject):
        return error.code, error.message
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    code = type(error).__name__
    if at is None:
        return code, str(error)
    file = at.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
    return code, f"{error} ({file}, line {at.tb_lineno})"
