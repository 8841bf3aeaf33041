"""What can go wrong for a user, and the exit code that says so."""


class LandscapeError(Exception):
    """A mistake or a failure that one line explains: what came, what is allowed, what to do."""

    exit_code = 1


class InputError(LandscapeError, ValueError):
    """An option or argument that makes no sense."""

    exit_code = 2


class CheckpointError(LandscapeError):
    """A file that is no checkpoint, is damaged, is refused, or does not fit the model."""

    exit_code = 3


class DataError(LandscapeError):
    """A data set that is not there, or that cannot be used."""

    exit_code = 4


class NoSplit(DataError):
    """A split that a source of data does not have, or cannot give."""


class NumericalError(LandscapeError, ArithmeticError):
    """NaN, infinity, or an iteration that did not converge."""

    exit_code = 5
