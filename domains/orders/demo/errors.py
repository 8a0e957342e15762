"""What can go wrong with an input.

DemoError
├── NoInput       the file is not there
└── NotAnInput    it is there, but it is not what the reader reads: the sentence says why
"""


class DemoError(Exception):
    """An error of the demo."""


class NoInput(DemoError):
    """The file is not there."""


class NotAnInput(DemoError):
    """The file is not what the reader reads."""
