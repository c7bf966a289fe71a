"""The learned encoder: trained here by PyTorch, exported to ONNX; the job runs it without PyTorch.

Nothing outside this package imports torch, and of this package only what trains.
"""
