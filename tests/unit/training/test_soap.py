"""Adam in the eigenbasis of the gradients: the network that it leaves, and what it is for."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def _soap(network, spread):
    from edgekin.training.soap import Soap

    average = spread.weight.detach().clone()
    return Soap(network, spread, average, 1e-2, (0.9, 0.98)), average


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 300), torch.nn.Tanh(),
                               torch.nn.Linear(300, 2))


def test_turning_the_bases_changes_no_output():
    from edgekin.training import soap as module

    network, generator = _network(), torch.Generator().manual_seed(1)
    soap, average = _soap(network, network[2])
    x = torch.randn(16, 3, generator=generator)
    name = "2.weight"
    for _ in range(2 * module.TURN_EVERY + 1):
        for group in soap.param_groups:
            group["lr"] = 0.0
        before = network(x).detach()
        soap.zero_grad()
        (network(x) - torch.randn(16, 2, generator=generator)).square().mean().backward()
        soap.step()
        assert torch.allclose(network(x), before, atol=1e-5)
    assert not torch.allclose(network.state_dict()[name], soap.plain(network.state_dict())[name], atol=1e-2)
    assert torch.allclose(average, network[2].weight, atol=1e-5)  # carried along, it is still what it was a copy of
    network.load_state_dict(soap.plain(network.state_dict()))
    soap.open = False
    assert torch.allclose(network(x), before, atol=1e-5)


def test_weights_that_matter_together_are_learned_where_adam_crawls():
    """A layer's inputs that are nearly one: their small difference is what the targets follow."""
    generator = torch.Generator().manual_seed(2)
    base = torch.randn(256, 1, generator=generator)
    x = base + 0.01 * torch.randn(256, 8, generator=generator)
    mixing = torch.randn(8, 300, generator=generator)
    y = 100 * x @ (mixing - mixing.mean(dim=0))

    def loss_after(make):
        torch.manual_seed(0)
        layer = torch.nn.Linear(8, 300)
        optimiser = make(layer)
        for step in range(200):
            for group in optimiser.param_groups:
                group["lr"] = 1.0 * (1 - step / 200)
            optimiser.zero_grad()
            loss = (layer(x) - y).square().mean()
            loss.backward()
            optimiser.step()
        return loss.item()

    adam = loss_after(lambda layer: torch.optim.Adam(layer.parameters(), betas=(0.9, 0.98)))
    soap = loss_after(lambda layer: _soap(layer, layer)[0])
    assert soap < 0.5 * adam


def test_a_state_is_taken_up_to_the_bit():
    runs = []
    for interrupted in (False, True):
        network, generator = _network(), torch.Generator().manual_seed(3)
        soap, average = _soap(network, network[2])
        for step in range(30):
            if interrupted and step == 23:
                state, kept = soap.state_dict(), [network.state_dict(), average]
                network = _network()
                soap, average = _soap(network, network[2])
                network.load_state_dict(kept[0])
                average.copy_(kept[1])
                soap.load_state_dict(state)
            soap.zero_grad()
            network(torch.randn(16, 3, generator=generator)).square().mean().backward()
            soap.step()
        runs.append(soap.plain(network.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(runs[0].values(), runs[1].values(), strict=True))
