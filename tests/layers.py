"""The arrows of the house: who may import whom. `test_layers.py` holds them."""

# Each wing, and the wings that its modules may import beside their own.
# Left of an arrow is what stands below. Fewer are better.
BASE = {
    *("errors", "settings", "config", "storage", "records", "table", "predictions"),
    *("progress", "cores", "arrays", "garbage"),
}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "arrays": set(),
    "progress": set(),
    "cores": set(),
    "garbage": set(),
    "recipes": set(),
    "settings": {"errors"},
    "storage": {"errors"},
    "config": {"errors", "storage", "settings"},
    "style": set(),
    "records": {"errors", "storage"},
    "tables": {"errors", "storage", "records"},
    "table": {"errors", "records", "tables"},
    "predictions": {"errors", "arrays", "storage", "records", "tables", "table", "text"},
    "text": {"records", "settings"},
    "runs": {"", "errors", "storage", "records", "settings", "config"},
    "stats": {"errors", "arrays", "records", "table", "predictions"},
    "data": {*BASE, "text", "tables", "stats"},
    "models": {*BASE, "runs"},
    "training": {*BASE, "stats", "data", "models"},
    "evaluation": {*BASE, "text", "stats"},
    "auditing": {*BASE, "text", "stats"},
    "improvement": {*BASE, "stats", "evaluation", "auditing"},
    "reviewing": {*BASE, "text", "tables", "stats", "auditing"},
    "explanation": {*BASE, "text", "tables", "stats", "data", "models"},
    "inference": {*BASE, "", "runs", "text", "tables", "stats", "data", "models"},
    "serving": {*BASE, "", "text", "data", "models", "explanation", "inference", "style"},
    "reporting": {"errors", "settings", "config", "records", "text", "style"},
}
TOP = {"", "pipeline", "cli", "__main__"}  # may import everything below them

# Libraries that take long to load, and the only modules that may load them when imported.
HEAVY = {
    "torch": (
        *("candid.models", "candid.training", "candid.explanation", "candid.serving.explaining"),
        "candid.inference.windows",
    ),
    "fastapi": ("candid.serving",),
    "uvicorn": ("candid.serving",),
    "altair": ("candid.reporting.figures",),
    "sklearn": ("candid.pipeline.estimator",),
    "scipy.stats": ("candid.pipeline.estimator",),  # which scikit-learn loads
    "ray": (),
    "fsspec": (),
    "huggingface_hub": (),
}

# What is written into a folder for others, and imported by no one here.
FOR_OTHERS = {"candid.inference.modeling_candid"}
