"""edgekin: self-models for robot arms, quantized, compiled and run beside the arm.

Importing this package loads neither torch nor pybullet nor tensorrt.
"""

__version__ = "0.1.0"
