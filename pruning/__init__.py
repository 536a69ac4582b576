"""What to remove from a vision-language model, and removing it: calibrate → plan → prune, quantize, measure, save."""

from lvlm.int8 import quantized as quantize

from .calibration import CalibrationSettings, calibrate
from .checkpoint import loads_in_transformers, save
from .cost import Cost, Workload, measure
from .plan import Costs, Plan, make_plan, published_plan
from .scores import Importance, Scores
from .surgery import prune
from .wishes import Unit

__all__ = [
    "CalibrationSettings",
    "Cost",
    "Costs",
    "Importance",
    "Plan",
    "Scores",
    "Unit",
    "Workload",
    "calibrate",
    "loads_in_transformers",
    "make_plan",
    "measure",
    "prune",
    "published_plan",
    "quantize",
    "save",
]
