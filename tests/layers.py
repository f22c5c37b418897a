"""The arrows of the house: who may import whom. `test_layers.py` holds them."""

# Each wing, and the wings that its modules may import beside their own.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "statistics": set(),
    "spreadsheet": set(),
    "cores": set(),
    "files": {"errors"},
    "progress": set(),
    "records": {"errors", "files"},
    "predictions": {"errors", "files", "records"},
    "delimited": {"errors", "files"},
    "columns": {"errors", "records", "predictions"},
    "foreign": {
        *("errors", "files", "predictions", "delimited", "spreadsheet", "columns", "records"),
    },
    "settings": {"errors"},
    "config": {"errors", "files", "settings"},
    "recipes": set(),
    "runs": {"", "errors", "files", "records", "settings", "config"},
    "data": {
        *("errors", "files", "records", "predictions", "settings", "config", "statistics"),
        *("delimited", "spreadsheet", "columns", "progress", "cores"),
    },
    "learn": {
        *("errors", "files", "records", "predictions", "settings", "config", "data"),
        *("progress", "cores"),
    },
    "explain": {
        *("errors", "files", "records", "predictions", "settings", "config", "statistics"),
        "progress",
    },
    "judge": {
        *("errors", "files", "records", "predictions", "settings", "config", "statistics"),
        "progress",
    },
    "deploy": {
        *("errors", "files", "records", "predictions", "settings", "config", "runs"),
        *("", "statistics", "data", "learn", "judge", "explain", "cores", "delimited"),
    },
    "report": {"errors", "files", "records", "predictions", "settings", "config"},
}
TOP = {"", "stages", "api", "cli", "__main__"}  # may import everything below them

# Libraries that take long to load, and the only modules that may load them when imported.
HEAVY = {
    "torch": (
        *("candid.learn", "candid.explain", "candid.deploy.network", "candid.deploy.explaining"),
    ),
    "fastapi": ("candid.deploy.server",),
    "uvicorn": ("candid.deploy.server",),
    "altair": ("candid.report.figures",),
    "sklearn": (),
    "scipy.stats": (),
    "ray": (),
    "fsspec": (),
}
