"""Intervals, metrics, regression, calibration: arrays in, estimates out."""
