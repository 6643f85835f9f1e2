"""A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it."""

from tidemill_sdk import UTF8, transform


@transform
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed, and says which come out. Nothing else ever gets here."""
        self.column = plan.require(config["column"], str)
        plan.pass_all_but()
        plan.make(config["makes"], UTF8)

    def row(self, row, out):
        """Emits a row's documents: of each the made columns. `raise Reject(code, message)` makes the row a dead letter."""
        text = row[self.column]
        # None is NULL.
        out.emit(None if text is None else slug(text))


def slug(text):
    words = "".join(c if c.isalnum() else " " for c in text).split()
    return "-".join(words).lower()
