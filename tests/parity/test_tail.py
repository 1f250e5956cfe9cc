"""The C library's training step of a decoder's convolutions is torch's, up to rounding."""

import pytest

from edgekin.models import PictureShape, build_model
from edgekin.training.losses import range_penalty, silhouette_loss, squared_loss

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.mark.parametrize("isa", ["auto", "scalar"])
@pytest.mark.parametrize(("size", "shape"), [("m", PictureShape(4, 1, 100, 100)), ("s", PictureShape(3, 2, 30, 37)),
                                             ("l", PictureShape(4, 1, 24, 21))])
def test_loss_penalty_and_derivative_are_torchs(size, shape, isa):
    from edgekin.training.tail import Tail, fits

    network = build_model("neurokin", size, shape, seed=1).module
    assert fits(network)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, shape.n_joints, generator=generator)
    target = torch.rand(3, shape.n_views, shape.height, shape.width, generator=generator)
    with torch.no_grad():  # large enough that both limits are passed
        for parameter in network.parameters():
            parameter *= 3
    features = []
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    tail = Tail(network, isa)
    in_head = sum(isinstance(module, torch.nn.ReLU) for module in tail.head)
    logits = network(q)
    loss = silhouette_loss(logits, target)
    penalty = range_penalty(logits, features[in_head - 1 :])
    assert penalty.item() > 1e-5
    total = loss + squared_loss(logits, target) + penalty
    total.backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    found, together = tail.loss(tail.head(q), target)
    together.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert together.item() == pytest.approx(total.item(), rel=1e-5)
    for parameter, wanted in zip(network.parameters(), expected, strict=True):
        assert (parameter.grad - wanted).abs().max() < 2e-4 * wanted.abs().max()


def test_what_the_library_cannot_train_is_left_to_torch():
    from edgekin.errors import RuntimeFault
    from edgekin.training.tail import Tail, fits

    published = build_model("neurokin", "published", PictureShape(4, 1, 100, 100)).module
    narrow = build_model("neurokin", "s", PictureShape(4, 1, 16, 16)).module
    assert not fits(published)
    assert not fits(narrow)
    with pytest.raises(RuntimeFault, match="not a compact decoder"):
        Tail(published)
