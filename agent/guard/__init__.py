"""The guard process: owns the equipment that can hurt somebody."""
