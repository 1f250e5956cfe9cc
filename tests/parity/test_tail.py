"""The C library's training step of a decoder's last layers is torch's, up to rounding, on any number of threads."""

import pytest

from edgekin.models import PictureShape, build_model
from edgekin.training.losses import depth_loss, feature_penalty, range_penalty, silhouette_loss, squared_loss

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

ACTIVITY = 0.01
WIDE = PictureShape(4, 1, 100, 100)


def _batch(network, shape, n):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(n, shape.n_joints, generator=generator)
    target = torch.rand(n, shape.n_views, shape.height, shape.width, generator=generator)
    depth = 1.0 + torch.rand(n - 1, *target.shape[1:], generator=generator)
    depth[target[: n - 1] < 0.5] = torch.inf
    with torch.no_grad():  # large enough that both limits are passed
        for parameter in network.parameters():
            parameter *= 3
    return q, target, depth


def _in_torch(network, q, target, depth):
    features = []
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    logits, predicted = network.both(q) if depth is not None else (network(q), None)
    loss = silhouette_loss(logits, target)
    total = loss + squared_loss(logits, target) + range_penalty(logits, features, ACTIVITY)
    if depth is not None:
        total = total + depth_loss(predicted[: len(depth)], depth)
    total.backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    return loss, total, expected


def _in_c(tail, q, target, depth):
    features = []
    hooks = [module.register_forward_hook(lambda _module, _inputs, output: features.append(output))
             for module in tail.head.modules() if isinstance(module, torch.nn.ReLU)]
    found, together = tail.loss(tail.head(q), target, depth)
    for hook in hooks:
        hook.remove()
    total = together + feature_penalty(features, ACTIVITY)
    total.backward()
    return found, total


@pytest.mark.parametrize("isa", ["auto", "scalar"])
@pytest.mark.parametrize(("model", "size", "shape"), [
    ("neurokin", "m", WIDE), ("neurokin", "s", PictureShape(3, 2, 30, 37)),
    ("neurokin", "l", PictureShape(4, 1, 24, 21)), ("neurokin", "16-3-none", PictureShape(2, 1, 24, 21)),
    ("resneurokin-d", "m", PictureShape(4, 1, 30, 37)), ("resneurokin-d", "s", PictureShape(3, 2, 24, 21))])
def test_loss_penalty_and_derivative_are_torchs(model, size, shape, isa):
    from edgekin.training.tail import Tail, fits

    network = build_model(model, size, shape, seed=1).module
    assert fits(network)
    q, target, depth = _batch(network, shape, 3)
    depth = depth if model == "resneurokin-d" else None
    loss, total, expected = _in_torch(network, q, target, depth)
    found, together = _in_c(Tail(network, isa, activity_weight=ACTIVITY), q, target, depth)
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert together.item() == pytest.approx(total.item(), rel=1e-5)
    for parameter, wanted in zip(network.parameters(), expected, strict=True):
        assert (parameter.grad - wanted).abs().max() < 2e-4 * wanted.abs().max()


def test_threads_do_not_change_a_bit():
    from edgekin.training.tail import Tail

    network = build_model("resneurokin-d", "s", PictureShape(3, 1, 24, 21), seed=1).module
    q, target, depth = _batch(network, PictureShape(3, 1, 24, 21), 19)
    results = []
    for threads in (1, 2, 5):
        network.zero_grad()
        found = _in_c(Tail(network, threads=threads), q, target, depth)
        results.append([*found, *(p.grad.clone() for p in network.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_the_library_cannot_train_is_left_to_torch():
    from edgekin.errors import RuntimeFault
    from edgekin.training.tail import Tail, fits

    published = build_model("neurokin", "published", WIDE).module
    narrow = build_model("neurokin", "s", PictureShape(4, 1, 16, 16)).module
    odd = build_model("neurokin", "20-8-8", WIDE).module
    assert not any(fits(network) for network in (published, narrow, odd))
    with pytest.raises(RuntimeFault, match="not a compact decoder"):
        Tail(published)
