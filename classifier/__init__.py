"""Is it success? Labelled frames, a small image classifier, its calibration, and the one success detector."""
