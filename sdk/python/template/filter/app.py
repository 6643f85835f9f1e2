"""A filter: keeps the rows whose text has a word in it."""

from tidemill_sdk import filter


@filter
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed. Nothing else ever gets here."""
        self.word = config["word"].lower()
        self.text = plan.require(config["column"], str)

    def keep(self, row):
        """Whether a row stays."""
        text = row[self.text]  # None is NULL
        return text is not None and self.word in text.lower()
