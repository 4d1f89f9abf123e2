"""What a network costs and sees: parameters, MACs, memory, receptive field, latency. It knows no task."""

from vision.profile.latency import Latency, measure_latency
from vision.profile.profile import Profile, profile_network

__all__ = ["Latency", "Profile", "measure_latency", "profile_network"]
