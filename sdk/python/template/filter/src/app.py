"""A filter: keeps the rows whose text has a word in it."""

from tidemill_sdk import filter


@filter
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed. Nothing else ever gets here."""
        self.column = plan.require(config["column"], str)
        self.word = config["word"].lower()

    def keep(self, row):
        """Whether a row stays. `raise Reject(code, message)` makes it a dead letter."""
        text = row[self.column]
        # None is NULL.
        return text is not None and self.word in text.lower()
