"""See tamis_kernels.reference for what each function does."""
