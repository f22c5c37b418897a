import numpy as np
import pytest

from candid.records import ModelCard, read_record
from candid.serving.explaining import Explainer
from candid.settings import ExplainConfig
from inference.tiny import pixels, tiny_run


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "occlusion"])
def test_the_map_of_a_mirror_image_is_the_mirror_image_of_the_map(tmp_path, method):
    """Where the model answers the mean over both, a flipped picture gets the flipped map."""
    run = tiny_run(tmp_path / "run", flip_tta=True)
    explainer = Explainer(run.weights, read_record(run.model_file, ModelCard), ExplainConfig())
    face = pixels(1)[0]
    one = explainer.map(face, method, 1)
    other = explainer.map(face[:, ::-1], method, 1)
    np.testing.assert_allclose(other[:, ::-1], one, atol=1e-4 * abs(one).max())
    assert abs(one - one[:, ::-1]).max() > 1e-3 * abs(one).max()
