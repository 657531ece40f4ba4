"""Errors that a person reads."""


class UserError(Exception):
    """Something that its reader can put right. The message says what failed, and what to do."""
