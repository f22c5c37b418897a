"""Every setting, its default, and the sentence that explains it: one frozen dataclass per stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from candid.errors import ConfigError
from candid.settings.bounds import setting as setting
from candid.settings.data import DataConfig as DataConfig
from candid.settings.measuring import MAP_METHODS as MAP_METHODS
from candid.settings.measuring import MASK_FILLS as MASK_FILLS
from candid.settings.measuring import AuditConfig as AuditConfig
from candid.settings.measuring import CheckConfig as CheckConfig
from candid.settings.measuring import EvaluateConfig as EvaluateConfig
from candid.settings.measuring import ExplainConfig as ExplainConfig
from candid.settings.measuring import SeedsConfig as SeedsConfig
from candid.settings.network import NETWORKS as NETWORKS
from candid.settings.network import DeepConfig as DeepConfig
from candid.settings.network import NetworkConfig as NetworkConfig
from candid.settings.network import OwnConfig as OwnConfig
from candid.settings.network import TimmConfig as TimmConfig
from candid.settings.network import ensemble_size as ensemble_size
from candid.settings.training import AugmentConfig as AugmentConfig
from candid.settings.training import FramingConfig as FramingConfig
from candid.settings.training import TrainConfig as TrainConfig
from candid.settings.using import PredictConfig as PredictConfig
from candid.settings.using import ReportConfig as ReportConfig
from candid.settings.using import ServeConfig as ServeConfig
from candid.settings.using import TuneConfig as TuneConfig


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run; the defaults are those of the recipe `deep`."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=DeepConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    framing: FramingConfig = field(default_factory=FramingConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    @property
    def begins_with(self) -> str:
        """The setting that names weights to begin with; "" for fresh ones."""
        if isinstance(self.network, TimmConfig) and self.network.pretrained:
            return "network.pretrained"
        return "train.initial" if self.train.initial else ""

    def __post_init__(self) -> None:
        if self.train.initial and self.begins_with != "train.initial":
            raise ConfigError(
                "Training cannot begin with the weights of both train.initial and timm.",
                expected="one of train.initial (--from) and network.pretrained",
                todo="leave the other out",
            )
        if self.network.name == "features" and (self.train.loss or self.augment.extra):
            raise ConfigError(
                "The network 'features' is fitted at once: train.loss and augment.extra are for "
                "training in steps.",
                expected="both empty, or another network",
                todo="set network.name, or leave them out",
            )
        size = ensemble_size(self.network)
        if self.train.batch_size < 2 * size:
            raise ConfigError(
                f"train.batch_size = {self.train.batch_size} is too few for "
                f"network.ensemble_size = {size}, which divide each batch.",
                expected="two images for each network",
                todo="raise train.batch_size or lower network.ensemble_size",
            )
        if size > 1 and (self.train.freeze or self.train.depth_decay != 1):
            raise ConfigError(
                f"network.ensemble_size = {size} has no one order of layers for train.freeze and "
                "train.depth_decay.",
                expected="network.ensemble_size = 1, or both as they are by default",
                todo="set one or the other",
            )
