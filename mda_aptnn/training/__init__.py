"""Training: labelled frames in, a model file out; and its errors on frames that it has not seen."""
