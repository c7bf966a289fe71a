"""The demo's catalogue: clips rendered in six styles, whose tempo, key, mode and instruments are known."""

from specrec.demo.catalogue import render_catalogue
from specrec.demo.clips import DemoClip, render_clip
from specrec.demo.styles import STYLES

__all__ = ["STYLES", "DemoClip", "render_catalogue", "render_clip"]
