"""The one exception of the evaluation: a sentence for the person who started it."""


class Broken(Exception):
    """Something that a result must not be built on; the message says what, and what to do about it."""
