"""How long a bundle's frame would take on a device that is not at hand: a roofline estimate, never a measurement."""

from edgekin.estimation.devices import Clocks, Device, load_devices
from edgekin.estimation.estimate import BundleEstimate, Estimate, estimate_bundle

__all__ = ["BundleEstimate", "Clocks", "Device", "Estimate", "estimate_bundle", "load_devices"]
