"""The engine "cpu": the networks in the density form as compiled kernels."""
