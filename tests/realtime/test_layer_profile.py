"""edgekin profile: every layer is there, the sums hold, and the JSON is what it says."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edgekin.cli import cli
from edgekin.errors import ConfigError, EdgekinError, RuntimeFault
from edgekin.profiling import pinned
from edgekin.runtime.engine import supported_isas
from edgekin.runtime.profile import profile_engine
from edgekin.runtime.roofline import Roofline, peak_gmacs


@pytest.mark.parametrize("isa", ["auto", "scalar"])
def test_the_layers_of_a_profile_add_up_to_the_network(bundle, isa, tmp_path):
    out = tmp_path / "profile.json"
    done = CliRunner().invoke(cli, ["profile", str(bundle), "--isa", isa, "--ticks", "20", "--json", str(out)])
    assert done.exit_code == 0, done.output
    for word in ("linear0", "scoring", "MACs", "roofline", "fp32"):
        assert word in done.output
    result = json.loads(out.read_text())
    assert (next(iter(result)), result["schema"], result["seed"]) == ("schema", "edgekin.profile/1", None)
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert list(layers) == ["sincos0", "linear0", "reshape0", "scoring"]
    linear = layers["linear0"]
    joints, pixels = linear["in_shape"][0], int(np.prod(linear["out_shape"]))
    assert linear["macs"] == result["macs"] == joints * pixels
    assert linear["weight_bytes"] == 4 * (joints + 1) * pixels
    assert sum(layer["share"] for layer in layers.values()) == pytest.approx(1.0)
    assert layers["linear0"]["p50_us"] > 0
    assert result["roofline_share"] > 0
    assert result["isa"] in supported_isas()
    again = CliRunner().invoke(cli, ["profile", str(bundle), "--json", str(out)])
    assert isinstance(again.exception, EdgekinError)
    assert "exists" in str(again.exception)


def test_work_takes_the_longer_of_computing_and_moving():
    roof = Roofline("scalar", gmacs=2.0, weights_gb_s=10.0, maps_gb_s=40.0)
    assert roof.ideal_ns(1000, 0, 0) == 500.0
    assert roof.ideal_ns(1000, 8000, 4000) == 900.0


def test_what_cannot_be_profiled_is_refused(engine):
    poses, masks = np.zeros((1, 3)), np.zeros((1, 1, 12, 3), np.uint8)
    with pytest.raises(RuntimeFault, match="1 poses with 0 masks"):
        profile_engine(engine, poses, masks[:0])
    with pytest.raises(RuntimeFault, match="shape"):
        profile_engine(engine, np.zeros((1, 4)), masks, ticks=1, budget_s=0.0)
    with pytest.raises(RuntimeFault, match="no roofline"):
        peak_gmacs("mmx", "int8")
    with pytest.raises(ConfigError, match="--cpu is 999"), pinned(999):
        pass
