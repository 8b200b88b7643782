"""Pictures of a profile: the roofline and the timeline, each one SVG that needs nothing else."""

from kernelevolve.profilers.plots.roofline import roofline_svg
from kernelevolve.profilers.plots.timeline import timeline_svg

__all__ = ["roofline_svg", "timeline_svg"]
