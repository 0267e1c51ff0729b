"""Windows over rows: OVER with a detector, tumbling and hopping windows, the sigma rule."""
