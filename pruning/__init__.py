"""What to remove from a vision-language model, and removing it: calibrate → plan → prune, quantize, measure, save."""

from lvlm.int8 import quantized as quantize

from .about import Facts, Overlap, Split, facts, overlap, split
from .budget import Forecast, fit, forecast
from .calibration import CalibrationSettings, calibrate
from .checkpoint import loads_in_transformers, pack, save
from .cost import Cost, Workload, measure
from .masking import masked
from .pace import Pace, time_layers
from .plan import Costs, Plan, make_plan, published_plan
from .scores import Importance, Scores
from .surgery import prune
from .wishes import Unit

__all__ = [
    "CalibrationSettings",
    "Cost",
    "Costs",
    "Facts",
    "Forecast",
    "Importance",
    "Overlap",
    "Pace",
    "Plan",
    "Scores",
    "Split",
    "Unit",
    "Workload",
    "calibrate",
    "facts",
    "fit",
    "forecast",
    "loads_in_transformers",
    "make_plan",
    "masked",
    "measure",
    "overlap",
    "pack",
    "prune",
    "published_plan",
    "quantize",
    "save",
    "split",
    "time_layers",
]
