"""Exceptions that users may catch; each is also the builtin that they would expect."""


class AptnnError(Exception):
    """Base of every error that this package raises on purpose."""


class UnitError(AptnnError, ValueError):
    """A value without a unit where one is needed, or with one of another dimension."""


class FileFormatError(AptnnError, ValueError):
    """A file that is truncated, foreign or of an unknown version."""


class TrajectoryError(AptnnError, ValueError):
    """A trajectory that lacks what is needed: velocities, elements, a cell, uniform times."""


class FrameError(AptnnError, ValueError):
    """A configuration that cannot be a sample: NaN, no atoms, a flat cell, atoms on top of each
    other.
    """


class ModelError(AptnnError, ValueError):
    """A model that cannot answer: unknown name, unknown element, unknown version."""


class LabelError(AptnnError, ValueError):
    """Labels that cannot be trained on or tested against."""


class GroupError(AptnnError, ValueError):
    """Groups that match nothing or share atoms."""


class SpectrumError(AptnnError, ValueError):
    """A spectrum that was asked of data that cannot give it."""


class TrainingError(AptnnError, RuntimeError):
    """A training run that diverged or cannot be resumed."""


class CampaignError(AptnnError, RuntimeError):
    """A labelling campaign that cannot be planned, run or collected."""


class BusyError(AptnnError, RuntimeError):
    """A folder or file that another process is filling."""


class WorkerError(AptnnError, RuntimeError):
    """A worker process that ended before its work did."""


class CheckError(AptnnError, ValueError):
    """A run that cannot be right: its frames, velocities, cell, temperature or model contradict
    each other.
    """
