"""Detectors of several fields at once: half-space trees and a robust Mahalanobis distance."""
