"""What this machine can run, what is missing, and the remedy: what `edgekin doctor` reports."""

from edgekin.doctor.examine import Examination, examine
from edgekin.doctor.system import Finding, System

__all__ = ["Examination", "Finding", "System", "examine"]
