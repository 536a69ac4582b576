"""What to remove from a vision-language model, and removing it: calibrate → plan → prune, quantize, measure, save."""

from lvlm.int8 import quantized as quantize

from .about import Facts, Overlap, Split, facts, overlap, split
from .budget import Forecast, fit, forecast
from .calibration import CalibrationSettings, calibrate
from .checkpoint import loads_in_transformers, pack, save
from .compensation import Repair
from .cost import Cost, Workload, measure
from .explain import way
from .likeness import Gain, gain, likeness
from .masking import masked
from .pace import Pace, time_layers
from .plan import Costs, Plan, make_plan, published_plan
from .rounds import plan_in_rounds
from .scores import Importance, Scores
from .search import Search, search_plan
from .surgery import prune
from .takeover import Takeover, takeover
from .wishes import Unit

__all__ = [
    "CalibrationSettings",
    "Cost",
    "Costs",
    "Facts",
    "Forecast",
    "Gain",
    "Importance",
    "Overlap",
    "Pace",
    "Plan",
    "Repair",
    "Scores",
    "Search",
    "Split",
    "Takeover",
    "Unit",
    "Workload",
    "calibrate",
    "facts",
    "fit",
    "forecast",
    "gain",
    "likeness",
    "loads_in_transformers",
    "make_plan",
    "masked",
    "measure",
    "overlap",
    "pack",
    "prune",
    "plan_in_rounds",
    "published_plan",
    "quantize",
    "save",
    "search_plan",
    "split",
    "takeover",
    "time_layers",
    "way",
]
