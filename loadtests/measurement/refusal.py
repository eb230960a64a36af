"""The one error of a measurement: what was measured is not what was meant, so no figure is kept."""


class MeasurementRefused(Exception):
    """What was measured is not what was meant."""
