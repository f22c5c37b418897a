"""What requests and answers look like: for the OpenAPI document, with examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from candid.records import Estimate, to_plain


class LabelRow(BaseModel):
    """What a model of several labels says of one of them; a number has a value, others classes."""

    prediction: str | None = Field(
        description="The most probable class; null where the model abstains, and of a number."
    )
    probabilities: dict[str, float] | None = Field(description="Calibrated; null of a number.")
    value: float | None = Field(description="Of a number.")
    low: float | None = Field(description="Of a number: where its interval begins.")
    high: float | None = Field(description="Of a number: where its interval ends.")
    abstained: bool
    reason: str | None = Field(description="Why it abstained.")


class ImageRow(BaseModel):
    """What the model says of one picture."""

    prediction: str | None = Field(
        description="The most probable class; null where the model abstains or the picture cannot "
        "be read."
    )
    probabilities: dict[str, float] | None = Field(
        description="Calibrated: how probable it is that annotators would have written each class."
    )
    abstained: bool = Field(description="Whether the model is not sure enough to answer.")
    reason: str | None = Field(description="Why it abstained.")
    width: int | None = Field(description="Pixels, after the rotation that the file asks for.")
    height: int | None
    error: str | None = Field(description="Why the picture cannot be read.")
    labels: dict[str, LabelRow] | None = Field(
        default=None, description="Of a model of several labels: what it says of each."
    )


class Answer(BaseModel):
    """One row per picture, in the order in which they were sent."""

    model: str
    target: str = Field(description="The label that is predicted: what annotators wrote.")
    classes: list[str] = Field(description="Its values; empty of several labels.")
    results: list[ImageRow]
    drift: str | None = Field(
        description="Why nothing is promised of the answers any more, and since when: the pictures "
        "are no longer like the validation pictures; null: there was no such alarm."
    )


class MapAnswer(BaseModel):
    """A map of what speaks for and against a class in one picture."""

    model: str
    method: str
    explained: str = Field(description="The class that the map speaks for (above 0) or against.")
    signed: bool = Field(description="Whether the map has values below 0.")
    side: int = Field(description="Pixels per side of the square that the model saw.")
    map: list[list[float]] = Field(
        description="Rows of numbers from -1 to 1, divided by the largest size; one for each pixel "
        "of the picture below."
    )
    words: str = Field(description="Where the map is strongest, for those who do not see it.")
    frame: list[list[float]] | None = Field(
        description="Corners of the square that the model saw, x and y in shares of the picture's "
        "width and height, where it brings pictures to a frame first; outside, the map is 0. null: "
        "it saw the picture below."
    )
    picture: str = Field(
        description="A PNG in base64: the picture as the model saw it; where it brings pictures to "
        "a frame first, as it came, made smaller."
    )
    result: ImageRow


class MapMethod(BaseModel):
    """One way to make a map."""

    name: str
    title: str
    about: str
    signed: bool
    badge: str | None = Field(
        description="Whether its maps passed their checks on this model; null: nobody checked."
    )


class Measure(BaseModel):
    """A figure with its interval, and what it was computed from."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    people: int | None
    confidence: float
    method: str

    @classmethod
    def of(cls, name: str, estimate: Estimate) -> Measure:
        """An estimate under a name."""
        return cls(name=name, **to_plain(estimate))


class Weakness(BaseModel):
    """Pictures that the model does worse on, as the audit found."""

    title: str
    detail: str
    severity: str


class About(BaseModel):
    """What is known of a model, in sentences."""

    # All is in every answer; whoever makes one says what there is.
    model_config = ConfigDict(json_schema_serialization_defaults_required=True, frozen=True)

    summary: list[str] = []
    uses: list[str] = []
    not_for: list[str] = []
    limits: list[str] = []
    data_name: str = ""
    trained_on: list[str] = []
    picture_size: list[int] | None = Field(
        default=None, description="Width and height that most of the training pictures have."
    )
    split: str = ""  # the one that the measures come from
    measures: list[Measure] = []
    audited: bool = False
    weaknesses: list[Weakness] = []  # the worst first
    weakness_note: str = ""  # how much was looked at; or that nobody looked
    is_drawn: bool = False


class RuleDescription(BaseModel):
    """When a model abstains."""

    threshold: float
    sentence: str


class DriftDescription(BaseModel):
    """Whether the pictures that were sent are still like the validation pictures."""

    pictures: int = Field(description="How many were held against them.")
    limits: int = Field(
        description="How many limits of their scores' shares are bet on; 0: the validation "
        "pictures are too few to tell anything."
    )
    log_capital: float = Field(
        description="What bets that they are others have made of 1, as a logarithm."
    )
    log_limit: float = Field(description="From here on it is an alarm.")
    alarm_after: int | None = Field(
        description="How many pictures there had been at the alarm; null: there was none."
    )
    sentence: str | None = Field(description="What the alarm says.")


class ModelDescription(BaseModel):
    """One model that the server answers for."""

    name: str
    target: str
    classes: list[str]
    labels: list[str] = Field(description="What it predicts, where that is several labels.")
    side: int = Field(description="Pixels per side of the square that it sees.")
    fit: str = Field(description="How a picture becomes a square.")
    network: str
    parameters: int
    engine: str
    rule: RuleDescription | None = Field(description="When it abstains; null: it always answers.")
    unlike: str | None = Field(
        description="What the check does by which pictures unlike the training pictures get no "
        "answer; null: there is none."
    )
    drift: DriftDescription | None = Field(
        description="Whether pictures drift away from the validation pictures; null: nobody "
        "watches."
    )
    methods: list[MapMethod] = Field(description="The maps that /v1/explain can make of it.")
    about: About
    report: str | None = Field(description="Where its report is served.")


class Models(BaseModel):
    """All models; requests that name none mean the first."""

    models: list[ModelDescription]
    limits: dict[str, int]


class ErrorParts(BaseModel):
    """What came, what was expected, what to do."""

    code: str
    what: str
    expected: str
    todo: str


class Error(BaseModel):
    """An error as every address answers it."""

    error: ErrorParts


class ServerState(BaseModel):
    """How the server is."""

    status: str


_ROW = {
    "prediction": "Male",
    "probabilities": {"Female": 0.0312, "Male": 0.9688},
    "abstained": False,
    "reason": None,
    "width": 178,
    "height": 218,
    "error": None,
}
_NOT_READ = dict.fromkeys(_ROW) | {"abstained": False, "error": "empty file (0 bytes)"}
EXAMPLE = {
    "model": "first",
    "target": "Male",
    "classes": ["Female", "Male"],
    "results": [_ROW, _NOT_READ],
    "drift": None,
}

# The smallest picture there is: one grey pixel, so that the example can be sent as it stands.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNoaGgAAAMEAYFL09IQAAAAAElFTkSuQmCC"

_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def request_body(several: bool) -> dict[str, Any]:
    """The body of a request, in its three forms."""
    what = "One or several pictures" if several else "One picture"

    def images(format: str) -> dict[str, Any]:
        limit = {} if several else {"maxItems": 1}
        items = {"type": "string", "format": format}
        array = {"type": "array", "minItems": 1, **limit, "items": items}
        return {"type": "object", "required": ["images"], "properties": {"images": array}}

    return {
        "requestBody": {
            "required": True,
            "description": f"{what}: as the body itself, as files of a form, or in JSON as base64.",
            "content": {
                "image/jpeg": _PICTURE,
                "image/png": _PICTURE,
                "application/octet-stream": _PICTURE,
                "multipart/form-data": {"schema": images("binary")},
                "application/json": {
                    "schema": images("byte"),
                    "examples": {"one grey pixel": {"value": {"images": [DOT]}}},
                },
            },
        }
    }


_DESCRIPTIONS = {
    400: "The server does not go by that name.",
    401: "The key is missing or wrong.",
    404: "There is no such model, or nothing at this address.",
    408: "The request took too long to arrive.",
    413: "Too many bytes, pictures or pixels.",
    415: "A kind of body that is not known.",
    422: "Nothing that could be read.",
    429: "The server has as much to do as it takes on; try again after Retry-After seconds.",
    501: "No maps are made here, or what makes them is not installed.",
    503: "The server is stopping, or too slow; try again after Retry-After seconds.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an address may answer."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in (400, *statuses):
        responses[status] = {"model": Error, "description": _DESCRIPTIONS[status]}
        if status in (429, 503):
            responses[status]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return responses
